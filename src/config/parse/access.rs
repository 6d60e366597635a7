//! `[server.tls]`, `[auth]` and `[limits]`.

use std::collections::HashSet;
use std::path::Path;

use crate::config::access::{
    AuthConfig, ClientCa, GrantConfig, IssuerConfig, KeySource, LimitsConfig, Role, TlsConfig, TokenConfig,
};
use crate::config::backend::SecretSource;
use crate::config::reader::Section;
use crate::config::value::{url, variable_name};

/// The longest subject or pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;
/// What a subject's pattern begins with, by the kind of identity.
const KINDS: [&str; 3] = ["token:", "jwt:", "mtls:"];

/// `[server.tls]`.
pub(super) fn tls(section: Section<'_>, folder: &Path) -> Option<TlsConfig> {
    let file = |text: &str| Ok(folder.join(text));
    let cert_file = section.required("cert_file", file);
    let key_file = section.required("key_file", file);
    let ca_file = section.parsed("client_ca_file", file);
    let required = section.word("client_auth", &[("required", true), ("optional", false)]);
    if required.is_some() && ca_file.is_none() {
        section.problem("client_auth", "goes with client_ca_file, which is absent");
    }
    section.finish(|_| None);
    let clients = ca_file.map(|ca_file| ClientCa { ca_file, required: required.unwrap_or(true) });
    Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, clients })
}

/// `[auth]`.
pub(super) fn auth(section: Section<'_>, folder: &Path) -> AuthConfig {
    let mut subjects = HashSet::new();
    let mut names = HashSet::new();
    let config = AuthConfig {
        tokens: section
            .tables("token")
            .into_iter()
            .filter_map(|section| token(section, folder, &mut subjects))
            .collect(),
        issuers: section
            .tables("jwt")
            .into_iter()
            .filter_map(|section| issuer(section, folder, &mut names))
            .collect(),
        grants: section.tables("grant").into_iter().filter_map(grant).collect(),
    };
    section.finish(|_| None);
    config
}

fn token(section: Section<'_>, folder: &Path, seen: &mut HashSet<String>) -> Option<TokenConfig> {
    let subject = section.required("subject", subject);
    if let Some(subject) = &subject
        && !seen.insert(subject.clone())
    {
        section.problem("subject", format!("{subject:?} has a token already"));
    }
    let source = secret(&section, folder);
    if source.is_none() && !section.has("token_file") && !section.has("token_env") {
        section.problem("token_file", "is required, or token_env");
    }
    section.finish(|key| {
        let secrets = ["token", "secret", "value", "password"];
        secrets.contains(&key).then(|| {
            "a secret never stands in this file: name its place with `token_env` or `token_file`".to_owned()
        })
    });
    Some(TokenConfig { subject: subject?, source: source? })
}

/// `token_file` or `token_env`.
pub(super) fn secret(section: &Section<'_>, folder: &Path) -> Option<SecretSource> {
    let file = section.string("token_file").map(|path| SecretSource::File(folder.join(path)));
    let variable = section.parsed("token_env", variable_name).map(SecretSource::Env);
    if section.has("token_file") && section.has("token_env") {
        section.problem("token_env", "and token_file exclude each other: keep one");
    }
    file.or(variable)
}

fn issuer(section: Section<'_>, folder: &Path, seen: &mut HashSet<String>) -> Option<IssuerConfig> {
    let issuer = section.required("issuer", |text| {
        if text.contains(['#', '*']) || text.len() > MAX_PATTERN_BYTES {
            return Err(format!("must have at most {MAX_PATTERN_BYTES} bytes, and neither `#` nor `*`"));
        }
        Ok(text.to_owned())
    });
    if let Some(issuer) = &issuer
        && !seen.insert(issuer.clone())
    {
        section.problem("issuer", "is named twice");
    }
    let audiences: Vec<String> =
        section.strings("audience").into_iter().map(|text| text.text.to_owned()).collect();
    if !section.has("audience") {
        section.problem("audience", "is required: a token for somebody else must not open this gateway");
    }
    let ca_file = section.string("ca_file").map(|path| folder.join(path));
    let file = section.string("jwks_file").map(|path| KeySource::File(folder.join(path)));
    let url = section.parsed("jwks_url", key_url).map(|url| KeySource::Url { url, ca_file });
    match (section.has("jwks_file"), section.has("jwks_url")) {
        (true, true) => section.problem("jwks_url", "and jwks_file exclude each other: keep one"),
        (false, false) => section.problem("jwks_url", "is required, or jwks_file"),
        (true, false) if section.has("ca_file") => section.problem("ca_file", "goes with jwks_url"),
        _ => {}
    }
    section.finish(|_| None);
    Some(IssuerConfig { issuer: issuer?, audiences, keys: file.or(url)? })
}

/// Whoever can change the keys on their way is everybody, so they don't come in the clear from elsewhere.
fn key_url(text: &str) -> Result<String, String> {
    let checked = url(text)?;
    let uri: http::Uri = checked.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if uri.scheme_str() == Some("https") || local {
        // As written: an issuer may tell a slash at the end from none.
        Ok(text.to_owned())
    } else {
        Err("must start with https://: keys that come in the clear are anybody's (or use jwks_file)"
            .to_owned())
    }
}

fn grant(section: Section<'_>) -> Option<GrantConfig> {
    let all = |key, check: fn(&str) -> Result<(), String>| {
        if !section.has(key) {
            section.accept(&[key]);
            section.problem(key, "is required");
        }
        let mut found = Vec::new();
        for text in section.strings(key) {
            match check(text.text) {
                Ok(()) => found.push(text.text.to_owned()),
                Err(message) => section.problem_at(text.line, key, message),
            }
        }
        found
    };
    let subjects = all("subjects", subject_pattern);
    let backends = all("backends", backend_pattern);
    if !section.has("role") {
        section.problem("role", "is required: \"viewer\" or \"operator\"");
    }
    let role = section.word("role", &[("viewer", Role::Viewer), ("operator", Role::Operator)]);
    let transcripts = section.boolean("transcripts").unwrap_or(false);
    section.finish(|_| None);
    Some(GrantConfig { subjects, role: role?, backends, transcripts })
}

fn subject(text: &str) -> Result<String, String> {
    let well_formed =
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if well_formed { Ok(text.to_owned()) } else { Err("must match [A-Za-z0-9._-]{1,64}".to_owned()) }
}

fn subject_pattern(text: &str) -> Result<(), String> {
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!("has {} bytes; the most is {MAX_PATTERN_BYTES}", text.len()));
    }
    if text == "*" || KINDS.iter().any(|kind| text.strip_prefix(kind).is_some_and(|rest| !rest.is_empty())) {
        return Ok(());
    }
    Err("must be `*` or begin with token:, jwt: or mtls:, as \"token:ci\" or \"jwt:ISSUER#SUB\"".to_owned())
}

fn backend_pattern(text: &str) -> Result<(), String> {
    let well_formed = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*".contains(&b));
    if well_formed {
        Ok(())
    } else {
        Err("must be a backend's id, in which `*` stands for anything".to_owned())
    }
}

/// `[limits]`.
pub(super) fn limits(section: Section<'_>) -> LimitsConfig {
    let limits = LimitsConfig {
        requests_per_second: section.number("requests_per_second", 0.01..=1e6, "from 0.01 to 1000000"),
        concurrent_streams: section.integer("concurrent_streams", 1..=1_000_000),
        watched_names: section.integer("watched_names", 1..=100_000_000),
        starts_in_flight: section.integer("starts_in_flight", 1..=1_000_000),
    };
    section.finish(|_| None);
    limits
}
