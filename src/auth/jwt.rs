//! JSON web tokens: by whom they were issued, for whom, to whom, until when.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Refusal;
use super::keys::KeySet;
use crate::config::access::{IssuerConfig, KeySource};
use crate::config::file::Watched;
use crate::model::Timestamp;

/// How far an issuer's clock may be from this one.
const LEEWAY: f64 = 60.0;
/// How often keys are fetched when nothing is wrong.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// How soon they are fetched again when that failed.
const FETCH_AGAIN: Duration = Duration::from_secs(10);
/// How soon when a token names a key that nobody knows: whoever makes such tokens up causes no more than this.
const FETCH_WANTED: Duration = Duration::from_secs(2);
/// How long a call waits for them.
const WAIT: Duration = Duration::from_secs(6);
/// Said of a token without a claim that each must have.
const LACKING: &str = "the token lacks one of iss, aud, sub and exp";
/// The longest `sub`, in bytes.
const MAX_SUBJECT_BYTES: usize = 1024;

/// Fetches key sets; what it is made of is the composition root's business.
#[async_trait]
pub trait FetchKeys: Send + Sync {
    /// The body of a successful answer.
    ///
    /// # Errors
    /// Why there is none, in words.
    async fn fetch(&self, url: &str, ca_file: Option<&std::path::Path>) -> Result<Bytes, String>;
}

/// Somebody whose tokens are believed.
pub(super) struct Issuer {
    name: String,
    validation: Validation,
    keys: ArcSwap<KeySet>,
    source: Source,
}

enum Source {
    File(Mutex<Watched>),
    Url(Remote),
}

/// Keys that are fetched, by one task and whoever asks waits for it: a caller that gives up breaks nothing off.
struct Remote {
    url: String,
    ca_file: Option<PathBuf>,
    fetched: Mutex<Fetched>,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
}

/// What the last fetch was.
#[derive(Default)]
struct Fetched {
    at: Option<Instant>,
    failed: bool,
    /// Somebody asked for a key that nobody knows.
    wanted: bool,
    body: Bytes,
}

impl Remote {
    fn fetched(&self) -> MutexGuard<'_, Fetched> {
        // Nothing panics while it is held.
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetched {
    /// Whether it is time for another one.
    fn is_due(&self) -> bool {
        let pause = match (self.wanted, self.failed) {
            (true, _) => FETCH_WANTED,
            (false, true) => FETCH_AGAIN,
            (false, false) => FETCH_EVERY,
        };
        self.at.is_none_or(|at| at.elapsed() >= pause)
    }
}

/// What a token says that holds.
#[derive(Debug)]
pub(super) struct Verified {
    /// `jwt:{issuer}#{sub}`.
    pub(super) subject: Arc<str>,
    /// When it ends, with the leeway.
    pub(super) ends: Timestamp,
}

/// Why a token does not hold.
#[derive(Debug)]
pub(super) enum Unfit {
    /// For good.
    Refused(Refusal),
    /// As far as the keys are known: they may have changed.
    KeyUnknown,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Whose token it claims to be; `None` for what is no such token. Nothing of it is believed yet.
pub(super) fn claimed_issuer(token: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims(token).ok().map(|claimed: Claimed| claimed.iss)
}

impl Issuer {
    /// Takes up an issuer, with the keys that an earlier one of the same source has; a file is read.
    pub(super) fn new(config: &IssuerConfig, earlier: &[Arc<Self>]) -> Result<Self, String> {
        let (source, keys) = match &config.keys {
            KeySource::File(path) => {
                let file = Watched::open(path).map_err(|error| format!("its keys can't be read: {error}"))?;
                let keys = KeySet::parse(file.content());
                let keys = keys.map_err(|rule| format!("{} {rule}", path.display()))?;
                (Source::File(Mutex::new(file)), Arc::new(keys))
            }
            KeySource::Url { url, ca_file } => {
                let known =
                    earlier.iter().find(|issuer| issuer.fetches(url)).map(|issuer| issuer.keys.load_full());
                let remote = Remote {
                    url: url.clone(),
                    ca_file: ca_file.clone(),
                    fetched: Mutex::default(),
                    ended: watch::Sender::new(0),
                };
                (Source::Url(remote), known.unwrap_or_default())
            }
        };
        // The key says which algorithm is right, and the clock here whether it is time.
        let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.algorithms.clear();
        validation.validate_exp = false;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&config.audiences);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        Ok(Self { name: config.issuer.clone(), validation, keys: ArcSwap::new(keys), source })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Judges a token that claims to be this issuer's.
    pub(super) fn verify(&self, token: &[u8], now: Timestamp) -> Result<Verified, Unfit> {
        let refused = |why| Unfit::Refused(Refusal(why));
        let header = decode_header(token).map_err(|_| refused("the token's header can't be read"))?;
        let keys = self.keys.load();
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            return Err(Unfit::KeyUnknown);
        };
        if !key.may(header.alg) {
            return Err(refused("the token's algorithm is not one of its key"));
        }
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let claims =
            decode::<Claims>(token, &key.decoding, &validation).map_err(|error| refused(why(&error)))?;
        let Claims { iss: Some(iss), sub: Some(sub), exp: Some(exp), nbf } = claims.claims else {
            return Err(refused(LACKING));
        };
        let now_s = now.unix_timestamp_nanos() as f64 / 1e9;
        if exp + LEEWAY <= now_s {
            return Err(refused("the token has expired"));
        }
        if nbf.is_some_and(|nbf| nbf - LEEWAY > now_s) {
            return Err(refused("the token does not hold yet"));
        }
        if iss != self.name
            || sub.is_empty()
            || sub.len() > MAX_SUBJECT_BYTES
            || sub.chars().any(char::is_control)
        {
            return Err(refused("the token's subject can't be told"));
        }
        // A token for ages is cut to what a clock can show.
        let ends = Timestamp::from_unix_timestamp((exp + LEEWAY) as i64)
            .unwrap_or(time::macros::datetime!(9999-01-01 0:00 UTC));
        Ok(Verified { subject: format!("jwt:{}#{sub}", self.name).into(), ends })
    }

    /// Whether its keys are in a file.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Looks whether its file has changed; says whether its keys have.
    pub(super) fn look(&self) -> bool {
        let Source::File(file) = &self.source else { return false };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let path = file.path().display().to_string();
        match file.look() {
            Ok(false) => false,
            Ok(true) => self.take_up(file.content(), &path),
            Err(error) => {
                tracing::debug!(path, %error, "a key set can't be read; the last keys stay in force");
                false
            }
        }
    }

    /// Fetches its keys if it is time; says whether they have changed.
    pub(super) async fn keep_fresh(&self, fetch: &dyn FetchKeys) -> bool {
        let Source::Url(remote) = &self.source else { return false };
        {
            let mut fetched = remote.fetched();
            if !fetched.is_due() {
                return false;
            }
            fetched.at = Some(Instant::now());
            fetched.wanted = false;
        }
        let changed = match fetch.fetch(&remote.url, remote.ca_file.as_deref()).await {
            Ok(body) if body == remote.fetched().body => {
                remote.fetched().failed = false;
                false
            }
            Ok(body) => {
                let good = self.take_up(&body, &remote.url);
                let mut fetched = remote.fetched();
                fetched.failed = !good;
                if good {
                    fetched.body = body;
                }
                good
            }
            Err(error) => {
                let (issuer, url) = (&self.name, &remote.url);
                tracing::warn!(issuer, url, error, "keys can't be fetched; the last ones stay in force");
                remote.fetched().failed = true;
                false
            }
        };
        remote.ended.send_modify(|ended| *ended += 1);
        changed
    }

    /// Waits for the next keys, where they are not too fresh to be fetched again: a token may name one that is new.
    pub(super) async fn ask_again(&self, wake: &Notify) {
        let Source::Url(remote) = &self.source else { return };
        let mut ended = remote.ended.subscribe();
        {
            let mut fetched = remote.fetched();
            fetched.wanted = true;
            if !fetched.is_due() {
                return;
            }
        }
        wake.notify_one();
        // Without keys the token is refused.
        drop(tokio::time::timeout(WAIT, ended.changed()).await);
    }

    fn take_up(&self, text: &[u8], place: &str) -> bool {
        match KeySet::parse(text) {
            Ok(keys) => {
                tracing::info!(issuer = self.name, place, ?keys, "keys were read");
                self.keys.store(Arc::new(keys));
                true
            }
            Err(rule) => {
                tracing::warn!(
                    issuer = self.name,
                    place,
                    rule,
                    "a key set is no good; the last one stays in force"
                );
                false
            }
        }
    }

    fn fetches(&self, from: &str) -> bool {
        matches!(&self.source, Source::Url(remote) if remote.url == from)
    }
}

/// What is wrong with a token, in words that say nothing of what is in it.
fn why(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as K;
    match error.kind() {
        K::InvalidSignature => "the token's signature is not its issuer's",
        K::InvalidAudience => "the token is for somebody else",
        K::InvalidIssuer => "the token's issuer is not known here",
        K::MissingRequiredClaim(_) => LACKING,
        _ => "the token can't be read",
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("keys", &self.keys.load())
            .finish_non_exhaustive()
    }
}
