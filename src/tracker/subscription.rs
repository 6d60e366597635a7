//! What one stream has yet to send: one slot an execution, newest wins, so memory is bounded by the selection.

mod slots;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;

use slots::Slots;

use super::Published;
use super::lag::MAX_LAG;
use crate::model::filter::Filter;
use crate::model::{BackendId, Execution, ExecutionName, Scope, Timestamp};
use crate::tasks::LastWaker;

/// The most executions that one stream may select.
pub const MAX_SELECTION: usize = 10_000;

/// What a stream selects.
#[derive(Debug)]
pub(super) enum Selection {
    /// These executions.
    Names,
    /// Whatever this one has. In a box, as most streams have names.
    Parent(Box<Parent>),
}

/// What lies in a scope, passes the filter, and is unfinished or ended after `from`.
#[derive(Debug)]
pub(super) struct Parent {
    /// Where.
    pub(super) scope: Scope,
    /// Which of it.
    pub(super) filter: Option<Filter>,
    /// Older ends are not selected.
    pub(super) from: Timestamp,
}

impl Selection {
    /// Whether a state belongs to the selection. One that was in it (`known`) unfinished has ended while it was,
    /// whatever upstream's clock says.
    pub(super) fn matches(&self, execution: &Execution, known: bool) -> bool {
        match self {
            Self::Names => true,
            Self::Parent(parent) => {
                let Parent { scope, filter, from } = &**parent;
                // A name that somebody asked for may turn out not to exist.
                execution.observe_time.is_some()
                    && scope.contains(&execution.name)
                    && (known || !execution.is_done() || execution.end_time.is_none_or(|end| end >= *from))
                    && filter.as_ref().is_none_or(|filter| filter.matches(execution))
            }
        }
    }
}

/// Why an update is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is in the selection.
    Changed,
    /// It left the selection.
    Removed,
}

/// An update ready to be sent.
#[derive(Clone, Debug)]
pub struct Update {
    /// Why.
    pub change: Change,
    /// The whole state.
    pub execution: Arc<Published>,
    /// Where it stands in the order of all changes.
    pub position: u64,
    /// How many updates it stands for beyond itself.
    pub coalesced: i32,
}

/// The shared half of a stream: publishers offer, the stream takes.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) selection: Selection,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// What the stream is opened with and has not taken yet.
    opening: VecDeque<Arc<Published>>,
    slots: Slots,
    /// Whether something came that the stream has not looked at.
    news: bool,
    /// Whether the stream waits for it.
    waits: bool,
    /// Who is to be woken then.
    waker: LastWaker,
    /// Ends that are being saved, by name, with their places; they are offered next.
    expected: Vec<(ExecutionName, u64)>,
    /// What a stream by parent was told of and still believes selected.
    members: HashSet<ExecutionName>,
    /// Backends that the stream's caller may not see any more.
    lost: Vec<BackendId>,
    overflowed: bool,
    /// Until then the stream itself holds back what waits.
    held_until: Option<Instant>,
    /// How much was left of the opening when that was last looked at, and since when.
    left: Option<(usize, Instant)>,
    /// From then on updates could be sent: the opening was over.
    free_from: Option<Instant>,
    /// Its reader was too slow, and what waited was freed.
    given_up: bool,
}

/// What a stream finds when it looks up.
#[derive(Debug)]
pub struct Taken {
    /// Where the stream is of no use any more.
    pub broken: Option<Broken>,
    /// What was taken.
    pub update: Option<Update>,
    /// Everything up to this place was taken.
    pub up_to: u64,
    /// Whether anything else waits, held back or not.
    pub more: bool,
}

/// Why a stream is of no use any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// The selection outgrew [`MAX_SELECTION`].
    Overflowed,
    /// Its reader was too slow: what waited for it is gone.
    GivenUp,
}

impl Subscriber {
    pub(super) fn new(selection: Selection) -> Self {
        Self { selection, queue: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the stream knows an execution (it was in its snapshot).
    pub(super) fn admit(&self, name: &ExecutionName) {
        self.lock().members.insert(name.clone());
    }

    /// Notes that an execution has ended at a place and will be offered once that is saved: until then nobody may
    /// go on behind that place.
    pub(super) fn expect(&self, name: &ExecutionName, position: u64) {
        if self.concerns(name) {
            let mut queue = self.lock();
            queue.meet(name);
            queue.expected.push((name.clone(), position));
        }
    }

    /// Queues a state, if it concerns the stream.
    pub(super) fn offer(&self, execution: &Arc<Published>, position: u64, now: Instant) {
        let mut queue = self.lock();
        if queue.given_up {
            return;
        }
        queue.meet(&execution.name);
        if queue.lost.contains(&execution.name.backend) {
            return;
        }
        let change = if self.is_by_names() {
            Change::Changed
        } else if self.selection.matches(execution, queue.members.contains(&execution.name)) {
            if queue.members.len() >= MAX_SELECTION && !queue.members.contains(&execution.name) {
                queue.overflowed = true;
                queue.tell();
                return;
            }
            if execution.is_done() {
                // It never changes again, so it can't leave the selection either.
                queue.members.remove(&execution.name);
            } else {
                queue.members.insert(execution.name.clone());
            }
            Change::Changed
        } else if queue.members.remove(&execution.name) {
            Change::Removed
        } else {
            return;
        };
        queue.slots.put(Update { change, execution: execution.clone(), position, coalesced: 0 }, now);
        queue.tell();
    }

    /// Whether the selection is fixed, so that there is no need to know what is in it.
    fn is_by_names(&self) -> bool {
        matches!(self.selection, Selection::Names)
    }

    /// Whether an execution could ever belong to the selection.
    pub(super) fn concerns(&self, name: &ExecutionName) -> bool {
        match &self.selection {
            Selection::Names => true,
            Selection::Parent(parent) => parent.scope.contains(name),
        }
    }

    /// Queues a state that a resumed stream missed. `known`: it was there when the first stream of the token began.
    pub(super) fn catch_up(&self, execution: &Arc<Published>, position: u64, known: bool) {
        let selected = self.selection.matches(execution, known);
        let change = if selected { Change::Changed } else { Change::Removed };
        let mut queue = self.lock();
        if selected && !execution.is_done() && !self.is_by_names() {
            queue.members.insert(execution.name.clone());
        } else {
            queue.members.remove(&execution.name);
        }
        let missed = Update { change, execution: execution.clone(), position, coalesced: 0 };
        queue.slots.put(missed, Instant::now());
    }

    /// Queues the news that an execution does not exist after all.
    pub(super) fn remove(&self, execution: &Arc<Published>, position: u64) {
        let mut queue = self.lock();
        queue.members.remove(&execution.name);
        let news = Update { change: Change::Removed, execution: execution.clone(), position, coalesced: 0 };
        queue.slots.put(news, Instant::now());
        queue.tell();
    }

    /// Lets go of all that is in a backend: gives what the stream believes selected there, and offers no more of it.
    pub(super) fn lose(&self, backend: &BackendId) -> Vec<ExecutionName> {
        let mut queue = self.lock();
        queue.lost.push(backend.clone());
        queue.opening.retain(|execution| execution.name.backend != *backend);
        while queue.slots.take(|update| update.execution.name.backend != *backend).is_some() {}
        queue.expected.retain(|(name, _)| name.backend != *backend);
        queue.members.extract_if(|name| name.backend == *backend).collect()
    }

    /// Notes what the stream is to be opened with.
    pub(super) fn open_with(&self, snapshot: Vec<Arc<Published>>) {
        self.lock().opening = snapshot.into();
    }

    /// Takes what comes next of what the stream is opened with.
    pub(super) fn take_opening(&self) -> Option<Arc<Published>> {
        let mut queue = self.lock();
        let next = queue.opening.pop_front();
        if next.is_some() && queue.opening.is_empty() {
            queue.opening = VecDeque::new();
            queue.free_from = Some(Instant::now());
        }
        next
    }

    /// From now on what comes is news. Tells where the stream is of no use any more.
    pub(super) fn attend(&self) -> Option<Broken> {
        self.lock().attend()
    }

    /// Looks up: [`Self::attend`], [`Self::take`] and [`Self::taken_up_to`] at one moment.
    pub(super) fn look_up(&self, floor: u64, hold: impl FnMut(&Update) -> bool) -> Taken {
        let mut queue = self.lock();
        let broken = queue.attend();
        let update = queue.slots.take(hold);
        Taken { broken, update, up_to: queue.taken_up_to(floor), more: !queue.slots.is_empty() }
    }

    /// Waits for news. What is there is held back by the stream, until the given time.
    pub(super) fn poll_news(&self, cx: &Context<'_>, held_until: Option<Instant>) -> Poll<()> {
        let mut queue = self.lock();
        queue.held_until = held_until;
        if queue.news {
            return Poll::Ready(());
        }
        queue.waits = true;
        queue.waker.changes(cx);
        Poll::Pending
    }

    /// Has the stream look up.
    pub(super) fn wake(&self) {
        self.lock().tell();
    }

    /// Where something waits for too long, frees all that waits; the stream is of no use any more.
    pub(super) fn give_up_if_behind(&self, now: Instant) -> bool {
        let mut queue = self.lock();
        let behind = !queue.given_up && queue.is_behind(now);
        if behind {
            let (waits, waker) = (queue.waits, std::mem::take(&mut queue.waker));
            *queue = Queue { given_up: true, waits, waker, ..Queue::default() };
        }
        behind
    }

    /// Queues the news that an execution left the selection, where it was in it.
    pub(super) fn leave(&self, execution: &Arc<Published>, position: u64) {
        if self.lock().members.contains(&execution.name) {
            self.remove(execution, position);
        }
    }

    /// Takes the oldest update that `hold` does not keep back.
    pub(super) fn take(&self, hold: impl FnMut(&Update) -> bool) -> Option<Update> {
        self.lock().slots.take(hold)
    }

    /// Everything up to this place was taken; `floor` is what the opening covered.
    pub(super) fn taken_up_to(&self, floor: u64) -> u64 {
        self.lock().taken_up_to(floor)
    }

    /// Whether an update of an execution waits to be taken.
    pub(super) fn is_queued(&self, name: &ExecutionName) -> bool {
        self.lock().slots.has(name)
    }

    /// The executions that the stream believes selected.
    pub(super) fn members(&self) -> Vec<ExecutionName> {
        self.lock().members.iter().cloned().collect()
    }
}

impl Queue {
    fn attend(&mut self) -> Option<Broken> {
        self.news = false;
        match (self.overflowed, self.given_up) {
            (true, _) => Some(Broken::Overflowed),
            (_, true) => Some(Broken::GivenUp),
            _ => None,
        }
    }

    fn taken_up_to(&self, floor: u64) -> u64 {
        let expected = self.expected.iter().map(|(_, position)| position.saturating_sub(1)).min();
        self.slots.taken_up_to(floor).min(expected.unwrap_or(u64::MAX))
    }

    /// Says that there are news.
    fn tell(&mut self) {
        self.news = true;
        if std::mem::take(&mut self.waits) {
            self.waker.wake();
        }
    }

    /// Whether an update has waited for too long. A long opening may take its time as long as it goes on, which only
    /// looks tell.
    fn is_behind(&mut self, now: Instant) -> bool {
        let since = if self.opening.is_empty() {
            // What was held back, or could not be sent before the opening, has its time afterwards.
            self.slots.oldest().map(|queued_at| {
                [self.held_until, self.free_from].into_iter().flatten().fold(queued_at, Instant::max)
            })
        } else {
            let left = self.opening.len();
            let unchanged = self.left.filter(|(known, _)| *known == left);
            let (_, since) = *self.left.insert(unchanged.unwrap_or((left, now)));
            Some(since)
        };
        since.is_some_and(|since| now.duration_since(since) > MAX_LAG)
    }

    /// What was expected of an execution is there, or will be something else.
    fn meet(&mut self, name: &ExecutionName) {
        self.expected.retain(|(expected, _)| expected != name);
    }
}
