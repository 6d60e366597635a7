//! Configuration: load, check, report every problem together.
//!
//! One TOML file. A flag beats an environment variable, which beats the file:
//!
//! | Flag | Variable | Key |
//! |---|---|---|
//! | `--listen` (repeatable) | `TESTGATE_LISTEN` (comma-separated) | `server.listen` |
//! | `--admin-listen` | `TESTGATE_ADMIN_LISTEN` | `server.admin_listen` |
//! | `--drain-timeout` | `TESTGATE_DRAIN_TIMEOUT` | `server.drain_timeout` |
//! | | `TESTGATE_MAX_CONNECTIONS` | `server.max_connections` |
//! | | `TESTGATE_ALLOW_PLAINTEXT` | `server.allow_plaintext` |
//! | | `TESTGATE_ALLOW_ANONYMOUS` | `server.allow_anonymous` |
//! | | `TESTGATE_DOORS` (comma-separated) | `server.doors` |
//! | | `TESTGATE_CORS_ORIGINS` (comma-separated) | `server.cors_origins` |
//! | `--store` | `TESTGATE_STORE` | `store.path` |
//! | | `TESTGATE_RETENTION` | `store.retention` |
//! | `--log-format` | `TESTGATE_LOG_FORMAT` | `telemetry.log_format` |
//! | `--log-level` | `RUST_LOG`, `TESTGATE_LOG_LEVEL` | `telemetry.log_level` |
//!
//! Relative paths in the file start from the folder that holds the file; those of flags and variables from
//! the working directory.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit;
use crate::telemetry::LogFormat;

pub mod access;
pub mod backend;
mod changes;
pub mod doors;
mod dump;
pub mod file;
mod overrides;
mod parse;
mod reader;
mod value;

pub use access::{AuthConfig, LimitsConfig, TlsConfig};
pub use backend::BackendConfig;
pub use doors::DoorsConfig;
pub use overrides::Overrides;

/// The longest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Looks up an environment variable; tests pass their own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A checked configuration, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[auth]`; `None` takes everyone as they come.
    pub auth: Option<AuthConfig>,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
    /// Every `[[backend]]`, in the file's order.
    pub backends: Vec<BackendConfig>,
}

/// `[server]`: where the gateway listens and how it stops.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where gRPC is served; at least one.
    pub listen: Vec<ListenAddr>,
    /// Where the admin port is; `None` closes it.
    pub admin_listen: Option<SocketAddr>,
    /// How long a drain may take before the process goes anyway.
    pub drain_timeout: Duration,
    /// Connections beyond this many are closed as they come.
    pub max_connections: usize,
    /// When a connection is sent elsewhere, less a jitter.
    pub max_connection_age: Duration,
    /// Lets addresses other than loopback be served without TLS.
    pub allow_plaintext: bool,
    /// Lets addresses other than loopback be served without authentication.
    pub allow_anonymous: bool,
    /// What is spoken beside gRPC.
    pub doors: DoorsConfig,
    /// `[server.tls]`; `None` serves in the clear.
    pub tls: Option<TlsConfig>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 50051)))],
            admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            drain_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            max_connection_age: Duration::from_secs(30 * 60),
            allow_plaintext: false,
            allow_anonymous: false,
            doors: DoorsConfig::default(),
            tls: None,
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddr {
    /// An IP address and port; port 0 lets the system pick one.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[store]`: where state lives, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Where state lives.
    pub path: StorePath,
    /// How long a finished execution that the gateway tracked is kept.
    pub retention: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: StorePath::Memory, retention: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// Where state lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StorePath {
    /// In memory: a restart forgets it.
    Memory,
    /// In this file.
    File(PathBuf),
}

/// `[telemetry]`: logs, traces, the audit log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TelemetryConfig {
    /// How a log line looks.
    pub log_format: LogFormat,
    /// Which lines are written: a level, or directives such as `info,testgate=debug`.
    pub log_level: String,
    /// The collector that spans go to; `None` keeps none.
    pub otlp_endpoint: Option<String>,
    /// The audit log; `None` keeps none.
    pub audit: Option<audit::Settings>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Auto, log_level: "info".to_owned(), otlp_endpoint: None, audit: None }
    }
}

/// One thing that is wrong, where, and what would be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The line in the file, from 1; `None` for a flag, a variable or the file as a whole.
    pub line: Option<usize>,
    /// The key's path in the file, the variable or the flag; empty for the file as a whole.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Config {
    /// Reads and checks a file, with flags and environment on top.
    ///
    /// # Errors
    /// Every problem, in the order of the file's lines.
    pub fn load(path: &Path, flags: &Overrides, env: Env<'_>) -> Result<Self, Vec<Problem>> {
        let whole = |message| vec![Problem { line: None, key: String::new(), message }];
        let text = file::read_text(path, MAX_FILE_BYTES)
            .map_err(|error| whole(format!("{}: {error}", path.display())))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")), flags, env)
    }

    /// Checks a file's text; `folder` is where its relative paths start.
    ///
    /// # Errors
    /// Every problem, in the order of the file's lines.
    pub fn parse(text: &str, folder: &Path, flags: &Overrides, env: Env<'_>) -> Result<Self, Vec<Problem>> {
        parse::config(text, folder, flags, env)
    }

    /// The configuration of a gateway whose backends are made up by the process itself: no file, the store
    /// in memory unless a flag or variable names one.
    ///
    /// # Errors
    /// Every problem of flags and environment.
    pub fn without_file(
        backends: Vec<BackendConfig>,
        flags: &Overrides,
        env: Env<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let text = "[store]\npath = \":memory:\"\n";
        Self::parse(text, Path::new(""), flags, env).map(|config| Self { backends, ..config })
    }

    /// What is wrong with serving on an address that other machines reach; `None` where nothing is.
    pub fn exposure(&self, address: &ListenAddr) -> Option<String> {
        let Self { server, auth, .. } = self;
        let missing: Vec<(&str, &str, &str)> = [
            (server.tls.is_some() || server.allow_plaintext, ("TLS", "[server.tls]", "allow_plaintext")),
            (auth.is_some() || server.allow_anonymous, ("authentication", "[auth]", "allow_anonymous")),
        ]
        .into_iter()
        .filter_map(|(settled, missing)| (!settled).then_some(missing))
        .collect();
        if missing.is_empty() || address.is_local() {
            return None;
        }
        let join = |parts: Vec<String>, word: &str| parts.join(word);
        let what = join(missing.iter().map(|(what, ..)| (*what).to_owned()).collect(), " or ");
        let tables = join(missing.iter().map(|(_, table, _)| (*table).to_owned()).collect(), " and ");
        let consent = join(missing.iter().map(|(.., key)| format!("server.{key} = true")).collect(), " and ");
        Some(format!(
            "{address} is reachable from other machines without {what}; add {tables}, \
             listen on loopback or a unix socket, or set {consent}"
        ))
    }

    /// What of a new configuration a running gateway can't take, each key as a problem.
    pub fn needing_restart(&self, new: &Self) -> Vec<Problem> {
        changes::needing_restart(self, new)
    }

    /// The configuration as the admin port shows it: sources of secrets are named, values never.
    pub fn redacted(&self) -> serde_json::Value {
        dump::config(self)
    }
}

#[cfg(test)]
mod tests;
