//! One task a backend does what its agenda says, within the backend's budget: walks through lists, reads executions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::planner::{Agenda, Facts, Next};
use super::{Inner, Managed};
use crate::backend::{Call, Priority};
use crate::model::ExecutionName;

/// How many executions of one backend are read at once.
const CONCURRENCY: usize = 8;
/// A poll that the budget does not let through for this long is given up and planned anew.
const PATIENCE: Duration = Duration::from_secs(300);

/// A backend's agenda, and the bell that tells its poller of news.
#[derive(Debug)]
pub(super) struct Schedule {
    agenda: Mutex<Agenda>,
    changed: Notify,
}

impl Schedule {
    pub(super) fn new(agenda: Agenda) -> Self {
        Self { agenda: Mutex::new(agenda), changed: Notify::new() }
    }

    /// The agenda, for a look.
    pub(super) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole agenda.
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the agenda and wakes the poller.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Agenda) -> T) -> T {
        let result = change(&mut self.agenda());
        self.changed.notify_one();
        result
    }
}

/// Polls until the process ends.
pub(super) async fn run(inner: Arc<Inner>, managed: Arc<Managed>) {
    let mut reads = FuturesUnordered::new();
    let mut walks = FuturesUnordered::new();
    loop {
        let polling = managed.setup.backend.polling();
        let room = reads.len() < CONCURRENCY;
        let next = managed.schedule.agenda().next(Instant::now(), &polling, room);
        let wake = match next {
            Next::Read(name) => {
                if inner.begin_poll(&name) {
                    reads.push(poll(&inner, &managed, name));
                } else {
                    managed.schedule.agenda().release(&name, Instant::now());
                }
                continue;
            }
            Next::Walk(view, depth) => {
                walks.push(inner.walk(&managed, view, depth));
                continue;
            }
            Next::At(moment) => Some(moment),
            Next::Nothing => None,
        };
        tokio::select! {
            Some(name) = reads.next(), if !reads.is_empty() => inner.end_poll(&managed, &name),
            Some(()) = walks.next(), if !walks.is_empty() => {}
            () = sleep_until(wake), if wake.is_some() => {}
            () = managed.schedule.changed.notified() => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake).await;
    }
}

async fn poll(inner: &Arc<Inner>, managed: &Managed, name: ExecutionName) -> ExecutionName {
    let call =
        Call { deadline: Instant::now() + PATIENCE, priority: Priority::Followed, caller: Arc::from("") };
    if let Err(error) = inner.read(&name, &call).await {
        tracing::debug!(execution = %name, %error, "poll failed");
    }
    if let Some(due) = managed.schedule.agenda().due(&name) {
        managed.setup.metrics.polled(due.elapsed());
    }
    name
}

impl Inner {
    /// Whether an execution is still followed; marks the entry as being polled.
    fn begin_poll(&self, name: &ExecutionName) -> bool {
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return false };
        entry.polling = entry.is_followed(Instant::now());
        entry.polling
    }

    /// Has the next reading planned after one has ended.
    fn end_poll(&self, managed: &Managed, name: &ExecutionName) {
        if let Some(entry) = self.table().get_mut(name) {
            entry.polling = false;
        }
        let now = Instant::now();
        match self.facts(name, now) {
            Some(facts) => managed.schedule.agenda().read(name, facts, now),
            None => managed.schedule.agenda().release(name, now),
        }
    }

    /// What the planner needs to know of an execution; `None` where it is not followed any more.
    pub(super) fn facts(&self, name: &ExecutionName, now: Instant) -> Option<Facts> {
        let mut table = self.table();
        let entry = table.get_mut(name)?;
        if !entry.is_followed(now) {
            entry.followed_since = None;
            return None;
        }
        entry.followed_since.get_or_insert(now);
        let execution = &entry.record.execution;
        let began = execution.start_time.or(execution.create_time).unwrap_or(entry.record.first_seen);
        Some(Facts {
            state: execution.state,
            age: self.clock.since(began),
            usual: None,
            watched: entry.followers > 0,
            wanted_staleness: entry.wanted_staleness,
            listable: execution.observe_time.is_some()
                && (!name.execution.is_minted() || !execution.upstream_id.is_empty()),
            failures: entry.failures,
            retry_after: entry.retry_after,
            gone: entry.record.gone_since.is_some(),
        })
    }

    /// Makes sure that an execution that became followed is kept fresh; where it is read by itself, within this time.
    pub(super) fn follow_up(&self, name: &ExecutionName, within: Duration) {
        let Ok(managed) = self.managed(&name.backend) else { return };
        let now = Instant::now();
        if let Some(facts) = self.facts(name, now) {
            managed.schedule.change(|agenda| agenda.follow(name, facts, within, now));
        }
    }

    /// Has an execution that is followed read as soon as the budget allows.
    pub(super) fn hurry(&self, name: &ExecutionName) {
        let Ok(managed) = self.managed(&name.backend) else { return };
        let now = Instant::now();
        if let Some(facts) = self.facts(name, now) {
            managed.schedule.change(|agenda| {
                agenda.follow(name, facts, Duration::ZERO, now);
                agenda.hurry(name, now);
            });
        }
    }
}
