//! What keeps the gateway busy: runs that start, reads, and upstreams that misbehave.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use testgate::proto::v1;
use testgate::sandbox::Sandbox;
use testgate::sandbox::fault::{Fault as Trouble, FaultKind};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::process::Client;
use crate::watcher::{WINDOW, follow_one};
use crate::world::{Dice, Fault, Phase, World, passes, pause};

const UPSTREAMS: [&str; 3] = ["connect", "lex", "openmetadata"];
/// A call that takes longer is given up.
const CALL: Duration = Duration::from_secs(20);

/// All tests that can be started.
pub(crate) async fn startable(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for backend in ["connect", "lex", "quality"] {
        let parent = format!("backends/{backend}");
        let request = v1::ListTestsRequest { parent, page_size: 1000, ..Default::default() };
        for test in client.list_tests(request).await?.into_inner().tests {
            let trial = v1::StartExecutionRequest {
                parent: test.name.clone(),
                validate_only: true,
                ..Default::default()
            };
            if client.start_execution(trial).await.is_ok() {
                found.push(test.name);
            }
        }
    }
    ensure!(found.len() >= 15, "only {} tests can be started: {found:?}", found.len());
    Ok(found)
}

/// Starts runs, one after another, each followed by a client of its own, until the busy time is over.
pub(crate) async fn start_runs(
    world: Arc<World>,
    tests: Vec<String>,
    seed: u64,
    followers: &mut JoinSet<()>,
) {
    let mut dice = Dice::new(seed);
    let mut client = world.connect(WINDOW).await;
    let mut number = 0_u64;
    while world.phase() == Phase::Busy {
        number += 1;
        let Some(test) = dice.pick(&tests) else { return };
        if let Some(execution) = start(&world, &mut client, test, &format!("soak-{number}")).await {
            let now = world.now();
            world.ledger(|ledger| ledger.started(&execution, now));
            followers.spawn(follow_one(world.clone(), execution.name));
        }
        // Those that have ended are of no more use.
        while followers.try_join_next().is_some() {}
        let rest = dice.millis(200, 1_200);
        world.sleep(rest, Phase::Busy).await;
    }
}

/// One start, repeated with its id until its outcome is known.
async fn start(world: &World, client: &mut Client, test: &str, id: &str) -> Option<v1::Execution> {
    loop {
        let request = v1::StartExecutionRequest {
            parent: test.to_owned(),
            request_id: id.to_owned(),
            ..Default::default()
        };
        match client.start_execution(in_time(request)).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                if reply.deduplicated {
                    world.count("starts that a retry found");
                }
                return reply.execution;
            }
            Err(status) => {
                world.count_failure("start", &status);
                // Quotas pass only when others end, and an id that was given up stays so.
                if !passes(&status) {
                    return None;
                }
                tokio::time::sleep(pause(&status)).await;
                *client = world.connect(WINDOW).await;
            }
        }
    }
}

/// Reads at random what was started, fresh and as it is known, until the busy time is over.
pub(crate) async fn read(world: Arc<World>, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut client = world.connect(WINDOW).await;
    while world.phase() == Phase::Busy {
        let number = dice.roll();
        if let Some(name) = world.ledger(|ledger| ledger.name(number)) {
            let known = world.ledger(|ledger| ledger.done_since(&name));
            let max_staleness = number.is_multiple_of(3).then(prost_types::Duration::default);
            let request = v1::GetExecutionRequest { name: name.clone(), max_staleness };
            match client.get_execution(in_time(request)).await {
                Ok(reply) => {
                    world.count("reads");
                    let done = reply.into_inner().execution.is_some_and(|execution| execution.done);
                    if known.is_some() && !done {
                        world.fault(Fault::Reverted, format!("a read of {name} shows it unfinished again"));
                    }
                }
                Err(status) => {
                    world.count_failure("read", &status);
                    if status.code() == Code::NotFound {
                        world.fault(Fault::Refused, format!("{name}: {status}"));
                    }
                    tokio::time::sleep(pause(&status)).await;
                    client = world.connect(WINDOW).await;
                }
            }
        }
        let rest = dice.millis(50, 450);
        world.sleep(rest, Phase::Busy).await;
    }
}

/// Waits until everything that was started has ended, and returns what has not in time.
pub(crate) async fn settle(world: &World, patience: Duration) -> Vec<String> {
    let wait = async {
        let mut client = world.connect(WINDOW).await;
        for round in 1_u64.. {
            let mut last = String::new();
            let unfinished = world.ledger(|ledger| ledger.unfinished());
            if unfinished.is_empty() {
                return;
            }
            for name in unfinished {
                let request = v1::GetExecutionRequest { name, max_staleness: None };
                match client.get_execution(in_time(request)).await {
                    Ok(reply) => {
                        let now = world.now();
                        if let Some(execution) = reply.into_inner().execution {
                            last = format!("{execution:?}");
                            world.ledger(|ledger| ledger.seen(&execution, now));
                        }
                    }
                    Err(status) => world.count_failure("read", &status),
                }
            }
            if round.is_multiple_of(60) {
                println!("       still not ended: {last}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = wait => {}
        () = tokio::time::sleep(patience) => {}
    }
    world.ledger(|ledger| ledger.unfinished())
}

/// Gives one upstream after the other a trouble for some seconds, until the busy time is over.
pub(crate) async fn trouble(world: Arc<World>, sandbox: &Sandbox, seed: u64) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed);
    let troubles = [
        FaultKind::Status { status: 500 },
        FaultKind::Status { status: 503 },
        FaultKind::Html { status: 502 },
        FaultKind::Throttle { retry_after: None },
        FaultKind::Throttle { retry_after: Some(2) },
        FaultKind::ResetBefore,
        FaultKind::ResetAfter,
        FaultKind::Truncate,
        FaultKind::WrongJson,
        FaultKind::Silent,
        FaultKind::Delay { ms: 1_500 },
    ];
    while world.phase() == Phase::Busy {
        let upstream = dice.pick(&UPSTREAMS).context("there are three")?;
        let kind = dice.pick(&troubles).context("there are some")?.clone();
        let strikes = u32::try_from(1 + dice.roll() % 20)?;
        inject(sandbox, upstream, Trouble::new("*", kind).times(strikes))?;
        world.count("troubles upstream");
        let lasting = dice.millis(2_000, 15_000);
        world.sleep(lasting, Phase::Busy).await;
        clear(sandbox, upstream)?;
        let rest = dice.millis(1_000, 10_000);
        world.sleep(rest, Phase::Busy).await;
    }
    UPSTREAMS.iter().try_for_each(|upstream| clear(sandbox, upstream))
}

fn inject(sandbox: &Sandbox, upstream: &str, trouble: Trouble) -> anyhow::Result<()> {
    sandbox.inject(upstream, trouble).map_err(anyhow::Error::msg)?;
    Ok(())
}

fn clear(sandbox: &Sandbox, upstream: &str) -> anyhow::Result<()> {
    sandbox.clear_faults(upstream).map_err(anyhow::Error::msg)?;
    Ok(())
}

fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}
