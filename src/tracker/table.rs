//! Everything that is known in memory, under one short lock: entries, who watches them, what changed in which order.
//!
//! Publishing and subscribing both happen under the lock, so a snapshot and the changes after it have no gap.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, WeakShared};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Published;
use super::subscription::Subscriber;
use crate::backend::BackendError;
use crate::model::{BackendId, Clock, Execution, ExecutionName, State, TestName, Timestamp};
use crate::store::{ChangeRow, Changes, Record, Store, TOMBSTONES};

/// How long a state stays in memory, and a watched execution stays followed, after the last one left.
pub(super) const LINGER: Duration = Duration::from_secs(60);
/// The most entries that nobody follows, kept for the next read.
const MAX_IDLE_ENTRIES: usize = 10_000;

/// A reading under way, shared by all who want it.
pub(super) type Reading = BoxFuture<'static, Result<(), BackendError>>;

/// One execution in memory.
pub(super) struct Entry {
    /// What the store has, or will have.
    pub(super) record: Record,
    /// The state as last published; waiters hold receivers.
    pub(super) published: watch::Sender<Arc<Published>>,
    /// When upstream last answered for it.
    pub(super) read_at: Option<Instant>,
    /// Streams and waits that hold it.
    pub(super) followers: u32,
    /// When the last of them left, or the entry was last used.
    pub(super) idle_since: Instant,
    /// Since when it has been followed without a break.
    pub(super) followed_since: Option<Instant>,
    /// Streams by name.
    pub(super) subscribers: Vec<Arc<Subscriber>>,
    /// A reading under way.
    pub(super) reading: Option<WeakShared<Reading>>,
    /// Readings that failed in a row.
    pub(super) failures: u32,
    /// Upstream's hint with the last failure.
    pub(super) retry_after: Option<Duration>,
    /// The smallest `max_staleness` asked for by a watcher.
    pub(super) wanted_staleness: Option<Duration>,
    /// Whether the poller is reading it now.
    pub(super) polling: bool,
    /// Where the state that is shown stands in the order of all changes.
    pub(super) shown_at: u64,
}

impl Entry {
    fn new(record: Record, now: Instant) -> Self {
        let shown_at = record.position;
        let published = watch::Sender::new(Published::new(record.execution.clone()));
        Self {
            record,
            published,
            read_at: None,
            followers: 0,
            idle_since: now,
            followed_since: None,
            subscribers: Vec::new(),
            reading: None,
            failures: 0,
            retry_after: None,
            wanted_staleness: None,
            polling: false,
            shown_at,
        }
    }

    /// The state as last published.
    pub(super) fn execution(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// Whether it has ended, and that is being saved before anybody is told.
    pub(super) fn is_ending(&self) -> bool {
        self.record.execution.is_done() && self.record.position != self.shown_at
    }

    /// Whether it is to be polled: not done, and started here, watched, or watched until a moment ago.
    pub(super) fn is_followed(&self, now: Instant) -> bool {
        !self.record.execution.is_done()
            && (self.record.followed
                || self.followers > 0
                || (self.followed_since.is_some() && now.duration_since(self.idle_since) < LINGER))
    }
}

/// What a change came to.
pub(super) struct Change {
    /// The state that everybody gets now.
    pub(super) shown: Arc<Published>,
    /// It ended: this is to be saved, and then to be announced.
    pub(super) end: Option<Box<Record>>,
}

/// All entries, all streams by parent, and the order of changes.
pub(super) struct Table {
    entries: HashMap<ExecutionName, Entry>,
    /// Upstream's name of an execution -> the minted name it is listed under.
    aliases: HashMap<ExecutionName, ExecutionName>,
    /// Streams by parent.
    parents: Vec<Arc<Subscriber>>,
    /// Position -> what changed there; only the latest position of each execution.
    changes: BTreeMap<u64, (ExecutionName, Timestamp)>,
    /// Positions up to this one are no longer remembered.
    forgotten: u64,
    clock: Clock,
}

impl Table {
    /// An empty table that knows what changed in the processes before this one.
    pub(super) fn new(changes: Changes, clock: Clock) -> Self {
        Self {
            entries: HashMap::new(),
            aliases: HashMap::new(),
            parents: Vec::new(),
            changes: changes
                .rows
                .into_iter()
                .map(|ChangeRow { position, name, time }| (position, (name, time)))
                .collect(),
            forgotten: changes.forgotten,
            clock,
        }
    }

    pub(super) fn get(&self, name: &ExecutionName) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ExecutionName) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// The entry of a name that somebody asks for, which keeps one that is done in memory.
    pub(super) fn recall(&mut self, name: &ExecutionName, now: Instant) -> Option<&Entry> {
        let entry = self.entries.get_mut(name)?;
        if entry.record.execution.is_done() {
            entry.idle_since = now;
        }
        Some(entry)
    }

    /// The entry of a name, made from `record` where there is none.
    pub(super) fn entry(
        &mut self,
        record: impl FnOnce() -> Record,
        name: &ExecutionName,
        now: Instant,
    ) -> &mut Entry {
        self.entries.entry(name.clone()).or_insert_with(|| Entry::new(record(), now))
    }

    /// Keeps what the store has of a finished execution for the next read, if there is room.
    pub(super) fn remember(&mut self, record: Record, now: Instant) -> Arc<Published> {
        if self.entries.len() >= MAX_IDLE_ENTRIES {
            return Published::new(record.execution);
        }
        let name = record.execution.name.clone();
        self.entry(|| record, &name, now).execution()
    }

    /// Forgets an entry, as for a name that turned out not to exist.
    pub(super) fn drop_entry(&mut self, name: &ExecutionName) {
        self.entries.remove(name);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&ExecutionName, &Entry)> {
        self.entries.iter()
    }

    /// Has those unfinished executions that are followed and chosen count as wanted now.
    pub(super) fn keep_followed(&mut self, now: Instant, chosen: impl Fn(&ExecutionName) -> bool) {
        for (name, entry) in &mut self.entries {
            if entry.followed_since.is_some() && !entry.record.execution.is_done() && chosen(name) {
                entry.idle_since = now;
            }
        }
    }

    /// Lets go of everything of a backend. Streams are told that it is gone.
    pub(super) fn forget_backend(&mut self, backend: &BackendId, store: &Store) {
        let parents = &self.parents;
        self.entries.retain(|name, entry| {
            if name.backend != *backend {
                return true;
            }
            if !entry.record.execution.is_done() {
                let (state, position) = (entry.execution(), store.next_position());
                entry.subscribers.iter().for_each(|subscriber| subscriber.remove(&state, position));
                parents.iter().for_each(|subscriber| subscriber.leave(&state, position));
            }
            false
        });
    }

    /// Tells of each execution that is followed.
    pub(super) fn count_followed(&self, now: Instant, mut each: impl FnMut(&BackendId, State)) {
        for (name, entry) in self.entries.iter().filter(|(_, entry)| entry.is_followed(now)) {
            each(&name.backend, entry.record.execution.state);
        }
    }

    /// The minted name behind upstream's name, or the name itself.
    pub(super) fn alias(&self, name: &ExecutionName) -> Option<ExecutionName> {
        self.aliases.get(name).cloned()
    }

    pub(super) fn add_alias(&mut self, upstream: ExecutionName, minted: ExecutionName) {
        self.aliases.insert(upstream, minted);
    }

    /// Takes a run of upstream's for a minted execution. False where another one has it.
    pub(super) fn claim(&mut self, upstream: ExecutionName, minted: &ExecutionName) -> bool {
        self.aliases.entry(upstream).or_insert_with(|| minted.clone()) == minted
    }

    /// The unfinished executions of a test.
    pub(super) fn unfinished(&self, test: &TestName) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| {
            let Execution { name, .. } = &*entry.record.execution;
            name.backend == test.backend && name.test == test.test && !entry.record.execution.is_done()
        })
    }

    /// Minted executions of the same test that were started earlier and whose runs are not found yet, oldest first.
    pub(super) fn uncorrelated_before(&self, name: &ExecutionName) -> Vec<ExecutionName> {
        let created = |entry: &Entry| entry.record.execution.create_time;
        let Some(mine) = self.entries.get(name).and_then(created) else { return Vec::new() };
        let mut earlier: Vec<_> = self
            .entries
            .iter()
            .filter(|(other, entry)| {
                other.execution.is_minted()
                    && other.backend == name.backend
                    && other.test == name.test
                    && entry.record.execution.upstream_id.is_empty()
                    && !entry.record.execution.is_done()
            })
            .filter_map(|(other, entry)| Some((created(entry)?, other)))
            .filter(|found| *found < (mine, name))
            .collect();
        earlier.sort();
        earlier.into_iter().map(|(_, other)| other.clone()).collect()
    }

    /// Changes an entry's record; where `change` says so, gives the new state a revision and a position, saves it,
    /// and hands it to everyone who follows it. An end is not handed out here, see [`Self::announce`].
    pub(super) fn publish(
        &mut self,
        name: &ExecutionName,
        store: &Store,
        change: impl FnOnce(&mut Record) -> bool,
    ) -> Option<Change> {
        let entry = self.entries.get_mut(name)?;
        if !change(&mut entry.record) {
            if !entry.is_ending() {
                // A new `observe_time` is no change, yet shown.
                entry.published.send_replace(Published::new(entry.record.execution.clone()));
            }
            return Some(Change { shown: entry.execution(), end: None });
        }
        entry.record.execution.revision = store.next_revision();
        entry.record.position = store.next_position();
        if entry.is_ending() {
            let position = entry.record.position;
            for subscriber in entry.subscribers.iter().chain(&self.parents) {
                subscriber.expect(name, position);
            }
            return Some(Change { shown: entry.execution(), end: Some(Box::new(entry.record.clone())) });
        }
        // What was never read would be read afresh.
        if entry.record.execution.observe_time.is_some() {
            store.save(entry.record.clone());
        }
        self.hand_out(name).map(|shown| Change { shown, end: None })
    }

    /// Hands the end of an execution out, now that it is saved. `position` is that of the end.
    pub(super) fn announce(&mut self, name: &ExecutionName, position: u64) {
        if self.entries.get(name).is_some_and(|entry| entry.record.position == position) {
            self.hand_out(name);
        }
    }

    /// Shows an entry's record to everyone.
    fn hand_out(&mut self, name: &ExecutionName) -> Option<Arc<Published>> {
        let entry = self.entries.get_mut(name)?;
        let position = entry.record.position;
        self.changes.remove(&entry.shown_at);
        self.changes.insert(position, (name.clone(), self.clock.now()));
        entry.shown_at = position;
        let (state, now) = (Published::new(entry.record.execution.clone()), Instant::now());
        entry.published.send_replace(state.clone());
        for subscriber in entry.subscribers.iter().chain(&self.parents) {
            subscriber.offer(&state, position, now);
        }
        Some(state)
    }

    /// Registers a stream by names and reads their states, each with its place: changes after them have no gap.
    pub(super) fn open_by_names(
        &mut self,
        names: &[ExecutionName],
        subscriber: &Arc<Subscriber>,
    ) -> Vec<(Arc<Published>, u64)> {
        for name in names {
            self.subscribe_name(name, subscriber);
        }
        let entries = names.iter().filter_map(|name| self.entries.get(name));
        entries.map(|entry| (entry.execution(), entry.shown_at)).collect()
    }

    /// The states that a stream by parent selects, each with its place.
    pub(super) fn selected(&self, subscriber: &Subscriber) -> Vec<(Arc<Published>, u64)> {
        let states = self.entries.values().map(|entry| (entry.execution(), entry.shown_at));
        states.filter(|(execution, _)| subscriber.selection.matches(execution, false)).collect()
    }

    /// Registers a stream by names. Call under the same lock as reading their states.
    fn subscribe_name(&mut self, name: &ExecutionName, subscriber: &Arc<Subscriber>) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.subscribers.push(subscriber.clone());
            if entry.is_ending() {
                subscriber.expect(name, entry.record.position);
            }
        }
    }

    /// Registers a stream by parent.
    pub(super) fn subscribe_parent(&mut self, subscriber: &Arc<Subscriber>) {
        self.parents.push(subscriber.clone());
        for (name, entry) in self.entries.iter().filter(|(_, entry)| entry.is_ending()) {
            subscriber.expect(name, entry.record.position);
        }
    }

    /// Forgets a stream.
    pub(super) fn unsubscribe(&mut self, names: &[ExecutionName], subscriber: &Arc<Subscriber>) {
        for name in names {
            if let Some(entry) = self.entries.get_mut(name) {
                let at = entry.subscribers.iter().position(|other| Arc::ptr_eq(other, subscriber));
                at.map(|at| entry.subscribers.swap_remove(at));
            }
        }
        self.parents.retain(|other| !Arc::ptr_eq(other, subscriber));
    }

    /// What changed after a position, oldest first; `None` where that is no longer known.
    pub(super) fn changed_since(&self, position: u64) -> Option<Vec<ExecutionName>> {
        let missed = self.changes.range(position.saturating_add(1)..).map(|(_, (name, _))| name.clone());
        self.remembers(position).then(|| missed.collect())
    }

    /// Whether all is known that changed after a position.
    pub(super) fn remembers(&self, position: u64) -> bool {
        let missed = self.changes.range(position.saturating_add(1)..).next();
        position >= self.forgotten
            && missed.is_none_or(|(_, (_, time))| self.clock.since(*time) <= TOMBSTONES)
    }

    /// Lets go of what nobody follows and of changes too old to resume from.
    pub(super) fn sweep(&mut self, now: Instant) {
        while let Some(oldest) = self.changes.first_entry()
            && self.clock.since(oldest.get().1) > TOMBSTONES
        {
            self.forgotten = *oldest.key();
            oldest.remove();
        }
        let idle = |entry: &Entry| {
            entry.followers == 0 && !entry.is_followed(now) && !entry.polling && !entry.is_ending()
        };
        let crowded = self.entries.len() > MAX_IDLE_ENTRIES;
        self.entries
            .retain(|_, entry| !idle(entry) || (!crowded && now.duration_since(entry.idle_since) < LINGER));
        let entries = &self.entries;
        self.aliases.retain(|_, minted| entries.contains_key(minted));
    }

    /// Whether a run, by upstream's name of it, is known as an execution that was started here other than `name`.
    pub(super) fn is_of_another(&self, run: &ExecutionName, name: &ExecutionName) -> bool {
        match self.aliases.get(run) {
            Some(owner) => owner != name,
            None => self.entries.get(run).is_some_and(|entry| !entry.record.execution.creator.is_empty()),
        }
    }

    /// Upstream ids of a test's runs that belong to executions other than `name`.
    pub(super) fn claimed(&self, test: &TestName, name: &ExecutionName) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(other, entry)| {
                *other != name && other.test_name() == *test && !entry.record.execution.upstream_id.is_empty()
            })
            .filter(|(other, entry)| {
                other.execution.is_minted() || !entry.record.execution.creator.is_empty()
            })
            .map(|(_, entry)| entry.record.execution.upstream_id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
