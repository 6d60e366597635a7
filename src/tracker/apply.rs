//! What a reading changes: applied to what is known, saved, and shown to everybody; an end only once it is on disk.

use std::sync::Arc;

use tokio::time::Instant;

use super::table::Change;
use super::{Inner, Managed, Published, planner};
use crate::backend::{BackendError, ErrorKind};
use crate::model::{Execution, ExecutionId, ExecutionName, Observation};
use crate::store::Record;

impl Inner {
    /// Takes a reading in and publishes what it changed. `adjust` runs first, on a fresh record too, and says whether
    /// it changed anything. An end is shown a little later: see [`Self::shown`].
    pub(super) fn absorb(
        self: &Arc<Self>,
        name: &ExecutionName,
        observation: Observation,
        adjust: impl FnOnce(&mut Record, bool) -> bool,
    ) -> Arc<Published> {
        let known = if self.table().get(name).is_none() { self.store.get(name).ok().flatten() } else { None };
        let (now, wall) = (Instant::now(), self.clock.now());
        let mut table = self.table();
        let record = || known.unwrap_or_else(|| self.unread(name));
        if name.execution.is_minted()
            && let Ok(id) = ExecutionId::new(&observation.upstream_id)
        {
            let run = name.test_name().execution(id);
            if table.is_of_another(&run, name) {
                // Two that were read side by side found one run: the second has to look again.
                let entry = table.entry(record, name, now);
                entry.idle_since = now;
                return entry.execution();
            }
            table.add_alias(run, name.clone());
        }
        let entry = table.entry(record, name, now);
        entry.idle_since = now;
        entry.read_at = Some(now);
        entry.failures = 0;
        entry.retry_after = None;
        let change = table.publish(name, &self.store, |record| {
            let first = record.execution.observe_time.is_none();
            let adjusted = adjust(record, first);
            record.settling.clone_from(&observation.settling);
            record.gone_since = None;
            // What has ended is not copied for a reading that can't change it.
            let changed = !record.execution.is_done() && record.execution.observe(observation, wall);
            changed || first || adjusted
        });
        drop(table);
        // `entry` above made sure that there is one.
        self.conclude(change).unwrap_or_else(|| Published::new(Execution::unread(name.clone())))
    }

    /// Makes sure that an execution has an entry, read or not.
    pub(super) fn hold_entry(&self, name: &ExecutionName) {
        let known = if self.table().get(name).is_none() { self.store.get(name).ok().flatten() } else { None };
        self.table().entry(|| known.unwrap_or_else(|| self.unread(name)), name, Instant::now());
    }

    /// Notes a failed reading: a condition at most, LOST when upstream says twice that it is gone.
    pub(super) fn note_failure(self: &Arc<Self>, name: &ExecutionName, error: &BackendError) {
        if error.kind.is_of_one_call() {
            return;
        }
        let wall = self.clock.now();
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.retry_after = error.retry_after;
        let never_seen = entry.record.execution.observe_time.is_none();
        let missing = error.is_gone() || error.kind == ErrorKind::ResourceNotFound;
        if never_seen && missing {
            // It never existed here: streams that hold its name are told, and it is not polled again.
            entry.record.execution.note_trouble(error.kind.reason(), &error.message, wall);
            entry.record.execution.revision = self.store.next_revision();
            let state = Published::new(entry.record.execution.clone());
            let position = self.store.next_position();
            for subscriber in &entry.subscribers {
                subscriber.remove(&state, position);
            }
            table.drop_entry(name);
            return;
        }
        let gone = error.is_gone();
        let change = table.publish(name, &self.store, |record| {
            if gone {
                let since = *record.gone_since.get_or_insert(wall);
                if wall - since >= planner::GONE_AFTER {
                    return record.execution.lose("upstream no longer knows it", wall);
                }
            } else {
                record.gone_since = None;
            }
            record.execution.note_trouble(error.kind.reason(), &error.message, wall)
        });
        drop(table);
        self.conclude(change);
    }

    /// Ends what has been followed for longer than its backend's deadline, if it `concerns` that.
    pub(super) fn lose_overdue(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        concerns: impl FnOnce(&Record) -> bool,
    ) {
        let wall = self.clock.now();
        let deadline = managed.setup.tracking_deadline;
        let mut table = self.table();
        let overdue = |record: &Record| self.clock.since(record.first_seen) > deadline && concerns(record);
        if table.get(name).is_none_or(|entry| !overdue(&entry.record)) {
            return;
        }
        let deadline = humantime::format_duration(deadline);
        let why = format!("no end was seen within {deadline} of following it");
        let change = table.publish(name, &self.store, |record| record.execution.lose(why, wall));
        drop(table);
        self.conclude(change);
    }

    /// Sees a change to its end: the end of an execution is saved before anybody is told. Returns what is shown now.
    pub(super) fn conclude(self: &Arc<Self>, change: Option<Change>) -> Option<Arc<Published>> {
        let Change { shown, end } = change?;
        if let Some(record) = end {
            let inner = self.clone();
            self.tasks.spawn("end of an execution", async move { inner.save_and_announce(record).await });
        }
        Some(shown)
    }

    async fn save_and_announce(&self, record: Box<Record>) {
        let (name, position) = (record.execution.name.clone(), record.position);
        let ended = record.execution.clone();
        if let Err(error) = self.store.save_durably(vec![(*record).clone()]).await {
            // A store that is full or read-only keeps nobody from what is known; it is saved when there is room.
            tracing::debug!(execution = %name, %error, "an end is told before it is saved");
            self.store.save(*record);
        }
        self.note_duration(&ended);
        self.table().announce(&name, position);
    }

    /// The state as everybody gets it; where an execution has ended and that is being saved, waits for it.
    pub(super) async fn shown(&self, name: &ExecutionName) -> Option<Arc<Published>> {
        let mut states = {
            let table = self.table();
            let entry = table.get(name)?;
            if !entry.is_ending() {
                return Some(entry.execution());
            }
            entry.published.subscribe()
        };
        states.wait_for(|state| state.is_done()).await.ok().map(|state| state.clone())
    }

    pub(super) fn unread(&self, name: &ExecutionName) -> Record {
        Record {
            execution: Execution::unread(name.clone()).into(),
            settling: None,
            first_seen: self.clock.now(),
            gone_since: None,
            followed: false,
            position: 0,
            stop: None,
        }
    }
}
