//! Following: streams and waits over what the table publishes.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::Discovery;
use super::subscription::{Broken, Subscriber, Taken, Update};
use super::{Error, Inner, Published, Tracker};
use crate::backend::Call;
use crate::model::{BackendId, ExecutionName, Timestamp, resource};

/// Keeps executions followed while it is held.
#[derive(Debug)]
pub struct Follow {
    tracker: Tracker,
    names: Vec<ExecutionName>,
}

/// An open stream. Dropping it lets go of everything.
#[derive(Debug)]
pub struct Watch {
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) follow: Follow,
    pub(super) discoveries: Vec<Arc<Discovery>>,
    /// It goes on where an earlier one ended: what it missed is queued, and nothing is a SNAPSHOT.
    pub(super) resumed: bool,
    /// Everything up to here is in the snapshot or the queue.
    pub position: u64,
    /// The token was not honoured.
    pub reset: bool,
    /// When the first stream of the token began.
    pub opened_at: Timestamp,
    /// What had ended upstream by then was known when it opened.
    pub(super) since: Timestamp,
    /// As granted after quota.
    pub max_staleness: Option<Duration>,
}

impl Tracker {
    /// Follows an execution and returns its states as they change.
    ///
    /// # Errors
    /// It does not exist, or could not be read.
    pub async fn follow(
        &self,
        name: &ExecutionName,
        call: &Call,
    ) -> Result<(Follow, tokio::sync::watch::Receiver<Arc<Published>>), Error> {
        let name = self.0.canonical(name)?;
        self.0.require_known(&name, call).await?;
        let follow = self.0.hold(self, std::slice::from_ref(&name), None)?;
        let states = self.0.table().get(&name).map(|entry| entry.published.subscribe());
        states.map(|states| (follow, states)).ok_or_else(|| not_found(&name))
    }
}

impl Watch {
    fn tracker(&self) -> &Inner {
        &self.follow.tracker.0
    }

    /// From now on what comes is news. Tells where the stream is of no use any more.
    pub fn attend(&self) -> Option<Broken> {
        self.subscriber.attend()
    }

    /// Takes the oldest update that `hold` does not keep back.
    pub fn take(&self, hold: impl FnMut(&Update) -> bool) -> Option<Update> {
        self.subscriber.take(hold)
    }

    /// Whether it goes on where its token's stream ended.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Everything up to this place in the order of changes was taken.
    pub fn taken_up_to(&self) -> u64 {
        self.subscriber.taken_up_to(self.position)
    }

    /// The names that the stream still has to see ended, and how many of them it saw end before it was resumed.
    pub fn awaited(&self) -> (HashSet<ExecutionName>, usize) {
        let table = self.tracker().table();
        let ended_before = |name: &ExecutionName| {
            self.resumed
                && table.get(name).is_some_and(|entry| entry.execution().is_done())
                && !self.subscriber.is_queued(name)
        };
        let (before, awaited): (Vec<_>, Vec<_>) =
            self.follow.names.iter().partition(|name| ended_before(name));
        (awaited.into_iter().cloned().collect(), before.len())
    }

    /// Lets go of backends that the caller may not see any more: what was shown of them is REMOVED.
    pub fn lose(&mut self, backends: &[BackendId]) {
        self.discoveries.retain(|discovery| !backends.contains(&discovery.backend));
        for name in backends.iter().flat_map(|backend| self.subscriber.lose(backend)) {
            let table = self.tracker().table();
            if let Some(entry) = table.get(&name) {
                self.subscriber.remove(&entry.execution(), entry.record.position);
            }
        }
    }

    /// Waits for news. What is there is held back by the stream, until the given time.
    pub fn poll_news(&self, cx: &Context<'_>, held_until: Option<Instant>) -> Poll<()> {
        self.subscriber.poll_news(cx, held_until)
    }

    /// Does [`Self::attend`], [`Self::take`] and [`Self::taken_up_to`] at one moment.
    pub fn look_up(&self, hold: impl FnMut(&Update) -> bool) -> Taken {
        self.subscriber.look_up(self.position, hold)
    }

    /// What is to be sent next as SNAPSHOT.
    pub fn take_snapshot(&self) -> Option<Arc<Published>> {
        self.subscriber.take_opening()
    }

    /// Backends whose last look failed or that were not read yet.
    pub fn unreachable(&self) -> Vec<BackendId> {
        self.discoveries.iter().filter(|look| !look.is_healthy()).map(|look| look.backend.clone()).collect()
    }

    /// Up to when everything that ended upstream was seen.
    pub fn covered(&self) -> Timestamp {
        let covered = self.discoveries.iter().map(|discovery| discovery.covered(self.since));
        covered.min().unwrap_or(self.since)
    }

    /// The worst staleness among the selected that are not done.
    pub fn oldest_observe_time(&self) -> Option<Timestamp> {
        let members = self.subscriber.members();
        let table = self.tracker().table();
        self.follow
            .names
            .iter()
            .chain(&members)
            .filter_map(|name| table.get(name))
            .filter(|entry| !entry.record.execution.is_done())
            .filter_map(|entry| entry.record.execution.observe_time)
            .min()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tracker().table().unsubscribe(&self.follow.names, &self.subscriber);
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let (mut table, now) = (self.tracker.0.table(), Instant::now());
        for name in &self.names {
            if let Some(entry) = table.get_mut(name) {
                entry.followers = entry.followers.saturating_sub(1);
                entry.idle_since = now;
                if entry.followers == 0 {
                    entry.wanted_staleness = None;
                }
            }
        }
    }
}

impl Inner {
    /// Holds executions followed. They must be known, or about to be.
    pub(super) fn hold(
        self: &Arc<Self>,
        tracker: &Tracker,
        names: &[ExecutionName],
        wanted_staleness: Option<Duration>,
    ) -> Result<Follow, Error> {
        let mut follow = Follow { tracker: tracker.clone(), names: Vec::with_capacity(names.len()) };
        for name in names {
            let known = self.store.get(name)?;
            let now = Instant::now();
            let mut table = self.table();
            let entry = table.entry(|| known.unwrap_or_else(|| self.unread(name)), name, now);
            entry.followers += 1;
            entry.idle_since = now;
            entry.wanted_staleness = match (entry.wanted_staleness, wanted_staleness) {
                (Some(known), Some(wanted)) => Some(known.min(wanted)),
                (known, wanted) => known.or(wanted),
            };
            // All who hold it share the text of its name.
            follow.names.push(entry.record.execution.name.clone());
            drop(table);
            let pace = self.managed(&name.backend)?.setup.poll_interval;
            self.follow_up(name, wanted_staleness.unwrap_or(pace).max(pace));
        }
        Ok(follow)
    }
}

fn not_found(name: &ExecutionName) -> Error {
    Error::NotFound { resource_type: resource::EXECUTION, name: name.to_string() }
}
