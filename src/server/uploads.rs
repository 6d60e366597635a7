//! What a connection's requests may hold between them while they come in.
//!
//! A request waits in memory until its last byte is there. Thousands of streams that each hold back the last byte of
//! a large message would otherwise add up to gigabytes on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;

use super::status;

/// The bytes that the requests of one connection hold.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    held: Arc<AtomicUsize>,
    most: usize,
}

/// One request's share of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Upload {
    of: Uploads,
    bytes: usize,
}

impl Uploads {
    pub(super) fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    /// The same bound for another connection.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.most)
    }

    pub(super) fn begin(&self) -> Upload {
        Upload { of: self.clone(), bytes: 0 }
    }
}

impl Upload {
    /// Takes more bytes in.
    ///
    /// # Errors
    /// The connection's requests hold too much already.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        let held = self.of.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.of.most { Err(status::uploads_full()) } else { Ok(()) }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_holds_is_bounded_and_given_back() {
        let uploads = Uploads::new(10);
        let (mut one, mut two) = (uploads.begin(), uploads.begin());
        assert!(one.take(6).is_ok());
        assert_eq!(two.take(6).unwrap_err().code(), tonic::Code::ResourceExhausted);
        assert!(uploads.anew().begin().take(6).is_ok());
        drop(two);
        assert!(one.take(4).is_ok());
        drop(one);
        assert!(uploads.begin().take(10).is_ok());
    }
}
