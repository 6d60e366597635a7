//! What the configuration says of one backend, checked and with defaults filled in.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{BackendId, Labels, LexStartOptions};

/// One `[[backend]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// The name in `backends/{backend}`.
    pub id: BackendId,
    /// For people; the id where absent.
    pub display_name: String,
    /// Shown in `Backend.labels`.
    pub labels: Labels,
    /// This gateway's share of the upstream's quota, for each operation; more than 0.
    pub max_requests_per_second: f64,
    /// An execution is never polled more often than this.
    pub poll_interval: Duration,
    /// After this an unfinished execution is LOST.
    pub tracking_deadline: Duration,
    /// One try of one upstream call.
    pub request_timeout: Duration,
    /// The longest upstream body, in bytes.
    pub max_response_size: usize,
    /// Extra trust roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// Whose bucket it shares; `None` takes the system's own default.
    pub quota_group: Option<String>,
    /// What only its kind has.
    pub system: SystemConfig,
}

/// What only one kind of backend has.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemConfig {
    /// `amazon-connect`.
    Connect(ConnectConfig),
    /// `amazon-lex-v2`.
    Lex(LexConfig),
    /// `openmetadata`.
    OpenMetadata(OpenMetadataConfig),
}

/// How to reach and sign for an AWS service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AwsConfig {
    /// The region; `None` takes the AWS environment's.
    pub region: Option<String>,
    /// Overrides the service's endpoint and the AWS environment's.
    pub endpoint_url: Option<String>,
    /// A profile of the AWS configuration files.
    pub profile: Option<String>,
    /// A role to assume with the credentials found.
    pub assume_role_arn: Option<String>,
    /// Goes with the role.
    pub external_id: Option<String>,
    /// Fixed credentials instead of the default chain. Only the built-in sandbox sets them; no file can.
    pub static_credentials: Option<StaticCredentials>,
}

/// Fixed credentials of the built-in sandbox.
#[derive(Clone, PartialEq)]
pub struct StaticCredentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl std::fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StaticCredentials(redacted)")
    }
}

/// What only a Connect backend has.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectConfig {
    /// Endpoint and credentials.
    pub aws: AwsConfig,
    /// The instance's id, an ARN already cut to it.
    pub instance_id: String,
}

/// What only a Lex backend has.
#[derive(Clone, Debug, PartialEq)]
pub struct LexConfig {
    /// Endpoint and credentials.
    pub aws: AwsConfig,
    /// What a start takes where the request says nothing.
    pub start_defaults: LexStartOptions,
}

/// What only an OpenMetadata backend has.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenMetadataConfig {
    /// The server with its `/api`, without a slash at the end.
    pub base_url: String,
    /// The bearer token's source; `None` sends none.
    pub token: Option<SecretSource>,
    /// Which API style it speaks.
    pub api: ApiStyle,
    /// A finished run is believed after this long.
    pub settle_time: Duration,
}

/// Where a secret comes from. It never stands in the file itself.
#[derive(Clone, Eq, PartialEq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file, read again when it changes.
    File(PathBuf),
    /// A value known at build time; only the built-in sandbox has one.
    Fixed(String),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "Env({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Fixed(_) => f.write_str("Fixed(redacted)"),
        }
    }
}

/// Which of OpenMetadata's two published result APIs is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ApiStyle {
    /// Found out from the server's version and its answers.
    #[default]
    Auto,
    /// By UUID, with GET and PUT, as the published page says.
    Documented,
    /// By fully qualified name, with GET and POST, as servers of 1.8 and later do.
    ByFqn,
}
