//! The gateway's process, restarted on the same store, and what each of its lives took.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use testgate::proto::v1;
use tokio::time::Instant;

use crate::gateway::{self, Settings, Upstreams};
use crate::process::Server;
use crate::world::{Phase, World};

/// The first sample is taken when clients are back and buffers have their size.
const WARM: Duration = Duration::from_secs(30);
const SAMPLE: Duration = Duration::from_secs(10);
const LINE: Duration = Duration::from_secs(60);

/// What one process took.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) first_reply: Duration,
    pub(crate) first_reply_cpu: Duration,
    pub(crate) lasted: Duration,
    pub(crate) cpu: Duration,
    pub(crate) samples: Vec<Sample>,
    pub(crate) end: &'static str,
}

/// What the system said of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) after: Duration,
    pub(crate) resident: u64,
    /// What of it is heap and stacks.
    pub(crate) own: u64,
    pub(crate) descriptors: usize,
}

impl Sample {
    fn of(server: &Server, born: Instant) -> anyhow::Result<Self> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid()?))?.count();
        let (resident, own) = (server.memory("VmRSS")?, server.memory("RssAnon")?);
        Ok(Self { after: born.elapsed(), resident, own, descriptors })
    }
}

/// Runs the gateway until the soak is over: ends it every now and then, in turns by SIGTERM and by SIGKILL, and starts
/// it again on the same store.
pub(crate) async fn live(
    world: &Arc<World>,
    folder: &Path,
    upstreams: &Upstreams,
    settings: &Settings,
    every: Duration,
) -> anyhow::Result<Vec<Life>> {
    let begun = Instant::now();
    let mut lives = Vec::new();
    let mut next_line = begun + LINE;
    loop {
        let server = gateway::start(folder, upstreams, settings).await?;
        let born = Instant::now();
        let mut life = Life {
            first_reply: server.first_reply,
            first_reply_cpu: server.first_reply_cpu,
            lasted: Duration::ZERO,
            cpu: Duration::ZERO,
            samples: Vec::new(),
            end: "SIGTERM",
        };
        while world.phase() != Phase::Gone && (born.elapsed() < every || world.phase() != Phase::Busy) {
            world.sleep(SAMPLE, Phase::Over).await;
            let sample = Sample::of(&server, born)?;
            if sample.after >= WARM {
                life.samples.push(sample);
            }
            if Instant::now() >= next_line {
                next_line += LINE;
                let unwell = unwell(&server).await;
                println!("{}", line(world, begun.elapsed(), lives.len() + 1, &sample, unwell));
            }
        }
        (life.lasted, life.cpu) = (born.elapsed(), server.cpu()?);
        let killed = lives.len() % 2 == 1 && world.phase() == Phase::Busy;
        if killed {
            let mut server = server;
            life.end = "SIGKILL";
            server.kill().await?;
        } else {
            server.stop().await?;
        }
        world.next_life(killed);
        lives.push(life);
        if world.phase() == Phase::Gone {
            return Ok(lives);
        }
    }
}

/// How many backends the gateway finds unwell, if it says so.
async fn unwell(server: &Server) -> Option<usize> {
    let mut client = server.client().await.ok()?;
    let listed = client.list_backends(v1::ListBackendsRequest::default()).await.ok()?;
    Some(listed.into_inner().backends.iter().filter(|backend| backend.condition.is_some()).count())
}

fn line(world: &World, elapsed: Duration, life: usize, sample: &Sample, unwell: Option<usize>) -> String {
    use crate::world::Fault::{Lost, Refused, Reverted};
    let (runs, ended) = world.ledger(|ledger| (ledger.runs(), ledger.ended()));
    format!(
        "{:5} s  life {life}: {:.1} MB, {:.1} its own, {} descriptors; {} of 3 backends unwell; \
         {runs} runs, {ended} ended; lost {}, reverted {}, refused {}",
        elapsed.as_secs(),
        sample.resident as f64 / 1e6,
        sample.own as f64 / 1e6,
        sample.descriptors,
        unwell.map_or("?".to_owned(), |count| count.to_string()),
        world.faults(Lost),
        world.faults(Reverted),
        world.faults(Refused),
    )
}
