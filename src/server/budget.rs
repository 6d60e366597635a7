//! What one connection may hold in memory between its streams: requests while they come in, and replies that their
//! reader has not taken.
//!
//! A request waits until its last byte is there, and a reply until there is a window for it. Thousands of streams that
//! each hold back the last byte of a large message, or take none of a large reply, would otherwise add up to gigabytes
//! on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};

use crate::proto::framed::Framed;

/// The budgets of one connection.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    pub(super) requests: Budget,
    pub(super) replies: Budget,
}

/// Bytes that the streams of one connection hold.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Held>);

#[derive(Debug)]
struct Held {
    bytes: AtomicUsize,
    most: usize,
}

/// One message's share of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Budget,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug)]
pub(super) struct Exhausted;

impl Budgets {
    /// The same budgets for another connection.
    pub(super) fn anew(&self) -> Self {
        let anew = |budget: &Budget| Budget::new(budget.0.most);
        Self { requests: anew(&self.requests), replies: anew(&self.replies) }
    }
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Held { bytes: AtomicUsize::new(0), most }))
    }

    /// The share of a message that may grow.
    pub(super) fn begin(&self) -> Share {
        Share { of: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// What it is a share of.
    pub(super) fn budget(&self) -> &Budget {
        &self.of
    }

    /// Takes more bytes in.
    ///
    /// # Errors
    /// The connection holds too much already; the bytes count all the same.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Held { bytes: held, most } = &*self.of.0;
        self.bytes += bytes;
        let held = held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > *most { Err(Exhausted) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of a reply, which counts until it is written. The last part counts for all: each of them keeps the memory of
/// the whole.
#[derive(Debug)]
pub(crate) struct Part {
    bytes: Framed,
    _share: Option<Share>,
}

impl Part {
    pub(super) fn new(bytes: Framed, share: Option<Share>) -> Self {
        Self { bytes, _share: share }
    }
}

/// The most that is handed out at once: what the reader has not taken of a reply stays where it can be taken back,
/// and not in the connection's buffers.
const LARGEST_PART: usize = 16 * 1024;

/// What is left of a message that is handed out in parts.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Framed,
    share: Option<Share>,
}

impl Rest {
    /// A whole message, if the connection's other replies leave room for it.
    pub(super) fn new(bytes: Framed, budget: Option<&Budget>) -> Result<Self, Exhausted> {
        let mut share = budget.map(Budget::begin);
        if let Some(share) = &mut share {
            share.take(bytes.len())?;
        }
        Ok(Self { bytes, share })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next part; the last one takes the share along.
    pub(super) fn split_part(&mut self) -> Part {
        let part = self.bytes.split_to(LARGEST_PART);
        let share = self.bytes.is_empty().then(|| self.share.take()).flatten();
        Part::new(part, share)
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_holds_is_bounded_and_given_back() {
        let budgets = Budgets { requests: Budget::new(10), replies: Budget::new(5) };
        let (mut one, mut two) = (budgets.requests.begin(), budgets.requests.begin());
        assert!(one.take(6).is_ok());
        assert!(two.take(6).is_err());
        assert!(budgets.replies.begin().take(5).is_ok());
        assert!(budgets.anew().requests.begin().take(10).is_ok());
        drop(two);
        assert!(one.take(4).is_ok());
        drop(one);
        assert!(budgets.requests.begin().take(10).is_ok());
    }

    #[test]
    fn a_part_counts_until_it_is_dropped() {
        let budget = Budget::new(10);
        let mut share = budget.begin();
        share.take(10).unwrap();
        let mut part = Part::new(Bytes::from_static(b"0123456789").into(), Some(share));
        part.advance(9);
        assert_eq!((part.remaining(), part.chunk()), (1, &b"9"[..]));
        assert!(budget.begin().take(1).is_err());
        drop(part);
        assert!(budget.begin().take(10).is_ok());
    }
}
