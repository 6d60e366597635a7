//! Clients that follow: some stay, some come and go, some stall, and one for each run.

use std::sync::Arc;
use std::time::Duration;

use testgate::model::Timestamp;
use testgate::proto::v1;
use testgate::proto::v1::watch_executions_response::Event;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::ledger::{News, View};
use crate::world::{Dice, Fault, Phase, World, pause};

/// How often heartbeats are asked for.
const HEARTBEAT: prost_types::Duration = prost_types::Duration { seconds: 2, nanos: 0 };
/// A stream that says nothing for so long is not alive.
const SILENCE: Duration = Duration::from_secs(120);
/// What most streams may have unread.
pub(crate) const WINDOW: u32 = 64 * 1024;
/// What those may that stall, so that a few updates fill it.
const SMALL_WINDOW: u32 = 1024;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Without a pause.
    Stays,
    /// Leaves after some seconds, and comes back with its token.
    ComesAndGoes,
    /// Stops to read for up to a minute.
    Stalls,
}

/// One client that follows everything, across as many streams as it takes.
#[derive(Debug)]
struct Watcher {
    world: Arc<World>,
    habit: Habit,
    dice: Dice,
    view: View,
    token: String,
}

/// Follows everything until the soak is over. Returns the ends that it was never told.
pub(crate) async fn follow_all(world: Arc<World>, habit: Habit, seed: u64) -> Vec<String> {
    let mut watcher =
        Watcher { world, habit, dice: Dice::new(seed), view: View::default(), token: String::new() };
    while !watcher.is_content() {
        if let Err(status) = watcher.stream().await {
            let world = watcher.world.clone();
            world.count_failure("stream", &status);
            if status.code() == Code::InvalidArgument {
                world.fault(Fault::Refused, format!("a resume token: {}", status.message()));
                watcher.token.clear();
            }
            tokio::time::sleep(pause(&status)).await;
        }
    }
    let world = watcher.world.clone();
    world.ledger(|ledger| watcher.view.untold(ledger))
}

impl Watcher {
    /// Whether it may go: the soak is over, and the last heartbeat came after everything there is to know.
    fn is_content(&self) -> bool {
        self.world.phase() >= Phase::Over && self.world.ledger(|ledger| self.view.is_checked(ledger))
    }

    /// One stream, until it ends or the habit ends it.
    async fn stream(&mut self) -> Result<(), Status> {
        let world = self.world.clone();
        let window = if self.habit == Habit::Stalls { SMALL_WINDOW } else { WINDOW };
        let mut client = world.connect(window).await;
        let life = world.life();
        let request = v1::WatchExecutionsRequest {
            parent: "backends/-/tests/-".to_owned(),
            resume_token: self.token.clone(),
            heartbeat_interval: Some(HEARTBEAT),
            ..Default::default()
        };
        let mut stream = client.watch_executions(request).await?.into_inner();
        self.view.opened();
        world.count("streams");
        // Whose it is must be certain before what it tells counts as told by that process.
        let trusted = self.habit == Habit::Stays && world.life() == life;
        let mut next_whim = self.whim();
        let mut opened = false;
        loop {
            if self.is_content() {
                return Ok(());
            }
            if next_whim.is_some_and(|at| Instant::now() >= at) && world.phase() == Phase::Busy {
                match self.habit {
                    Habit::Stays => {}
                    Habit::ComesAndGoes => {
                        drop(stream);
                        let away = self.dice.millis(0, 10_000);
                        world.sleep(away, Phase::Busy).await;
                        return Ok(());
                    }
                    Habit::Stalls => {
                        let stalled = self.dice.millis(5_000, 60_000);
                        world.sleep(stalled, Phase::Busy).await;
                        next_whim = self.whim();
                    }
                }
            }
            let Some(message) = next(&mut stream).await? else {
                return Err(Status::unavailable("the stream ended without a reason"));
            };
            if !message.resume_token.is_empty() {
                self.token.clone_from(&message.resume_token);
            }
            match message.event {
                Some(Event::Update(update)) => {
                    if let Some(execution) = update.execution {
                        self.update(&execution, trusted && world.life() == life);
                    }
                }
                Some(Event::SnapshotComplete(complete)) => {
                    if complete.reset {
                        world.count("resets");
                    }
                    world.ledger(|ledger| self.view.opening_is_over(ledger, complete.reset));
                    opened = true;
                }
                Some(Event::Heartbeat(beat)) if opened => {
                    let lost = sent(&beat)
                        .map(|sent| world.ledger(|ledger| self.view.heartbeat(ledger, sent)))
                        .unwrap_or_default();
                    for what in lost {
                        world.fault(Fault::Lost, format!("{:?}: {what}", self.habit));
                    }
                }
                _ => {}
            }
        }
    }

    fn update(&mut self, execution: &v1::Execution, trusted: bool) {
        let world = self.world.clone();
        world.count("updates");
        match self.view.update(execution) {
            News::Reverted => world.fault(Fault::Reverted, format!("{:?}: {execution:?}", self.habit)),
            News::End if self.habit == Habit::Stays => world.learned(&execution.name),
            News::End | News::Fine => {}
        }
        if trusted {
            let now = world.now();
            world.ledger(|ledger| ledger.seen(execution, now));
        }
    }

    /// When it does next what its habit is.
    fn whim(&mut self) -> Option<Instant> {
        match self.habit {
            Habit::Stays => None,
            Habit::ComesAndGoes => Some(Instant::now() + self.dice.millis(1_000, 20_000)),
            Habit::Stalls => Some(Instant::now() + self.dice.millis(5_000, 30_000)),
        }
    }
}

/// Follows one run to its end, whatever happens to the gateway meanwhile.
pub(crate) async fn follow_one(world: Arc<World>, name: String) {
    let mut view = View::default();
    let mut token = String::new();
    loop {
        let mut client = world.connect(WINDOW).await;
        let request = v1::WatchExecutionsRequest {
            names: vec![name.clone()],
            until_done: true,
            resume_token: token.clone(),
            heartbeat_interval: Some(HEARTBEAT),
            ..Default::default()
        };
        let status = match client.watch_executions(request).await {
            Ok(stream) => match read_one(&world, stream.into_inner(), &mut view, &mut token).await {
                Ok(done) if done => return world.count("runs followed to their end by name"),
                Ok(_) => {
                    return world.fault(Fault::Lost, format!("{name}: `complete` came without its end"));
                }
                Err(status) => status,
            },
            Err(status) => status,
        };
        world.count_failure("stream of one run", &status);
        if matches!(status.code(), Code::NotFound | Code::InvalidArgument) {
            return world.fault(Fault::Refused, format!("{name}: {status}"));
        }
        tokio::time::sleep(pause(&status)).await;
    }
}

/// Reads such a stream to its `complete`; says whether the end was told before.
async fn read_one(
    world: &World,
    mut stream: Streaming<v1::WatchExecutionsResponse>,
    view: &mut View,
    token: &mut String,
) -> Result<bool, Status> {
    view.opened();
    while let Some(message) = next(&mut stream).await? {
        if !message.resume_token.is_empty() {
            *token = message.resume_token;
        }
        match message.event {
            Some(Event::Update(update)) => {
                if let Some(execution) = update.execution
                    && view.update(&execution) == News::Reverted
                {
                    world.fault(Fault::Reverted, format!("by name: {execution:?}"));
                }
            }
            Some(Event::Complete(_)) => return Ok(view.knows_an_end()),
            _ => {}
        }
    }
    Err(Status::unavailable("the stream ended without a reason"))
}

/// The next message of a stream that is alive.
async fn next(
    stream: &mut Streaming<v1::WatchExecutionsResponse>,
) -> Result<Option<v1::WatchExecutionsResponse>, Status> {
    let silent = |_| Status::deadline_exceeded("no heartbeat for two minutes");
    tokio::time::timeout(SILENCE, stream.message()).await.map_err(silent)?
}

fn sent(beat: &v1::Heartbeat) -> Option<Timestamp> {
    let at = beat.send_time.as_ref()?;
    let seconds = Timestamp::from_unix_timestamp(at.seconds).ok()?;
    Some(seconds + Duration::from_nanos(at.nanos.try_into().ok()?))
}
