//! Finds executions that were started elsewhere, for as long as somebody watches their parent.
//!
//! Where lists of all tests keep what is followed fresh anyhow, they find them too; elsewhere a task looks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Inner, Managed};
use crate::backend::{ListHint, Lists};
use crate::model::{BackendId, ExecutionName, TestId, Timestamp};

/// The pause between two looks where a task makes them.
const INTERVAL: Duration = Duration::from_secs(5);
/// What one look may take, its waits for the budget included.
const PATIENCE: Duration = Duration::from_secs(60);
/// What began so long before a look may have been missed by the one before.
const OVERLAP: Duration = Duration::from_secs(30);
/// What ended while nobody looked may have begun so long before: a full Connect instance works a queue off in less.
const LONGEST: Duration = Duration::from_secs(7200);
/// The pages of the newest that a first look goes through.
const FIRST_DEPTH: usize = 3;

/// The places of one backend that somebody watches.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// One for each place, however many watch it.
    places: Mutex<HashMap<Option<TestId>, Weak<Discovery>>>,
    walked: Notify,
}

/// What one walk through a list looks for.
#[derive(Debug)]
pub(super) struct Look {
    tests: Vec<Option<TestId>>,
    /// What ended earlier is not looked for.
    ended_from: Timestamp,
    /// When it began.
    began: Timestamp,
    /// Upstream's clock less ours.
    offset: time::Duration,
}

/// Keeps a place under observation while it is held.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) backend: BackendId,
    looks: Arc<Looks>,
    observed: Observed,
}

/// By whom a place is observed.
#[derive(Debug)]
enum Observed {
    /// By the poller, whose lists show it.
    ByPoller(Arc<Managed>),
    /// By a task of its own, until this is dropped.
    ByTask { _stop: tokio_util::sync::DropGuard },
}

/// What the looks at a place have shown, and what they are to show.
#[derive(Debug)]
struct Looks {
    seen: watch::Sender<Seen>,
    wanted: Mutex<Wanted>,
    /// A look is wanted before its time.
    early: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// What ended since this moment is wanted too.
    from: Timestamp,
    /// When that was asked for.
    asked: Instant,
    /// What the last look covered that could show ends: it counts once all lists were walked through.
    looked: Option<(Timestamp, Timestamp)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// `None` before the first look ended, then whether the last one succeeded.
    healthy: Option<bool>,
    /// All that ended between these two moments was seen.
    covered: Option<(Timestamp, Timestamp)>,
}

impl Seen {
    fn reaches_back_to(&self, since: Timestamp) -> bool {
        self.covered.is_some_and(|(from, _)| from <= since)
    }

    /// A look succeeded that covered what ended between two moments.
    fn succeed(&mut self, (from, until): (Timestamp, Timestamp)) {
        self.healthy = Some(true);
        let first = self.covered.map_or(from, |(first, _)| first.min(from));
        self.covered = Some((first, until));
    }
}

impl Looks {
    fn new(from: Timestamp) -> Self {
        let wanted = Wanted { from, asked: Instant::now(), looked: None };
        Self { seen: watch::Sender::default(), wanted: Mutex::new(wanted), early: Notify::new() }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing panics while the lock is held.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what ended since a moment looked for, if it was not yet. Whether a look is needed for that.
    fn reach_back_to(&self, since: Timestamp) -> bool {
        if self.seen.borrow().reaches_back_to(since) {
            return false;
        }
        let mut wanted = self.wanted();
        if since < wanted.from {
            (wanted.from, wanted.asked) = (since, Instant::now());
            self.early.notify_one();
            return true;
        }
        false
    }

    /// A look succeeded that showed what ended from a moment on.
    fn looked(&self, from: Timestamp, began: Timestamp) {
        let mut wanted = self.wanted();
        // Somebody may have asked for more meanwhile.
        if wanted.from >= from {
            wanted.from = began - 2 * INTERVAL;
        }
        wanted.looked = Some((from, began));
    }
}

impl Discovery {
    /// Waits until what ended since a moment was looked for, or a look failed.
    pub(super) async fn first_look(&self, since: Timestamp) {
        let mut seen = self.looks.seen.subscribe();
        let looked = seen.wait_for(|seen| seen.reaches_back_to(since) || seen.healthy == Some(false)).await;
        // Its task ends with the process only.
        drop(looked);
    }

    /// Whether the last look succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.looks.seen.borrow().healthy == Some(true)
    }

    /// Up to when everything that ended was seen, for somebody who saw what ended before `since`.
    pub(super) fn covered(&self, since: Timestamp) -> Timestamp {
        let seen = *self.looks.seen.borrow();
        match seen.covered {
            Some((_, until)) if seen.reaches_back_to(since) => until.max(since),
            _ => since,
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        match &self.observed {
            Observed::ByPoller(managed) => {
                managed.schedule.change(|agenda| agenda.select(false, Instant::now()));
            }
            Observed::ByTask { .. } => {}
        }
    }
}

/// How far looks reach back for a stream that begins at `since`, or, resumed, has seen what ended before: upstream
/// may show an end a little later, and the many that come back after a restart should want the same.
pub(super) fn reach(since: Timestamp, resumed: bool) -> Timestamp {
    if !resumed {
        return since - INTERVAL;
    }
    let reach = since - 2 * INTERVAL;
    reach.replace_second(0).and_then(|reach| reach.replace_nanosecond(0)).unwrap_or(reach)
}

impl Look {
    /// A look at one place, for what ended there since a moment on upstream's clock.
    pub(super) fn at(test: Option<&TestId>, ended_from: Option<Timestamp>) -> Self {
        let ended_from = ended_from.unwrap_or(Timestamp::UNIX_EPOCH);
        Self { tests: vec![test.cloned()], ended_from, began: ended_from, offset: time::Duration::ZERO }
    }

    /// Whether somebody watches a test's executions.
    pub(super) fn selects(&self, test: &TestId) -> bool {
        self.tests.iter().any(|selected| selected.as_ref().is_none_or(|selected| selected == test))
    }

    /// Whether what ended then, on upstream's clock, was seen before or is not looked for.
    pub(super) fn is_past(&self, end: Timestamp) -> bool {
        end < self.ended_from + self.offset
    }

    /// What began earlier, on upstream's clock, was seen by the look before, or is unfinished and on other lists.
    pub(super) fn begun_from(&self) -> Timestamp {
        let back = if self.began - self.ended_from > 3 * INTERVAL { LONGEST } else { OVERLAP };
        self.ended_from + self.offset - back
    }
}

impl Lookout {
    fn places(&self) -> MutexGuard<'_, HashMap<Option<TestId>, Weak<Discovery>>> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole map.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> Vec<(Option<TestId>, Arc<Discovery>)> {
        let mut places = self.places();
        places.retain(|_, place| place.strong_count() > 0);
        places.iter().filter_map(|(test, place)| Some((test.clone(), place.upgrade()?))).collect()
    }

    /// What a walk that begins now looks for.
    pub(super) fn look(&self, now: Timestamp, upstream_now: Timestamp) -> Look {
        let watched = self.watched();
        let ended_from = watched.iter().map(|(_, place)| place.looks.wanted().from).min();
        Look {
            tests: watched.into_iter().map(|(test, _)| test).collect(),
            ended_from: ended_from.unwrap_or(now),
            began: now,
            offset: upstream_now - now,
        }
    }

    /// A look succeeded that could show what has ended.
    pub(super) fn looked(&self, look: &Look) {
        for (test, place) in self.watched() {
            if look.tests.contains(&test) {
                place.looks.looked(look.ended_from, look.began);
            }
        }
    }

    /// Tells everyone who watches a place how the walks since they asked went. `swept` says so of all lists.
    pub(super) fn tell(&self, swept: impl Fn(Instant) -> Option<bool>) {
        for (_, place) in self.watched() {
            let wanted = *place.looks.wanted();
            match (swept(wanted.asked), wanted.looked) {
                (Some(true), Some(looked)) => {
                    place.looks.seen.send_modify(|seen| seen.succeed(looked));
                }
                (Some(false), _) => place.looks.seen.send_modify(|seen| seen.healthy = Some(false)),
                (Some(true), None) | (None, _) => {}
            }
        }
        self.walked.notify_waiters();
    }

    /// Waits until something that walks change is known.
    pub(super) async fn until(&self, known: impl Fn() -> Option<bool>) {
        loop {
            let walked = self.walked.notified();
            if known().is_some() {
                return;
            }
            walked.await;
        }
    }
}

impl Inner {
    /// Observes a place for as long as the answer is held, and looks for what ended there since a moment.
    pub(super) fn discover(
        self: &Arc<Self>,
        managed: &Arc<Managed>,
        test: Option<&TestId>,
        reach: Timestamp,
    ) -> Arc<Discovery> {
        let sweep = || managed.schedule.change(|agenda| agenda.sweep(FIRST_DEPTH, Instant::now()));
        let mut places = managed.lookout.places();
        if let Some(discovery) = places.get(&test.cloned()).and_then(Weak::upgrade) {
            if discovery.looks.reach_back_to(reach) {
                sweep();
            }
            return discovery;
        }
        let looks = Arc::new(Looks::new(reach));
        let by_poller = matches!(managed.setup.backend.polling().lists, Lists::ByState | Lists::Newest);
        let observed = if by_poller {
            managed.schedule.change(|agenda| agenda.select(true, Instant::now()));
            sweep();
            Observed::ByPoller(managed.clone())
        } else {
            let stop = self.tasks.token().child_token();
            let guard = stop.clone().drop_guard();
            let (inner, looks) = (self.clone(), looks.clone());
            let (managed, test) = (managed.clone(), test.cloned());
            self.tasks.spawn(format!("discovery {}", managed.id), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = inner.keep_looking(&managed, test.as_ref(), &looks) => {}
                }
            });
            Observed::ByTask { _stop: guard }
        };
        let discovery = Arc::new(Discovery { backend: managed.id.clone(), looks, observed });
        places.insert(test.cloned(), Arc::downgrade(&discovery));
        discovery
    }

    async fn keep_looking(self: &Arc<Self>, managed: &Managed, test: Option<&TestId>, looks: &Looks) {
        loop {
            let began = self.clock.now();
            let from = looks.wanted().from;
            let hint = ListHint { ended_from: Some(from), ..ListHint::default() };
            let looked = self.look(managed, test, &hint, Instant::now() + PATIENCE).await;
            self.keep_watched(managed, test);
            match looked {
                Ok(()) => {
                    looks.looked(from, began);
                    looks.seen.send_modify(|seen| seen.succeed((from, began)));
                }
                Err(error) => {
                    tracing::debug!(backend = %managed.id, %error, "a look for executions failed");
                    looks.seen.send_modify(|seen| seen.healthy = Some(false));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.max(managed.setup.poll_interval)) => {}
                () = looks.early.notified() => {}
            }
        }
    }

    /// Keeps following an execution for as long as somebody selects it by parent.
    pub(super) fn keep_followed(&self, name: &ExecutionName) {
        let now = Instant::now();
        if let Some(entry) = self.table().get_mut(name)
            && !entry.record.execution.is_done()
        {
            entry.idle_since = now;
            entry.followed_since.get_or_insert(now);
        }
    }

    /// Keeps what is followed at all watched places from being let go of.
    pub(super) fn keep_all_watched(&self, managed: &Managed) {
        for (test, _) in managed.lookout.watched() {
            self.keep_watched(managed, test.as_ref());
        }
    }

    /// Keeps what is followed at a watched place from being let go of, shown by upstream's list or not.
    fn keep_watched(&self, managed: &Managed, test: Option<&TestId>) {
        let now = Instant::now();
        self.table().keep_followed(now, |name| {
            name.backend == managed.id && test.is_none_or(|test| name.test == *test)
        });
    }
}
