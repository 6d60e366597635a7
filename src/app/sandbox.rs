//! The sandbox as backends: what the configuration would say of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::backend::{
    ApiStyle, AwsConfig, BackendConfig, ConnectConfig, LexConfig, OpenMetadataConfig, SecretSource,
    StaticCredentials, SystemConfig,
};
use crate::model::LexStartOptions;
use crate::model::{BackendId, Labels, LexApiMode, LexModality};
use crate::sandbox::clock::Clock;
use crate::sandbox::{Options, Sandbox};

/// All of what the simulated AWS accounts let through.
const AWS_RATE: f64 = 2.0;
/// OpenMetadata has no rate limit of its own; listing it takes a call for each of its tests.
const OPENMETADATA_RATE: f64 = 50.0;

/// How the simulated upstreams run.
#[derive(Clone, Copy, Debug)]
pub struct SandboxOptions {
    /// How many simulated seconds pass in a real one.
    pub clock_scale: f64,
    /// On ports that the system picks instead of the default ones.
    pub free_ports: bool,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self { clock_scale: 1.0, free_ports: false }
    }
}

/// Starts the simulated upstreams.
///
/// # Errors
/// A port is taken.
pub async fn start_sandbox(options: &SandboxOptions) -> anyhow::Result<Sandbox> {
    let standard = Options::standard(Arc::new(Clock::new(options.clock_scale)));
    let standard = if options.free_ports { standard.on_free_ports() } else { standard };
    Sandbox::start(standard).await.context("the sandbox could not start (does another one run?)")
}

/// The three simulated systems as the gateway's backends; `None` where one is not running.
pub fn backends(sandbox: &Sandbox) -> Option<Vec<BackendConfig>> {
    let aws = |upstream: &str, region: &str| {
        Some(AwsConfig {
            region: Some(region.to_owned()),
            endpoint_url: Some(format!("http://{}", sandbox.address(upstream)?)),
            static_credentials: Some(StaticCredentials {
                access_key_id: crate::sandbox::sigv4::DEFAULT_ACCESS_KEY_ID.to_owned(),
                secret_access_key: crate::sandbox::sigv4::DEFAULT_SECRET_ACCESS_KEY.to_owned(),
            }),
            ..AwsConfig::default()
        })
    };
    let connect = ConnectConfig {
        aws: aws("connect", crate::sandbox::connect::DEFAULT_REGION)?,
        instance_id: crate::sandbox::connect::DEFAULT_INSTANCE_ID.to_owned(),
    };
    let lex = LexConfig {
        aws: aws("lex", crate::sandbox::lex::DEFAULT_REGION)?,
        start_defaults: LexStartOptions {
            bot_id: Some("BOT0000001".to_owned()),
            bot_alias_id: Some("TSTALIASID".to_owned()),
            locale_id: Some("en_US".to_owned()),
            api_mode: Some(LexApiMode::NonStreaming),
            modality: Some(LexModality::Text),
        },
    };
    let openmetadata = OpenMetadataConfig {
        base_url: format!("http://{}/api", sandbox.address("openmetadata")?),
        token: Some(SecretSource::Fixed(crate::sandbox::openmetadata::DEFAULT_TOKEN.to_owned())),
        api: ApiStyle::Auto,
        settle_time: Duration::from_secs(5),
    };
    Some(vec![
        backend("connect", "Amazon Connect, simulated", AWS_RATE, SystemConfig::Connect(connect))?,
        backend("lex", "Amazon Lex V2, simulated", AWS_RATE, SystemConfig::Lex(lex))?,
        backend(
            "quality",
            "OpenMetadata, simulated",
            OPENMETADATA_RATE,
            SystemConfig::OpenMetadata(openmetadata),
        )?,
    ])
}

fn backend(
    id: &str,
    display_name: &str,
    max_requests_per_second: f64,
    system: SystemConfig,
) -> Option<BackendConfig> {
    Some(BackendConfig {
        id: BackendId::new(id).ok()?,
        display_name: display_name.to_owned(),
        labels: Labels::from([("sandbox".to_owned(), "true".to_owned())]),
        max_requests_per_second,
        poll_interval: Duration::from_millis(500),
        tracking_deadline: Duration::from_secs(24 * 60 * 60),
        request_timeout: Duration::from_secs(10),
        max_response_size: 16 * 1024 * 1024,
        ca_file: None,
        quota_group: None,
        system,
    })
}
