//! Who calls, and what they may do.
//!
//! [`Auth`] knows the current policy: tokens, issuers, grants, limits. Whoever comes is [identified](Auth::identify)
//! by a bearer token, a JSON web token or a client certificate, and is a [`Caller`] from then on: a subject, with
//! what its grants let it do. A caller is as old as the policy that it was judged by; a stream that lives longer
//! asks for a [renewed](Caller::renew) one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, watch};

use crate::config::{AuthConfig, LimitsConfig, Problem};
use crate::model::Clock;

mod account;
mod caller;
mod certificate;
mod grant;
mod jwt;
mod keys;
mod pattern;
mod policy;
mod token;
mod verified;

pub use account::{Exceeded, Held};
pub use caller::Caller;
pub use certificate::Certificate;
pub use grant::{Access, Right};
pub use jwt::FetchKeys;

use account::Accounts;
use caller::{Credential, Identity};
use policy::{Doubt, Policy, Sources};

/// No credential is longer, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;
/// How often issuers are asked whether it is time to fetch their keys.
const KEYS_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Who calls where nobody has to say who they are.
const ANONYMOUS: &str = "anonymous";

/// Who may call, and what they may do. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    clock: Clock,
    policy: ArcSwap<Policy>,
    /// What the policy was made of, for the next one.
    sources: Mutex<Sources>,
    /// The policy's generation, for those who wait for the next.
    generation: watch::Sender<u64>,
    accounts: Accounts,
    /// Wakes whoever fetches keys.
    keys_wanted: Notify,
}

/// Why somebody is not let in. Says nothing of what would let them in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub &'static str);

/// One connection: the certificate that its client showed, and who it was last.
#[derive(Default)]
pub struct Peer {
    certificate: Option<Arc<Certificate>>,
    last: Mutex<Option<Last>>,
}

/// The last caller on a connection: most connections have only one.
struct Last {
    credential: Option<HeaderValue>,
    caller: Caller,
}

impl Peer {
    /// A connection whose client showed a certificate, or none.
    pub fn new(certificate: Option<Certificate>) -> Self {
        Self { certificate: certificate.map(Arc::new), last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        // Nothing panics while it is held.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last caller, if it showed the same as this one.
    fn recall(&self, shown: Option<&HeaderValue>) -> Option<Caller> {
        let last = self.last();
        let Last { credential, caller } = last.as_ref()?;
        let same = match (credential, shown) {
            (None, None) => true,
            // In constant time: it is somebody's secret, and not necessarily that of the one who asks.
            (Some(known), Some(shown)) => token::same(known.as_bytes(), shown.as_bytes()),
            _ => false,
        };
        (same && caller.is_current()).then(|| caller.clone())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the policy's files. Without a configuration everybody may do everything.
    ///
    /// # Errors
    /// Everything that can't be read, or is not what it should be.
    pub fn new(
        config: Option<&AuthConfig>,
        limits: &LimitsConfig,
        clock: Clock,
    ) -> Result<Self, Vec<Problem>> {
        Sources::read(config, limits, &[]).map(|sources| Self::of(sources, clock))
    }

    /// Takes everybody as they come, and lets them do everything.
    pub fn anonymous() -> Self {
        Self::of(Sources::anonymous(), Clock::system())
    }

    fn of(sources: Sources, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            policy: ArcSwap::from_pointee(sources.policy(1)),
            sources: Mutex::new(sources),
            generation: watch::Sender::new(1),
            accounts: Accounts::default(),
            keys_wanted: Notify::new(),
        }))
    }

    /// Takes a new configuration in the place of the old one, or leaves the old one as it is.
    ///
    /// # Errors
    /// Everything that can't be read, or is not what it should be.
    pub fn replace(&self, config: Option<&AuthConfig>, limits: &LimitsConfig) -> Result<(), Vec<Problem>> {
        let read = Sources::read(config, limits, self.0.policy.load().issuers())?;
        let mut sources = self.sources();
        *sources = read;
        self.publish(&sources);
        Ok(())
    }

    /// Looks whether files have changed. Blocks while it reads.
    pub fn look(&self) {
        let mut sources = self.sources();
        if sources.look() {
            self.publish(&sources);
        }
    }

    /// Fetches issuers' keys, again and again, for as long as it is polled.
    pub async fn keep_keys_fresh(&self, fetch: &dyn FetchKeys) {
        loop {
            let policy = self.0.policy.load_full();
            let looks = policy.issuers().iter().map(|issuer| issuer.keep_fresh(fetch));
            if futures_util::future::join_all(looks).await.contains(&true) {
                let sources = self.sources();
                self.publish(&sources);
            }
            tokio::select! {
                () = tokio::time::sleep(KEYS_EVERY) => {}
                () = self.0.keys_wanted.notified() => {}
            }
        }
    }

    /// Whether anything can change by itself, so that [`Auth::look`] makes sense.
    pub fn has_files(&self) -> bool {
        self.sources().has_files()
    }

    /// Rises with each change of the policy.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Who calls, if they show what the connection's last caller showed and that still holds.
    pub fn recall(&self, peer: &Peer, headers: &HeaderMap) -> Option<Caller> {
        peer.recall(shown(headers).ok()?)
    }

    /// Says who calls, by what they show: the call's headers, else the connection's certificate.
    ///
    /// # Errors
    /// They show nothing that makes them anyone.
    pub async fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let shown = shown(headers)?;
        let credential = match (shown, &peer.certificate) {
            (Some(header), _) => Credential::Bearer(token::bearer(header)?),
            (None, Some(certificate)) => Credential::Certificate(certificate.clone()),
            (None, None) => Credential::None,
        };
        let caller = self.judge(credential).await?;
        *peer.last() = Some(Last { credential: shown.cloned(), caller: caller.clone() });
        Ok(caller)
    }

    /// Judges a credential by the current policy.
    async fn judge(&self, credential: Credential) -> Result<Caller, Refusal> {
        let mut policy = self.0.policy.load_full();
        let mut judged = policy.identify(&credential, self.0.clock.now());
        if let Err(Doubt::KeyUnknown(issuer)) = &judged {
            issuer.ask_again(&self.0.keys_wanted).await;
            policy = self.0.policy.load_full();
            judged = policy.identify(&credential, self.0.clock.now());
        }
        let identified = judged.map_err(|doubt| match doubt {
            Doubt::Refused(refusal) => refusal,
            Doubt::KeyUnknown(_) => Refusal("the token's key is not known to be its issuer's"),
        })?;
        let account = self.0.accounts.of(&identified.subject);
        Ok(Caller::new(Identity {
            auth: self.clone(),
            access: policy.access(&identified.subject),
            generation: policy.generation,
            limits: policy.limits.clone(),
            credential,
            account,
            subject: identified.subject,
            ends: identified.ends,
        }))
    }

    fn publish(&self, sources: &Sources) {
        let generation = self.0.policy.load().generation + 1;
        self.0.policy.store(Arc::new(sources.policy(generation)));
        self.0.generation.send_replace(generation);
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // A panic while it is held leaves old sources, which is what they were before.
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("generation", &self.0.policy.load().generation).finish_non_exhaustive()
    }
}

/// The one credential among the headers. Two would leave open who it is that calls.
fn shown(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (_, Some(_)) => Err(Refusal("more than one authorization header came")),
        (first, None) => Ok(first),
    }
}

#[cfg(test)]
mod tests;
