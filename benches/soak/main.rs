//! A gateway under everything that may happen to it, for as long as one likes.
//!
//! `cargo bench --bench soak -- --minutes 60` runs the built gateway before simulated upstreams that misbehave, ends and
//! restarts it on the same store, lets runs start all the time, and clients that stay, come and go, and stall follow
//! them. At the end everybody must have been told of each end, nobody may have lost an update or seen one taken back,
//! and memory and descriptors show whether anything grows.

#[path = "../support/gateway.rs"]
mod gateway;
mod ledger;
mod lives;
mod load;
#[path = "../support/process.rs"]
mod process;
mod watcher;
mod world;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use testgate::sandbox::clock::Clock;
use testgate::sandbox::{Options, Sandbox};
use tokio::task::JoinSet;

use crate::gateway::{Settings, Upstreams};
use crate::lives::Life;
use crate::watcher::{Habit, WINDOW, follow_all};
use crate::world::{Fault, Phase, World};

/// Upstreams keep real time: clocks that run away from each other are another matter.
const CLOCK_SCALE: f64 = 1.0;
/// How many clients there are of each habit.
const CROWD: [(Habit, u64); 3] = [(Habit::Stays, 8), (Habit::ComesAndGoes, 12), (Habit::Stalls, 6)];
const READERS: u64 = 3;
/// How long what was started may take to end once nothing is broken any more, and then everybody to hear of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the command line asks for.
#[derive(Debug)]
struct Wanted {
    minutes: f64,
    /// Between two restarts.
    restart_minutes: f64,
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this without it.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run it with `cargo bench --bench soak -- --minutes 60 [--restart-minutes 10] [--seed 1]`");
        return Ok(());
    }
    let mut wanted = Wanted { minutes: 5.0, restart_minutes: 0.0, seed: 1 };
    let mut rest = arguments.iter().filter(|argument| *argument != "--bench");
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--minutes" => wanted.minutes = value.parse()?,
            "--restart-minutes" => wanted.restart_minutes = value.parse()?,
            "--seed" => wanted.seed = value.parse()?,
            _ => bail!("{flag} is unknown; there are --minutes, --restart-minutes and --seed"),
        }
    }
    if wanted.restart_minutes <= 0.0 {
        wanted.restart_minutes = (wanted.minutes / 6.0).max(0.5);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(soak(&wanted))
}

async fn soak(wanted: &Wanted) -> anyhow::Result<()> {
    let options = Options::standard(Arc::new(Clock::new(CLOCK_SCALE))).on_free_ports();
    let sandbox = Arc::new(Sandbox::start(options).await?);
    for upstream in ["connect", "lex"] {
        tell(&sandbox, upstream, &json!({"command": "rate_limit", "enabled": false}))?;
    }
    tell(&sandbox, "connect", &json!({"command": "limits", "running": 50, "accepted": 200}))?;
    let upstreams = Upstreams::of(&sandbox).context("the sandbox lacks an upstream")?;
    let folder = tempfile::tempdir()?;
    let port = process::free_port()?;
    let settings = Settings { port: Some(port), requests_per_second: 20.0, drain_seconds: 5 };
    let world = Arc::new(World::new(port));
    println!(
        "{} minutes, a restart every {:.1}; seed {}",
        wanted.minutes, wanted.restart_minutes, wanted.seed
    );
    let every = Duration::from_secs_f64(wanted.restart_minutes * 60.0);
    let gateway = lives::live(&world, folder.path(), &upstreams, &settings, every);
    let (lives, outcome) = tokio::try_join!(gateway, crowd(&world, sandbox, wanted))?;
    report(&world, &lives, &outcome)
}

/// What was not done at the end.
#[derive(Debug, Default)]
struct Outcome {
    /// Runs that did not end.
    unfinished: Vec<String>,
    /// Ends of which a client never heard.
    untold: Vec<String>,
    /// Clients that never got a heartbeat that shows them to be up to date.
    stuck: usize,
}

/// Everybody but the gateway.
async fn crowd(world: &Arc<World>, sandbox: Arc<Sandbox>, wanted: &Wanted) -> anyhow::Result<Outcome> {
    let tests = load::startable(&mut world.connect(WINDOW).await).await?;
    let mut watchers = JoinSet::new();
    let mut seed = wanted.seed;
    for (habit, count) in CROWD {
        for _ in 0..count {
            seed += 1;
            watchers.spawn(follow_all(world.clone(), habit, seed));
        }
    }
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        readers.spawn(load::read(world.clone(), seed + reader));
    }
    let mut followers = JoinSet::new();
    let busy = async {
        tokio::time::sleep(Duration::from_secs_f64(wanted.minutes * 60.0)).await;
        world.enter(Phase::Ending);
        Ok(())
    };
    let starts = async {
        load::start_runs(world.clone(), tests, seed + 1000, &mut followers).await;
        Ok(())
    };
    tokio::try_join!(busy, starts, load::trouble(world.clone(), &sandbox, seed + 2000))?;
    let mut outcome = Outcome { unfinished: load::settle(world, PATIENCE).await, ..Outcome::default() };
    world.enter(Phase::Over);
    let told = async {
        while let Some(untold) = watchers.join_next().await {
            outcome.untold.extend(untold?);
        }
        while let Some(followed) = followers.join_next().await {
            followed?;
        }
        Ok::<_, anyhow::Error>(())
    };
    if let Ok(told) = tokio::time::timeout(PATIENCE, told).await {
        told?;
    }
    outcome.stuck = watchers.len() + followers.len();
    world.enter(Phase::Gone);
    Ok(outcome)
}

fn tell(sandbox: &Sandbox, upstream: &str, command: &serde_json::Value) -> anyhow::Result<()> {
    sandbox.control(upstream, command).map_err(anyhow::Error::msg)?;
    Ok(())
}

/// Prints what there is to say, and fails where anything happened that must not.
fn report(world: &World, lives: &[Life], outcome: &Outcome) -> anyhow::Result<()> {
    println!(
        "\n  life  minutes  end      resident MB: first, last, most   its own: first, last   descriptors: most  CPU"
    );
    for (number, life) in lives.iter().enumerate() {
        let megabytes = |bytes: Option<u64>| bytes.unwrap_or_default() as f64 / 1e6;
        let (first, last) = (life.samples.first(), life.samples.last());
        println!(
            "  {:4}  {:7.1}  {:7}  {:18.1} {:5.1} {:5.1}   {:14.1} {:5.1}   {:17}  {:4.1} %  first reply {:.0} ms, {:.0} ms CPU",
            number + 1,
            life.lasted.as_secs_f64() / 60.0,
            life.end,
            megabytes(first.map(|sample| sample.resident)),
            megabytes(last.map(|sample| sample.resident)),
            megabytes(life.samples.iter().map(|sample| sample.resident).max()),
            megabytes(first.map(|sample| sample.own)),
            megabytes(last.map(|sample| sample.own)),
            life.samples.iter().map(|sample| sample.descriptors).max().unwrap_or_default(),
            100.0 * life.cpu.as_secs_f64() / life.lasted.as_secs_f64(),
            life.first_reply.as_secs_f64() * 1e3,
            life.first_reply_cpu.as_secs_f64() * 1e3,
        );
    }
    let (counts, mut delays) = world.report();
    println!();
    for (what, count) in counts {
        println!("  {count:8}  {what}");
    }
    delays.sort_unstable();
    let late =
        |part: usize| delays.get(delays.len() * part / 1000).copied().unwrap_or_default().as_secs_f64();
    let most = delays.last().copied().unwrap_or_default().as_secs_f64();
    println!(
        "  an end reaches those who stay after the first of them: p50 {:.3} s, p99 {:.3} s, most {most:.3} s",
        late(500),
        late(990),
    );
    let (runs, ended) = world.ledger(|ledger| (ledger.runs(), ledger.ended()));
    let faults = [Fault::Lost, Fault::Reverted, Fault::Refused].map(|fault| world.faults(fault));
    println!("  runs {runs}, ended {ended}");
    println!("  updates lost {}, reverted {}; answers refused {}", faults[0], faults[1], faults[2]);
    println!("  ends untold {}, clients stuck {}", outcome.untold.len(), outcome.stuck);
    for name in outcome.unfinished.iter().chain(&outcome.untold).take(40) {
        println!("    unfinished or untold: {name}");
    }
    let clean =
        faults == [0; 3] && outcome.unfinished.is_empty() && outcome.untold.is_empty() && outcome.stuck == 0;
    if clean { Ok(()) } else { bail!("the soak found something") }
}
