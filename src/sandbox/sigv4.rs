//! Checks AWS Signature Version 4 on requests, from the published procedure and without a signing library.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::http::{Request, decode_percent};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a request's time may be off.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No `Authorization` header.
    #[error("Missing Authentication Token")]
    Missing,
    /// A header or a part of one that is missing or can't be read.
    #[error("{0}")]
    Incomplete(String),
    /// An unknown key, or a session token that does not belong to it.
    #[error("The security token included in the request is invalid.")]
    Unrecognized,
    /// A session token that has run out.
    #[error("The security token included in the request is expired")]
    Expired,
    /// A wrong signature, scope or time.
    #[error("{0}")]
    Invalid(String),
}

impl Refused {
    /// The error type on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::Unrecognized => "UnrecognizedClientException",
            Self::Expired => "ExpiredTokenException",
            Self::Invalid(_) => "InvalidSignatureException",
        }
    }
}

/// One set of credentials.
#[derive(Clone)]
pub struct Credentials {
    secret: String,
    session_token: Option<String>,
    expired: bool,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("expired", &self.expired).finish_non_exhaustive()
    }
}

/// The access keys that a service knows.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: BTreeMap<String, Credentials>,
}

/// The access key id that every sandbox knows.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIDSANDBOX";

/// Its secret. Not a secret of anyone's: it opens the sandbox only.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "sandbox-secret";

impl Default for KeyRing {
    fn default() -> Self {
        let mut ring = Self { keys: BTreeMap::new() };
        ring.add(DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY, None);
        ring
    }
}

impl KeyRing {
    /// Adds credentials or replaces them; with a session token, requests must carry it.
    pub fn add(&mut self, access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) {
        let credentials = Credentials {
            secret: secret_access_key.into(),
            session_token: session_token.map(Into::into),
            expired: false,
        };
        self.keys.insert(access_key_id.into(), credentials);
    }

    /// Lets credentials expire, or revives them; false where the key is unknown.
    pub fn set_expired(&mut self, access_key_id: &str, expired: bool) -> bool {
        self.keys.get_mut(access_key_id).map(|key| key.expired = expired).is_some()
    }

    /// Forgets credentials.
    pub fn remove(&mut self, access_key_id: &str) -> bool {
        self.keys.remove(access_key_id).is_some()
    }

    /// The control command `credentials`: `access_key_id` with `secret_access_key` (and `session_token`) adds,
    /// with `expired` sets, with `"remove":true` forgets.
    pub(crate) fn command(&mut self, command: &Value) -> Result<Value, String> {
        let text = |name: &str| command.get(name).and_then(Value::as_str);
        let id = text("access_key_id").ok_or("`access_key_id` is missing")?;
        if let Some(secret) = text("secret_access_key") {
            self.add(id, secret, text("session_token"));
        }
        if let Some(expired) = command.get("expired").and_then(Value::as_bool)
            && !self.set_expired(id, expired)
        {
            return Err(format!("{id} is unknown"));
        }
        if command.get("remove") == Some(&json!(true)) {
            self.remove(id);
        }
        Ok(json!({"access_key_ids": self.keys.keys().collect::<Vec<_>>()}))
    }
}

/// The parts of an `Authorization` header.
struct Claim<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Result<Self, Refused> {
        let incomplete = |text: &str| Refused::Incomplete(text.to_owned());
        let fields = header
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| incomplete("Unsupported AWS 'algorithm' in the Authorization header"))?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => return Err(incomplete("Authorization header holds an unknown part")),
            }
        }
        let missing = |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let signed = signed.ok_or_else(|| missing("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| missing("Signature"))?;
        let parts: Vec<_> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = parts.as_slice() else {
            return Err(incomplete("Credential must have exactly 5 slash-delimited elements"));
        };
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers: signed.split(';').collect(),
            signature,
        })
    }
}

/// When a request says that it was signed.
pub fn signed_at(request: &Request) -> Option<SystemTime> {
    parse_time(request.header("x-amz-date")?)
}

/// Checks a request's signature, scope, time and session token.
pub fn verify(
    request: &Request,
    keys: &KeyRing,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), Refused> {
    let header = request.header("authorization").ok_or(Refused::Missing)?;
    let claim = Claim::parse(header)?;
    let date = request.header("x-amz-date").ok_or_else(|| {
        Refused::Incomplete("Authorization header requires existence of 'X-Amz-Date'".into())
    })?;
    let signed_at = parse_time(date)
        .ok_or_else(|| Refused::Incomplete("Date must be in ISO-8601 'basic format'".into()))?;
    let key = keys.keys.get(claim.access_key_id).ok_or(Refused::Unrecognized)?;
    check_token(request, key)?;
    check_scope(&claim, date, region, service)?;
    check_signed_headers(request, &claim)?;
    check_time(signed_at, date, now)?;
    let canonical = canonical_request(request, &claim.signed_headers)?;
    let scope = format!("{}/{region}/{service}/aws4_request", claim.date);
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let expected = signature(&key.secret, claim.date, region, service, &to_sign);
    verify_slices_are_equal(expected.as_bytes(), claim.signature.as_bytes()).map_err(|_| {
        Refused::Invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
                .into(),
        )
    })
}

fn check_token(request: &Request, key: &Credentials) -> Result<(), Refused> {
    if request.header("x-amz-security-token") != key.session_token.as_deref() {
        return Err(Refused::Unrecognized);
    }
    if key.expired { Err(Refused::Expired) } else { Ok(()) }
}

fn check_scope(claim: &Claim<'_>, date: &str, region: &str, service: &str) -> Result<(), Refused> {
    let invalid = |text: String| Err(Refused::Invalid(text));
    if !date.starts_with(claim.date) || claim.date.len() != 8 {
        return invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version: {}",
            claim.date
        ));
    }
    if claim.region != region {
        return invalid(format!("Credential should be scoped to a valid region, not '{}'.", claim.region));
    }
    if claim.service != service {
        return invalid(format!("Credential should be scoped to correct service: '{service}'."));
    }
    Ok(())
}

fn check_signed_headers(request: &Request, claim: &Claim<'_>) -> Result<(), Refused> {
    let sorted = claim.signed_headers.windows(2).all(|pair| pair.first() < pair.get(1));
    if !sorted {
        return Err(Refused::Incomplete("SignedHeaders are not sorted".into()));
    }
    let must = request.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    for name in must.chain(["host"]) {
        if !claim.signed_headers.contains(&name) {
            return Err(Refused::Invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
    }
    Ok(())
}

fn check_time(signed_at: SystemTime, date: &str, now: SystemTime) -> Result<(), Refused> {
    let (early, late) = (now - WINDOW, now + WINDOW);
    let text = |at: SystemTime| format_time(at).unwrap_or_default();
    if signed_at < early {
        return Err(Refused::Invalid(format!(
            "Signature expired: {date} is now earlier than {} ({} - 5 min.)",
            text(early),
            text(now)
        )));
    }
    if signed_at > late {
        return Err(Refused::Invalid(format!(
            "Signature not yet current: {date} is still later than {} ({} + 5 min.)",
            text(late),
            text(now)
        )));
    }
    Ok(())
}

fn parse_time(text: &str) -> Option<SystemTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let seconds = PrimitiveDateTime::parse(text, &format).ok()?.assume_utc().unix_timestamp();
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn format_time(at: SystemTime) -> Option<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    time::OffsetDateTime::from(at).format(&format).ok()
}

fn canonical_request(request: &Request, signed_headers: &[&str]) -> Result<String, Refused> {
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<_> = request.headers.get_all(*name).iter().map(|value| value.to_str()).collect();
        if values.is_empty() {
            return Err(Refused::Incomplete(format!("the signed header '{name}' is not in the request")));
        }
        let values: Result<Vec<_>, _> = values.into_iter().collect();
        let values = values.map_err(|_| Refused::Incomplete(format!("the header '{name}' is not ASCII")))?;
        let folded: Vec<_> =
            values.iter().map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        headers.push_str(&format!("{name}:{}\n", folded.join(",")));
    }
    let actual = sha256_hex(&request.body);
    let declared = request.header("x-amz-content-sha256");
    if declared.is_some_and(|declared| declared != actual) {
        return Err(Refused::Invalid(
            "The provided 'x-amz-content-sha256' header does not match the body.".into(),
        ));
    }
    let path = encode(normalized(&request.raw_path).as_bytes(), true);
    let query = canonical_query(&request.raw_query)
        .ok_or_else(|| Refused::Incomplete("the query holds a broken escape".into()))?;
    let signed = signed_headers.join(";");
    Ok(format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{actual}", request.method))
}

/// The path without `.`, `..` and empty segments. Escapes stay as they are, so `%2e` is no dot here.
pub(crate) fn normalized(raw_path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw_path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let tail = if raw_path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{tail}", kept.join("/"))
}

/// Decodes and encodes every pair anew, so that only strict encoding on the wire gives what a client signed.
fn canonical_query(raw_query: &str) -> Option<String> {
    let mut pairs = Vec::new();
    for pair in raw_query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let again = |text: &str| Some(encode(decode_percent(text)?.as_bytes(), false));
        pairs.push((again(name)?, again(value)?));
    }
    pairs.sort();
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(pairs.join("&"))
}

fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn signature(secret: &str, date: &str, region: &str, service: &str, to_sign: &str) -> String {
    let step = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
    let key = step(format!("AWS4{secret}").as_bytes(), date);
    let key = step(key.as_ref(), region);
    let key = step(key.as_ref(), service);
    let key = step(key.as_ref(), "aws4_request");
    hex(step(key.as_ref(), to_sign).as_ref())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
