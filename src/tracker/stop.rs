//! Stopping: what can be stopped, once for each request id.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::{Error, Inner, Published, Tracker};
use crate::backend::{BackendError, Call, Effect, ErrorKind};
use crate::model::{ExecutionName, StopScope};

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
        if execution.is_done() || self.was_stopped_by(&name, &request.request_id) {
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
        let stopped = managed.setup.backend.stop(call, &self.target(&name), &token(request)).await;
        managed.note(&stopped, self.clock.now());
        if let Err(mut error) = stopped {
            if error.effect == Effect::Possible && scope == StopScope::Test {
                error.kind = ErrorKind::StopOutcomeUnknown;
            }
            return Err(Error::backend(&managed.id, error));
        }
        let also: Vec<_> = match scope {
            StopScope::Test => self.unfinished_of_the_same_test(&name),
            StopScope::Execution | StopScope::None => Vec::new(),
        };
        for name in also.iter().chain([&name]) {
            self.note_stop(name, request);
            self.follow_up(name, Duration::ZERO.max(managed.setup.poll_interval));
        }
        Ok(self.known(&name)?.unwrap_or(execution))
    }

    /// Whether a stop was accepted here already that this one repeats.
    fn was_stopped_by(&self, name: &ExecutionName, request_id: &str) -> bool {
        self.table().get(name).is_some_and(|entry| {
            entry.record.execution.stop_request_time.is_some()
                && entry.stop_request_id.as_deref().is_none_or(|known| known == request_id)
        })
    }

    fn unfinished_of_the_same_test(&self, name: &ExecutionName) -> Vec<ExecutionName> {
        self.table()
            .entries()
            .filter(|(other, entry)| {
                other.backend == name.backend && other.test == name.test && !entry.record.execution.is_done()
            })
            .map(|(other, _)| other.clone())
            .collect()
    }

    fn note_stop(&self, name: &ExecutionName, request: &StopRequest) {
        let wall = self.clock.now();
        let mut table = self.table();
        if let Some(entry) = table.get_mut(name) {
            entry.stop_request_id = Some(request.request_id.clone());
            entry.followed_since.get_or_insert_with(Instant::now);
        }
        table.publish(name, &self.store, |record| {
            record.execution.note_stop(&request.caller, &request.reason, wall)
        });
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
