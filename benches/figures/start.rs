//! How soon the gateway answers, how much memory it takes to do nothing, and how large it is.

use std::path::Path;
use std::time::Duration;

use testgate::proto::v1::GetExecutionResponse;

use crate::bare::Bare;
use crate::gateway::{self, Settings, Upstreams};
use crate::process::Server;
use crate::report;

const STARTS: usize = 15;
const FIRST_REPLY_MS: f64 = 10.0;
const IDLE: Duration = Duration::from_secs(5);
const IDLE_MIB: f64 = 12.0;
const BINARY_MB: f64 = 15.0;

/// From the start of the process to the first reply, with a new store each time and then with one that is there.
pub(crate) async fn first_reply() -> anyhow::Result<()> {
    let kept = tempfile::tempdir()?;
    start_gateway(kept.path()).await?.stop().await?;
    let (mut fresh, mut known, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let folder = tempfile::tempdir()?;
        fresh.push(time(start_gateway(folder.path()).await?).await?);
        known.push(time(start_gateway(kept.path()).await?).await?);
        let mut server = start_bare(folder.path()).await?;
        bare.push(times(&server));
        server.kill().await?;
    }
    println!("start to first reply, median of {STARTS}");
    for (who, times) in [("gateway, new store", &fresh), ("bare", &bare)] {
        report::line(who, report::median(times.iter().map(|[wall, _]| *wall)), "ms wall");
        report::line("", report::median(times.iter().map(|[_, cpu]| *cpu)), "ms CPU");
    }
    report::line("gateway, known store", report::median(known.iter().map(|[_, cpu]| *cpu)), "ms CPU");
    report::goal("", report::median(known.iter().map(|[wall, _]| *wall)), FIRST_REPLY_MS, "ms wall");
    println!();
    Ok(())
}

/// Resident memory a few seconds after the start, when nobody has asked for anything but the first reply.
pub(crate) async fn idle_memory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ours = start_gateway(folder.path()).await?;
    let bare = start_bare(folder.path()).await?;
    tokio::time::sleep(IDLE).await;
    let mebibytes =
        |server: &Server, line| Ok::<_, anyhow::Error>(server.memory(line)? as f64 / 1024.0 / 1024.0);
    println!("idle resident memory, after {} s", IDLE.as_secs());
    report::goal("gateway", mebibytes(&ours, "VmRSS")?, IDLE_MIB, "MiB");
    report::line("its own", mebibytes(&ours, "RssAnon")?, "MiB");
    report::line("bare", mebibytes(&bare, "VmRSS")?, "MiB");
    report::line("its own", mebibytes(&bare, "RssAnon")?, "MiB");
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_testgate"))?.len();
    report::goal("binary", binary as f64 / 1e6, BINARY_MB, "MB");
    println!();
    Ok(())
}

/// As [`times`]; the server is stopped.
async fn time(server: Server) -> anyhow::Result<[f64; 2]> {
    let times = times(&server);
    server.stop().await?;
    Ok(times)
}

/// Wall and CPU time until the first reply, in milliseconds.
pub(crate) fn times(server: &Server) -> [f64; 2] {
    [server.first_reply, server.first_reply_cpu].map(|time| time.as_secs_f64() * 1e3)
}

/// With backends at addresses at which nobody answers.
pub(crate) async fn start_gateway(folder: &Path) -> anyhow::Result<Server> {
    let nobody = || "127.0.0.1:9".to_owned();
    let nowhere = Upstreams { connect: nobody(), lex: nobody(), openmetadata: nobody() };
    gateway::start(folder, &nowhere, &Settings::default()).await
}

async fn start_bare(folder: &Path) -> anyhow::Result<Server> {
    Bare { reply: &GetExecutionResponse::default(), upstream: None }.start(folder).await
}
