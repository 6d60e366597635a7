//! What a read that goes to upstream costs, and how much later its answer comes.

use std::time::Instant;

use crate::lex;
use crate::load::{self, Cost, Load, Target};
use crate::report;
use crate::signed::Signed;
use crate::upstream::{self, Upstream};

const ROUNDS: usize = 9;
const READS_A_ROUND: usize = 6_400;
const IN_FLIGHT: usize = 64;
/// Reads get half of a backend's quota, which is at most 10,000 a second: these never wait for it.
const BACKENDS: usize = 16;
/// The gateway's CPU time as a multiple of that of the bare service, which makes the same call.
const GOAL: f64 = 1.4;
/// The bare service's CPU time on a quiet machine, in microseconds.
const BARE: f64 = 25.7;
/// Reads one after the other, for each of the three ways.
const SINGLE_READS: usize = 1_000;
/// How much later the answer may come than that of the call itself, in microseconds.
const ADDED_P50: f64 = 80.0;
const ADDED_P99: f64 = 200.0;

/// Compares forced reads with the bare service's, many in flight and then one.
pub(crate) async fn forwarded() -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(IN_FLIGHT)?);
    let names: Vec<_> = (0..IN_FLIGHT).map(|number| lex::name(number % BACKENDS, number)).collect();
    let gateway = lex::start(folder.path(), upstream.address, BACKENDS, "").await?;
    let gateway = Target::new(gateway).await?;
    let like = load::read(&mut gateway.client(), &lex::name(0, 0), true).await?;
    let bare = lex::start_bare(folder.path(), upstream.address, IN_FLIGHT, like).await?;
    let bare = Target::new(bare).await?;

    let load = Load { names: &names, in_flight: IN_FLIGHT, reads: READS_A_ROUND, forced: true };
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let costs = [gateway.read(load).await?, bare.read(load).await?];
        // The first one warms up.
        if round > 0 {
            rounds.push(costs);
        }
    }
    let of = |value: fn(&[Cost; 2]) -> f64| report::median(rounds.iter().map(value));
    println!("forwarded read, {IN_FLIGHT} in flight, median of {ROUNDS} rounds");
    report::line("gateway", of(|[ours, _]| ours.cpu), "µs CPU");
    report::line("", of(|[ours, _]| ours.wall), "µs wall");
    report::baseline(of(|[_, bare]| bare.cpu), BARE, "µs CPU");
    report::line("", of(|[_, bare]| bare.wall), "µs wall");
    report::goal("ratio of CPU", of(|[ours, bare]| ours.cpu / bare.cpu), GOAL, "times");

    one_in_flight(&gateway, &bare, &upstream, &names[0]).await?;
    println!();
    gateway.stop().await?;
    bare.stop().await
}

/// Prints how much later answers come than those of the signed call alone.
async fn one_in_flight(
    gateway: &Target,
    bare: &Target,
    upstream: &Upstream,
    name: &str,
) -> anyhow::Result<()> {
    let signed = Signed::new(upstream.address)?;
    let id = upstream::id(0);
    let (mut ours, mut theirs) = (gateway.client(), bare.client());
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    // In turns, so that what the machine does beside falls on all of them alike.
    for _ in 0..SINGLE_READS {
        let start = Instant::now();
        signed.describe(&id).await?;
        let alone = Instant::now();
        load::read(&mut theirs, name, true).await?;
        let by_bare = Instant::now();
        load::read(&mut ours, name, true).await?;
        let took = [alone - start, by_bare - alone, by_bare.elapsed()];
        for (times, took) in times.iter_mut().zip(took) {
            times.push(took.as_secs_f64() * 1e6);
        }
    }
    let at = |part| times.each_ref().map(|times| report::quantile(times.iter().copied(), part));
    for (part, word, limit) in [(0.5, "p50", ADDED_P50), (0.99, "p99", ADDED_P99)] {
        let [alone, bare, ours] = at(part);
        report::line(format!("the call alone, {word}"), alone, "µs");
        report::line(format!("added by bare, {word}"), bare - alone, "µs");
        report::goal(format!("added by the gateway, {word}"), ours - alone, limit, "µs");
    }
    Ok(())
}
