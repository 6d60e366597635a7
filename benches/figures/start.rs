//! How soon the gateway answers, and how much memory it takes to do nothing.

use std::time::Duration;

use testgate::proto::v1::GetExecutionResponse;

use crate::bare::{self, Reply};
use crate::gateway::{self, Settings, Upstreams};
use crate::process::Server;
use crate::{median, verdict};

const STARTS: usize = 15;
const FIRST_REPLY_MS: f64 = 50.0;
const IDLE: Duration = Duration::from_secs(5);
const IDLE_MB: f64 = 20.0;

/// From the start of the process to the first reply, with a new store each time.
pub(crate) async fn first_reply() -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let folder = tempfile::tempdir()?;
        ours.push(gateway::start(folder.path(), &nowhere(), &Settings::default()).await?);
        bare.push(start_bare(folder.path()).await?);
        // Only the times are needed.
        for server in ours.iter_mut().chain(&mut bare) {
            server.kill().await?;
        }
    }
    let millis = |servers: &[Server], time: fn(&Server) -> Duration| {
        median(servers.iter().map(|server| time(server).as_secs_f64() * 1e3).collect())
    };
    let wall = |servers: &[Server]| millis(servers, |server| server.first_reply);
    let cpu = |servers: &[Server]| millis(servers, |server| server.first_reply_cpu);
    let figure = wall(&ours);
    println!("start to first reply, median of {STARTS}");
    println!("  gateway  {figure:6.1} ms wall  {:6.1} ms CPU", cpu(&ours));
    println!("  bare     {:6.1} ms wall  {:6.1} ms CPU", wall(&bare), cpu(&bare));
    println!("  ratio    {:6.1}", figure / wall(&bare));
    println!("  goal     {FIRST_REPLY_MS:6.1} ms wall: {}\n", verdict(figure, FIRST_REPLY_MS));
    Ok(())
}

/// Resident memory a few seconds after the start, when nobody has asked for anything but the first reply.
pub(crate) async fn idle_memory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ours = gateway::start(folder.path(), &nowhere(), &Settings::default()).await?;
    let bare = start_bare(folder.path()).await?;
    tokio::time::sleep(IDLE).await;
    let megabytes = |server: &Server, line| Ok::<_, anyhow::Error>(server.memory(line)? as f64 / 1e6);
    let (figure, baseline) = (megabytes(&ours, "VmRSS")?, megabytes(&bare, "VmRSS")?);
    println!("idle resident memory, after {} s", IDLE.as_secs());
    println!("  gateway  {figure:6.1} MB, of which {:.1} MB are its own", megabytes(&ours, "RssAnon")?);
    println!("  bare     {baseline:6.1} MB, of which {:.1} MB are its own", megabytes(&bare, "RssAnon")?);
    println!("  ratio    {:6.1}", figure / baseline);
    println!("  goal     {IDLE_MB:6.1} MB: {}\n", verdict(figure, IDLE_MB));
    Ok(())
}

/// Addresses at which nobody answers.
fn nowhere() -> Upstreams {
    let nobody = || "127.0.0.1:9".to_owned();
    Upstreams { connect: nobody(), lex: nobody(), openmetadata: nobody() }
}

async fn start_bare(folder: &std::path::Path) -> anyhow::Result<Server> {
    let file = folder.join("reply");
    std::fs::write(&file, prost::Message::encode_to_vec(&GetExecutionResponse::default()))?;
    bare::start(Reply::Message, &file).await
}
