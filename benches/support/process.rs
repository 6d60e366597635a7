//! A server process, and what the system says of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testgate::proto::v1::ListBackendsRequest;
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use tokio::process::{Child, Command};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// A client of either service.
pub(crate) type Client = TestExecutionServiceClient<Channel>;

const START_WITHIN: Duration = Duration::from_secs(20);

/// A server that has answered once. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// From the start of the process to its first reply.
    pub(crate) first_reply: Duration,
    /// The CPU time that the process spent on that.
    pub(crate) first_reply_cpu: Duration,
    /// What it has used so far.
    threads: Threads,
}

impl Server {
    /// Starts a process that serves on `port` and waits for its first answer to ListBackends.
    pub(crate) async fn start(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let start = Instant::now();
        let mut child = command.spawn()?;
        // Nothing else runs meanwhile, and the runtime's own timer ticks in whole milliseconds.
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the server ended at its start: {status}");
            }
            ensure!(start.elapsed() < START_WITHIN, "the server does not listen on {address}");
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut client = connect(port).await?;
        while let Err(status) = client.list_backends(ListBackendsRequest::default()).await {
            ensure!(status.code() == Code::Unavailable && start.elapsed() < START_WITHIN, "{status}");
        }
        let first_reply = start.elapsed();
        let mut server =
            Self { child, port, first_reply, first_reply_cpu: Duration::ZERO, threads: Threads::default() };
        server.first_reply_cpu = server.cpu()?;
        Ok(server)
    }

    /// A connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        connect(self.port).await
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.threads.cpu(self.pid()?)
    }

    /// A line of `/proc/PID/status` that is a size, in bytes.
    pub(crate) fn memory(&self, line: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let size = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let size = size.and_then(|size| size.split_whitespace().next()).with_context(|| line.to_owned())?;
        Ok(size.parse::<u64>()? * 1024)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        self.child.wait().await?;
        Ok(())
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// The process's number, while it runs.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }
}

/// The CPU time of each thread that a process has or had.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<HashMap<OsString, Duration>>);

impl Threads {
    /// The CPU time of all of them so far.
    pub(crate) fn cpu(&self, pid: u32) -> anyhow::Result<Duration> {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that has just ended counts as it was seen last.
            let Ok(times) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
            let nanos = times.split_whitespace().next().context("an empty schedstat")?;
            threads.insert(task.file_name(), Duration::from_nanos(nanos.parse()?));
        }
        Ok(threads.values().sum())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn connect(port: u16) -> anyhow::Result<Client> {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
    Ok(Client::new(channel))
}
