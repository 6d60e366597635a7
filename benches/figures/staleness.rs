//! How old news is when a watcher gets it: a full Connect instance, and a thousand Lex executions, at their quotas.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use testgate::app::{SandboxOptions, start_sandbox};
use testgate::proto::v1::execution::State;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::proto::v1::{Execution, WatchExecutionsRequest, WatchExecutionsResponse};
use testgate::sandbox::Sandbox;
use tonic::Streaming;

use crate::gateway::{self, Settings, Upstreams};
use crate::process::{Client, Server};
use crate::report::{goal, line, quantile};

/// How long changes are watched.
const WINDOW: Duration = Duration::from_secs(60);
/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Executions that a Connect instance accepts, and that it runs.
const ACCEPTED: usize = 100;
const RUNNING: usize = 5;
/// What a full Connect instance takes from one end to the next, in seconds.
const GAP: f64 = 1.3;
/// Lex executions that are unfinished, and that end together at last.
const UNFINISHED: usize = 1_000;
const TOGETHER: usize = 20;
/// Names that fit on one stream.
const NAMES: usize = 500;

/// A sandbox, and the gateway in front of it at so many requests a second.
struct World {
    sandbox: Sandbox,
    server: Server,
    client: Client,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(requests_per_second: f64) -> anyhow::Result<Self> {
        let sandbox = start_sandbox(&SandboxOptions { clock_scale: 1.0, free_ports: true }).await?;
        let upstreams = Upstreams::of(&sandbox).context("the sandbox has no upstreams")?;
        let folder = tempfile::tempdir()?;
        let settings = Settings { requests_per_second, ..Settings::default() };
        let server = gateway::start(folder.path(), &upstreams, &settings).await?;
        let client = server.client().await?;
        Ok(Self { sandbox, server, client, _folder: folder })
    }

    fn control(&self, upstream: &str, command: &Value) -> anyhow::Result<Value> {
        self.sandbox.control(upstream, command).map_err(anyhow::Error::msg)
    }

    /// Has a run started as somebody else would, and gives its name.
    fn begin(&self, upstream: &str, test: &str, script: &Value) -> anyhow::Result<String> {
        let command = json!({"command": "start", "test": test, "script": script});
        let started = self.control(upstream, &command)?;
        let id = |member: &str| started[member].as_str().map(str::to_owned).context("a start without ids");
        Ok(format!("backends/{upstream}/tests/{}/executions/{}", id("test")?, id("execution")?))
    }

    /// Opens a stream and returns it with its snapshot.
    async fn watch(
        &self,
        names: &[String],
    ) -> anyhow::Result<(Streaming<WatchExecutionsResponse>, Vec<Execution>)> {
        let request = WatchExecutionsRequest { names: names.to_vec(), ..Default::default() };
        let mut stream = self.client.clone().watch_executions(request).await?.into_inner();
        let mut snapshot = Vec::new();
        loop {
            match next(&mut stream).await? {
                Event::Update(update) => snapshot.extend(update.execution),
                Event::SnapshotComplete(_) => return Ok((stream, snapshot)),
                _ => {}
            }
        }
    }

    /// How many calls of an upstream were throttled.
    fn throttled(&self, upstream: &str) -> usize {
        self.sandbox.calls(upstream, "*").iter().filter(|call| call.status == Some(429)).count()
    }
}

async fn next(stream: &mut Streaming<WatchExecutionsResponse>) -> anyhow::Result<Event> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await??.context("the stream ended")?;
    message.event.context("a message without an event")
}

/// A full Connect instance: five run, the others wait, one ends every so often and another is queued.
pub(crate) async fn connect() -> anyhow::Result<()> {
    for (rate, scale) in [(2.0, 1.0), (1.0, 2.0)] {
        let world = World::start(rate).await?;
        let script = |seconds: f64| json!({"outcome": "passed", "seconds": seconds});
        let mut names = Vec::new();
        for at in 0..ACCEPTED {
            // The first five end one after the other, and so does everything after them.
            let seconds = if at < RUNNING { GAP * (at + 1) as f64 } else { GAP * RUNNING as f64 };
            names.push(world.begin("connect", "greeting", &script(seconds))?);
        }
        let opening = Instant::now();
        let (mut stream, snapshot) = world.watch(&names).await?;
        let opened = opening.elapsed().as_secs_f64();
        ensure!(snapshot.iter().all(|execution| execution.observe_time.is_some()), "not all names were read");
        let mut known: HashMap<String, State> =
            snapshot.into_iter().map(|execution| (execution.name.clone(), execution.state())).collect();
        let (mut ages, mut ended, end) = (Vec::new(), HashSet::new(), Instant::now() + WINDOW);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok(event) = tokio::time::timeout(left, next(&mut stream)).await else { break };
            let Event::Update(update) = event? else { continue };
            let execution = update.execution.context("an update without its execution")?;
            let now = world.sandbox.clock().now();
            if known.insert(execution.name.clone(), execution.state()) == Some(execution.state()) {
                continue;
            }
            let since = if execution.done { &execution.end_time } else { &execution.start_time };
            let since = since.as_ref().context("a state without its time")?;
            let since = Duration::new(since.seconds.try_into()?, since.nanos.try_into()?);
            ages.push(now.saturating_sub(since).as_secs_f64() * 1000.0);
            if execution.done && ended.insert(execution.name) {
                // The instance stays full.
                world.begin("connect", "greeting", &script(GAP * RUNNING as f64))?;
            }
        }
        // What ended long enough before the window did has been told.
        let due = ((WINDOW.as_secs_f64() - 2.0) / GAP) as usize;
        let missed = due.saturating_sub(ended.len() + 1);
        let calls = world.sandbox.calls("connect", "*").len() as f64 / (WINDOW.as_secs_f64() + opened);
        println!("connect, {rate} requests/s an operation: {} changes", ages.len());
        goal("100 names open", opened, scale, "s");
        for (what, part, within) in [("p50", 0.5, 300.0), ("p99", 0.99, 550.0), ("max", 1.0, 700.0)] {
            let age = quantile(ages.iter().copied(), part);
            goal(format!("age of a change, {what}"), age, within * scale, "ms");
        }
        goal("missed", missed as f64, 0.0, "ends");
        goal("throttled", world.throttled("connect") as f64, 0.0, "calls");
        line("upstream", calls, "calls/s");
        drop(stream);
        world.server.stop().await?;
    }
    Ok(())
}

/// A thousand unfinished Lex executions: some end now and then, then many together.
pub(crate) async fn lex() -> anyhow::Result<()> {
    let rate = 2.0;
    let world = World::start(rate).await?;
    world.control("lex", &json!({"command": "limits", "unfinished": UNFINISHED + 1}))?;
    let script = json!({"outcome": "hangs"});
    let names: Vec<_> =
        (0..UNFINISHED).map(|_| world.begin("lex", "booking", &script)).collect::<Result<_, _>>()?;
    let (first, second) = names.split_at(NAMES);
    let (first_stream, snapshot) = world.watch(first).await?;
    ensure!(snapshot.iter().all(|execution| execution.observe_time.is_some()), "not all names were read");
    let (second_stream, _) = world.watch(second).await?;
    let (updates, mut arrived) = tokio::sync::mpsc::channel(NAMES);
    let mut readers = tokio::task::JoinSet::new();
    for mut stream in [first_stream, second_stream] {
        let updates = updates.clone();
        readers.spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                if let Some(Event::Update(update)) = message.event
                    && updates.send((Instant::now(), update.execution.unwrap_or_default())).await.is_err()
                {
                    return;
                }
            }
        });
    }
    let finish = |name: &str| {
        let execution = name.rsplit('/').next().unwrap_or_default();
        world.control("lex", &json!({"command": "finish", "execution": execution, "outcome": "passed"}))
    };
    let (mut ended_at, mut ages) = (HashMap::new(), Vec::new());
    let (cpu, begun) = (world.server.cpu()?, Instant::now());
    let mut ends = tokio::time::interval(Duration::from_millis(700));
    let ending: Vec<_> = names.iter().step_by(11).take(80).collect();
    let mut left = ending.iter().copied();
    while begun.elapsed() < WINDOW {
        tokio::select! {
            _ = ends.tick() => if let Some(name) = left.next() {
                finish(name)?;
                ended_at.insert(name.clone(), Instant::now());
            },
            update = arrived.recv() => {
                let (at, execution) = update.context("the streams ended")?;
                if let Some(ended) = ended_at.remove(&execution.name) {
                    ages.push((at - ended).as_secs_f64() * 1000.0);
                }
            }
        }
    }
    let cpu = (world.server.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    println!("lex, {UNFINISHED} unfinished at {rate} requests/s an operation: {} changes", ages.len());
    line("age of a change, p50", quantile(ages.iter().copied(), 0.5), "ms");
    goal("age of a change, p99", quantile(ages.iter().copied(), 0.99), 1_000.0, "ms");
    line("gateway", cpu, "% of a core");

    // Those of the second stream end first, and are told last: the others have been watched longer.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let half = TOGETHER / 2;
    let still_run = |part: &[String]| {
        part.iter().rev().filter(|name| !ending.contains(name)).take(half).cloned().collect::<Vec<_>>()
    };
    let together: HashSet<_> = [second, first].into_iter().flat_map(still_run).collect();
    for name in &together {
        finish(name)?;
    }
    let (begun, mut order) = (Instant::now(), Vec::new());
    while order.len() < TOGETHER {
        let Ok(update) = tokio::time::timeout(PATIENCE, arrived.recv()).await else {
            bail!("{order:?} came")
        };
        let (_, execution) = update.context("the streams ended")?;
        if execution.done && together.contains(&execution.name) {
            order.push(execution.name);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    // Five at once, then as the budget lets them through; a list shows their ends first.
    let floor = (TOGETHER as f64 - 5.0) / rate;
    let early = order.iter().take(half).filter(|name| first.contains(name)).count();
    goal(format!("{TOGETHER} results"), took, floor + 1.5, "s");
    goal("told before their turn", (half - early) as f64, 0.0, "results");
    goal("throttled", world.throttled("lex") as f64, 0.0, "calls");
    readers.abort_all();
    world.server.stop().await
}
