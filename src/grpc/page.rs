//! Page tokens: what they hold, and what they are bound to.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::{Context, Inner};
use crate::model::BackendId;
use crate::token::{Binding, Bound};
use crate::tracker::ListPosition;

/// The most bytes of a reply; lists come short rather than larger.
pub(super) const MAX_REPLY_BYTES: usize = 3_670_016;

/// A place in a list over backends.
#[derive(Deserialize, Serialize)]
struct MergedPosition {
    backend: String,
    upstream: Option<String>,
}

/// A place in one upstream list whose page may not have fitted into one reply.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct PartPosition {
    pub(super) upstream: Option<String>,
    /// How many rows of the upstream page were sent already.
    pub(super) sent: usize,
}

/// What binds a list's tokens: the caller, the method, and its arguments but `page_size`.
pub(super) fn binding(context: &Context, method: &str, arguments: &[&str]) -> Bound {
    arguments.iter().fold(Binding::new(context.caller.subject(), method), Binding::and).finish()
}

impl Inner {
    /// Opens a token; an empty one is the beginning.
    pub(super) fn open<T: DeserializeOwned>(&self, bound: &Bound, token: &str) -> Result<Option<T>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        if token.len() > super::validate::MAX_TOKEN_BYTES {
            return Err(Failure::page_token_invalid());
        }
        let payload = self.page_tokens.open(bound, token).map_err(|_| Failure::page_token_invalid())?;
        serde_json::from_slice(&payload).map(Some).map_err(|_| Failure::page_token_invalid())
    }

    /// Seals a place; the end is the empty token.
    pub(super) fn seal<T: Serialize>(&self, bound: &Bound, position: Option<&T>) -> Result<String, Failure> {
        let Some(position) = position else { return Ok(String::new()) };
        let payload = serde_json::to_vec(position).map_err(|_| Failure::internal())?;
        Ok(self.page_tokens.seal(bound, &payload))
    }

    pub(super) fn open_position(&self, bound: &Bound, token: &str) -> Result<Option<ListPosition>, Failure> {
        let Some(MergedPosition { backend, upstream }) = self.open(bound, token)? else { return Ok(None) };
        let backend = BackendId::new(&backend).map_err(|_| Failure::page_token_invalid())?;
        Ok(Some(ListPosition { backend, upstream }))
    }

    pub(super) fn seal_position(
        &self,
        bound: &Bound,
        position: Option<ListPosition>,
    ) -> Result<String, Failure> {
        let position = position.map(|position| MergedPosition {
            backend: position.backend.to_string(),
            upstream: position.upstream,
        });
        self.seal(bound, position.as_ref())
    }
}

/// How many rows of these encoded sizes fit into one reply; at least one, so that a list always moves on.
pub(super) fn fitting(sizes: impl ExactSizeIterator<Item = usize>) -> usize {
    const OVERHEAD: usize = 16;
    let mut room = MAX_REPLY_BYTES - 512 * 1024; // the token, which may hold upstream's 100,000 characters
    let rows = sizes.len();
    let fitting = sizes.take_while(|size| {
        let size = size + OVERHEAD;
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    fitting.count().max(1).min(rows)
}
