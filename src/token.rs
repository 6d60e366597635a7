//! Opaque tokens: sealed, so that a caller can neither read, alter nor swap them.
//!
//! Both kinds are AES-256-GCM-SIV in base64url without padding. What a token is bound to is no part of it but
//! authenticated with it, so a token that comes back with other arguments or from another caller does not open.
//! The key is durable and every update of every watch carries a token, so nonces may one day repeat; SIV makes that
//! harmless.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const TAG_BYTES: usize = 16;

/// The longest token that is looked at, in characters: Connect's own reach 100,000 before they are sealed.
pub const MAX_TOKEN_CHARS: usize = 256 * 1024;

/// The secret behind all tokens. It is kept in the store, so tokens outlive the process.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// A key as the store kept it.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new key.
    pub fn generate() -> Self {
        Self(random())
    }

    /// The key itself, for the store.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// The identity of a store: positions mean something only within one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Epoch(pub [u8; Self::BYTES]);

impl Epoch {
    const BYTES: usize = 16;

    /// The epoch of a new store.
    pub fn generate() -> Self {
        Self(random())
    }
}

/// A token that is not one, was altered, or is bound to something else. Which of these is nobody's business.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the token is not valid here")]
pub struct TokenInvalid;

/// What a token is bound to: a hash over the parts, each with its length, so no two lists of parts collide.
pub struct Binding(digest::Context);

impl Binding {
    /// Binds to a caller (empty where there is no authentication) and to what the token is for, as a method's name.
    pub fn new(caller: &str, purpose: &str) -> Self {
        Self(digest::Context::new(&SHA256)).and(caller.as_bytes()).and(purpose.as_bytes())
    }

    /// Binds to one more part, in this order.
    #[must_use]
    pub fn and(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The binding of a watch by names: in any order, each once.
    pub fn watch_names<'a>(caller: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: std::collections::BTreeSet<_> = names.into_iter().collect();
        names.into_iter().fold(Self::new(caller, "watch names"), Self::and)
    }

    /// The binding of a watch by parent and filter.
    pub fn watch_parent(caller: &str, parent: &str, filter: &str) -> Self {
        Self::new(caller, "watch parent").and(parent).and(filter)
    }

    /// The hash, which is small enough to be kept for the life of a stream.
    pub fn finish(self) -> Bound {
        let mut bound = [0; 32];
        bound.copy_from_slice(self.0.finish().as_ref());
        Bound(bound)
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding(..)")
    }
}

/// A finished [`Binding`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound([u8; 32]);

/// Seals and opens page tokens.
#[derive(Debug)]
pub struct PageTokens(Sealer);

impl PageTokens {
    const PREFIX: &'static [u8] = &[1];

    /// The page tokens of a key.
    pub fn new(key: &TokenKey) -> Self {
        Self(Sealer::new(key, "page"))
    }

    /// A token with something in it, bound to a caller, a method and its arguments but `page_size`.
    pub fn seal(&self, bound: &Bound, payload: &[u8]) -> String {
        self.0.seal(Self::PREFIX, bound, payload)
    }

    /// What is in a token.
    ///
    /// # Errors
    /// A token that was not sealed by this key with this binding.
    pub fn open(&self, bound: &Bound, token: &str) -> Result<Vec<u8>, TokenInvalid> {
        self.0.open(Self::PREFIX, bound, decode(token)?)
    }
}

/// Where a stream stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResumePoint {
    /// Everything up to this position of the store was sent.
    pub position: u64,
    /// When the first stream of the token began, in milliseconds since 1970.
    pub opened_at_ms: i64,
    /// What had ended upstream by then was sent too, for a selection by parent; in milliseconds since 1970.
    pub covered_ms: i64,
    /// Tells what the stream might show: a token of a stream that might show something else is not resumed.
    pub view: u64,
}

/// What a resume token of the right form is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resume {
    /// A token of this store.
    Known(ResumePoint),
    /// A token of a store that this one knows nothing about: the answer is a full snapshot with `reset`.
    OtherEpoch,
}

/// Seals and opens resume tokens.
#[derive(Debug)]
pub struct ResumeTokens {
    sealer: Sealer,
    prefix: [u8; Self::PREFIX_BYTES],
}

impl ResumeTokens {
    const VERSION: u8 = 4;
    const PREFIX_BYTES: usize = 1 + Epoch::BYTES;
    const POINT_BYTES: usize = 32;

    /// The resume tokens of a store.
    pub fn new(key: &TokenKey, epoch: Epoch) -> Self {
        let mut prefix = [Self::VERSION; Self::PREFIX_BYTES];
        prefix[1..].copy_from_slice(&epoch.0);
        Self { sealer: Sealer::new(key, "resume"), prefix }
    }

    /// A token for a point, bound to a selection and a caller.
    pub fn seal(&self, bound: &Bound, point: ResumePoint) -> String {
        let mut payload = [0; Self::POINT_BYTES];
        payload[..8].copy_from_slice(&point.position.to_le_bytes());
        payload[8..16].copy_from_slice(&point.opened_at_ms.to_le_bytes());
        payload[16..24].copy_from_slice(&point.covered_ms.to_le_bytes());
        payload[24..].copy_from_slice(&point.view.to_le_bytes());
        self.sealer.seal(&self.prefix, bound, &payload)
    }

    /// The point of a token, or that it belongs to another store.
    ///
    /// # Errors
    /// No token in form; or a token of this store that is altered, or of another selection or caller.
    pub fn open(&self, bound: &Bound, token: &str) -> Result<Resume, TokenInvalid> {
        let bytes = decode(token)?;
        let right_form = bytes.len() == Self::PREFIX_BYTES + NONCE_LEN + Self::POINT_BYTES + TAG_BYTES
            && bytes.first() == Some(&Self::VERSION);
        if !right_form {
            return Err(TokenInvalid);
        }
        if !bytes.starts_with(&self.prefix) {
            return Ok(Resume::OtherEpoch);
        }
        let payload = self.sealer.open(&self.prefix, bound, bytes)?;
        let (position, times) = payload.split_first_chunk().ok_or(TokenInvalid)?;
        let (opened_at, rest) = times.split_first_chunk().ok_or(TokenInvalid)?;
        let (covered, view) = rest.split_first_chunk().ok_or(TokenInvalid)?;
        Ok(Resume::Known(ResumePoint {
            position: u64::from_le_bytes(*position),
            opened_at_ms: i64::from_le_bytes(*opened_at),
            covered_ms: i64::from_le_bytes(*covered),
            view: u64::from_le_bytes(view.try_into().map_err(|_| TokenInvalid)?),
        }))
    }
}

/// Authenticated encryption of `prefix || nonce || ciphertext || tag`; the prefix stays visible.
struct Sealer {
    key: LessSafeKey,
    /// Keeps a token of one kind from opening as another.
    kind: &'static str,
    nonces: Nonces,
}

impl Sealer {
    fn new(key: &TokenKey, kind: &'static str) -> Self {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key.0).expect("AES-256 keys have 32 bytes");
        Self { key: LessSafeKey::new(key), kind, nonces: Nonces::new() }
    }

    fn aad(&self, prefix: &[u8], bound: &Bound) -> Aad<Associated> {
        Aad::from(Associated::concat([self.kind.as_bytes(), prefix, &bound.0]))
    }

    fn seal(&self, prefix: &[u8], bound: &Bound, payload: &[u8]) -> String {
        let nonce = self.nonces.next();
        let head = prefix.len() + NONCE_LEN;
        let mut token = Vec::with_capacity(head + payload.len() + TAG_BYTES);
        token.extend_from_slice(prefix);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(payload);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                self.aad(prefix, bound),
                &mut token[head..],
            )
            .expect(
                "sealing fails only beyond gigabytes, and a payload is bounded by the upstream body's limit",
            );
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    fn open(&self, prefix: &[u8], bound: &Bound, mut token: Vec<u8>) -> Result<Vec<u8>, TokenInvalid> {
        let sealed = token.strip_prefix(prefix).ok_or(TokenInvalid)?;
        let (nonce, _) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(TokenInvalid)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let payload = self
            .key
            .open_within(nonce, self.aad(prefix, bound), &mut token, prefix.len() + NONCE_LEN..)
            .map_err(|_| TokenInvalid)?
            .len();
        token.truncate(payload);
        Ok(token)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Nonces that don't repeat within a process: a counter with a random start. To ask the system for each would be a
/// good part of what an update of a watch costs.
struct Nonces {
    salt: [u8; NONCE_LEN - 8],
    next: AtomicU64,
}

impl Nonces {
    fn new() -> Self {
        Self { salt: random(), next: AtomicU64::new(u64::from_le_bytes(random())) }
    }

    fn next(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let (salt, counter) = nonce.split_at_mut(self.salt.len());
        salt.copy_from_slice(&self.salt);
        counter.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce
    }
}

/// What is authenticated with a token beside its content, in a place of its own for the time of one call.
struct Associated {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Associated {
    /// A kind's name, a prefix and a hash.
    const MAX: usize = 64;

    fn concat(parts: [&[u8]; 3]) -> Self {
        let (mut bytes, mut len) = ([0; Self::MAX], 0);
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for Associated {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn decode(token: &str) -> Result<Vec<u8>, TokenInvalid> {
    if token.len() > MAX_TOKEN_CHARS {
        return Err(TokenInvalid);
    }
    URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenInvalid)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a system that runs this process gives it randomness");
    bytes
}

#[cfg(test)]
mod tests;
