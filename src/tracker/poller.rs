//! One task a backend reads what is followed, at the planner's pace, within the backend's budget.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Inner, Managed, planner};
use crate::backend::{Call, Priority};
use crate::model::ExecutionName;

/// How many polls of one backend wait for its budget at once.
const CONCURRENCY: usize = 8;
/// A poll that the budget does not let through for this long is given up and planned anew.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is to be read when. A place is void unless the entry's `due` agrees with it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: Mutex<BinaryHeap<Reverse<(Instant, ExecutionName)>>>,
    changed: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Instant, ExecutionName)>>> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole heap.
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, name: ExecutionName, due: Instant) {
        self.lock().push(Reverse((due, name)));
        self.changed.notify_one();
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock().peek().map(|Reverse((due, _))| *due)
    }

    fn pop_due(&self, now: Instant) -> Option<(Instant, ExecutionName)> {
        let mut heap = self.lock();
        if heap.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            heap.pop().map(|Reverse(place)| place)
        } else {
            None
        }
    }
}

/// Polls until the process ends.
pub(super) async fn run(inner: Arc<Inner>, managed: Arc<Managed>) {
    let mut polls = FuturesUnordered::new();
    loop {
        while polls.len() < CONCURRENCY
            && let Some((due, name)) = managed.queue.pop_due(Instant::now())
        {
            if inner.begin_poll(&name, due) {
                polls.push(poll(&inner, &managed, name, due));
            }
        }
        let room = polls.len() < CONCURRENCY;
        let next_due = managed.queue.next_due().filter(|_| room);
        tokio::select! {
            Some(name) = polls.next(), if !polls.is_empty() => inner.plan(&managed, &name),
            () = sleep_until(next_due), if next_due.is_some() => {}
            () = managed.queue.changed.notified() => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

async fn poll(inner: &Arc<Inner>, managed: &Managed, name: ExecutionName, due: Instant) -> ExecutionName {
    let call =
        Call { deadline: Instant::now() + PATIENCE, priority: Priority::Followed, caller: Arc::from("") };
    if let Err(error) = inner.read(&name, &call).await {
        tracing::debug!(execution = %name, %error, "poll failed");
    }
    managed.setup.metrics.polled(due.elapsed());
    name
}

impl Inner {
    /// Whether a place in the queue still stands; marks the entry as being polled.
    fn begin_poll(&self, name: &ExecutionName, due: Instant) -> bool {
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return false };
        if entry.due != Some(due) || entry.polling {
            return false;
        }
        entry.due = None;
        entry.polling = entry.is_followed(Instant::now());
        entry.polling
    }

    /// Plans the next reading after one has ended.
    fn plan(&self, managed: &Managed, name: &ExecutionName) {
        let now = Instant::now();
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return };
        entry.polling = false;
        if !entry.is_followed(now) {
            entry.followed_since = None;
            return;
        }
        let execution = &entry.record.execution;
        let created = execution.create_time.unwrap_or(entry.record.first_seen);
        let facts = planner::Facts {
            state: execution.state,
            age: self.clock.since(created),
            poll_interval: managed.setup.poll_interval,
            wanted_staleness: entry.wanted_staleness,
            failures: entry.failures,
            retry_after: entry.retry_after,
            gone: entry.record.gone_since.is_some(),
        };
        if let Some(pause) = planner::next_pause(&facts) {
            let due = now + pause;
            entry.due = Some(due);
            drop(table);
            managed.queue.push(name.clone(), due);
        }
    }

    /// Makes sure that an execution that became followed is polled, at the latest after `within`.
    pub(super) fn follow_up(&self, name: &ExecutionName, within: Duration) {
        let Ok(managed) = self.managed(&name.backend) else { return };
        let now = Instant::now();
        let due = now + within;
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return };
        if !entry.is_followed(now) || entry.polling || entry.due.is_some_and(|planned| planned <= due) {
            return;
        }
        entry.followed_since.get_or_insert(now);
        entry.due = Some(due);
        drop(table);
        managed.queue.push(name.clone(), due);
    }
}
