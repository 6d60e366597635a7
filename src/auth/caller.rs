//! Somebody who is identified.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::account::{Account, Exceeded, Held};
use super::certificate::Certificate;
use super::grant::{Access, Right};
use super::{Auth, Refusal};
use crate::config::LimitsConfig;
use crate::model::{BackendId, Timestamp};

/// Somebody who is identified, with what they may do. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Identity>);

pub(super) struct Identity {
    pub(super) auth: Auth,
    pub(super) subject: Arc<str>,
    pub(super) access: Access,
    pub(super) limits: Arc<LimitsConfig>,
    pub(super) account: Arc<Account>,
    /// What was shown, to be judged again.
    pub(super) credential: Credential,
    /// When what was shown ends by itself.
    pub(super) ends: Option<Timestamp>,
    /// Of the policy that judged.
    pub(super) generation: u64,
}

/// What somebody shows.
#[derive(Clone)]
pub(super) enum Credential {
    None,
    Bearer(Arc<[u8]>),
    Certificate(Arc<Certificate>),
}

impl Caller {
    pub(super) fn new(identity: Identity) -> Self {
        Self(Arc::new(identity))
    }

    /// Who it is: `token:ci`, `jwt:ISSUER#SUB`, `mtls:spiffe://…`, or `anonymous`.
    pub fn subject(&self) -> &Arc<str> {
        &self.0.subject
    }

    /// What they may do.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// Whether they have a right on a backend.
    pub fn may(&self, right: Right, backend: &BackendId) -> bool {
        self.0.access.allows(right, backend)
    }

    /// Whether what was found of them still holds: the policy is the same and their credential has not ended.
    pub fn is_current(&self) -> bool {
        let auth = &self.0.auth.0;
        self.0.generation == auth.policy.load().generation
            && self.0.ends.is_none_or(|ends| auth.clock.now() < ends)
    }

    /// Rises with each change of the policy.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.auth.changes()
    }

    /// Judges them again by the policy of now.
    ///
    /// # Errors
    /// They are nobody any more.
    pub async fn renew(&self) -> Result<Self, Refusal> {
        if self.is_current() {
            return Ok(self.clone());
        }
        let renewed = self.0.auth.judge(self.0.credential.clone()).await?;
        if renewed.subject() == self.subject() {
            Ok(renewed)
        } else {
            Err(Refusal("the credential is another's now"))
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// They call too often.
    pub fn admit(&self) -> Result<(), Exceeded> {
        match self.0.limits.requests_per_second {
            None => Ok(()),
            Some(rate) => self.0.account.admit(rate),
        }
    }

    /// Counts a stream that names some executions, for as long as the answer is held.
    ///
    /// # Errors
    /// They have too many.
    pub fn open_stream(&self, names: usize) -> Result<Held, Exceeded> {
        Account::open_stream(&self.0.account, names, &self.0.limits)
    }

    /// Counts a start that is under way, for as long as the answer is held.
    ///
    /// # Errors
    /// They have too many.
    pub fn begin_start(&self) -> Result<Held, Exceeded> {
        Account::begin_start(&self.0.account, &self.0.limits)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.subject).finish()
    }
}
