//! What a caller may do. Judged before anything is looked up, so that nobody learns by asking what there is.

use std::sync::Arc;

use super::error::Failure;
use super::{Context, Inner};
use crate::auth::{Caller, Exceeded, Right};
use crate::model::{BackendId, Scope};

impl Context {
    /// Refuses what the caller may not do with a backend, be there such a backend or not.
    pub(super) fn permit(&self, right: Right, backend: &BackendId) -> Result<(), Failure> {
        permit(&self.caller, right, backend)
    }

    /// The same for a scope: one backend must be allowed; of all of them, it becomes those that are.
    pub(super) fn permit_scope(&self, service: &Inner, scope: Scope) -> Result<Scope, Failure> {
        match &scope.backend {
            Some(backend) => self.permit(Right::Read, backend).map(|()| scope),
            None => Ok(scope.within(self.visible(service))),
        }
    }

    /// The backends that the caller may see; `None` where that is all of them, whatever they are.
    pub(super) fn visible(&self, service: &Inner) -> Option<Arc<[BackendId]>> {
        if self.caller.access().is_unlimited() {
            return None;
        }
        let all = service.tracker.backends().into_iter().map(|(info, _)| info.id);
        Some(all.filter(|id| self.caller.may(Right::Read, id)).collect())
    }
}

/// Refuses what a caller may not do with a backend, be there such a backend or not.
pub(super) fn permit(caller: &Caller, right: Right, backend: &BackendId) -> Result<(), Failure> {
    if caller.may(right, backend) {
        return Ok(());
    }
    let what = match right {
        Right::Read => "see",
        Right::Write => "start, stop or record anything in",
        Right::Transcripts => "see payloads and artifacts of",
    };
    let message = format!("{} may not {what} backends/{backend}", caller.subject());
    Err(Failure::caller_not_permitted(message).with_backend(backend))
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::caller_limit(exceeded.message, exceeded.retry_after)
    }
}
