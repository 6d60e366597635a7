//! One open stream: what it sends, and when.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;
use tonic::Status;

use super::super::Inner;
use super::super::error::Failure;
use super::super::standing::{self, Standing};
use super::alarm::Alarm;
use crate::auth::Held;
use crate::metrics::OpenStream;
use crate::model::{BackendId, Execution, ExecutionName, Timestamp};
use crate::proto::encoded::{Event, ExecutionUpdate, WatchExecutionsResponse};
use crate::proto::v1::execution_update::Type;
use crate::proto::{convert, v1};
use crate::tasks::Phase as LifecyclePhase;
use crate::token::{Bound, ResumePoint};
use crate::tracker::{Broken, Change, MAX_LAG, MAX_SELECTION, Taken, Update, Watch};

/// Heartbeats of all streams fall on so many moments of their interval, so that those of one connection leave in one
/// write: the first one comes by up to such a part of the interval early.
const MOMENTS: u32 = 16;

/// What was agreed with the caller.
pub(super) struct Terms {
    /// What resume tokens are bound to.
    pub(super) bound: Bound,
    /// As granted.
    pub(super) heartbeat: Duration,
    /// The least time between two updates of an execution.
    pub(super) min_update: Option<Duration>,
    /// Whether the stream ends once all are done.
    pub(super) until_done: bool,
}

/// One open stream: what it still has to send. Ten thousand may be open, so what few need is in boxes.
pub struct Feed {
    _open: OpenStream,
    service: Arc<Inner>,
    watch: Watch,
    bound: Bound,
    until_done: Option<Box<Awaited>>,
    heartbeat: Duration,
    next_heartbeat: Instant,
    floor: Option<Box<Floor>>,
    phase: Phase,
    /// Whether there was more when it last looked up.
    more: bool,
    /// When there is something to do even if nothing changes.
    alarm: Alarm,
    standing: Standing,
    /// A look at what the caller may see now, while it lasts.
    look: Option<Pin<Box<dyn Future<Output = Looked> + Send>>>,
    look_at: Instant,
    /// Counts among the caller's streams for as long as it is open.
    _counted: Held,
}

/// What `until_done` waits for.
struct Awaited {
    undone: HashSet<ExecutionName>,
    done_count: i32,
}

/// The rate that the caller wants at most.
struct Floor {
    interval: Duration,
    /// When each execution was last sent.
    sent_at: HashMap<ExecutionName, Instant>,
}

/// The caller as they are now, and what they may not see any more.
type Looked = (Standing, Result<Vec<BackendId>, Failure>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Opening,
    Live,
    Ended,
}

impl Feed {
    pub(super) fn new(
        service: Arc<Inner>,
        watch: Watch,
        terms: Terms,
        standing: Standing,
        counted: Held,
    ) -> Self {
        let Terms { bound, heartbeat, min_update, until_done } = terms;
        let until_done = until_done.then(|| {
            let (undone, ended_before) = watch.awaited();
            Box::new(Awaited { undone, done_count: i32::try_from(ended_before).unwrap_or(i32::MAX) })
        });
        let next_heartbeat = beat_after(service.began, Instant::now(), heartbeat);
        Self {
            _open: service.metrics.watch().open(),
            service,
            watch,
            bound,
            until_done,
            heartbeat,
            next_heartbeat,
            floor: min_update.map(|interval| Box::new(Floor { interval, sent_at: HashMap::new() })),
            phase: Phase::Opening,
            more: true,
            alarm: Alarm::new(next_heartbeat),
            standing,
            look: None,
            look_at: Instant::now(),
            _counted: counted,
        }
    }

    /// The next message, or why the stream ends before its time.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchExecutionsResponse, Failure>> {
        loop {
            if self.look.is_some() || !self.standing.is_current() {
                ready!(self.poll_look(cx))?;
            }
            let Taken { broken, update, up_to, more } = self.look_up();
            self.more = more;
            if self.service.lifecycle.phase() == LifecyclePhase::Draining {
                return Poll::Ready(Err(Failure::draining()));
            }
            if let Some(broken) = broken {
                return Poll::Ready(Err(match broken {
                    Broken::Overflowed => Failure::selection_too_large(MAX_SELECTION),
                    Broken::GivenUp => Failure::watch_consumer_too_slow(MAX_LAG),
                }));
            }
            if self.phase == Phase::Opening {
                return Poll::Ready(Ok(self.opening()));
            }
            if let Some(update) = update {
                let update = Event::Update(self.update(&update));
                return Poll::Ready(Ok(self.message_at(update, up_to)));
            }
            if let Some(awaited) = &self.until_done
                && awaited.undone.is_empty()
            {
                self.phase = Phase::Ended;
                let event = Event::Complete(v1::WatchComplete { done_count: awaited.done_count });
                return Poll::Ready(Ok(self.message(event)));
            }
            // Only when nothing waits: a heartbeat says that the reader is up to date.
            let now = Instant::now();
            if let Some(beat) = self.beat_if_due(now) {
                return Poll::Ready(Ok(self.message(beat)));
            }
            ready!(self.poll_occasion(now, cx));
        }
    }

    /// Whether there is more to send at once, if the caller's rate floor lets it through.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Waits until there may be something to do.
    fn poll_occasion(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let held = self.next_held();
        let wake = held.map_or(self.next_heartbeat, |held| held.min(self.next_heartbeat));
        // A heartbeat is an occasion as well, where it comes often enough.
        let wake = if self.heartbeat > standing::LOOK_EVERY { wake.min(self.next_look(now)) } else { wake };
        match self.watch.poll_news(cx, held) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.alarm.poll_at(wake, now, cx),
        }
    }

    /// When an idle stream looks again whether its caller may still see what it shows.
    fn next_look(&mut self, now: Instant) -> Instant {
        if self.look_at <= now {
            self.look_at = now + standing::LOOK_EVERY;
        }
        self.look_at
    }

    /// Looks again at what the caller may see. What it may not see any more leaves the selection.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let look = self.look.get_or_insert_with(|| {
            let (service, mut standing) = (self.service.clone(), self.standing.clone());
            Box::pin(async move {
                let all = || service.tracker.backends().into_iter().map(|(info, _)| info.id).collect();
                let lost = standing.look(all).await;
                (standing, lost)
            })
        });
        let (standing, lost) = ready!(look.as_mut().poll(cx));
        self.look = None;
        self.standing = standing;
        let lost = lost?;
        if !lost.is_empty() {
            self.watch.lose(&lost);
        }
        Poll::Ready(Ok(()))
    }

    /// The next message of the opening: a SNAPSHOT, or the mark that all of them were sent.
    fn opening(&mut self) -> WatchExecutionsResponse {
        if let Some(beat) = self.beat_if_due(Instant::now()) {
            return untokened(beat);
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

    /// Takes the next update that the caller's rate floor lets through; none before the opening is over.
    fn look_up(&mut self) -> Taken {
        if self.phase == Phase::Opening {
            return Taken { broken: self.watch.attend(), update: None, up_to: 0, more: true };
        }
        let Some(floor) = &mut self.floor else { return self.watch.look_up(|_| false) };
        let Floor { interval, sent_at } = &mut **floor;
        let now = Instant::now();
        sent_at.retain(|_, sent| *sent + *interval > now);
        let taken = self.watch.look_up(|update| {
            !update.execution.is_done()
                && update.change == Change::Changed
                && sent_at.contains_key(&update.execution.name)
        });
        if let Some(update) = &taken.update {
            sent_at.insert(update.execution.name.clone(), now);
        }
        taken
    }

    /// When the first update that is held back may go.
    fn next_held(&self) -> Option<Instant> {
        let floor = self.floor.as_ref()?;
        floor.sent_at.values().min().map(|sent| *sent + floor.interval)
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
        if let Some(awaited) = &mut self.until_done
            && (execution.is_done() || removed)
            && awaited.undone.remove(&execution.name)
        {
            awaited.done_count = awaited.done_count.saturating_add(1);
        }
    }

    /// A heartbeat, where it is time for one.
    fn beat_if_due(&mut self, now: Instant) -> Option<Event> {
        if now < self.next_heartbeat {
            return None;
        }
        self.next_heartbeat = beat_after(self.service.began, now, self.heartbeat);
        Some(Event::Heartbeat(v1::Heartbeat {
            oldest_observe_time: self.watch.oldest_observe_time().and_then(convert::from_time),
            unreachable: self.unreachable(),
            send_time: convert::from_time(self.service.tracker.now()),
            max_staleness: self.watch.max_staleness.map(convert::from_duration),
        }))
    }

    fn message(&self, event: Event) -> WatchExecutionsResponse {
        self.message_at(event, self.watch.taken_up_to())
    }

    /// A message after which everything up to a position was sent.
    fn message_at(&self, event: Event, position: u64) -> WatchExecutionsResponse {
        let point = ResumePoint {
            position,
            opened_at_ms: to_millis(self.watch.opened_at),
            covered_ms: to_millis(self.watch.covered()),
            view: self.standing.view(),
        };
        WatchExecutionsResponse {
            resume_token: self.service.resume_tokens.seal(&self.bound, point),
            event: Some(event),
        }
    }

    fn unreachable(&self) -> Vec<String> {
        self.watch.unreachable().iter().map(|id| format!("backends/{id}")).collect()
    }
}

impl Stream for Feed {
    type Item = Result<WatchExecutionsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.phase == Phase::Ended {
            return Poll::Ready(None);
        }
        let message = ready!(self.poll_message(cx));
        Poll::Ready(Some(message.map_err(|failure| {
            self.phase = Phase::Ended;
            self.service.metrics.watch().dropped(failure.reason());
            failure.into()
        })))
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// When the next heartbeat is due: an interval from now at the latest, at one of the moments that all streams share.
fn beat_after(began: Instant, now: Instant, interval: Duration) -> Instant {
    let (latest, step) = ((now + interval).saturating_duration_since(began), interval / MOMENTS);
    let steps = latest.as_nanos().checked_div(step.as_nanos());
    let moment = steps.and_then(|steps| step.checked_mul(u32::try_from(steps).ok()?));
    began + moment.unwrap_or(latest)
}

/// The token stays empty during the opening: a stream that breaks off there opens anew.
fn untokened(event: Event) -> WatchExecutionsResponse {
    WatchExecutionsResponse { resume_token: String::new(), event: Some(event) }
}

fn to_millis(time: Timestamp) -> i64 {
    time.unix_timestamp() * 1_000 + i64::from(time.millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heartbeats_are_never_late_hardly_early_and_fall_on_few_moments(
            up_ms in 0u64..1_000_000_000, interval_ms in 1_000u64..=60_000, other_ms in 0u64..120_000,
        ) {
            let (began, interval) = (Instant::now(), Duration::from_millis(interval_ms));
            let now = began + Duration::from_millis(up_ms);
            let first = beat_after(began, now, interval);
            let step = interval / MOMENTS;
            prop_assert!(first <= now + interval && first > now + interval - step);
            prop_assert_eq!(beat_after(began, first, interval), first + step * MOMENTS);
            // Whoever comes a little later has its heartbeats at the same moments, or between them by whole steps.
            let second = beat_after(began, now + Duration::from_millis(other_ms), interval);
            prop_assert_eq!((second - first).as_nanos() % step.as_nanos(), 0);
        }
    }
}
