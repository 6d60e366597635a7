//! When a caller may try again: the contract's column "Retry", with jitter so that callers don't come back as a herd.

use std::time::Duration;

use crate::backend::ErrorKind;

/// Another replica, or this one restarted, is there at once.
pub(super) const DRAINING: Duration = Duration::from_millis(500);
/// A start takes milliseconds unless a large store is recovered.
pub(super) const STARTING: Duration = Duration::from_millis(500);
/// Somebody has to free a disk.
pub(super) const STORE: Duration = Duration::from_secs(5);
/// The reader was slow; nothing here needs time.
pub(super) const SLOW_READER: Duration = Duration::from_millis(200);
/// Where the limit itself has no better answer.
pub(super) const CALLER_LIMIT: Duration = Duration::from_secs(1);

/// The longest delay that is passed on, however long upstream's hint is.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The delay without a hint, for exactly the rows that may be retried.
pub(super) fn base_delay(kind: ErrorKind) -> Option<Duration> {
    use ErrorKind as K;
    match kind {
        K::BackendBudgetExhausted | K::UpstreamThrottled | K::UpstreamInternal | K::UpstreamTimeout => {
            Some(Duration::from_secs(1))
        }
        K::UpstreamUnreachable => Some(Duration::from_secs(2)),
        K::PipelineServiceUnavailable => Some(Duration::from_secs(5)),
        K::ResultNotStored => Some(Duration::from_millis(500)),
        K::FieldInvalid(_)
        | K::ResourceNotFound
        | K::UpstreamInvalidArgument
        | K::UpstreamInvalidRequest
        | K::UpstreamNotFound
        | K::UpstreamQuotaExceeded
        | K::BackendAccessDenied
        | K::BackendCredentialsInvalid
        | K::UpstreamConflict
        | K::UpstreamTlsFailed
        | K::UpstreamRedirected
        | K::UpstreamInvalidResponse
        | K::PageTokenInvalid
        | K::UpstreamTokenTooLong
        | K::UpstreamResponseTooLarge
        | K::PipelineClientDisabled
        | K::UpstreamUnrecognized
        | K::CapabilityNotSupported
        | K::TestNotStartable
        | K::StopScopeNotAllowed
        | K::StartOutcomeUnknown
        | K::StopOutcomeUnknown
        | K::RecordOutcomeUnknown
        | K::ResultExists
        | K::DeadlineExceeded => None,
    }
}

/// The delay to announce. A hint is a floor, so jitter only adds: up to a half of a hint, up to all of a base.
pub(super) fn delay(base: Duration, hint: Option<Duration>) -> Duration {
    let (floor, spread) = match hint {
        Some(hint) => {
            let hint = hint.clamp(Duration::from_millis(100), MAX_DELAY);
            (hint, hint / 2)
        }
        None => (base, base),
    };
    (floor + spread.mul_f64(unit())).min(MAX_DELAY + MAX_DELAY / 2)
}

/// A random number in [0, 1). Without randomness there is no jitter, which is no reason to fail.
fn unit() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_a_floor_and_a_hostile_one_is_cut() {
        for _ in 0..100 {
            let hinted = delay(Duration::from_secs(1), Some(Duration::from_secs(8)));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&hinted));
            let hostile = delay(Duration::from_secs(1), Some(Duration::MAX));
            assert!(hostile <= MAX_DELAY + MAX_DELAY / 2);
        }
    }

    #[test]
    fn delays_spread() {
        let delays: std::collections::HashSet<_> = (0..20).map(|_| delay(DRAINING, None)).collect();
        assert!(delays.len() > 1);
    }
}
