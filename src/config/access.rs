//! What the configuration says of those who connect: `[server.tls]`, `[auth]`, `[limits]`.

use std::path::PathBuf;

use super::backend::SecretSource;

/// `[server.tls]`: what the gateway shows, and what it wants to see. The files are read again when they change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// The certificate and its chain, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// Who vouches for clients; `None` asks them for no certificate.
    pub clients: Option<ClientCa>,
}

/// Mutual TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCa {
    /// The certificates that clients' own must lead to, PEM.
    pub ca_file: PathBuf,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// `[auth]`: who may call, and what they may do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuthConfig {
    /// Every `[[auth.token]]`.
    pub tokens: Vec<TokenConfig>,
    /// Every `[[auth.jwt]]`.
    pub issuers: Vec<IssuerConfig>,
    /// Every `[[auth.grant]]`.
    pub grants: Vec<GrantConfig>,
}

/// A bearer token; its holder is `token:{subject}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenConfig {
    /// Who holds it.
    pub subject: String,
    /// Where it stands.
    pub source: SecretSource,
}

/// An issuer of JSON web tokens; their holders are `jwt:{issuer}#{sub}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerConfig {
    /// The claim `iss`, to the letter.
    pub issuer: String,
    /// The claim `aud` must name one of these.
    pub audiences: Vec<String>,
    /// Where its public keys are.
    pub keys: KeySource,
}

/// Where a JSON web key set is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Fetched, and fetched again.
    Url {
        /// Where from.
        url: String,
        /// Extra trust roots for that, PEM.
        ca_file: Option<PathBuf>,
    },
    /// A file, read again when it changes.
    File(PathBuf),
}

/// What some subjects may do with some backends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantConfig {
    /// Patterns of subjects.
    pub subjects: Vec<String>,
    /// What they may do.
    pub role: Role,
    /// Patterns of backends' ids.
    pub backends: Vec<String>,
    /// Whether they see payloads and artifacts, which may hold what customers said.
    pub transcripts: bool,
}

/// What a grant lets its subjects do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Read and follow.
    Viewer,
    /// Also start, stop and record.
    Operator,
}

/// `[limits]`, for each caller; `None` sets no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitsConfig {
    /// Calls that begin within a second.
    pub requests_per_second: Option<f64>,
    /// Streams at a time.
    pub concurrent_streams: Option<usize>,
    /// Executions that all streams together name.
    pub watched_names: Option<usize>,
    /// Starts under way at a time.
    pub starts_in_flight: Option<usize>,
}
