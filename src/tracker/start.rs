//! Starting safely: the intent is durable before anything is sent, and one request id never starts twice.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest;

use super::{Error, Inner, Managed, Published, Tracker};
use crate::backend::{
    BackendError, Call, Effect, ErrorKind, Found, StartIntent, StartOptions, StartPlan, Started,
};
use crate::model::{
    ExecutionId, ExecutionName, Labels, LexApiMode, LexModality, StartMode, TestName, resource,
};
use crate::store::{StartKey, StartOutcome as Outcome, StartRecord};

/// A start that has not appeared upstream after this long never will.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// A caller's start.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The test.
    pub test: TestName,
    /// Who asks.
    pub caller: Arc<str>,
    /// Given by the caller, or made up for it.
    pub request_id: String,
    /// Options beyond the test.
    pub options: StartOptions,
    /// The caller's own labels.
    pub labels: Labels,
}

/// A start that is known to have happened.
#[derive(Clone, Debug)]
pub struct StartOutcome {
    /// The execution; may already be done.
    pub execution: Arc<Published>,
    /// An earlier call with this request id made it.
    pub deduplicated: bool,
}

/// One async lock a key, alive while somebody holds or awaits it.
#[derive(Debug)]
pub(super) struct KeyedLocks<K, L>(Mutex<HashMap<K, Weak<L>>>);

impl<K, L> Default for KeyedLocks<K, L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, L: Default> KeyedLocks<K, L> {
    pub(super) fn get(&self, key: &K) -> Arc<L> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(L::default());
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// What keeps starts from taking one another's runs.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// One start of a request id at a time.
    ids: KeyedLocks<StartKey, tokio::sync::Mutex<()>>,
    /// Held to send a start of a test (many at once), or to look for a lost one (alone): a run that is there while
    /// its reply is on the way would be taken for the lost one's.
    tests: KeyedLocks<TestName, tokio::sync::RwLock<()>>,
}

impl Tracker {
    /// Says what a start would do: an execution without a name, with the details and labels that it would have.
    ///
    /// # Errors
    /// It could not be started, and why.
    pub async fn validate_start(
        &self,
        request: &StartRequest,
        call: &Call,
    ) -> Result<(StartPlan, Labels), Error> {
        let managed = self.0.managed(&request.test.backend)?;
        let plan = managed.setup.backend.plan_start(call, &request.test.test, &request.options).await;
        Ok((self.0.ask(managed, plan)?, request.labels.clone()))
    }

    /// Starts an execution, or finds the one that this request id has started.
    ///
    /// Runs to its end even if the caller goes away: a start that was sent is always journalled.
    ///
    /// # Errors
    /// The start was refused, its outcome is not known, or it is known not to have happened.
    pub async fn start(&self, request: StartRequest, call: Call) -> Result<StartOutcome, Error> {
        let inner = self.0.clone();
        self.0.to_its_end("start", async move { inner.start(request, &call).await }).await
    }
}

impl Inner {
    async fn start(self: Arc<Self>, request: StartRequest, call: &Call) -> Result<StartOutcome, Error> {
        let key = StartKey::new(&request.caller, &request.test, &request.request_id);
        let lock = self.starts.ids.get(&key);
        let Ok(_turn) = tokio::time::timeout_at(call.deadline, lock.lock()).await else {
            return Err(Error::DeadlineExceeded);
        };
        let managed = self.managed(&request.test.backend)?.clone();
        let outcome = match self.store.start(&key)? {
            Some(record) if record.fingerprint != fingerprint(&request) => Err(Error::RequestIdReused {
                backend: managed.id.clone(),
                request_id: request.request_id.clone(),
            }),
            Some(record) => match &record.outcome {
                Outcome::Started(name) => self.started_before(&name.clone()),
                Outcome::NotConfirmed => Err(not_confirmed(&managed, &request)),
                Outcome::Sending => self.reconcile(&managed, &request, record, call).await,
            },
            None => self.start_anew(&managed, &request, key, call).await,
        };
        outcome.map_err(|error| with_request_id(error, &request.request_id))
    }

    async fn start_anew(
        self: &Arc<Self>,
        managed: &Managed,
        request: &StartRequest,
        key: StartKey,
        call: &Call,
    ) -> Result<StartOutcome, Error> {
        let backend = &managed.setup.backend;
        let plan = self.ask(managed, backend.plan_start(call, &request.test.test, &request.options).await)?;
        let record = StartRecord {
            key,
            caller: request.caller.to_string(),
            parent: request.test.clone(),
            request_id: request.request_id.clone(),
            fingerprint: fingerprint(request),
            labels: request.labels.clone(),
            token: token(request),
            time: self.clock.now(),
            details: plan.details,
            upstream_labels: plan.upstream_labels,
            test_display_name: plan.test_display_name,
            outcome: Outcome::Sending,
        };
        let gate = self.starts.tests.get(&record.parent);
        let Ok(_sending) = tokio::time::timeout_at(call.deadline, gate.read()).await else {
            return Err(Error::DeadlineExceeded);
        };
        self.store.journal_start(record.clone()).await?;
        let result = backend.start(call, &intent(&record)).await;
        managed.reads.note_write();
        managed.note(&result, self.clock.now());
        match result {
            Ok(started) => Ok(self.settle(managed, record, started, false, false).await),
            Err(error) if error.effect == Effect::None => {
                self.store.forget_start(&record.key).await?;
                Err(Error::backend(&managed.id, error))
            }
            Err(error) => Err(Error::backend(&managed.id, outcome_unknown(managed, error))),
        }
    }

    /// Finds out what became of a start whose reply was lost, here or in an earlier process.
    async fn reconcile(
        self: &Arc<Self>,
        managed: &Managed,
        request: &StartRequest,
        record: StartRecord,
        call: &Call,
    ) -> Result<StartOutcome, Error> {
        let native = managed.setup.backend.info().capabilities.start_mode == StartMode::NativeToken;
        let gate = self.starts.tests.get(&record.parent);
        // A token finds its own run, and only that.
        let alone = async { if native { None } else { Some(gate.write().await) } };
        let Ok(_alone) = tokio::time::timeout_at(call.deadline, alone).await else {
            return Err(Error::DeadlineExceeded);
        };
        for owner in self.without_a_run(&record.parent) {
            // Where this finds no run, the owner may be that of any: see below.
            drop(self.read(&owner, call).await);
        }
        let found = managed.setup.backend.find_started(call, &intent(&record)).await;
        managed.reads.note_write();
        let mut unclaimed: Vec<Found> = self
            .ask(managed, found)?
            .into_iter()
            .filter(|found| native || !self.is_claimed(&record.parent, &found.execution))
            .collect();
        let certain = native || self.without_a_run(&record.parent).is_empty();
        match (unclaimed.len(), unclaimed.pop()) {
            (1, Some(found)) if certain => {
                let started = Started { execution: Some(found.execution), observation: found.observation };
                Ok(self.settle(managed, record, started, !native, true).await)
            }
            (0, _) if self.clock.since(record.time) >= CONFIRM_WITHIN => {
                self.store.settle_start(&record.key, Outcome::NotConfirmed, None).await?;
                Err(not_confirmed(managed, request))
            }
            (count, _) => {
                let message = match count {
                    0 => "the start's reply was lost and the run has not shown up yet; ask again with the same request_id".into(),
                    1 => "the start's reply was lost and a run that could be it may be another start's; ask again with the same request_id".into(),
                    _ => format!("the start's reply was lost and {count} runs could be it; ask again with the same request_id"),
                };
                let error =
                    BackendError::new(ErrorKind::StartOutcomeUnknown, message).with_effect(Effect::Possible);
                Err(Error::backend(&managed.id, error))
            }
        }
    }

    /// Whether a run found upstream belongs to another start, or to a minted execution.
    fn is_claimed(&self, test: &TestName, id: &ExecutionId) -> bool {
        let name = test.execution(id.clone());
        let known = self.canonical(&name).and_then(|name| self.known(&name)).ok().flatten();
        known.is_some_and(|known| !known.creator.is_empty() || known.name.execution.is_minted())
    }

    /// Confirmed starts of a test of which upstream's id is not known yet: one of its runs is theirs.
    fn without_a_run(&self, test: &TestName) -> Vec<ExecutionName> {
        self.table()
            .entries()
            .filter(|(name, entry)| {
                let execution = &entry.record.execution;
                name.execution.is_minted()
                    && name.test_name() == *test
                    && execution.upstream_id.is_empty()
                    && !execution.is_done()
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Makes a confirmed start durable and known.
    async fn settle(
        self: &Arc<Self>,
        managed: &Managed,
        start: StartRecord,
        started: Started,
        reconciled: bool,
        repeated: bool,
    ) -> StartOutcome {
        let name = start.parent.execution(started.execution.unwrap_or_else(ExecutionId::mint));
        // Upstream handed back a run that another request id has started.
        let known_before = self.known(&name).ok().flatten().is_some_and(|known| !known.creator.is_empty());
        let mut observation = started.observation;
        observation.details = observation.details.or(Some(start.details));
        let (labels, caller, request_id) = (start.labels, start.caller, start.request_id);
        let (upstream_labels, display_name, sent_at) =
            (start.upstream_labels, start.test_display_name, start.time);
        let execution = self.absorb(&name, observation, |record, first| {
            if known_before {
                return false;
            }
            record.followed = true;
            let execution = &mut record.execution;
            execution.labels = labels;
            execution.creator = caller;
            execution.request_id = request_id;
            execution.upstream_labels = upstream_labels;
            execution.test_display_name = display_name;
            execution.reconciled = reconciled;
            if first && name.execution.is_minted() {
                // Its run is looked for by time, so its time is that of the send.
                execution.create_time = Some(sent_at);
            }
            true
        });
        let record = self.table().get(&name).map(|entry| entry.record.clone());
        if let Err(error) = self.store.settle_start(&start.key, Outcome::Started(name.clone()), record).await
        {
            // It did start, and that is the answer; a retry after a crash finds the run by reconciling.
            tracing::error!(execution = %name, %error, "a confirmed start could not be journalled");
        }
        self.follow_up(&name, managed.setup.poll_interval);
        let execution = self.shown(&name).await.unwrap_or(execution);
        StartOutcome { execution, deduplicated: known_before || repeated }
    }

    fn started_before(&self, name: &ExecutionName) -> Result<StartOutcome, Error> {
        let execution = self
            .known(name)?
            .ok_or_else(|| Error::NotFound { resource_type: resource::EXECUTION, name: name.to_string() })?;
        Ok(StartOutcome { execution, deduplicated: true })
    }
}

/// The start as the adapter sends it.
fn intent(record: &StartRecord) -> StartIntent {
    StartIntent {
        test: record.parent.test.clone(),
        plan: StartPlan {
            details: record.details.clone(),
            upstream_labels: record.upstream_labels.clone(),
            test_display_name: record.test_display_name.clone(),
        },
        token: record.token.clone(),
        time: record.time,
    }
}

/// The code that a caller sees for a start that may have happened.
fn outcome_unknown(managed: &Managed, mut error: BackendError) -> BackendError {
    let untokened = managed.setup.backend.info().capabilities.start_mode == StartMode::GatewayDedup;
    if untokened && error.kind != ErrorKind::PipelineServiceUnavailable {
        error.kind = ErrorKind::StartOutcomeUnknown;
        error.retry_after = None;
    }
    error
}

fn not_confirmed(managed: &Managed, request: &StartRequest) -> Error {
    Error::StartNotConfirmed { backend: managed.id.clone(), request_id: request.request_id.clone() }
}

fn with_request_id(error: Error, id: &str) -> Error {
    match error {
        Error::Backend { backend, error, request_id: _ } => {
            Error::Backend { backend, error, request_id: Some(id.to_owned()) }
        }
        other => other,
    }
}

/// Connect's ClientToken: the same for the same parent, caller and request id, and for no others.
fn token(request: &StartRequest) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let parent = request.test.to_string();
    for part in [parent.as_str(), &request.caller, &request.request_id] {
        feed(&mut context, part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What must be the same for a request id to be the same start: options and labels.
fn fingerprint(request: &StartRequest) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for (key, value) in &request.labels {
        feed(&mut context, key);
        feed(&mut context, value);
    }
    feed(&mut context, "options");
    if let Some(lex) = &request.options.lex {
        let mode = lex.api_mode.map(|mode| match mode {
            LexApiMode::Streaming => "streaming",
            LexApiMode::NonStreaming => "non-streaming",
        });
        let modality = lex.modality.map(|modality| match modality {
            LexModality::Text => "text",
            LexModality::Audio => "audio",
        });
        let texts = [&lex.bot_id, &lex.bot_alias_id, &lex.locale_id].map(|text| text.as_deref());
        for part in texts.into_iter().chain([mode, modality]) {
            // An unset field differs from an empty one.
            feed(&mut context, if part.is_some() { "set" } else { "unset" });
            feed(&mut context, part.unwrap_or_default());
        }
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// Length first, so that no two lists of parts look alike.
fn feed(context: &mut digest::Context, part: &str) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part.as_bytes());
}
