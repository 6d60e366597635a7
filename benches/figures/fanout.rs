//! What a change costs that many streams are told of.

use std::time::{Duration, Instant};

use testgate::proto::v1::ListExecutionsRequest;

use crate::lex;
use crate::load::{self, Load, Target};
use crate::report;
use crate::streams::Streams;
use crate::upstream::Upstream;

const STREAMS: usize = 10_000;
const CONNECTIONS: usize = 100;
/// The gateway's CPU time as a multiple of the bare service's.
const GOAL: f64 = 1.4;
/// The last delivery, likewise.
const LAST_GOAL: f64 = 2.0;
const ROUNDS: usize = 9;
/// How many executions change at once, where each has a few streams.
const EXECUTIONS: usize = 1_000;
const READS_IN_FLIGHT: usize = 16;
/// A page of executions.
const PAGE: i32 = 500;

/// What a delivery took.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    cpu: f64,
    last: Duration,
}

/// How executions change.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    /// One, found by a read.
    One,
    /// All, each found by a read of its own.
    Reads,
    /// All, found without a read for each.
    Lists,
}

/// One change to ten thousand streams.
pub(crate) async fn one_change() -> anyhow::Result<()> {
    println!("one change to {STREAMS} streams over {CONNECTIONS} connections, median of {ROUNDS} rounds");
    compare(1, &[(Trigger::One, 2.9, "")]).await
}

/// A thousand changes to ten streams each.
pub(crate) async fn many_changes() -> anyhow::Result<()> {
    println!("{EXECUTIONS} changes to {} streams each, median of {ROUNDS} rounds", STREAMS / EXECUTIONS);
    let triggers = [(Trigger::Lists, 2.9, ", without reads"), (Trigger::Reads, 5.2, ", with a read each")];
    compare(EXECUTIONS, &triggers).await
}

/// Opens streams on both servers, has the executions change, and prints what a delivery costs. Beside each trigger
/// stands the bare service's CPU time on a quiet machine.
async fn compare(executions: usize, triggers: &[(Trigger, f64, &str)]) -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(executions)?);
    let names: Vec<_> = (0..executions).map(|number| lex::name(0, number)).collect();
    let gateway = lex::start(folder.path(), upstream.address, 1, "").await?;
    let gateway = Target::new(gateway).await?;
    let like = load::read(&mut gateway.client(), &names[0], true).await?;
    read_all(&gateway, &names).await?;
    let bare = lex::start_bare(folder.path(), upstream.address, executions, like).await?;
    let bare = Target::new(bare).await?;
    let selections = || names.iter().cycle().take(STREAMS).map(|name| vec![name.clone()]).collect::<Vec<_>>();
    let mut ours = Streams::open(&gateway.server, CONNECTIONS, selections().into_iter()).await?;
    let mut theirs = Streams::open(&bare.server, CONNECTIONS, selections().into_iter()).await?;

    for (trigger, known, words) in triggers {
        let mut rounds = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            let deliveries = [
                change(*trigger, &gateway, &mut ours, &upstream, &names).await?,
                change(*trigger, &bare, &mut theirs, &upstream, &names).await?,
            ];
            // The first one grows what has to grow.
            if round > 0 {
                rounds.push(deliveries);
            }
        }
        let of = |value: fn(&[Delivery; 2]) -> f64| report::median(rounds.iter().map(value));
        report::line(format!("gateway{words}"), of(|[ours, _]| ours.cpu), "µs CPU a delivery");
        report::baseline(of(|[_, bare]| bare.cpu), *known, "µs CPU a delivery");
        report::goal("ratio of CPU", of(|[ours, bare]| ours.cpu / bare.cpu), GOAL, "times");
        report::line("last delivery", of(|[ours, _]| ours.last.as_secs_f64() * 1e3), "ms");
        report::line("last delivery of bare", of(|[_, bare]| bare.last.as_secs_f64() * 1e3), "ms");
        let last = of(|[ours, bare]| ours.last.as_secs_f64() / bare.last.as_secs_f64());
        report::goal("ratio of the last", last, LAST_GOAL, "times");
    }
    println!();
    Ok(())
}

/// Changes executions at upstream, has the server find out, and waits until each stream knows.
async fn change(
    trigger: Trigger,
    target: &Target,
    streams: &mut Streams,
    upstream: &Upstream,
    names: &[String],
) -> anyhow::Result<Delivery> {
    let wanted = streams.updates() + STREAMS;
    let (cpu, start) = (target.server.cpu()?, Instant::now());
    upstream.change_all();
    match trigger {
        Trigger::One => drop(load::read(&mut target.client(), &names[0], true).await?),
        Trigger::Reads => read_all(target, names).await?,
        Trigger::Lists => list_all(target).await?,
    }
    let last = streams.wait_for(wanted).await?;
    let cpu = target.server.cpu()? - cpu;
    Ok(Delivery { cpu: cpu.as_secs_f64() * 1e6 / STREAMS as f64, last: last - start })
}

async fn read_all(target: &Target, names: &[String]) -> anyhow::Result<()> {
    for names in names.chunks(READS_IN_FLIGHT) {
        let load = Load { names, in_flight: names.len(), reads: names.len(), forced: true };
        target.read(load).await?;
    }
    Ok(())
}

/// Has the server look at all executions by lists.
pub(crate) async fn list_all(target: &Target) -> anyhow::Result<()> {
    let mut client = target.client();
    let parent = format!("backends/lex-0/tests/{}", crate::upstream::TEST);
    let mut request = ListExecutionsRequest { parent, page_size: PAGE, ..Default::default() };
    loop {
        let page = client.list_executions(request.clone()).await?.into_inner();
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
