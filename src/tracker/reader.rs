//! Brings an execution up to date: one upstream read however many want it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::table::{Entry, Reading};
use super::{DEFAULT_STALENESS, Error, Inner, Managed, Published};
use crate::backend::{BackendError, Call, ErrorKind, Target};
use crate::model::id::LooseExecutionName;
use crate::model::{ExecutionId, ExecutionName, Kind, Observation, resource};
use crate::store::Record;

/// How often a reading looks for another run where somebody else was quicker to take the one that it found.
const MAX_CLAIMS: usize = 4;

impl Inner {
    /// The name under which an execution is known: the minted one where upstream's id was given.
    pub(super) fn canonical(&self, name: &ExecutionName) -> Result<ExecutionName, Error> {
        self.managed(&name.backend)?;
        if let Some(minted) = self.table().alias(name) {
            return Ok(minted);
        }
        if self.table().get(name).is_some() {
            return Ok(name.clone());
        }
        Ok(self.store.resolve_alias(name)?.unwrap_or_else(|| name.clone()))
    }

    /// As [`Self::canonical`], for a name whose test may be `-`.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        name: &LooseExecutionName,
        call: &Call,
    ) -> Result<ExecutionName, Error> {
        let LooseExecutionName { backend, test, execution } = name;
        let managed = self.managed(backend)?;
        if let Some(test) = test {
            let name =
                ExecutionName { backend: backend.clone(), test: test.clone(), execution: execution.clone() };
            return self.canonical(&name);
        }
        if managed.kind != Kind::AmazonLexV2 {
            let rule = "`tests/-` is accepted for Lex only: name the test";
            return Err(Error::backend(backend, BackendError::new(ErrorKind::FieldInvalid("name"), rule)));
        }
        let known = self.table().entries().find_map(|(known, _)| {
            (known.backend == *backend && known.execution == *execution).then(|| known.clone())
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let observation =
            self.ask(managed, managed.setup.backend.observe(call, &untold(None, execution.clone())).await)?;
        let test = observation.test.clone().ok_or_else(|| {
            let error = BackendError::new(
                ErrorKind::UpstreamInvalidResponse,
                "the answer does not say of which test",
            );
            Error::backend(backend, error)
        })?;
        let name = ExecutionName { backend: backend.clone(), test, execution: execution.clone() };
        self.absorb(&name, observation, |_, _| false);
        self.shown(&name).await;
        Ok(name)
    }

    /// A state at most `max_staleness` old, or what the defaults allow.
    pub(super) async fn fresh(
        self: &Arc<Self>,
        name: &ExecutionName,
        max_staleness: Option<Duration>,
        call: &Call,
    ) -> Result<Arc<Published>, Error> {
        let managed = self.managed(&name.backend)?;
        let now = Instant::now();
        match self.recall(name, max_staleness, now)? {
            Recalled::Young(known) => return Ok(known),
            Recalled::Ending => {
                // Where its end is saved there is nothing to read.
                if let Some(shown) = self.shown(name).await.filter(|shown| shown.is_done()) {
                    return Ok(shown);
                }
            }
            Recalled::Old => {}
            Recalled::Nothing if name.execution.is_minted() => {
                return Err(Error::NotFound { resource_type: resource::EXECUTION, name: name.to_string() });
            }
            Recalled::Nothing => {}
        }
        match self.read(name, call).await {
            Ok(execution) => Ok(execution),
            Err(BackendError { kind: ErrorKind::DeadlineExceeded, .. }) => Err(Error::DeadlineExceeded),
            // Seen before: its last state, with the condition that the failed reading left.
            Err(error) if error.is_gone() => match self.known(name)? {
                Some(known) if known.observe_time.is_some() => Ok(known),
                _ => Err(Error::backend(&managed.id, error)),
            },
            Err(error) => Err(Error::backend(&managed.id, error)),
        }
    }

    /// As [`Self::fresh`], for one of many names that are read side by side.
    pub(super) async fn fresh_by_name(
        self: Arc<Self>,
        name: ExecutionName,
        max_staleness: Option<Duration>,
        call: Call,
    ) -> Result<Arc<Published>, Error> {
        let name = self.canonical(&name)?;
        self.fresh(&name, max_staleness, &call).await
    }

    /// Makes sure that an execution exists, by what is known or by a read.
    pub(super) async fn require_known(
        self: &Arc<Self>,
        name: &ExecutionName,
        call: &Call,
    ) -> Result<(), Error> {
        match self.known(name)? {
            Some(known) if known.observe_time.is_some() => Ok(()),
            _ => self.fresh(name, None, call).await.map(|_| ()),
        }
    }

    /// What is known of an execution, in memory or in the store.
    pub(super) fn known(&self, name: &ExecutionName) -> Result<Option<Arc<Published>>, Error> {
        if let Some(entry) = self.table().get(name) {
            return Ok(Some(entry.execution()));
        }
        Ok(self.store.get(name)?.map(|record| Published::new(record.execution)))
    }

    /// What there is of an execution without a reading; what is done is in memory for the next one who asks.
    fn recall(
        &self,
        name: &ExecutionName,
        max_staleness: Option<Duration>,
        now: Instant,
    ) -> Result<Recalled, Error> {
        if let Some(entry) = self.table().recall(name, now) {
            let known = entry.execution();
            return Ok(if entry.is_ending() {
                Recalled::Ending
            } else if known.is_done() || is_young(entry, max_staleness, now) {
                Recalled::Young(known)
            } else {
                Recalled::Old
            });
        }
        Ok(match self.store.get(name)? {
            Some(record) if record.execution.is_done() => Recalled::Young(self.table().remember(record, now)),
            Some(_) => Recalled::Old,
            None => Recalled::Nothing,
        })
    }

    /// Reads an execution from upstream. Joins a reading that is under way; it ends when nobody waits any more.
    pub(super) async fn read(
        self: &Arc<Self>,
        name: &ExecutionName,
        call: &Call,
    ) -> Result<Arc<Published>, BackendError> {
        let mut joined;
        loop {
            let reading = {
                let known =
                    if self.table().get(name).is_none() { self.store.get(name).ok().flatten() } else { None };
                let mut table = self.table();
                let now = Instant::now();
                let entry = table.entry(|| known.unwrap_or_else(|| self.unread(name)), name, now);
                entry.idle_since = now;
                if let Some(reading) =
                    entry.reading.as_ref().and_then(futures_util::future::WeakShared::upgrade)
                {
                    joined = true;
                    reading
                } else {
                    joined = false;
                    let reading: Reading = Box::pin(self.clone().read_once(name.clone(), call.clone()));
                    let reading = reading.shared();
                    entry.reading = reading.downgrade();
                    reading
                }
            };
            match tokio::time::timeout_at(call.deadline, reading).await {
                Err(_) => return Err(BackendError::new(ErrorKind::DeadlineExceeded, "the deadline passed")),
                // Another caller's deadline or budget is not ours.
                Ok(Err(error)) if joined && error.kind.is_of_one_call() => self.forget_reading(name),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(())) => {
                    return self.table().get(name).map(Entry::execution).ok_or_else(|| {
                        BackendError::new(ErrorKind::ResourceNotFound, format!("{name} does not exist"))
                    });
                }
            }
        }
    }

    fn forget_reading(&self, name: &ExecutionName) {
        if let Some(entry) = self.table().get_mut(name) {
            entry.reading = None;
        }
    }

    /// As [`Self::read`], as a type of its own: a reading may need others first.
    fn read_first(
        self: Arc<Self>,
        name: ExecutionName,
        call: Call,
    ) -> BoxFuture<'static, Result<Arc<Published>, BackendError>> {
        Box::pin(async move { self.read(&name, &call).await })
    }

    /// Asks the adapter. Where it found the run of a minted execution, that run is nobody else's.
    async fn observe(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        call: &Call,
    ) -> Result<Option<Observation>, BackendError> {
        let is_open = name.execution.is_minted() && self.target(name).upstream_id.is_none();
        if is_open {
            // Runs are told apart by their order only, so whoever was started earlier chooses first.
            let earlier = self.table().uncorrelated_before(name);
            for other in earlier {
                drop(self.clone().read_first(other, call.clone()).await);
            }
        }
        for _ in 0..MAX_CLAIMS {
            let observation = managed.setup.backend.observe(call, &self.target(name)).await?;
            let claimed = match ExecutionId::new(&observation.upstream_id) {
                Ok(id) if is_open => self.table().claim(name.test_name().execution(id), name),
                _ => true,
            };
            if claimed {
                return Ok(Some(observation));
            }
        }
        Ok(None)
    }

    async fn read_once(self: Arc<Self>, name: ExecutionName, call: Call) -> Result<(), BackendError> {
        let Ok(managed) = self.managed(&name.backend) else {
            return Err(BackendError::new(
                ErrorKind::ResourceNotFound,
                format!("backends/{} does not exist", name.backend),
            ));
        };
        let read = self.absorb_outcome(managed, &name, self.observe(managed, &name, &call).await);
        if read.is_some() {
            self.shown(&name).await;
        }
        self.forget_reading(&name);
        read.unwrap_or(Ok(()))
    }

    /// Takes a reading in, good or failed; `None` where it found what is another's.
    fn absorb_outcome(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        result: Result<Option<Observation>, BackendError>,
    ) -> Option<Result<(), BackendError>> {
        managed.note(&result, self.clock.now());
        let result = result.transpose()?.and_then(|observation| match &observation.test {
            Some(test) if *test != name.test => {
                let message = format!("{name} does not exist: this execution belongs to another test");
                Err(BackendError::new(ErrorKind::ResourceNotFound, message)
                    .with_resource(resource::EXECUTION, &name.to_string()))
            }
            _ => Ok(observation),
        });
        Some(match result {
            Ok(observation) => {
                self.absorb(name, observation, |_, _| false);
                self.lose_overdue(managed, name, |_| true);
                Ok(())
            }
            Err(error) => {
                self.note_failure(name, &error);
                self.lose_overdue(managed, name, |record| record.followed);
                Err(error)
            }
        })
    }

    /// What the adapter needs to know for a read.
    pub(super) fn target(&self, name: &ExecutionName) -> Target {
        let known = self.table().get(name).map(|entry| told(name, &entry.record));
        let stored = || self.store.get(name).ok().flatten().map(|record| told(name, &record));
        let Some(mut target) = known.or_else(stored) else {
            return untold(Some(name.test.clone()), name.execution.clone());
        };
        if name.execution.is_minted() && target.upstream_id.is_none() {
            let mut claimed = self.table().claimed(&name.test_name(), name);
            let stored = self.store.claimed_upstream_ids(&name.test_name()).unwrap_or_default();
            claimed.extend(stored.into_iter().map(|claim| claim.execution.as_str().to_owned()));
            target.claimed = claimed.into();
        }
        target
    }
}

/// What there is of an execution.
enum Recalled {
    /// As young as is wanted, or never to change.
    Young(Arc<Published>),
    /// It has ended, and that is being saved.
    Ending,
    /// Something older.
    Old,
    Nothing,
}

/// Whether what is shown of an execution is as young as is wanted, or followed where nothing is.
fn is_young(entry: &Entry, max_staleness: Option<Duration>, now: Instant) -> bool {
    let age = entry.read_at.map(|read_at| now.duration_since(read_at));
    match max_staleness {
        None => {
            let followed = entry.is_followed(now) && entry.record.execution.observe_time.is_some();
            followed || age.is_some_and(|age| age <= DEFAULT_STALENESS)
        }
        Some(wanted) => age.is_some_and(|age| age <= wanted && !wanted.is_zero()),
    }
}

/// A target as its record has it.
fn told(name: &ExecutionName, record: &Record) -> Target {
    let Record { execution, settling, first_seen, .. } = record;
    let upstream_id = Some(execution.upstream_id.clone())
        .filter(|id| !id.is_empty() && id.as_str() != name.execution.as_str());
    Target {
        upstream_id,
        create_time: execution.create_time,
        end_time: execution.end_time,
        stop_requested: execution.stop_request_time.is_some(),
        settling: settling.clone(),
        first_seen: Some(*first_seen),
        counts: execution.counts,
        ..untold(Some(name.test.clone()), name.execution.clone())
    }
}

/// A target of which only the name is known.
fn untold(test: Option<crate::model::TestId>, execution: ExecutionId) -> Target {
    Target {
        test,
        execution,
        upstream_id: None,
        create_time: None,
        end_time: None,
        stop_requested: false,
        settling: None,
        claimed: Arc::from([]),
        want_counts: true,
        first_seen: None,
        counts: None,
    }
}
