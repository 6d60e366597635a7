//! The gateway's process and its configuration.

use std::path::Path;

use testgate::sandbox::{Sandbox, connect, lex, openmetadata, sigv4};
use tokio::process::Command;

use crate::process::{Server, free_port};

/// Where the three systems are.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pub(crate) connect: String,
    pub(crate) lex: String,
    pub(crate) openmetadata: String,
}

impl Upstreams {
    /// Simulated ones.
    pub(crate) fn of(sandbox: &Sandbox) -> Option<Self> {
        let address = |name| Some(sandbox.address(name)?.to_string());
        Some(Self {
            connect: address("connect")?,
            lex: address("lex")?,
            openmetadata: address("openmetadata")?,
        })
    }
}

/// How the gateway is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Its port; one that is free where it does not matter.
    pub(crate) port: Option<u16>,
    /// The budget of each backend.
    pub(crate) requests_per_second: f64,
    /// How long it may take to end.
    pub(crate) drain_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { port: None, requests_per_second: 1.0, drain_seconds: 10 }
    }
}

/// Starts the gateway with one backend of each kind. Its configuration and its store are in `folder`.
pub(crate) async fn start(
    folder: &Path,
    upstreams: &Upstreams,
    settings: &Settings,
) -> anyhow::Result<Server> {
    let port = settings.port.map_or_else(free_port, Ok)?;
    launch(folder, port, &configuration(port, upstreams, settings)).await
}

/// Starts the gateway with a configuration that has it serve on `port`. Its files are in `folder`.
pub(crate) async fn launch(folder: &Path, port: u16, configuration: &str) -> anyhow::Result<Server> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testgate"));
    prepare(&mut command, folder, configuration)?;
    Server::start(&mut command, port).await
}

/// Has a command serve with a configuration, and with nothing of this machine's settings.
pub(crate) fn prepare(command: &mut Command, folder: &Path, configuration: &str) -> anyhow::Result<()> {
    let file = folder.join("testgate.toml");
    std::fs::write(&file, configuration)?;
    command.args(["serve", "--config"]).arg(&file).current_dir(folder);
    // Neither this machine's settings nor its proxies are to be measured.
    command.env_clear().env("HOME", folder).env("OPENMETADATA_TOKEN", openmetadata::DEFAULT_TOKEN);
    command.env("AWS_ACCESS_KEY_ID", sigv4::DEFAULT_ACCESS_KEY_ID);
    command.env("AWS_SECRET_ACCESS_KEY", sigv4::DEFAULT_SECRET_ACCESS_KEY);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Ok(())
}

/// A configuration with one backend of each kind.
pub(crate) fn configuration(port: u16, upstreams: &Upstreams, settings: &Settings) -> String {
    let Upstreams { connect: at_connect, lex: at_lex, openmetadata: at_openmetadata } = upstreams;
    let Settings { requests_per_second, drain_seconds, .. } = settings;
    format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"
drain_timeout = "{drain_seconds}s"

[store]
path = "testgate.redb"

[[backend]]
id = "connect"
kind = "amazon-connect"
region = "{connect_region}"
instance_id = "{instance}"
endpoint_url = "http://{at_connect}"
max_requests_per_second = {requests_per_second:?}

[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "{lex_region}"
endpoint_url = "http://{at_lex}"
max_requests_per_second = {requests_per_second:?}
[backend.start_defaults]
bot_id = "{bot}"
bot_alias_id = "{alias}"
locale_id = "{locale}"
api_mode = "non-streaming"

[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "http://{at_openmetadata}/api"
token_env = "OPENMETADATA_TOKEN"
max_requests_per_second = {requests_per_second:?}
"#,
        connect_region = connect::DEFAULT_REGION,
        instance = connect::DEFAULT_INSTANCE_ID,
        lex_region = lex::DEFAULT_REGION,
        bot = lex::DEFAULT_BOT.0,
        alias = lex::DEFAULT_BOT.1,
        locale = lex::DEFAULT_BOT.2,
    )
}
