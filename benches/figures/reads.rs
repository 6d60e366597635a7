//! What a read that is answered from memory costs the server.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use prost::Message as _;
use testgate::proto::v1;
use testgate::sandbox::clock::Clock;
use testgate::sandbox::{Options, Sandbox};

use crate::bare::{self, Reply};
use crate::gateway::{self, Settings, Upstreams};
use crate::load::{Cost, Target};
use crate::process::Client;
use crate::{median, verdict};

const ROUNDS: usize = 15;
const READS_A_ROUND: usize = 12_800;
/// The gateway's CPU time as a multiple of the bare service's.
const GOAL: f64 = 2.0;
/// How much faster the simulated tests run than they say.
const CLOCK_SCALE: f64 = 4.0;

/// Reads a run that is done, one that is polled meanwhile, and the first again after a restart.
pub(crate) async fn tracked() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox =
        Sandbox::start(Options::standard(Arc::new(Clock::new(CLOCK_SCALE))).on_free_ports()).await?;
    let upstreams = Upstreams::of(&sandbox).context("the sandbox lacks an upstream")?;

    let gateway = Target::new(gateway::start(folder.path(), &upstreams, &Settings::default()).await?).await?;
    let started = start(&mut gateway.client(), "greeting").await?;
    let done = wait(&mut gateway.client(), started).await?;
    compare("done", &gateway, &done, folder.path()).await?;
    let running = start(&mut gateway.client(), "timeout").await?;
    compare("running, and polled meanwhile", &gateway, &running, folder.path()).await?;
    gateway.stop().await?;

    let gateway = Target::new(gateway::start(folder.path(), &upstreams, &Settings::default()).await?).await?;
    compare("done before a restart", &gateway, &done, folder.path()).await?;
    gateway.stop().await?;
    sandbox.shutdown().await;
    Ok(())
}

/// Reads one execution from the gateway and from both kinds of bare service, in turns, and prints what it costs.
async fn compare(what: &str, gateway: &Target, name: &str, folder: &Path) -> anyhow::Result<()> {
    let request = v1::GetExecutionRequest { name: name.to_owned(), max_staleness: None };
    let reply = gateway.client().get_execution(request).await?.into_inner();
    let file = folder.join("reply");
    std::fs::write(&file, reply.encode_to_vec())?;

    let message = Target::new(bare::start(Reply::Message, &file).await?).await?;
    let bytes = Target::new(bare::start(Reply::Bytes, &file).await?).await?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let costs = [
            gateway.read(name, READS_A_ROUND).await?,
            message.read(name, READS_A_ROUND).await?,
            bytes.read(name, READS_A_ROUND).await?,
        ];
        // The first one warms up.
        if round > 0 {
            rounds.push(costs);
        }
    }
    message.stop().await?;
    bytes.stop().await?;

    let of = |value: fn(&[Cost; 3]) -> f64| median(rounds.iter().map(value).collect());
    let figure = of(|[ours, message, _]| ours.cpu / message.cpu);
    println!("read of tracked state ({what}), {} bytes, median of {ROUNDS} rounds", reply.encoded_len());
    println!("  gateway        {:6.2} µs CPU  {:6.2} µs wall", of(|[c, _, _]| c.cpu), of(|[c, _, _]| c.wall));
    println!("  bare, message  {:6.2} µs CPU  {:6.2} µs wall", of(|[_, c, _]| c.cpu), of(|[_, c, _]| c.wall));
    println!("  bare, bytes    {:6.2} µs CPU  {:6.2} µs wall", of(|[_, _, c]| c.cpu), of(|[_, _, c]| c.wall));
    println!("  ratio          {figure:6.2} to bare, message");
    println!("                 {:6.2} to bare, bytes", of(|[ours, _, bytes]| ours.cpu / bytes.cpu));
    println!("  goal           {GOAL:6.2}: {}\n", verdict(figure, GOAL));
    Ok(())
}

/// Starts the simulated Connect test of this name.
async fn start(client: &mut Client, display_name: &str) -> anyhow::Result<String> {
    let request = v1::ListTestsRequest { parent: "backends/connect".to_owned(), ..Default::default() };
    let tests = client.list_tests(request).await?.into_inner().tests;
    let test = tests.into_iter().find(|test| test.display_name == display_name).context("no such test")?;
    let request = v1::StartExecutionRequest { parent: test.name, ..Default::default() };
    let execution = client.start_execution(request).await?.into_inner().execution;
    Ok(execution.context("an empty reply")?.name)
}

/// Waits until an execution is done.
async fn wait(client: &mut Client, name: String) -> anyhow::Result<String> {
    let request = v1::WaitExecutionRequest { name, ..Default::default() };
    let execution = client.wait_execution(request).await?.into_inner().execution.context("an empty reply")?;
    ensure!(execution.done, "{} is not done in time", execution.name);
    Ok(execution.name)
}
