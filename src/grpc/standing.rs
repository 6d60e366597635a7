//! Whether a stream's caller may still see what it shows. A stream outlives tokens, certificates and grants.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::error::Failure;
use super::permission;
use crate::auth::{Caller, Right};
use crate::model::{BackendId, ExecutionName, Scope};

/// An idle stream looks this often, which is well within the 60 s in which its caller must be told.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The caller of a stream, and what it follows.
#[derive(Clone)]
pub(super) struct Standing {
    caller: Caller,
    follows: Follows,
}

#[derive(Clone)]
enum Follows {
    /// Something in each of these: losing one ends the stream.
    These(Box<[BackendId]>),
    /// Everything that the caller may see, which can become less; `None` where that has no bounds.
    Visible(Option<Arc<[BackendId]>>),
}

impl Standing {
    /// Of a stream by names.
    pub(super) fn of_names(caller: Caller, names: &[ExecutionName]) -> Self {
        let mut backends: Vec<_> = names.iter().map(|name| name.backend.clone()).collect();
        backends.sort();
        backends.dedup();
        Self { caller, follows: Follows::These(backends.into()) }
    }

    /// Of a stream about one backend.
    pub(super) fn of_backend(caller: Caller, backend: BackendId) -> Self {
        Self { caller, follows: Follows::These([backend].into()) }
    }

    /// Of a stream by parent, as it was permitted.
    pub(super) fn of_scope(caller: Caller, scope: &Scope) -> Self {
        match &scope.backend {
            Some(backend) => Self::of_backend(caller, backend.clone()),
            None => Self { caller, follows: Follows::Visible(scope.visible.clone()) },
        }
    }

    /// Whether there is anything that it may show.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.follows {
            Follows::These(backends) => {
                backends.iter().try_for_each(|backend| permission::permit(&self.caller, Right::Read, backend))
            }
            Follows::Visible(Some(visible)) if visible.is_empty() => Err(Failure::caller_not_permitted(
                format!("{} may not see any backend", self.caller.subject()),
            )),
            Follows::Visible(_) => Ok(()),
        }
    }

    /// Whether what was found of the caller still holds.
    pub(super) fn is_current(&self) -> bool {
        self.caller.is_current()
    }

    /// Rises with each change of what callers are judged by.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.caller.changes()
    }

    /// Judges the caller again; gives the backends that were lost.
    ///
    /// # Errors
    /// The caller is nobody any more, or may see nothing of what it follows.
    pub(super) async fn look(
        &mut self,
        all: impl FnOnce() -> Vec<BackendId>,
    ) -> Result<Vec<BackendId>, Failure> {
        let renewed = self.caller.renew().await;
        self.caller = renewed.map_err(|refusal| Failure::caller_unauthenticated(refusal.0))?;
        let mut lost = Vec::new();
        if let Follows::Visible(visible) = &mut self.follows
            && !self.caller.access().is_unlimited()
        {
            let known = visible.as_ref().map_or_else(all, |visible| visible.to_vec());
            let may = |id: &BackendId| self.caller.may(Right::Read, id);
            let (kept, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(may);
            *visible = Some(kept.into());
            lost = gone;
        }
        self.check().map(|()| lost)
    }

    /// Tells one set of visible backends from another: whoever resumes with another one must begin anew.
    pub(super) fn view(&self) -> u64 {
        let Follows::Visible(Some(visible)) = &self.follows else { return 0 };
        let mut hasher = DefaultHasher::new();
        visible.hash(&mut hasher);
        hasher.finish()
    }
}
