//! Credentials, kept until shortly before they expire. The providers themselves ask anew each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::time::Instant;

use super::sign::Identity;
use crate::backend::engine::clean;
use crate::backend::{BackendError, ErrorKind};
use crate::model::{Clock, Timestamp};

/// One load of the chain.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Refreshed so long before they expire.
const MARGIN: time::Duration = time::Duration::minutes(5);
/// Those without an expiry may still be replaced in their file.
const UNDATED_LIFETIME: time::Duration = time::Duration::minutes(15);
/// After a failed load, the next is put off so long.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// After a failed refresh of what is still valid.
const REFRESH_PAUSE: time::Duration = time::Duration::seconds(30);

/// One load at a time, whoever asks.
#[derive(Debug)]
pub(super) struct CredentialCache {
    clock: Clock,
    known: Mutex<Known>,
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    current: Option<Current>,
    failed: Option<(Instant, BackendError)>,
}

#[derive(Debug)]
struct Current {
    identity: Arc<Identity>,
    /// When they end, if they do.
    expiry: Option<Timestamp>,
    refresh_at: Timestamp,
}

impl CredentialCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::default(), loading: tokio::sync::Mutex::new(()) }
    }

    /// Credentials that hold, loaded where needed.
    pub(super) async fn get(
        &self,
        provider: &SharedCredentialsProvider,
    ) -> Result<Arc<Identity>, BackendError> {
        match self.fresh()? {
            Some(fresh) => Ok(fresh),
            // Boxed: what loads is large, and so would be every call that does not.
            None => Box::pin(self.load(provider)).await,
        }
    }

    async fn load(&self, provider: &SharedCredentialsProvider) -> Result<Arc<Identity>, BackendError> {
        let _one_at_a_time = self.loading.lock().await;
        // Whoever loaded while we waited did it for us too.
        if let Some(fresh) = self.fresh()? {
            return Ok(fresh);
        }
        let loaded = match tokio::time::timeout(LOAD_TIMEOUT, provider.provide_credentials()).await {
            Ok(loaded) => loaded.map_err(|error| error_chain(&error)),
            Err(_) => Err(format!("no answer within {} s", LOAD_TIMEOUT.as_secs())),
        };
        let now = self.clock.now();
        let mut known = self.lock();
        match loaded {
            Ok(credentials) => {
                let expiry = credentials.expiry().map(Timestamp::from);
                let (identity, refresh_at) = (Arc::new(Identity::new(credentials)), refresh_at(expiry, now));
                let current = Current { identity: Arc::clone(&identity), expiry, refresh_at };
                *known = Known { current: Some(current), failed: None };
                Ok(identity)
            }
            Err(text) => {
                if let Some(current) = known.current.as_mut().filter(|current| current.is_valid(now)) {
                    tracing::warn!(
                        error = clean(&text),
                        "AWS credentials could not be refreshed; the old ones hold"
                    );
                    current.refresh_at = now + REFRESH_PAUSE;
                    return Ok(Arc::clone(&current.identity));
                }
                let text = format!("no AWS credentials could be loaded: {}", clean(&text));
                let error = BackendError::new(ErrorKind::BackendCredentialsInvalid, text);
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Upstream refused them: the next call loads others.
    pub(super) fn invalidate(&self) {
        *self.lock() = Known::default();
    }

    fn fresh(&self) -> Result<Option<Arc<Identity>>, BackendError> {
        let now = self.clock.now();
        let known = self.lock();
        if let Some(current) = known.current.as_ref().filter(|current| now < current.refresh_at) {
            return Ok(Some(Arc::clone(&current.identity)));
        }
        match &known.failed {
            Some((at, error)) if known.current.is_none() && at.elapsed() < FAILURE_PAUSE => {
                Err(error.clone())
            }
            _ => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.expiry.is_none_or(|expiry| now < expiry)
    }
}

/// Well before the end, but never so early that short-lived credentials are loaded for each call.
fn refresh_at(expiry: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match expiry {
        None => now + UNDATED_LIFETIME,
        Some(expiry) => expiry - MARGIN.min((expiry - now) / 3),
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{error::CredentialsError, future};
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    /// Hands out what the test says and counts how often it was asked.
    #[derive(Clone, Debug, Default)]
    struct Chain {
        asked: Arc<AtomicUsize>,
        failing: Arc<std::sync::atomic::AtomicBool>,
        now: Arc<AtomicI64>,
        lifetime: Option<i64>,
    }

    impl ProvideCredentials for Chain {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async move {
                let count = self.asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if self.failing.load(Ordering::SeqCst) {
                    return Err(CredentialsError::provider_error("password=hunter2"));
                }
                let end = self.lifetime.map(|seconds| (self.at() + time::Duration::seconds(seconds)).into());
                Ok(Credentials::new(format!("key{count}"), "secret", None, end, "test"))
            })
        }
    }

    impl Chain {
        fn at(&self) -> Timestamp {
            time::macros::datetime!(2026-11-21 06:00:00 UTC)
                + time::Duration::seconds(self.now.load(Ordering::SeqCst))
        }

        fn start(&self) -> (CredentialCache, SharedCredentialsProvider) {
            let chain = self.clone();
            (
                CredentialCache::new(Clock::from_fn(move || chain.at())),
                SharedCredentialsProvider::new(self.clone()),
            )
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn many_callers_share_one_load() {
        let chain = Chain::default();
        let (cache, provider) = chain.start();
        let (a, b, c) = tokio::join!(cache.get(&provider), cache.get(&provider), cache.get(&provider));
        assert_eq!([a, b, c].map(|got| got.unwrap().access_key_id().to_owned()), ["key0", "key0", "key0"]);
        assert_eq!(chain.asked(), 1);
    }

    #[tokio::test]
    async fn they_are_refreshed_before_they_expire_and_kept_where_that_fails() {
        let chain = Chain { lifetime: Some(3600), ..Chain::default() };
        let (cache, provider) = chain.start();
        cache.get(&provider).await.unwrap();
        chain.now.store(3200, Ordering::SeqCst);
        assert_eq!(cache.get(&provider).await.unwrap().access_key_id(), "key0");
        chain.failing.store(true, Ordering::SeqCst);
        chain.now.store(3400, Ordering::SeqCst);
        assert_eq!(cache.get(&provider).await.unwrap().access_key_id(), "key0");
        assert_eq!(cache.get(&provider).await.unwrap().access_key_id(), "key0");
        assert_eq!(chain.asked(), 2, "a failed refresh is not repeated for each call");
        chain.failing.store(false, Ordering::SeqCst);
        chain.now.store(3500, Ordering::SeqCst);
        assert_eq!(cache.get(&provider).await.unwrap().access_key_id(), "key2");
    }

    #[tokio::test]
    async fn what_expired_is_never_used_and_the_error_shows_no_secret() {
        let chain = Chain { lifetime: Some(60), ..Chain::default() };
        let (cache, provider) = chain.start();
        cache.get(&provider).await.unwrap();
        chain.failing.store(true, Ordering::SeqCst);
        chain.now.store(61, Ordering::SeqCst);
        let error = cache.get(&provider).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
        assert!(!error.message.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn refused_ones_are_loaded_again() {
        let chain = Chain::default();
        let (cache, provider) = chain.start();
        cache.get(&provider).await.unwrap();
        cache.invalidate();
        assert_eq!(cache.get(&provider).await.unwrap().access_key_id(), "key1");
    }
}
