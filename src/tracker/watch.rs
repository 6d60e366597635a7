//! Following: streams and waits over what the table publishes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::{Discovery, reach};
use super::lists::hint_of;
use super::subscription::{MAX_SELECTION, Selection, Subscriber, Update};
use super::table::Table;
use super::{Error, Inner, Published, Tracker};
use crate::backend::{BackendError, Call, ErrorKind, Priority};
use crate::model::filter::Filter;
use crate::model::{BackendId, ExecutionName, Scope, Timestamp, resource};
use crate::store::Record;

/// How long an opening waits for upstream.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// How many stored executions are looked at in one go.
const STORE_PAGE: usize = 1000;

/// What a stream asks to follow.
#[derive(Debug)]
pub struct WatchRequest {
    /// These executions, where `parent` is not given.
    pub names: Vec<ExecutionName>,
    /// A live selection.
    pub parent: Option<(Scope, Option<Filter>)>,
    /// Where an earlier stream of the same selection ended.
    pub resume: Option<Resume>,
    /// A token was given that is not honoured: what the client knows is to be dropped.
    pub reset: bool,
    /// Poll at least this often, if the quota allows.
    pub max_staleness: Option<Duration>,
}

/// Where an earlier stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resume {
    /// The position of the last update that was processed.
    pub position: u64,
    /// When the first stream of the token began.
    pub opened_at: Timestamp,
    /// What had ended upstream by then is known, for a selection by parent.
    pub covered: Timestamp,
}

/// A change that a resumed stream missed.
struct Missed {
    execution: Arc<Published>,
    position: u64,
    first_seen: Timestamp,
}

/// Keeps an execution followed while it is held.
#[derive(Debug)]
pub struct Follow {
    tracker: Tracker,
    name: ExecutionName,
}

/// An open stream. Dropping it lets go of everything.
#[derive(Debug)]
pub struct Watch {
    tracker: Tracker,
    subscriber: Arc<Subscriber>,
    follows: Vec<Follow>,
    discoveries: Vec<Arc<Discovery>>,
    /// What to send first, as SNAPSHOT; empty for a resumed stream, whose missed changes are queued.
    pub snapshot: Vec<Arc<Published>>,
    /// Everything up to here is in the snapshot or the queue.
    pub position: u64,
    /// The token was not honoured.
    pub reset: bool,
    /// When the first stream of the token began.
    pub opened_at: Timestamp,
    /// What had ended upstream by then was known when it opened.
    since: Timestamp,
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
        let follow = self.0.hold(self, &name, None)?;
        let states = self.0.table().get(&name).map(|entry| entry.published.subscribe());
        states.map(|states| (follow, states)).ok_or_else(|| not_found(&name))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// Backends that are not configured, names that are missing, a selection that is too large.
    pub async fn watch(&self, request: WatchRequest, caller: &Arc<str>) -> Result<Watch, Error> {
        let open_by = Instant::now() + OPEN_WITHIN;
        let call = Call { deadline: open_by, priority: Priority::Read, caller: caller.clone() };
        let opened_at = request.resume.map_or_else(|| self.0.clock.now(), |resume| resume.opened_at);
        match request.parent {
            None => self.watch_names(request, &call, opened_at).await,
            Some((scope, filter)) => {
                let (resume, reset, staleness) = (request.resume, request.reset, request.max_staleness);
                self.watch_parent(scope, filter, resume, reset, staleness, open_by, opened_at).await
            }
        }
    }

    async fn watch_names(
        &self,
        request: WatchRequest,
        call: &Call,
        opened_at: Timestamp,
    ) -> Result<Watch, Error> {
        let inner = &self.0;
        let mut missing = Vec::new();
        let mut names = Vec::with_capacity(request.names.len());
        for (at, name) in request.names.iter().enumerate() {
            match inner.canonical(name) {
                Ok(name) => names.push((at, name)),
                Err(Error::NotFound { name, .. }) => missing.push((at, name)),
                Err(error) => return Err(error),
            }
        }
        let (at, names): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let known = inner.require_all_known(&names, call).await;
        for ((at, name), known) in at.into_iter().zip(&names).zip(known) {
            match known {
                Ok(()) => {}
                Err(Error::Backend { error, .. })
                    if error.is_gone() || error.kind == ErrorKind::ResourceNotFound =>
                {
                    missing.push((at, name.to_string()));
                }
                Err(Error::NotFound { .. }) => missing.push((at, name.to_string())),
                // It could not be read in time: it opens with what is known, and its poller tells the rest.
                Err(Error::Backend { error, .. }) => inner.note_opening_trouble(name, &error),
                Err(Error::DeadlineExceeded) => {
                    let message = format!("no answer within {} s", OPEN_WITHIN.as_secs());
                    let error = BackendError::new(ErrorKind::UpstreamTimeout, message);
                    inner.note_opening_trouble(name, &error);
                }
                Err(error) => return Err(error),
            }
        }
        if !missing.is_empty() {
            missing.sort();
            return Err(Error::NamesNotFound(missing));
        }
        let mut names = names;
        names.sort();
        names.dedup();
        let follows = names
            .iter()
            .map(|name| inner.hold(self, name, request.max_staleness))
            .collect::<Result<Vec<_>, _>>()?;
        let subscriber = Arc::new(Subscriber::new(Selection::Names));
        let mut table = inner.table();
        for name in &names {
            table.subscribe_name(name, &subscriber);
        }
        let states: Vec<_> = names
            .iter()
            .filter_map(|name| table.get(name).map(|entry| (entry.execution(), entry.shown_at)))
            .collect();
        let position = inner.store.next_position();
        let missed = request.resume.map(|resume| table.changed_since(resume.position));
        drop(table);
        let (snapshot, reset) = match missed {
            Some(Some(missed)) => {
                for (execution, position) in
                    states.iter().filter(|(execution, _)| missed.contains(&execution.name))
                {
                    subscriber.catch_up(execution, *position, true);
                }
                (Vec::new(), false)
            }
            Some(None) => (states, true),
            None => (states, request.reset),
        };
        let snapshot: Vec<_> = snapshot.into_iter().map(|(execution, _)| execution).collect();
        let max_staleness = inner.grant(request.max_staleness, names.iter().map(|name| &name.backend));
        Ok(Watch {
            tracker: self.clone(),
            subscriber,
            follows,
            discoveries: Vec::new(),
            snapshot,
            position,
            reset,
            opened_at,
            since: opened_at,
            max_staleness,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn watch_parent(
        &self,
        scope: Scope,
        filter: Option<Filter>,
        resume: Option<Resume>,
        reset: bool,
        max_staleness: Option<Duration>,
        open_by: Instant,
        opened_at: Timestamp,
    ) -> Result<Watch, Error> {
        let inner = &self.0;
        let backends: Vec<_> = inner.within(&scope)?.into_iter().cloned().collect();
        let capable =
            |managed: &&Arc<super::Managed>| managed.setup.backend.info().capabilities.list_executions;
        let older_ends = filter.as_ref().and_then(Filter::end_time_lower_bound);
        let from = older_ends.map_or(opened_at, |bound| bound.min(opened_at));
        let hint = filter.as_ref().filter(|_| older_ends.is_some()).map(hint_of);
        let test = scope.test.clone();
        let subscriber = Arc::new(Subscriber::new(Selection::Parent { scope, filter, from }));
        // Who resumes has seen what ended before; a token that is too old begins anew, where its first stream began.
        let too_old = match resume {
            Some(resume) => inner.missed(&inner.table(), &subscriber, resume)?.is_none(),
            None => false,
        };
        let resumed = resume.filter(|_| !too_old);
        let since = resumed.map_or(opened_at, |resume| resume.covered);
        let discoveries: Vec<_> = backends
            .iter()
            .filter(capable)
            .map(|managed| inner.discover(managed, test.as_ref(), reach(since, resume.is_some())))
            .collect();
        let looks =
            futures_util::future::join_all(discoveries.iter().map(|discovery| discovery.first_look(since)));
        // A slow upstream is named as unreachable; what it has comes as CHANGED.
        drop(tokio::time::timeout_at(open_by, looks).await);
        if let (Some(hint), None) = (&hint, resumed) {
            let looks = backends.iter().map(|managed| inner.look(managed, test.as_ref(), hint, open_by));
            drop(tokio::time::timeout_at(open_by, futures_util::future::join_all(looks)).await);
        }
        // What the selection has that is no longer in memory.
        let stored = resumed.is_none() && (hint.is_some() || too_old);
        let ended = if stored { inner.ended(&subscriber)? } else { Vec::new() };
        let mut table = inner.table();
        let mut states: Vec<_> = table
            .entries()
            .map(|(_, entry)| (entry.execution(), entry.shown_at))
            .filter(|(execution, _)| subscriber.selection.matches(execution, false))
            .collect();
        states.extend(ended.into_iter().filter(|(execution, _)| table.get(&execution.name).is_none()));
        if states.len() > MAX_SELECTION {
            return Err(Error::SelectionTooLarge(MAX_SELECTION));
        }
        for (execution, _) in states.iter().filter(|(execution, _)| !execution.is_done()) {
            subscriber.admit(&execution.name);
        }
        let missed = match resumed {
            Some(resume) => inner.missed(&table, &subscriber, resume)?,
            None => None,
        };
        table.subscribe_parent(&subscriber);
        let position = inner.store.next_position();
        let (snapshot, reset) = match missed {
            Some(missed) => {
                for missed in missed {
                    subscriber.catch_up(&missed.execution, missed.position, missed.first_seen <= opened_at);
                }
                (Vec::new(), false)
            }
            None => {
                let snapshot = states.iter().map(|(execution, _)| execution.clone()).collect();
                (snapshot, reset || resume.is_some())
            }
        };
        drop(table);
        for (execution, _) in states.iter().filter(|(execution, _)| !execution.is_done()) {
            inner.keep_followed(&execution.name);
            let pace = inner.managed(&execution.name.backend).map(|managed| managed.setup.poll_interval);
            inner.follow_up(&execution.name, pace.unwrap_or_default());
        }
        let max_staleness = inner.grant(max_staleness, backends.iter().map(|managed| &managed.id));
        Ok(Watch {
            tracker: self.clone(),
            subscriber,
            follows: Vec::new(),
            discoveries,
            snapshot,
            position,
            reset,
            opened_at,
            since,
            max_staleness,
        })
    }
}

impl Watch {
    /// Takes the oldest update that `hold` does not keep back.
    pub fn take(&self, hold: impl FnMut(&Update) -> bool) -> Option<Update> {
        self.subscriber.take(hold)
    }

    /// Everything up to this place in the order of changes was taken.
    pub fn taken_up_to(&self) -> u64 {
        self.subscriber.taken_up_to(self.position)
    }

    /// The names that the stream still has to see ended, and how many of them it saw end before it was resumed.
    pub fn awaited(&self) -> (HashSet<ExecutionName>, usize) {
        let table = self.tracker.0.table();
        let resumed = self.snapshot.is_empty();
        let ended_before = |name: &ExecutionName| {
            resumed
                && table.get(name).is_some_and(|entry| entry.execution().is_done())
                && !self.subscriber.is_queued(name)
        };
        let (before, awaited): (Vec<_>, Vec<_>) =
            self.follows.iter().map(|follow| &follow.name).partition(|name| ended_before(name));
        (awaited.into_iter().cloned().collect(), before.len())
    }

    /// Lets go of backends that the caller may not see any more: what was shown of them is REMOVED.
    pub fn lose(&mut self, backends: &[BackendId]) {
        self.discoveries.retain(|discovery| !backends.contains(&discovery.backend));
        for name in backends.iter().flat_map(|backend| self.subscriber.lose(backend)) {
            let table = self.tracker.0.table();
            if let Some(entry) = table.get(&name) {
                self.subscriber.remove(&entry.execution(), entry.record.position);
            }
        }
    }

    /// Waits until there may be something to take.
    pub async fn ready(&self) {
        self.subscriber.ready.notified().await;
    }

    /// Whether the selection outgrew its limit.
    pub fn has_overflowed(&self) -> bool {
        self.subscriber.has_overflowed()
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
        let table = self.tracker.0.table();
        self.follows
            .iter()
            .map(|follow| &follow.name)
            .chain(&members)
            .filter_map(|name| table.get(name))
            .filter(|entry| !entry.record.execution.is_done())
            .filter_map(|entry| entry.record.execution.observe_time)
            .min()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let names: Vec<_> = self.follows.iter().map(|follow| follow.name.clone()).collect();
        self.tracker.0.table().unsubscribe(&names, &self.subscriber);
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if let Some(entry) = self.tracker.0.table().get_mut(&self.name) {
            entry.followers = entry.followers.saturating_sub(1);
            entry.idle_since = Instant::now();
            if entry.followers == 0 {
                entry.wanted_staleness = None;
            }
        }
    }
}

impl Inner {
    /// Holds an execution followed. It must be known, or about to be.
    fn hold(
        self: &Arc<Self>,
        tracker: &Tracker,
        name: &ExecutionName,
        wanted_staleness: Option<Duration>,
    ) -> Result<Follow, Error> {
        let known = self.store.get(name)?;
        let now = Instant::now();
        {
            let mut table = self.table();
            let entry = table.entry(|| known.unwrap_or_else(|| self.unread(name)), name, now);
            entry.followers += 1;
            entry.idle_since = now;
            entry.wanted_staleness = match (entry.wanted_staleness, wanted_staleness) {
                (Some(known), Some(wanted)) => Some(known.min(wanted)),
                (known, wanted) => known.or(wanted),
            };
        }
        let follow = Follow { tracker: tracker.clone(), name: name.clone() };
        let pace = self.managed(&name.backend)?.setup.poll_interval;
        self.follow_up(name, wanted_staleness.unwrap_or(pace).max(pace));
        Ok(follow)
    }

    /// What a resumed stream by parent missed; `None` where that is no longer known in full.
    fn missed(
        &self,
        table: &Table,
        subscriber: &Subscriber,
        resume: Resume,
    ) -> Result<Option<Vec<Missed>>, Error> {
        let Some(changed) = table.changed_since(resume.position) else { return Ok(None) };
        let mut missed = Vec::new();
        for name in changed.into_iter().filter(|name| subscriber.concerns(name)) {
            if let Some(entry) = table.get(&name) {
                let (execution, first_seen) = (entry.execution(), entry.record.first_seen);
                missed.push(Missed { execution, position: entry.shown_at, first_seen });
                continue;
            }
            // What has ended and was let go of meanwhile is in the store.
            let Some(record) = self.store.get(&name)? else { return Ok(None) };
            let Record { execution, position, first_seen, .. } = record;
            missed.push(Missed { execution: Published::new(execution), position, first_seen });
        }
        Ok(Some(missed))
    }

    /// What the store has of a selection by parent that has ended; one more than may be selected at the most.
    fn ended(&self, subscriber: &Subscriber) -> Result<Vec<(Arc<Published>, u64)>, Error> {
        let Selection::Parent { scope, .. } = &subscriber.selection else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.executions_in(scope, after.as_ref(), STORE_PAGE)?;
            after = page.last().map(|record| record.execution.name.clone());
            let matching = page
                .into_iter()
                .filter(|record| {
                    record.execution.is_done() && subscriber.selection.matches(&record.execution, false)
                })
                .map(|record| (Published::new(record.execution), record.position));
            found.extend(matching);
            if after.is_none() || found.len() > MAX_SELECTION {
                return Ok(found);
            }
        }
    }

    /// Leaves the reason why a name could not be read in its state.
    fn note_opening_trouble(self: &Arc<Self>, name: &ExecutionName, error: &BackendError) {
        let wall = self.clock.now();
        let change = self.table().publish(name, &self.store, |record| {
            record.execution.note_trouble(error.kind.reason(), &error.message, wall)
        });
        self.conclude(change);
    }

    /// The staleness that can be promised: never below what the slowest backend's budget allows.
    fn grant<'a>(
        &self,
        wanted: Option<Duration>,
        backends: impl Iterator<Item = &'a BackendId>,
    ) -> Option<Duration> {
        let floor = backends.filter_map(|id| self.managed(id).ok()).map(|managed| managed.promise()).max();
        wanted.map(|wanted| wanted.max(floor.unwrap_or_default()))
    }
}

fn not_found(name: &ExecutionName) -> Error {
    Error::NotFound { resource_type: resource::EXECUTION, name: name.to_string() }
}
