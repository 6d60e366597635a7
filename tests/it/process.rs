//! The built program as a child process, the way a person or a service manager runs it.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use testgate::sandbox::{Sandbox, connect, lex, openmetadata, sigv4};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::{PATIENCE, World};

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// The only line on stderr: most failures deserve exactly one.
    pub fn complaint(&self) -> &str {
        assert_eq!(self.err.lines().count(), 1, "one line expected on stderr: {self:?}");
        self.err.trim_end()
    }

    /// What was printed as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program with nothing of this machine's settings.
pub fn program<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testgate"));
    command.args(arguments);
    isolate(&mut command);
    command
}

/// Takes away what the environment of a developer might bring in, and ends the process with the test.
pub fn isolate(command: &mut Command) {
    for name in foreign_settings() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
}

/// The variables of a developer's environment that would change what the program does.
pub fn foreign_settings() -> Vec<OsString> {
    let ours = ["TESTGATE_", "AWS_", "RUST_LOG", "XDG_", "STATE_DIRECTORY"];
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| ours.iter().any(|ours| name.to_string_lossy().starts_with(ours))).collect()
}

/// Runs a command to its end.
pub async fn finish(mut command: Command) -> Ended {
    let child = command.spawn().unwrap();
    ended(child).await
}

/// Waits for a process to end.
pub async fn ended(child: Child) -> Ended {
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it does not end").unwrap().into()
}

/// A command that talks to the world's gateway and sandbox.
pub fn client<I: AsRef<OsStr>>(world: &World, arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = program(arguments);
    command
        .env("TESTGATE_SERVER", world.gateway.addresses()[0].to_string())
        .env("TESTGATE_SANDBOX", format!("http://{}", world.sandbox.control_address()));
    command
}

/// Runs such a command to its end.
pub async fn testgate<I: AsRef<OsStr>>(world: &World, arguments: impl IntoIterator<Item = I>) -> Ended {
    finish(client(world, arguments)).await
}

/// Sends a signal, as `INT`.
pub async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it has ended already");
    // The shell's own `kill` is there on every machine.
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().await.unwrap();
    assert!(status.success());
}

/// Reads lines until one holds a text, and returns that one.
pub async fn line_with<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, text: &str) -> String {
    let mut before = Vec::new();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
        panic!("no line with {text:?} came, but {before:?}");
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no line with {text:?} in time"))
}

/// The lines of a child's stderr.
pub fn stderr_lines(child: &mut Child) -> Lines<BufReader<ChildStderr>> {
    BufReader::new(child.stderr.take().unwrap()).lines()
}

/// The lines of a child's stdout.
pub fn stdout_lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// A gateway in a process of its own, in front of a sandbox in this one.
pub struct Served {
    pub child: Child,
    /// `host:port` of its gRPC port.
    pub address: String,
    /// Its admin port.
    pub admin: SocketAddr,
    /// The rest of what it prints; held so that writing never fails.
    _out: Lines<BufReader<ChildStdout>>,
}

#[cfg(target_os = "linux")]
impl Served {
    /// The CPU time that it has used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime, the 14th and 15th of all fields, in hundredths of a second.
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Its resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// What a gateway process is started with.
pub struct Serving {
    config: PathBuf,
    folder: tempfile::TempDir,
    /// `ulimit -n`, if not the system's.
    pub open_files: Option<u32>,
}

impl Serving {
    /// Settings that lead to a sandbox; the gRPC port is `listen`'s.
    pub fn before(sandbox: &Sandbox, listen: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("testgate.toml");
        std::fs::write(&config, settings(sandbox, listen, &folder.path().join("testgate.redb"))).unwrap();
        Self { config, folder, open_files: None }
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Adds to the end of the configuration file.
    pub fn append(&self, text: &str) {
        let config = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, config + text).unwrap();
    }

    /// Adds a setting to `[server]`.
    pub fn set(&self, setting: &str) {
        let config = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, config.replacen("[server]\n", &format!("[server]\n{setting}\n"), 1))
            .unwrap();
    }

    /// A folder for this gateway's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command that serves.
    pub fn command(&self) -> Command {
        let serve = [OsStr::new("serve"), OsStr::new("--config"), self.config.as_os_str()];
        let mut command = match self.open_files {
            None => program(serve),
            Some(count) => {
                let mut shell = Command::new("sh");
                let line = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_testgate")).args(serve);
                isolate(&mut shell);
                shell
            }
        };
        keys(&mut command);
        command.stderr(Stdio::null());
        command
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self) -> Served {
        served(self.command()).await
    }

    /// As [`Self::start`]; its log is on a pipe.
    pub async fn start_logging(&self) -> Served {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        served(command).await
    }
}

async fn served(mut command: Command) -> Served {
    let mut child = command.spawn().unwrap();
    let mut out = stdout_lines(&mut child);
    let line = line_with(&mut out, "serves gRPC on ").await;
    let address = line.rsplit(' ').next().unwrap().to_owned();
    let line = line_with(&mut out, "health and metrics on ").await;
    let admin = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    Served { child, address, admin, _out: out }
}

/// The sandbox's keys, where a real account's would be.
pub fn keys(command: &mut Command) {
    command
        .env("AWS_ACCESS_KEY_ID", sigv4::DEFAULT_ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", sigv4::DEFAULT_SECRET_ACCESS_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("SANDBOX_TOKEN", openmetadata::DEFAULT_TOKEN);
}

/// A configuration file as for real accounts, but for the addresses.
pub fn settings(sandbox: &Sandbox, listen: &str, store: &Path) -> String {
    let at = |upstream: &str| sandbox.address(upstream).unwrap();
    format!(
        r#"
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"

[store]
path = "{store}"

[[backend]]
id = "connect"
kind = "amazon-connect"
region = "{connect_region}"
instance_id = "{instance}"
endpoint_url = "http://{connect}"
max_requests_per_second = 2.0

[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "{lex_region}"
endpoint_url = "http://{lex}"
max_requests_per_second = 2.0
[backend.start_defaults]
bot_id = "BOT0000001"
bot_alias_id = "TSTALIASID"
locale_id = "en_US"
api_mode = "non-streaming"
modality = "text"

[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "http://{openmetadata}/api"
token_env = "SANDBOX_TOKEN"
settle_time = "5s"
max_requests_per_second = 2.0
"#,
        store = store.display(),
        connect_region = connect::DEFAULT_REGION,
        instance = connect::DEFAULT_INSTANCE_ID,
        connect = at("connect"),
        lex_region = lex::DEFAULT_REGION,
        lex = at("lex"),
        openmetadata = at("openmetadata"),
    )
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something holds, looking again every now and then.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
