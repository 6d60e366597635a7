//! A gateway as a process of its own, with a store that outlives it, over a sandbox in the test's process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use testgate::proto::v1;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::sandbox::{connect, lex, openmetadata, sigv4};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{self, Client, PATIENCE, World};

/// A gateway process with its configuration and its store, over the sandbox of a [`World`].
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) folder: tempfile::TempDir,
}

/// A gateway process; killed where it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) client: Client,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let place = Self { world: World::start().await, folder: tempfile::tempdir().unwrap() };
        let at = |upstream: &str| place.world.sandbox.address(upstream).unwrap();
        let config = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "off"
drain_timeout = "5s"

[store]
path = "store.redb"

[[backend]]
id = "connect"
kind = "amazon-connect"
region = "{connect_region}"
instance_id = "{instance}"
endpoint_url = "http://{connect}"
max_requests_per_second = 50.0
poll_interval = "200ms"

[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "{lex_region}"
endpoint_url = "http://{lex}"
max_requests_per_second = 50.0
poll_interval = "200ms"
[backend.start_defaults]
bot_id = "BOT0000001"
bot_alias_id = "TSTALIASID"
locale_id = "en_US"
api_mode = "non-streaming"

[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "http://{openmetadata}/api"
token_env = "TEST_OPENMETADATA_TOKEN"
settle_time = "1s"
max_requests_per_second = 50.0
poll_interval = "200ms"
"#,
            connect_region = connect::DEFAULT_REGION,
            instance = connect::DEFAULT_INSTANCE_ID,
            connect = at("connect"),
            lex_region = lex::DEFAULT_REGION,
            lex = at("lex"),
            openmetadata = at("openmetadata"),
        );
        std::fs::write(place.config(), config).unwrap();
        for upstream in ["connect", "lex"] {
            place.world.control(upstream, serde_json::json!({"command": "rate_limit", "enabled": false}));
        }
        place
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("testgate.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }

    pub(crate) fn command(&self) -> Command {
        self.command_after(":")
    }

    /// With a command of the shell before the process.
    pub(crate) fn command_after(&self, before: &str) -> Command {
        // A file that grows beyond the process's limit is an error to the process instead of its end.
        let mut command = Command::new("sh");
        let script = format!(r#"trap '' XFSZ; {before}; exec "$0" "$@""#);
        command.args(["-c", &script, env!("CARGO_BIN_EXE_testgate")]);
        command.args(["serve", "--config"]).arg(self.config());
        command
            .env("AWS_ACCESS_KEY_ID", sigv4::DEFAULT_ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", sigv4::DEFAULT_SECRET_ACCESS_KEY)
            .env("TEST_OPENMETADATA_TOKEN", openmetadata::DEFAULT_TOKEN)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts the process and connects to it.
    pub(crate) async fn process(&self) -> Process {
        Self::connected(self.command()).await
    }

    /// As [`Self::process`], with its store elsewhere.
    pub(crate) async fn process_on(&self, store: &Path) -> Process {
        let mut command = self.command();
        command.arg("--store").arg(store);
        Self::connected(command).await
    }

    /// What a process says that can't use its store.
    pub(crate) async fn refused_on(&self, store: &Path) -> String {
        let mut command = self.command();
        command.arg("--store").arg(store);
        let child = command.spawn().unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    }

    pub(crate) async fn connected(mut command: Command) -> Process {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let Some(first) = first else { panic!("it did not start: {}", output(&mut child).await) };
        let address = first.rsplit(' ').next().unwrap().to_owned();
        let client = support::connect(&address).await;
        // What it writes later has to go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut errors = child.stderr.take().unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut errors, &mut tokio::io::sink()).await });
        Process { child, address, client }
    }
}

impl Process {
    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until its health says that it serves.
    pub(crate) async fn serves(&self) {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let mut health = HealthClient::new(channel.connect().await.unwrap());
        let all = HealthCheckRequest { service: String::new() };
        let mut states = health.watch(all).await.unwrap().into_inner();
        let served = async {
            while states.message().await.unwrap().expect("the watch goes on").status()
                != ServingStatus::Serving
            {}
        };
        tokio::time::timeout(PATIENCE, served).await.expect("it does not serve");
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let times = threads.filter_map(|thread| {
            // A thread may end meanwhile.
            let times = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            times.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
        });
        times.sum()
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it did not end").unwrap()
    }

    /// Lets no file of the process grow beyond a size, as a full disk does; `unlimited` ends it.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let pid = self.child.id().unwrap().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let status = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(status.expect("prlimit is part of util-linux").success());
    }
}

pub(crate) async fn output(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) async fn get(client: &Client, name: &str) -> Result<v1::Execution, Status> {
    let request = v1::GetExecutionRequest { name: name.to_owned(), ..Default::default() };
    Ok(client.clone().get_execution(request).await?.into_inner().execution.unwrap())
}

/// Reads what is followed, which asks nothing upstream, until it is done.
pub(crate) async fn until_done(client: &Client, name: &str) -> v1::Execution {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let execution = get(client, name).await.unwrap();
        if execution.done {
            return execution;
        }
        assert!(Instant::now() < deadline, "{execution:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for what another process brings about.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) type Stream = tonic::Streaming<v1::WatchExecutionsResponse>;

pub(crate) async fn next(stream: &mut Stream) -> Result<v1::WatchExecutionsResponse, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream is silent")?;
    Ok(message.expect("the stream ended with OK"))
}

/// What a stream told up to its `snapshot_complete`.
pub(crate) struct Snapshot {
    pub(crate) stream: Stream,
    pub(crate) shown: Vec<v1::Execution>,
    pub(crate) reset: bool,
    pub(crate) resume_token: String,
}

pub(crate) async fn snapshot(client: &Client, request: v1::WatchExecutionsRequest) -> Snapshot {
    let mut stream = client.clone().watch_executions(request).await.unwrap().into_inner();
    let mut shown = Vec::new();
    loop {
        let message = next(&mut stream).await.unwrap();
        match message.event.unwrap() {
            Event::Update(update) => shown.push(update.execution.unwrap()),
            Event::SnapshotComplete(complete) => {
                let resume_token = message.resume_token;
                return Snapshot { stream, shown, reset: complete.reset, resume_token };
            }
            _ => {}
        }
    }
}
