//! What is followed, started and watched: the heart of the gateway.
//!
//! The table holds what is known in memory; the reader brings it up to date with one upstream read however many
//! callers want it; the poller reads what is followed at the planner's pace; streams and waits live off the table.

mod apply;
mod coalesce;
mod discovery;
mod error;
#[cfg(test)]
mod interleavings;
mod lag;
mod lists;
mod opening;
mod planner;
mod poller;
mod published;
mod reader;
mod roster;
mod start;
mod stop;
mod subscription;
mod table;
mod walk;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use tokio::time::Instant;

pub use error::Error;
pub use lag::MAX_LAG;
pub use lists::{ExecutionsPage, ExecutionsQuery, ListPosition, TestsPage, TestsQuery};
pub use opening::{Resume, WatchRequest};
pub use published::Published;
pub use roster::Unfinished;
pub use start::{StartOutcome, StartRequest};
pub use stop::StopRequest;
pub use subscription::{Broken, Change, MAX_SELECTION, Taken, Update};
pub use watch::{Follow, Watch};

use crate::backend::switch::Switch;
use crate::backend::{Backend, BackendError, Call, ErrorKind, Page, PageRequest, Priority};
use crate::metrics;
use crate::model::id::LooseExecutionName;
use crate::model::{
    Artifact, BackendId, BackendInfo, Clock, Condition, ExecutionName, ItemKind, Kind, ResultItem, Scope,
    State, Test, TestName, Timestamp, resource,
};
use crate::store::{Record, Store};
use crate::tasks::Tasks;
use crate::trace;
use table::Table;

/// A read of what is neither followed nor done is at most this old where the caller does not say.
const DEFAULT_STALENESS: Duration = Duration::from_secs(5);
/// How many executions of a batch are read at once.
const BATCH_CONCURRENCY: usize = 16;
/// How often what nobody follows is let go of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Follows executions and answers for them. Cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Inner>);

struct Inner {
    backends: roster::Roster,
    store: Store,
    clock: Clock,
    tasks: Tasks,
    retention: ArcSwap<Duration>,
    table: Mutex<Table>,
    starts: start::Starts,
    stops: start::KeyedLocks<ExecutionName, tokio::sync::Mutex<()>>,
    streams: lag::Streams,
}

/// A backend with the settings that the tracker needs of it.
#[derive(Debug)]
pub struct BackendSetup {
    /// The adapter.
    pub backend: Arc<dyn Backend>,
    /// An execution is never polled more often than this.
    pub poll_interval: Duration,
    /// After this an unfinished execution is LOST.
    pub tracking_deadline: Duration,
    /// Where its polls are counted.
    pub metrics: metrics::Backend,
    /// What gives each of its polls a trace.
    pub tracer: trace::Tracer,
}

/// A backend under the tracker's care.
struct Managed {
    id: BackendId,
    kind: Kind,
    setup: BackendSetup,
    /// The setup's backend.
    switch: Arc<Switch>,
    health: Mutex<Health>,
    schedule: poller::Schedule,
    lookout: discovery::Lookout,
    reads: coalesce::Reads,
}

/// What the last calls said of a backend.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why it is unwell; `None` when healthy or never asked.
    pub condition: Option<Condition>,
    /// When it was last asked.
    pub probe_time: Option<Timestamp>,
}

impl std::fmt::Debug for Managed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker").field("backends", &self.0.backends.iter().count()).finish_non_exhaustive()
    }
}

impl Tracker {
    /// Takes up what the store left unfinished and begins to poll it.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn new(
        backends: Vec<BackendSetup>,
        store: Store,
        retention: Duration,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, Error> {
        let unfinished = store.load_unfinished()?;
        let backends = backends.into_iter().map(Managed::new).map(Arc::new).collect();
        let changes = store.load_changes()?;
        let in_doubt = !changes.complete;
        let table = Mutex::new(Table::new(changes, clock.clone()));
        let inner = Arc::new(Inner {
            backends,
            store,
            clock,
            tasks,
            retention: ArcSwap::from_pointee(retention),
            table,
            starts: start::Starts::default(),
            stops: start::KeyedLocks::default(),
            streams: lag::Streams::default(),
        });
        inner.adopt(unfinished, in_doubt);
        for managed in inner.backends.iter() {
            inner.spawn_poller(managed);
        }
        inner.tasks.spawn_loop("sweeper", inner.clone().sweep_now_and_then());
        let streams = inner.clone();
        inner.tasks.spawn_loop("slow readers", async move { streams.streams.keep_up().await });
        Ok(Self(inner))
    }

    /// Has each stream look up, as when something concerns them all.
    pub fn wake_streams(&self) {
        self.0.streams.wake();
    }

    /// The gateway's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Whether the store takes writes.
    ///
    /// # Errors
    /// Why it does not.
    pub fn store_status(&self) -> Result<(), crate::store::StoreError> {
        self.0.store.status()
    }

    /// How large the store's file is, in bytes; 0 in memory.
    pub fn store_bytes(&self) -> u64 {
        self.0.store.file_size()
    }

    /// How many executions each backend has followed in each state that can be.
    pub fn followed(&self) -> Vec<(BackendId, State, u64)> {
        let states = || State::ALL.into_iter().filter(|state| !state.is_done());
        let mut counts: Vec<_> = self
            .0
            .backends
            .iter()
            .flat_map(|managed| states().map(|state| (managed.id.clone(), state, 0)))
            .collect();
        self.0.table().count_followed(Instant::now(), |backend, state| {
            let count = counts.iter_mut().find(|(id, of, _)| id == backend && *of == state);
            if let Some((_, _, count)) = count {
                *count += 1;
            }
        });
        counts
    }

    /// All backends with their health, in the configuration's order.
    pub fn backends(&self) -> Vec<(BackendInfo, Health)> {
        self.0.backends.iter().map(|managed| (managed.setup.backend.info(), managed.health())).collect()
    }

    /// One backend with its health.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn backend(&self, id: &BackendId) -> Result<(BackendInfo, Health), Error> {
        let managed = self.0.managed(id)?;
        Ok((managed.setup.backend.info(), managed.health()))
    }

    /// Asks every backend once whether it answers, and notes what it says.
    pub async fn probe_all(&self, deadline: Instant) {
        let probes = self.0.backends.iter().map(|managed| async move {
            let call = Call { deadline, priority: Priority::Read, caller: Arc::from("") };
            let result = managed.setup.backend.probe(&call).await;
            managed.note(&result, self.0.clock.now());
        });
        futures_util::future::join_all(probes).await;
    }

    /// One test, with its payload.
    ///
    /// # Errors
    /// No such backend, or the backend's own failure.
    pub async fn test(&self, name: &TestName, call: &Call) -> Result<Test, Error> {
        let managed = self.0.managed(&name.backend)?;
        self.0.get_test(managed, call, &name.test).await
    }

    /// One execution, at most `max_staleness` old where that is given.
    ///
    /// # Errors
    /// It does not exist, or could not be read in time.
    pub async fn execution(
        &self,
        name: &LooseExecutionName,
        max_staleness: Option<Duration>,
        call: &Call,
    ) -> Result<Arc<Published>, Error> {
        let name = self.0.resolve(name, call).await?;
        self.0.fresh(&name, max_staleness, call).await
    }

    /// Several executions, in the order of their names; one missing fails all.
    ///
    /// # Errors
    /// The first failure.
    pub async fn executions(
        &self,
        names: &[ExecutionName],
        max_staleness: Option<Duration>,
        call: &Call,
    ) -> Result<Vec<Arc<Published>>, Error> {
        let reads: Vec<_> = names
            .iter()
            .map(|name| self.0.clone().fresh_by_name(name.clone(), max_staleness, call.clone()))
            .collect();
        let mut reads = futures_util::stream::iter(reads).buffered(BATCH_CONCURRENCY);
        let mut executions = Vec::with_capacity(names.len());
        while let Some(execution) = reads.next().await {
            executions.push(execution?);
        }
        Ok(executions)
    }

    /// A page of an execution's result items.
    ///
    /// # Errors
    /// It does not exist, a kind that the backend does not have, or the backend's own failure.
    pub async fn items(
        &self,
        name: &ExecutionName,
        kind: Option<ItemKind>,
        page: &PageRequest,
        call: &Call,
    ) -> Result<Page<ResultItem>, Error> {
        let managed = self.0.managed(&name.backend)?;
        let info = managed.setup.backend.info();
        if let Some(kind) = kind
            && !info.capabilities.result_kinds.contains(&kind)
        {
            let error = BackendError::new(
                ErrorKind::FieldInvalid("kind"),
                format!("{kind:?} is not a kind of {}", info.id),
            );
            return Err(Error::backend(&info.id, error));
        }
        let name = self.0.canonical(name)?;
        self.0.require_known(&name, call).await?;
        self.0.list_items(managed, call, &name, kind, page).await
    }

    /// An execution's downloads.
    ///
    /// # Errors
    /// It does not exist, is not done, or the backend's own failure.
    pub async fn artifacts(&self, name: &ExecutionName, call: &Call) -> Result<Vec<Artifact>, Error> {
        let managed = self.0.managed(&name.backend)?;
        let name = self.0.canonical(name)?;
        if !managed.setup.backend.info().capabilities.artifacts {
            return self.0.list_artifacts(managed, call, &name).await;
        }
        let execution = self.0.fresh(&name, None, call).await?;
        if !execution.is_done() {
            return Err(Error::NotDone(name.to_string()));
        }
        self.0.list_artifacts(managed, call, &name).await
    }

    /// Records a result made elsewhere; the answer is what was read back.
    ///
    /// # Errors
    /// The backend takes no results, another result is there, or the backend's own failure.
    pub async fn record(
        &self,
        test: TestName,
        record: crate::backend::Record,
        call: Call,
    ) -> Result<Arc<Published>, Error> {
        let inner = self.0.clone();
        let recorded = async move {
            let managed = inner.managed(&test.backend)?;
            let found = managed.setup.backend.record(&call, &test.test, &record).await;
            managed.reads.note_write();
            let found = inner.ask(managed, found)?;
            let name = test.execution(found.execution);
            let recorded = inner.absorb(&name, found.observation, |_, _| false);
            Ok(inner.shown(&name).await.unwrap_or(recorded))
        };
        self.0.to_its_end("record", recorded).await
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn managed(&self, id: &BackendId) -> Result<&Arc<Managed>, Error> {
        self.backends.iter().find(|managed| managed.id == *id).ok_or_else(|| Error::NotFound {
            resource_type: resource::BACKEND,
            name: format!("backends/{id}"),
        })
    }

    /// The backends that lie within a scope, in their order.
    fn within(&self, scope: &Scope) -> Result<Vec<&Arc<Managed>>, Error> {
        match &scope.backend {
            Some(id) => Ok(vec![self.managed(id)?]),
            None => Ok(self.backends.iter().filter(|managed| scope.reaches(&managed.id)).collect()),
        }
    }

    /// Notes a call's outcome in the backend's health and names the backend in its error.
    fn ask<T>(&self, managed: &Managed, result: Result<T, BackendError>) -> Result<T, Error> {
        managed.note(&result, self.clock.now());
        result.map_err(|error| Error::backend(&managed.id, error))
    }

    /// Runs something that changes upstream to its end, even if the caller goes away in the middle.
    async fn to_its_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, outcome) = tokio::sync::oneshot::channel();
        let work = async move {
            // A caller that went away leaves nobody to answer.
            drop(done.send(work.await));
        };
        self.tasks.spawn(name, trace::carried(work));
        outcome.await.unwrap_or(Err(Error::Draining))
    }

    /// Takes up unfinished executions after a restart. Where they are in doubt (the process before this one was
    /// killed and may have shown a newer state), they count as changed, so that nobody keeps that state for ever.
    fn adopt(&self, records: Vec<Record>, in_doubt: bool) {
        let now = Instant::now();
        for record in records {
            let name = record.execution.name.clone();
            if self.managed(&name.backend).is_err() {
                continue;
            }
            let mut table = self.table();
            if name.execution.is_minted()
                && let Ok(id) = crate::model::ExecutionId::new(&record.execution.upstream_id)
            {
                table.add_alias(name.test_name().execution(id), name.clone());
            }
            let followed = record.followed;
            table.entry(|| record, &name, now);
            if in_doubt {
                table.publish(&name, &self.store, |_| true);
            }
            if followed && let Some(entry) = table.get_mut(&name) {
                entry.followed_since = Some(now);
                drop(table);
                self.follow_up(&name, Duration::ZERO);
            }
        }
    }

    async fn sweep_now_and_then(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.table().sweep(Instant::now());
            loop {
                match self.store.sweep(self.clock.now(), **self.retention.load()).await {
                    Ok(swept) if swept.more => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the store could not be swept");
                        break;
                    }
                }
            }
        }
    }
}

impl Managed {
    fn new(setup: BackendSetup) -> Self {
        let info = setup.backend.info();
        let agenda = planner::Agenda::new(&setup.backend.polling(), setup.poll_interval);
        let switch = Arc::new(Switch::new(setup.backend));
        let setup = BackendSetup { backend: switch.clone(), ..setup };
        Self {
            id: info.id,
            kind: info.kind,
            setup,
            switch,
            health: Mutex::default(),
            schedule: poller::Schedule::new(agenda),
            lookout: discovery::Lookout::default(),
            reads: coalesce::Reads::default(),
        }
    }

    /// How old what is followed may be at most under the present load.
    fn promise(&self) -> Duration {
        self.schedule.agenda().promise(&self.setup.backend.polling())
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a call said of the backend's health: only what is about the backend, not about the request.
    fn note<T>(&self, result: &Result<T, BackendError>, now: Timestamp) {
        let trouble = match result {
            Ok(_) => None,
            Err(error) if error.kind.is_about_the_backend() => Some(error),
            Err(_) => return,
        };
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.probe_time = Some(now);
        health.condition = trouble.map(|error| {
            let since = match &health.condition {
                Some(known) if known.reason == error.kind.reason() => known.since,
                _ => now,
            };
            Condition { reason: error.kind.reason().to_owned(), message: error.message.clone(), since }
        });
    }
}
