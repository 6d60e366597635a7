//! Calls that upstream may not have counted yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A call has arrived after this time, answered or not. Short enough that an upstream that answers slowly is asked as
/// often as it allows.
const ARRIVED_AFTER: Duration = Duration::from_secs(1);

/// When each was let through, the oldest first: no more than a full bucket, and what its rate lets through in
/// [`ARRIVED_AFTER`].
#[derive(Debug, Default)]
pub(super) struct UnderWay(VecDeque<Instant>);

impl UnderWay {
    pub(super) fn add(&mut self, now: Instant) {
        self.0.push_back(now);
    }

    /// Forgets one that was let through then, if it is still known.
    pub(super) fn remove(&mut self, since: Instant) {
        if let Ok(place) = self.0.binary_search(&since) {
            self.0.remove(place);
        }
    }

    /// When the oldest counts as arrived.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.0.front().map(|since| *since + ARRIVED_AFTER)
    }

    /// Forgets the oldest.
    pub(super) fn arrive(&mut self) {
        self.0.pop_front();
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn count(&self) -> f64 {
        self.0.len() as f64
    }
}
