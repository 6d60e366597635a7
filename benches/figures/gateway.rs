//! The gateway's process and its configuration.

use std::path::Path;

use testgate::sandbox::{Sandbox, connect, lex, openmetadata, sigv4};
use tokio::process::Command;

use crate::bare::{self, Reply};
use crate::process::{Server, free_port};

/// Where the three systems are.
#[derive(Debug)]
pub(crate) struct Upstreams {
    connect: String,
    lex: String,
    openmetadata: String,
}

impl Upstreams {
    /// Addresses at which nobody answers.
    pub(crate) fn unreachable() -> Self {
        let nobody = || "127.0.0.1:9".to_owned();
        Self { connect: nobody(), lex: nobody(), openmetadata: nobody() }
    }

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

/// Starts the gateway with one backend of each kind. Its configuration and its store are in `folder`.
pub(crate) async fn start(folder: &Path, upstreams: &Upstreams) -> anyhow::Result<Server> {
    let port = free_port()?;
    let file = folder.join("testgate.toml");
    std::fs::write(&file, configuration(port, upstreams))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_testgate"));
    command.args(["serve", "--config"]).arg(&file).current_dir(folder);
    // Neither this machine's settings nor its proxies are to be measured.
    command.env_clear().env("HOME", folder).env("OPENMETADATA_TOKEN", openmetadata::DEFAULT_TOKEN);
    command.env("AWS_ACCESS_KEY_ID", sigv4::DEFAULT_ACCESS_KEY_ID);
    command.env("AWS_SECRET_ACCESS_KEY", sigv4::DEFAULT_SECRET_ACCESS_KEY);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Server::start(&mut command, port).await
}

/// Starts the bare service with a reply that is in a file.
pub(crate) async fn start_bare(reply: Reply, file: &Path) -> anyhow::Result<Server> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(bare::arguments(port, reply, file)).env_clear();
    Server::start(&mut command, port).await
}

fn configuration(port: u16, upstreams: &Upstreams) -> String {
    let Upstreams { connect: at_connect, lex: at_lex, openmetadata: at_openmetadata } = upstreams;
    format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"

[store]
path = "testgate.redb"

[[backend]]
id = "connect"
kind = "amazon-connect"
region = "{connect_region}"
instance_id = "{instance}"
endpoint_url = "http://{at_connect}"

[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "{lex_region}"
endpoint_url = "http://{at_lex}"

[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "http://{at_openmetadata}/api"
token_env = "OPENMETADATA_TOKEN"
"#,
        connect_region = connect::DEFAULT_REGION,
        instance = connect::DEFAULT_INSTANCE_ID,
        lex_region = lex::DEFAULT_REGION,
    )
}
