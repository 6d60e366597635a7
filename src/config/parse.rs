//! The file as a whole, and every table but `[[backend]]`.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::overrides::Overrides;
use super::reader::{Report, Section};
use super::value::{
    AUDIT_SIZE, AUDIT_SIZE_SPELLED, CONNECTION_AGE, CONNECTION_AGE_SPELLED, DRAIN_TIMEOUT,
    DRAIN_TIMEOUT_SPELLED, RETENTION, RETENTION_SPELLED, admin_listen, duration, listen, otlp_endpoint, size,
    store_path,
};
use super::{
    Config, DoorsConfig, Env, ListenAddr, Problem, ServerConfig, StoreConfig, StorePath, TelemetryConfig,
};
use crate::audit;
use crate::telemetry::{self, LogFormat};

mod access;
mod backend;

pub(super) fn config(
    text: &str,
    folder: &Path,
    flags: &Overrides,
    env: Env<'_>,
) -> Result<Config, Vec<Problem>> {
    let report = Report::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Only the message: the error's full text quotes the line, which may hold a misplaced secret.
        report.push(
            error.span().map(|span| report.line(span.start)),
            "",
            format!("not TOML: {}", error.message()),
        );
    }
    if !errors.is_empty() {
        // What could be recovered of broken TOML would only give problems that are none.
        return Err(report.into_problems());
    }

    let root = Section::root(&report, document.get_ref());
    let (server, listen_lines) =
        root.table("server").map_or_else(Default::default, |section| server(section, folder));
    let auth = root.table("auth").map(|section| access::auth(section, folder));
    let limits = root.table("limits").map_or_else(Default::default, access::limits);
    let (store, store_named) =
        root.table("store").map_or_else(Default::default, |section| store(section, folder));
    let telemetry =
        root.table("telemetry").map_or_else(Default::default, |section| telemetry_section(section, folder));
    let backends = backend::backends(root.tables("backend"), folder);
    root.finish(|_| None);

    let mut config = Config { server, store, auth, limits, telemetry, backends };
    let applied = flags.apply(&mut config, env, &report);
    check_exposure(&config, &listen_lines, applied.listen, &report);
    check_duplicates(&config.server, &listen_lines, applied.listen, &report);
    if !store_named && !applied.store {
        match default_store(env) {
            Some(path) => config.store.path = StorePath::File(path),
            None => report.push(
                None,
                "store.path",
                "is required where neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME says where state belongs",
            ),
        }
    }

    let problems = report.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// `[server]`, with the line of each address.
fn server(section: Section<'_>, folder: &Path) -> (ServerConfig, Vec<usize>) {
    let default = ServerConfig::default();
    let mut addresses = Vec::new();
    let mut lines = Vec::new();
    for one in section.strings("listen") {
        match listen(one.text) {
            Ok(address) => {
                addresses.push(address);
                lines.push(one.line);
            }
            Err(message) => section.problem_at(one.line, "listen", message),
        }
    }
    let server = ServerConfig {
        listen: if addresses.is_empty() { default.listen } else { addresses },
        admin_listen: section.parsed("admin_listen", admin_listen).unwrap_or(default.admin_listen),
        drain_timeout: section
            .bounded("drain_timeout", duration, DRAIN_TIMEOUT, DRAIN_TIMEOUT_SPELLED)
            .unwrap_or(default.drain_timeout),
        max_connections: section.integer("max_connections", 1..=1_000_000).unwrap_or(default.max_connections),
        max_connection_age: section
            .bounded("max_connection_age", duration, CONNECTION_AGE, CONNECTION_AGE_SPELLED)
            .unwrap_or(default.max_connection_age),
        allow_plaintext: section.boolean("allow_plaintext").unwrap_or(default.allow_plaintext),
        allow_anonymous: section.boolean("allow_anonymous").unwrap_or(default.allow_anonymous),
        doors: doors(&section),
        tls: section.table("tls").and_then(|section| access::tls(section, folder)),
    };
    section.finish(|_| None);
    (server, lines)
}

/// What is spoken beside gRPC.
fn doors(section: &Section<'_>) -> DoorsConfig {
    let mut doors = DoorsConfig::default();
    for one in section.strings("doors") {
        if let Err(message) = doors.open(one.text) {
            section.problem_at(one.line, "doors", message);
        }
    }
    for one in section.strings("cors_origins") {
        if let Err(message) = doors.origins.add(one.text) {
            section.problem_at(one.line, "cors_origins", message);
        }
    }
    if section.has("cors_origins") && !section.has("doors") {
        section.problem("cors_origins", "means nothing without doors");
    }
    doors
}

/// `[store]`, and whether it names the path.
fn store(section: Section<'_>, folder: &Path) -> (StoreConfig, bool) {
    let default = StoreConfig::default();
    let named = section.has("path");
    let path = match section.parsed("path", store_path) {
        Some(StorePath::File(path)) => StorePath::File(folder.join(path)),
        Some(StorePath::Memory) | None => StorePath::Memory,
    };
    let retention =
        section.bounded("retention", duration, RETENTION, RETENTION_SPELLED).unwrap_or(default.retention);
    section.finish(|_| None);
    (StoreConfig { path, retention }, named)
}

fn telemetry_section(section: Section<'_>, folder: &Path) -> TelemetryConfig {
    let default = TelemetryConfig::default();
    let formats = LogFormat::ALL.map(|format| (format.as_str(), format));
    let log_format = section.word("log_format", &formats).unwrap_or(default.log_format);
    let log_level = section
        .parsed("log_level", |text| telemetry::check_level(text).map(|()| text.to_owned()))
        .unwrap_or(default.log_level);
    let otlp_endpoint = section.parsed("otlp_endpoint", otlp_endpoint);
    let max_size = section.bounded("audit_max_size", size, AUDIT_SIZE, AUDIT_SIZE_SPELLED);
    let keep = section.integer("audit_keep", 0..=1000);
    let audit = section.string("audit_file").map(|file| audit::Settings {
        file: folder.join(file),
        max_size: max_size.unwrap_or(64 << 20) as u64,
        keep: keep.unwrap_or(9),
    });
    for key in ["audit_max_size", "audit_keep"] {
        if audit.is_none() && section.has(key) {
            section.problem(key, "means nothing without audit_file");
        }
    }
    section.finish(|_| None);
    TelemetryConfig { log_format, log_level, otlp_endpoint, audit }
}

/// The n-th address's place: its line, or the flag or variable it came from.
fn place(lines: &[usize], source: Option<&'static str>, index: usize) -> (Option<usize>, &'static str) {
    match source {
        Some(source) => (None, source),
        None => (lines.get(index).copied(), "server.listen"),
    }
}

/// Without TLS or without authentication, only this machine may connect unless the file says otherwise.
fn check_exposure(config: &Config, lines: &[usize], source: Option<&'static str>, report: &Report<'_>) {
    for (index, address) in config.server.listen.iter().enumerate() {
        if let Some(message) = config.exposure(address) {
            let (line, key) = place(lines, source, index);
            report.push(line, key, message);
        }
    }
}

fn check_duplicates(
    server: &ServerConfig,
    lines: &[usize],
    source: Option<&'static str>,
    report: &Report<'_>,
) {
    let mut seen = std::collections::HashSet::new();
    for (index, address) in server.listen.iter().enumerate() {
        let any_port = matches!(address, ListenAddr::Tcp(address) if address.port() == 0);
        if !any_port && !seen.insert(address) {
            let (line, key) = place(lines, source, index);
            report.push(line, key, format!("{address} is named twice"));
        }
    }
}

/// Where state belongs on this machine: systemd's folder, else the XDG one.
fn default_store(env: Env<'_>) -> Option<PathBuf> {
    let folder = |name| env(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
    if let Some(folders) = env("STATE_DIRECTORY").filter(|folders| folders.starts_with('/')) {
        // systemd gives several, separated by colons, where the unit names several.
        return folders.split(':').next().map(|folder| Path::new(folder).join("testgate.redb"));
    }
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("testgate/testgate.redb"))
}
