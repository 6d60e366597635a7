//! Stopping: what can be stopped, once for each request id.

use std::sync::Arc;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::{Error, Inner, Managed, Published, Tracker};
use crate::backend::{BackendError, Call, Effect, ErrorKind, ListHint};
use crate::model::{ExecutionName, State, StopScope, resource};
use crate::store::Stop;

/// A caller's stop.
#[derive(Clone, Debug)]
pub struct StopRequest {
    /// What to stop.
    pub name: ExecutionName,
    /// Who asks.
    pub caller: Arc<str>,
    /// Given by the caller, or empty.
    pub request_id: String,
    /// For the audit log.
    pub reason: String,
    /// Consent to stop every unfinished execution of the test.
    pub allow_test_scope: bool,
}

impl Tracker {
    /// Stops an execution; what is done already stays as it is.
    ///
    /// # Errors
    /// It can't be stopped, or the backend's own failure.
    pub async fn stop(&self, request: StopRequest, call: Call) -> Result<Arc<Published>, Error> {
        let inner = self.0.clone();
        self.0.to_its_end("stop", async move { inner.stop(&request, &call).await }).await
    }
}

impl Inner {
    async fn stop(self: &Arc<Self>, request: &StopRequest, call: &Call) -> Result<Arc<Published>, Error> {
        let managed = self.managed(&request.name.backend)?.clone();
        let scope = managed.setup.backend.info().capabilities.stop_scope;
        if scope == StopScope::None {
            let message = format!("{} has no call that stops an execution", managed.id);
            return Err(Error::backend(
                &managed.id,
                BackendError::new(ErrorKind::CapabilityNotSupported, message),
            ));
        }
        let name = self.canonical(&request.name)?;
        self.require_known(&name, call).await?;
        // One stop of an execution at a time, so that a repeat finds what the first has done.
        let lock = self.stops.get(&name);
        let Ok(_turn) = tokio::time::timeout_at(call.deadline, lock.lock()).await else {
            return Err(Error::DeadlineExceeded);
        };
        let execution = self.fresh(&name, None, call).await?;
        let earlier = self.table().get(&name).and_then(|entry| entry.record.stop.clone());
        let earlier = earlier.filter(|stop| stop.request_id == request.request_id);
        if execution.is_done() || earlier.as_ref().is_some_and(|stop| stop.accepted) {
            return Ok(execution);
        }
        if scope == StopScope::Test && !request.allow_test_scope {
            let message =
                "stopping this execution stops every unfinished execution of its test: set allow_test_scope";
            return Err(Error::backend(
                &managed.id,
                BackendError::new(ErrorKind::StopScopeNotAllowed, message),
            ));
        }
        if let (StopScope::Test, Some(earlier)) = (scope, &earlier)
            && self.is_settled(&managed, &name, earlier, call).await?
        {
            return self.accept_stop(&managed, &name, request, earlier).await;
        }
        if scope == StopScope::Test && earlier.is_none() {
            // It stops what others have started too; where that can't be told, at least what is known.
            drop(self.look_for_unfinished(&managed, &name, call).await);
        }
        let first = earlier.is_none();
        let stop = earlier.unwrap_or_else(|| Stop {
            request_id: request.request_id.clone(),
            requester: request.caller.to_string(),
            reason: request.reason.clone(),
            time: self.clock.now(),
            accepted: false,
        });
        let written = self.write_stop(&self.stopped_with(&name, scope), Some(&stop)).await;
        if scope == StopScope::Test {
            // A repeat has to know what this one was to stop; Connect's stop stops nothing else in any case.
            written?;
        }
        let stopped = managed.setup.backend.stop(call, &self.target(&name), &token(request)).await;
        managed.note(&stopped, self.clock.now());
        managed.reads.note_write();
        match stopped {
            Ok(()) => self.accept_stop(&managed, &name, request, &stop).await,
            Err(mut error) => {
                if error.effect == Effect::None && first {
                    // Nothing was stopped, so there is nothing to repeat.
                    drop(self.write_stop(&self.stopped_with(&name, scope), None).await);
                } else if error.effect == Effect::Possible && scope == StopScope::Test {
                    error.kind = ErrorKind::StopOutcomeUnknown;
                }
                Err(Error::backend(&managed.id, error))
            }
        }
    }

    /// Whether a stop of a whole test, whose outcome was not known, needs not be sent again because it took effect.
    ///
    /// # Errors
    /// It did not, and sending it again would stop executions that have begun since.
    async fn is_settled(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        earlier: &Stop,
        call: &Call,
    ) -> Result<bool, Error> {
        let read = self.read(name, call).await.map_err(|error| Error::backend(&managed.id, error))?;
        if !matches!(read.state, State::Pending | State::Running | State::Stopping | State::UpstreamUnknown) {
            return Ok(true);
        }
        self.look_for_unfinished(managed, name, call).await?;
        let others = self.stopped_with(name, StopScope::Test);
        if others.iter().any(|other| !self.was_to_be_stopped(other, earlier)) {
            let message = "the stop's reply was lost, the execution is not stopped, and others of its test have begun \
                           since: this request_id stops none of them, a new one stops all";
            let error =
                BackendError::new(ErrorKind::StopOutcomeUnknown, message).with_effect(Effect::Possible);
            return Err(Error::backend(&managed.id, error));
        }
        Ok(false)
    }

    async fn look_for_unfinished(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        call: &Call,
    ) -> Result<(), Error> {
        let hint = ListHint { unfinished_only: true, ..ListHint::default() };
        self.look(managed, Some(&name.test), &hint, call.deadline).await
    }

    /// Notes that upstream took a stop, in everything that it stopped; what it says is on disk when this returns.
    async fn accept_stop(
        self: &Arc<Self>,
        managed: &Managed,
        name: &ExecutionName,
        request: &StopRequest,
        stop: &Stop,
    ) -> Result<Arc<Published>, Error> {
        let scope = managed.setup.backend.info().capabilities.stop_scope;
        let mut stopped = self.stopped_with(name, scope);
        // A repeat is about what the first one was to stop.
        stopped.retain(|other| other == name || self.was_to_be_stopped(other, stop));
        for name in &stopped {
            let wall = self.clock.now();
            let mut table = self.table();
            if let Some(entry) = table.get_mut(name) {
                entry.record.stop = Some(Stop { accepted: true, ..stop.clone() });
                entry.followed_since.get_or_insert_with(Instant::now);
            }
            let change = table.publish(name, &self.store, |record| {
                record.execution.note_stop(&request.caller, &request.reason, wall)
            });
            drop(table);
            self.conclude(change);
            self.hurry(name);
        }
        if let Err(error) = self.save_all(&stopped).await {
            // It was stopped, and that is the answer.
            tracing::warn!(execution = %name, %error, "what a stop asked for could not be saved");
        }
        self.known(name)?
            .ok_or_else(|| Error::NotFound { resource_type: resource::EXECUTION, name: name.to_string() })
    }

    fn was_to_be_stopped(&self, name: &ExecutionName, stop: &Stop) -> bool {
        let table = self.table();
        let entry = table.get(name);
        entry.and_then(|entry| entry.record.stop.as_ref()).is_some_and(|known| known.time == stop.time)
    }

    /// Writes down a stop that is about to be sent, or that it was not sent, in everything that it concerns.
    async fn write_stop(&self, names: &[ExecutionName], stop: Option<&Stop>) -> Result<(), Error> {
        for name in names {
            if let Some(entry) = self.table().get_mut(name) {
                entry.record.stop = stop.cloned();
            }
        }
        self.save_all(names).await
    }

    async fn save_all(&self, names: &[ExecutionName]) -> Result<(), Error> {
        let records = {
            let table = self.table();
            names.iter().filter_map(|name| table.get(name)).map(|entry| entry.record.clone()).collect()
        };
        Ok(self.store.save_durably(records).await?)
    }

    /// What a stop of an execution stops: it, or every unfinished execution of its test.
    fn stopped_with(&self, name: &ExecutionName, scope: StopScope) -> Vec<ExecutionName> {
        let mut stopped = vec![name.clone()];
        if scope == StopScope::Test {
            let table = self.table();
            let test = name.test_name();
            let others = table.unfinished(&test).map(|entry| &entry.record.execution.name);
            stopped.extend(others.filter(|other| *other != name).cloned());
        }
        stopped
    }
}

/// Stable over the retries of one request, and different for another request id.
fn token(request: &StopRequest) -> String {
    let text = format!("stop\n{}\n{}\n{}", request.name, request.caller, request.request_id);
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
