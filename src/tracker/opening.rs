//! How a stream opens: what it selects is read, as far as that goes in time, and what comes later has no gap to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::reach;
use super::lists::hint_of;
use super::subscription::{MAX_SELECTION, Parent, Selection, Subscriber};
use super::table::Table;
use super::{Error, Inner, Managed, Published, Tracker, Watch};
use crate::backend::{BackendError, Call, ErrorKind, Priority};
use crate::model::filter::Filter;
use crate::model::{BackendId, ExecutionName, Scope, Timestamp};
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
    /// What the client knows is to be dropped, where an earlier stream ended or not.
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

impl Tracker {
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
        let follow = inner.hold(self, &names, request.max_staleness)?;
        let subscriber = Arc::new(Subscriber::new(Selection::Names));
        inner.streams.add(&subscriber);
        let (states, position, resumed) = {
            let mut table = inner.table();
            let states = table.open_by_names(&names, &subscriber);
            let resumed = request.resume.filter(|resume| !request.reset && table.remembers(resume.position));
            (states, inner.store.next_position(), resumed)
        };
        match resumed {
            Some(resume) => {
                for (execution, position) in states.iter().filter(|(_, position)| *position > resume.position)
                {
                    subscriber.catch_up(execution, *position, true);
                }
            }
            None => subscriber.open_with(states.into_iter().map(|(execution, _)| execution).collect()),
        }
        let resumed = resumed.is_some();
        let reset = request.reset || (request.resume.is_some() && !resumed);
        let max_staleness = inner.grant(request.max_staleness, names.iter().map(|name| &name.backend));
        Ok(Watch {
            subscriber,
            follow,
            discoveries: Vec::new(),
            resumed,
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
        let capable = |managed: &&Arc<Managed>| managed.setup.backend.info().capabilities.list_executions;
        let older_ends = filter.as_ref().and_then(Filter::end_time_lower_bound);
        let from = older_ends.map_or(opened_at, |bound| bound.min(opened_at));
        let hint = filter.as_ref().filter(|_| older_ends.is_some()).map(hint_of);
        let test = scope.test.clone();
        let subscriber =
            Arc::new(Subscriber::new(Selection::Parent(Box::new(Parent { scope, filter, from }))));
        // Who resumes has seen what ended before; who can't go on begins anew, where its first stream began.
        let anew = match resume {
            Some(resume) => reset || inner.missed(&inner.table(), &subscriber, resume)?.is_none(),
            None => false,
        };
        let resumed = resume.filter(|_| !anew);
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
        let stored = resumed.is_none() && (hint.is_some() || anew);
        let ended = if stored { inner.ended(&subscriber)? } else { Vec::new() };
        let mut table = inner.table();
        let mut states = table.selected(&subscriber);
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
        let resumed = missed.is_some();
        let reset = reset || (resume.is_some() && !resumed);
        for missed in missed.into_iter().flatten() {
            subscriber.catch_up(&missed.execution, missed.position, missed.first_seen <= opened_at);
        }
        drop(table);
        if !resumed {
            subscriber.open_with(states.iter().map(|(execution, _)| execution.clone()).collect());
        }
        inner.streams.add(&subscriber);
        for (execution, _) in states.iter().filter(|(execution, _)| !execution.is_done()) {
            inner.keep_followed(&execution.name);
            let pace = inner.managed(&execution.name.backend).map(|managed| managed.setup.poll_interval);
            inner.follow_up(&execution.name, pace.unwrap_or_default());
        }
        let max_staleness = inner.grant(max_staleness, backends.iter().map(|managed| &managed.id));
        Ok(Watch {
            subscriber,
            follow: inner.hold(self, &[], None)?,
            discoveries,
            resumed,
            position,
            reset,
            opened_at,
            since,
            max_staleness,
        })
    }
}

impl Inner {
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
        let Selection::Parent(parent) = &subscriber.selection else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.executions_in(&parent.scope, after.as_ref(), STORE_PAGE)?;
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
