//! What a read that is answered from memory costs the server.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use testgate::proto::v1;
use testgate::sandbox::clock::Clock;
use testgate::sandbox::{Options, Sandbox};

use crate::bare::Bare;
use crate::gateway::{self, Settings, Upstreams};
use crate::load::{self, Cost, Load, Target};
use crate::process::Client;
use crate::report;

const ROUNDS: usize = 15;
const READS_A_ROUND: usize = 12_800;
const IN_FLIGHT: usize = 128;
/// The gateway's CPU time as a multiple of the bare service's.
const GOAL: f64 = 1.5;
/// The bare service's CPU time on a quiet machine, in microseconds.
const BARE: f64 = 4.9;
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

/// Reads one execution from the gateway and from the bare service, in turns, and prints what it costs.
async fn compare(what: &str, gateway: &Target, name: &str, folder: &Path) -> anyhow::Result<()> {
    let execution = load::read(&mut gateway.client(), name, false).await?;
    let reply = &v1::GetExecutionResponse { execution: Some(execution) };
    let bare = Target::new(Bare { reply, upstream: None }.start(folder).await?).await?;
    let names = &[name.to_owned()];
    let load = Load { names, in_flight: IN_FLIGHT, reads: READS_A_ROUND, forced: false };
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let costs = [gateway.read(load).await?, bare.read(load).await?];
        // The first one warms up.
        if round > 0 {
            rounds.push(costs);
        }
    }
    bare.stop().await?;

    let of = |value: fn(&[Cost; 2]) -> f64| report::median(rounds.iter().map(value));
    println!("read of tracked state ({what}), median of {ROUNDS} rounds");
    report::line("gateway", of(|[ours, _]| ours.cpu), "µs CPU");
    report::line("", of(|[ours, _]| ours.wall), "µs wall");
    report::baseline(of(|[_, bare]| bare.cpu), BARE, "µs CPU");
    report::line("", of(|[_, bare]| bare.wall), "µs wall");
    report::goal("ratio of CPU", of(|[ours, bare]| ours.cpu / bare.cpu), GOAL, "times");
    println!();
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
