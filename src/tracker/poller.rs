//! One task a backend does what its agenda says, within the backend's budget: walks through lists, reads executions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::planner::{Agenda, Durations, Facts, Next, Usual};
use super::{Inner, Managed};
use crate::backend::{Call, Priority};
use crate::model::{Execution, ExecutionName, Scope, State, TestId};
use crate::trace::Value;

/// How many executions of one backend are read at once.
const CONCURRENCY: usize = 8;
/// A poll that the budget does not let through for this long is given up and planned anew.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many stored executions are looked at for the past of a test.
const PAST: usize = 20;

/// A backend's agenda, and the bell that tells its poller of news.
#[derive(Debug)]
pub(super) struct Schedule {
    agenda: Mutex<Agenda>,
    durations: Mutex<Durations>,
    changed: Notify,
}

impl Schedule {
    pub(super) fn new(agenda: Agenda) -> Self {
        Self { agenda: Mutex::new(agenda), durations: Mutex::default(), changed: Notify::new() }
    }

    /// The agenda, for a look.
    pub(super) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole agenda.
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durations(&self) -> MutexGuard<'_, Durations> {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner)
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
                    reads.push(traced(&managed, "poll", poll(&inner, &managed, name)));
                } else {
                    managed.schedule.agenda().release(&name, Instant::now());
                }
                continue;
            }
            Next::Walk(view, depth) => {
                walks.push(traced(&managed, "list", inner.walk(&managed, view, depth)));
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

/// Has a poll be a trace of its own: it is for everybody who follows what it reads, and for no call.
async fn traced<T>(managed: &Managed, name: &'static str, work: impl Future<Output = T>) -> T {
    let backend = || vec![("testgate.backend", Value::Text(managed.id.to_string()))];
    managed.setup.tracer.root(name, backend, work).await
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

    /// Takes in how long an execution took that has come to its end.
    pub(super) fn note_duration(&self, execution: &Execution) {
        let Ok(managed) = self.managed(&execution.name.backend) else { return };
        let (test, mut durations) = (&execution.name.test, managed.schedule.durations());
        // Of a test that nobody asked about the store will tell this one too.
        if durations.know(test) {
            durations.add(test, took(execution));
        }
    }

    /// How long runs of a test take. What the store knows of that is looked up once.
    fn usual(&self, managed: &Managed, test: &TestId) -> Option<Usual> {
        if !managed.schedule.durations().know(test) {
            let scope = Scope { backend: Some(managed.id.clone()), test: Some(test.clone()), visible: None };
            let past = self.store.executions_in(&scope, None, PAST).unwrap_or_default();
            let mut past: Vec<_> = past.into_iter().map(|record| record.execution).collect();
            past.sort_by_key(|execution| execution.end_time);
            managed.schedule.durations().add(test, past.iter().filter_map(|execution| took(execution)));
        }
        managed.schedule.durations().usual(test)
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
        let mut facts = Facts {
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
        };
        let was_read = entry.read_at.is_some();
        drop(table);
        // Not for all that a start finds unfinished: the first reading is soon enough.
        if facts.state == State::Running && was_read {
            facts.usual =
                self.managed(&name.backend).ok().and_then(|managed| self.usual(managed, &name.test));
        }
        Some(facts)
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

/// How long an execution ran that came to its end by itself.
fn took(execution: &Execution) -> Option<Duration> {
    let began = execution.start_time.or(execution.create_time)?;
    let took = execution.end_time.filter(|_| execution.state == State::Completed)? - began;
    Duration::try_from(took).ok()
}
