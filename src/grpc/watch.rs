//! Following executions on a stream.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::backends::parse_filter;
use super::error::Failure;
use super::standing::{self, Standing};
use super::validate::{Violations, clamp};
use super::{Context, Inner};
use crate::auth::Held;
use crate::metrics::OpenStream;
use crate::model::filter::Schema;
use crate::model::{Execution, ExecutionName, Scope, Timestamp};
use crate::proto::encoded::{self, Event, ExecutionUpdate};
use crate::proto::v1::execution_update::Type;
use crate::proto::{convert, v1};
use crate::tasks::Phase as LifecyclePhase;
use crate::token::{Binding, Bound, Resume as ResumeToken, ResumePoint};
use crate::tracker::{Change, MAX_LAG, MAX_SELECTION, Resume, Update, Watch, WatchRequest};

const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);
const MAX_MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(60);

type Messages = Pin<Box<dyn Stream<Item = Result<encoded::WatchExecutionsResponse, Status>> + Send>>;

impl Inner {
    pub(super) async fn watch_executions(
        self: Arc<Self>,
        context: Context,
        request: v1::WatchExecutionsRequest,
    ) -> Result<Messages, Failure> {
        let mut violations = Violations::new();
        let by_parent = !request.parent.is_empty();
        match (by_parent, request.names.is_empty()) {
            (true, false) => violations.add("parent", "goes without `names`: give exactly one of them"),
            (false, true) => violations.add("names", "needs at least one name, or give `parent` instead"),
            _ => {}
        }
        let names = match request.names.is_empty() {
            true => Vec::new(),
            false => violations.names("names", &request.names, ExecutionName::parse),
        };
        let scope = by_parent.then(|| violations.name("parent", Scope::parse(&request.parent)));
        if !by_parent && !request.filter.is_empty() {
            violations.add("filter", "goes with `parent` only");
        }
        if by_parent && request.until_done {
            violations.add("until_done", "goes with `names` only");
        }
        let heartbeat = violations.duration("heartbeat_interval", request.heartbeat_interval.as_ref());
        let min_update = violations.duration("min_update_interval", request.min_update_interval.as_ref());
        let max_staleness = violations.duration("max_staleness", request.max_staleness.as_ref());
        violations.finish()?;
        let scope = scope.flatten().map(|scope| context.permit_scope(&self, scope)).transpose()?;
        let standing = match &scope {
            Some(scope) => Standing::of_scope(context.caller.clone(), scope),
            None => Standing::of_names(context.caller.clone(), &names),
        };
        standing.check()?;
        let counted = context.caller.open_stream(names.len())?;
        let filter = parse_filter(&request.filter, Schema::Executions)?;

        let bound = if by_parent {
            Binding::watch_parent(context.caller.subject(), &request.parent, &request.filter).finish()
        } else {
            Binding::watch_names(context.caller.subject(), request.names.iter().map(String::as_str)).finish()
        };
        let (resume, reset) = match request.resume_token.as_str() {
            "" => (None, false),
            token => match self.resume_tokens.open(&bound, token) {
                Ok(ResumeToken::Known(point)) if point.view == standing.view() => {
                    (Some(resume_of(point)?), false)
                }
                // Of a time when the caller saw other backends: nobody noted what it missed of them, so it begins
                // anew like one that is too old.
                Ok(ResumeToken::Known(point)) => (Some(resume_of(point)?), true),
                Ok(ResumeToken::OtherEpoch) => (None, true),
                Err(_) => return Err(Failure::resume_token_invalid()),
            },
        };
        let parent = scope.map(|scope| (scope, filter));
        let watch_request = WatchRequest { names, parent, resume, reset, max_staleness };
        let watch = self.tracker.watch(watch_request, context.caller.subject()).await?;
        let heartbeat = clamp(heartbeat.unwrap_or(DEFAULT_HEARTBEAT), MIN_HEARTBEAT..=MAX_HEARTBEAT);
        let (undone, ended_before) = if request.until_done { watch.awaited() } else { (HashSet::new(), 0) };
        let open = self.metrics.watch().open();
        let draining = Box::pin(self.lifecycle.draining());
        let feed = Feed {
            _open: open,
            service: self,
            bound,
            undone,
            until_done: request.until_done,
            done_count: i32::try_from(ended_before).unwrap_or(i32::MAX),
            heartbeat,
            next_heartbeat: Instant::now() + heartbeat,
            min_update: min_update.map(|interval| interval.min(MAX_MIN_UPDATE_INTERVAL)),
            sent_at: HashMap::new(),
            phase: Phase::Opening,
            alarm: Box::pin(tokio::time::sleep(heartbeat)),
            draining,
            standing,
            look_at: Instant::now(),
            watch,
            _counted: counted,
        };
        // In a box, because it is moved with each message.
        Ok(Box::pin(stream::unfold(Box::new(feed), |mut feed| async move {
            feed.next().await.map(|message| (message, feed))
        })))
    }
}

/// One open stream: what it still has to send.
struct Feed {
    _open: OpenStream,
    service: Arc<Inner>,
    watch: Watch,
    bound: Bound,
    /// The names that `until_done` still waits for.
    undone: HashSet<ExecutionName>,
    until_done: bool,
    done_count: i32,
    heartbeat: Duration,
    next_heartbeat: Instant,
    min_update: Option<Duration>,
    /// When each execution was last sent; kept only where the caller set a floor.
    sent_at: HashMap<ExecutionName, Instant>,
    phase: Phase,
    /// When there is something to do even if nothing changes.
    alarm: Pin<Box<Sleep>>,
    /// Like the alarm kept from message to message: to register anew for each costs more than to encode it.
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    standing: Standing,
    look_at: Instant,
    /// Counts among the caller's streams for as long as it is open.
    _counted: Held,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Opening,
    Live,
    Ended,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<encoded::WatchExecutionsResponse, Status>> {
        loop {
            if self.phase == Phase::Ended {
                return None;
            }
            if !self.standing.is_current()
                && let Err(failure) = Box::pin(self.look_again()).await
            {
                return self.end(failure);
            }
            if self.service.lifecycle.phase() == LifecyclePhase::Draining {
                return self.end(Failure::draining());
            }
            if self.watch.has_overflowed() {
                return self.end(Failure::selection_too_large(MAX_SELECTION));
            }
            if self.watch.is_given_up() {
                return self.end(Failure::watch_consumer_too_slow(MAX_LAG));
            }
            if self.phase == Phase::Opening {
                return Some(Ok(self.opening()));
            }
            if let Some(update) = self.take() {
                return Some(Ok(self.changed(&update)));
            }
            if self.until_done && self.undone.is_empty() {
                self.phase = Phase::Ended;
                let event = Event::Complete(v1::WatchComplete { done_count: self.done_count });
                return Some(Ok(self.message(event)));
            }
            // Only when nothing waits: a heartbeat says that the reader is up to date.
            if Instant::now() >= self.next_heartbeat {
                self.next_heartbeat = Instant::now() + self.heartbeat;
                let beat = self.beat();
                return Some(Ok(self.message(beat)));
            }
            let held = self.next_held();
            let wake = held.map_or(self.next_heartbeat, |held| held.min(self.next_heartbeat));
            // A heartbeat is an occasion as well, where it comes often enough.
            let wake = if self.heartbeat > standing::LOOK_EVERY { wake.min(self.next_look()) } else { wake };
            if self.alarm.deadline() != wake {
                self.alarm.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                () = self.watch.ready(held) => {}
                () = &mut self.alarm => {}
                () = &mut self.draining => return self.end(Failure::draining()),
            }
        }
    }

    /// When an idle stream looks again whether its caller may still see what it shows.
    fn next_look(&mut self) -> Instant {
        let now = Instant::now();
        if self.look_at <= now {
            self.look_at = now + standing::LOOK_EVERY;
        }
        self.look_at
    }

    /// Looks again at what the caller may see. What it may not see any more leaves the selection.
    async fn look_again(&mut self) -> Result<(), Failure> {
        let service = self.service.clone();
        let all = || service.tracker.backends().into_iter().map(|(info, _)| info.id).collect();
        let lost = self.standing.look(all).await?;
        if !lost.is_empty() {
            self.watch.lose(&lost);
        }
        Ok(())
    }

    fn end(&mut self, failure: Failure) -> Option<Result<encoded::WatchExecutionsResponse, Status>> {
        self.phase = Phase::Ended;
        self.service.metrics.watch().dropped(failure.reason());
        Some(Err(failure.into()))
    }

    /// The next message of the opening: a SNAPSHOT, or the mark that all of them were sent.
    fn opening(&mut self) -> encoded::WatchExecutionsResponse {
        if Instant::now() >= self.next_heartbeat {
            self.next_heartbeat = Instant::now() + self.heartbeat;
            return untokened(self.beat());
        }
        if let Some(execution) = self.watch.take_snapshot() {
            let update = ExecutionUpdate {
                r#type: Type::Snapshot.into(),
                execution: execution.encoded(),
                coalesced_count: 0,
            };
            self.service.metrics.watch().update(0);
            self.settle(&execution, false);
            return untokened(Event::Update(update));
        }
        // What a resumed stream missed comes before the mark, whatever rate the caller wants. On a new one an end that
        // was being saved while it opened is a change, and the mark would take it for something that the client knew.
        let opened_up_to = self.watch.position;
        if self.watch.is_resumed()
            && let Some(missed) = self.watch.take(|update| update.position > opened_up_to)
        {
            return untokened(Event::Update(self.update(&missed)));
        }
        self.phase = Phase::Live;
        self.message(Event::SnapshotComplete(v1::SnapshotComplete {
            reset: self.watch.reset,
            heartbeat_interval: Some(convert::from_duration(self.heartbeat)),
            max_staleness: self.watch.max_staleness.map(convert::from_duration),
            max_lag: Some(convert::from_duration(MAX_LAG)),
            unreachable: self.unreachable(),
        }))
    }

    /// Takes the next update that the caller's rate floor lets through.
    fn take(&mut self) -> Option<Update> {
        let Some(interval) = self.min_update else { return self.watch.take(|_| false) };
        let now = Instant::now();
        self.sent_at.retain(|_, sent| *sent + interval > now);
        let update = self.watch.take(|update| {
            !update.execution.is_done()
                && update.change == Change::Changed
                && self.sent_at.contains_key(&update.execution.name)
        })?;
        self.sent_at.insert(update.execution.name.clone(), now);
        Some(update)
    }

    /// When the first update that is held back may go.
    fn next_held(&self) -> Option<Instant> {
        let interval = self.min_update?;
        self.sent_at.values().min().map(|sent| *sent + interval)
    }

    fn changed(&mut self, update: &Update) -> encoded::WatchExecutionsResponse {
        let update = self.update(update);
        self.message(Event::Update(update))
    }

    fn update(&mut self, update: &Update) -> ExecutionUpdate {
        self.service.metrics.watch().update(update.coalesced);
        self.settle(&update.execution, update.change == Change::Removed);
        let kind = match update.change {
            Change::Changed => Type::Changed,
            Change::Removed => Type::Removed,
        };
        ExecutionUpdate {
            r#type: kind.into(),
            execution: update.execution.encoded(),
            coalesced_count: update.coalesced,
        }
    }

    /// Counts an execution that has ended, or that turned out not to exist.
    fn settle(&mut self, execution: &Execution, removed: bool) {
        if (execution.is_done() || removed) && self.undone.remove(&execution.name) {
            self.done_count = self.done_count.saturating_add(1);
        }
    }

    fn beat(&self) -> Event {
        Event::Heartbeat(v1::Heartbeat {
            oldest_observe_time: self.watch.oldest_observe_time().and_then(convert::from_time),
            unreachable: self.unreachable(),
            send_time: convert::from_time(self.service.tracker.now()),
            max_staleness: self.watch.max_staleness.map(convert::from_duration),
        })
    }

    fn message(&self, event: Event) -> encoded::WatchExecutionsResponse {
        let point = ResumePoint {
            position: self.watch.taken_up_to(),
            opened_at_ms: to_millis(self.watch.opened_at),
            covered_ms: to_millis(self.watch.covered()),
            view: self.standing.view(),
        };
        encoded::WatchExecutionsResponse {
            resume_token: self.service.resume_tokens.seal(&self.bound, point),
            event: Some(event),
        }
    }

    fn unreachable(&self) -> Vec<String> {
        self.watch.unreachable().iter().map(|id| format!("backends/{id}")).collect()
    }
}

/// The token stays empty during the opening: a stream that breaks off there opens anew.
fn untokened(event: Event) -> encoded::WatchExecutionsResponse {
    encoded::WatchExecutionsResponse { resume_token: String::new(), event: Some(event) }
}

fn resume_of(point: ResumePoint) -> Result<Resume, Failure> {
    let time = |millis| {
        let time = Timestamp::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
        time.map_err(|_| Failure::resume_token_invalid())
    };
    let (opened_at, covered) = (time(point.opened_at_ms)?, time(point.covered_ms)?);
    Ok(Resume { position: point.position, opened_at, covered })
}

fn to_millis(time: Timestamp) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
