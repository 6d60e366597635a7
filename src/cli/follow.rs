//! Following a watch through lost connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Status};

use super::client::Gateway;
use super::exit::Exit;
use super::failure::{Failure, is_lost, reason, retry_delay};
use super::render::note;
use super::rows;
use crate::proto::v1::execution_update::Type;
use crate::proto::v1::watch_executions_response::Event;
use crate::proto::v1::{Execution, ExecutionUpdate, WatchExecutionsRequest, WatchExecutionsResponse};

/// Heartbeats come this often unless the gateway grants otherwise.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream that misses so many heartbeats is taken as dead.
const MISSED_HEARTBEATS: u32 = 3;

/// When to try again after a lost connection; gives up when nothing has worked for two minutes.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    since: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
    const LONGEST_HINT: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Nothing has gone wrong yet.
    pub(crate) fn new() -> Self {
        Self { attempt: 0, since: None }
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether the trouble has only just begun.
    pub(crate) fn is_fresh(&self) -> bool {
        self.since.is_none()
    }

    /// How long to wait, at least what the gateway asks for; `None` when patience is at its end.
    pub(crate) fn next(&mut self, hint: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        if now.duration_since(*self.since.get_or_insert(now)) >= Self::PATIENCE {
            return None;
        }
        let step = Self::FIRST.saturating_mul(1 << self.attempt.min(8)).min(Self::LONGEST);
        self.attempt += 1;
        // Up to a quarter more, so that clients cut off together don't come back together.
        let spread = u32::from(uuid::Uuid::new_v4().into_bytes()[0]);
        let step = step + step * spread / 1024;
        Some(step.max(hint.unwrap_or_default().min(Self::LONGEST_HINT)))
    }
}

/// What a watch has shown so far.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    token: String,
    seen: BTreeMap<String, Seen>,
    /// What this stream's snapshot held, until the snapshot is whole.
    opening: BTreeSet<String>,
}

#[derive(Debug)]
struct Seen {
    execution: Execution,
    removed: bool,
}

/// What one message of a watch means to the one who follows.
#[derive(Debug)]
enum Step {
    /// Nothing new.
    Quiet,
    /// Something to show.
    Change(Box<ExecutionUpdate>),
    /// The heartbeat interval that was granted.
    Granted(Duration),
    /// The stream said its last word.
    Complete,
}

impl Selection {
    /// The latest state of all that was seen and not removed, by name.
    pub(crate) fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.seen.values().filter(|seen| !seen.removed).map(|seen| &seen.execution)
    }

    /// The exit code that all of it deserves.
    pub(crate) fn exit(&self) -> Exit {
        Exit::worst(self.seen.values().map(|seen| match (seen.removed, seen.execution.done) {
            (true, false) => Exit::Trouble, // gone upstream before it ended
            _ => Exit::of(&seen.execution),
        }))
    }

    /// Whether there was one.
    fn forget_token(&mut self) -> bool {
        !std::mem::take(&mut self.token).is_empty()
    }

    fn open(&mut self) {
        self.opening.clear();
    }

    fn apply(&mut self, message: WatchExecutionsResponse, by_names: bool) -> Step {
        let step = match message.event {
            Some(Event::Update(update)) => self.update(update, by_names),
            Some(Event::SnapshotComplete(whole)) => {
                if whole.reset {
                    let opening = std::mem::take(&mut self.opening);
                    self.seen.retain(|name, _| opening.contains(name));
                }
                for backend in &whole.unreachable {
                    note(format!("{backend} was not read yet; its executions come later"));
                }
                let granted = whole.heartbeat_interval.and_then(|granted| Duration::try_from(granted).ok());
                Step::Granted(granted.filter(|granted| !granted.is_zero()).unwrap_or(HEARTBEAT))
            }
            Some(Event::Complete(_)) => Step::Complete,
            Some(Event::Heartbeat(_)) | None => Step::Quiet,
        };
        // Only what was processed is covered by the token.
        if !message.resume_token.is_empty() {
            self.token = message.resume_token;
        }
        step
    }

    fn update(&mut self, update: ExecutionUpdate, by_names: bool) -> Step {
        let Some(execution) = update.execution.clone() else { return Step::Quiet };
        let kind = update.r#type();
        let known = self.seen.get(&execution.name);
        if kind == Type::Snapshot {
            self.opening.insert(execution.name.clone());
        }
        let news = match (known, kind) {
            (None, _) => true,
            (Some(known), Type::Removed) => !known.removed,
            // A snapshot replaces whatever was known: after a reset the revisions are another store's.
            (Some(known), Type::Snapshot) => known.removed || known.execution != execution,
            (Some(known), Type::Changed | Type::Unspecified) => {
                known.removed || execution.revision > known.execution.revision
            }
        };
        if !news {
            return Step::Quiet;
        }
        let removed = kind == Type::Removed;
        if removed && !by_names {
            // A live selection would otherwise grow for ever.
            self.seen.remove(&execution.name);
        } else {
            self.seen.insert(execution.name.clone(), Seen { execution, removed });
        }
        Step::Change(Box::new(update))
    }
}

/// Follows a watch to its `complete`, resuming it whenever it is cut off.
pub(crate) async fn follow(
    gateway: &Gateway,
    request: &WatchExecutionsRequest,
    selection: &RefCell<Selection>,
    mut show: impl FnMut(&ExecutionUpdate) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut backoff = Backoff::new();
    loop {
        selection.borrow_mut().open();
        let broken = match one_stream(gateway, request, selection, &mut backoff, &mut show).await? {
            None => return Ok(()),
            Some(status) => status,
        };
        match reason(&broken).as_deref() {
            // A token can outlive the store that knows it; without one the state comes afresh.
            Some("RESUME_TOKEN_INVALID") if selection.borrow_mut().forget_token() => {}
            Some("WATCH_CONSUMER_TOO_SLOW") => {}
            _ if is_lost(&broken) => {}
            _ => return Err(Failure::call("watch", broken)),
        }
        let fresh = backoff.is_fresh();
        let Some(wait) = backoff.next(retry_delay(&broken)) else {
            return Err(Failure::call("watch", broken));
        };
        if fresh {
            note("the watch was cut off; resuming");
        }
        tokio::time::sleep(wait).await;
    }
}

/// One stream: `None` when it is complete, else why it broke off.
async fn one_stream(
    gateway: &Gateway,
    request: &WatchExecutionsRequest,
    selection: &RefCell<Selection>,
    backoff: &mut Backoff,
    show: &mut impl FnMut(&ExecutionUpdate) -> Result<(), Failure>,
) -> Result<Option<Status>, Failure> {
    let by_names = request.parent.is_empty();
    let mut request = request.clone();
    request.resume_token.clone_from(&selection.borrow().token);
    let mut client = gateway.client();
    let opened =
        tokio::time::timeout(gateway.timeout(), client.watch_executions(Request::new(request))).await;
    let mut stream = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Ok(Some(status)),
        Err(_) => return Ok(Some(Status::unavailable("the watch did not open in time"))),
    };
    let mut heartbeat = HEARTBEAT;
    loop {
        let message = match tokio::time::timeout(heartbeat * MISSED_HEARTBEATS, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Ok(Some(Status::unavailable("the watch ended before it was complete"))),
            Ok(Err(status)) => return Ok(Some(status)),
            Err(_) => return Ok(Some(Status::unavailable("no heartbeat came"))),
        };
        backoff.reset();
        let step = selection.borrow_mut().apply(message, by_names);
        match step {
            Step::Quiet => {}
            Step::Change(update) => show(&update)?,
            Step::Granted(interval) => heartbeat = interval,
            Step::Complete => return Ok(None),
        }
    }
}

/// A change as one line without control bytes.
pub(crate) fn change_line(update: &ExecutionUpdate) -> String {
    let Some(execution) = &update.execution else { return String::new() };
    let mut parts = vec![execution.name.clone(), rows::state(execution)];
    if execution.done {
        parts.push(rows::verdict(execution.verdict));
    }
    if update.r#type() == Type::Removed {
        parts.push("(no longer selected)".into());
    }
    let counts = rows::counts(execution.counts.as_ref());
    if !counts.is_empty() {
        parts.push(counts);
    }
    if let Some(condition) = &execution.condition {
        parts.push(format!("[{}: {}]", condition.reason, condition.message));
    }
    if let Some(message) = execution.failure.as_ref().and_then(|failure| failure.messages.first()) {
        parts.push(format!("- {message}"));
    }
    super::render::clean(&parts.join("  "))
}

#[cfg(test)]
mod tests;
