//! JSON web tokens that were found to hold: a signature is verified once, not at each call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::policy::Identified;
use super::token::Digest;
use crate::model::Timestamp;

/// How many are remembered.
const MANY: usize = 10_000;

/// What was found, by the token's digest. Only what held comes in here, so that nobody without a token fills it.
#[derive(Debug, Default)]
pub(super) struct Verifications(Mutex<HashMap<Digest, Identified>>);

impl Verifications {
    /// Who it was, unless that has ended.
    pub(super) fn get(&self, digest: &Digest, now: Timestamp) -> Option<Identified> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).filter(|found| found.ends.is_some_and(|ends| now < ends)).cloned()
    }

    pub(super) fn put(&self, digest: Digest, found: &Identified, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.retain(|_, found| found.ends.is_some_and(|ends| now < ends));
        }
        if known.len() >= MANY {
            // All of them hold: whoever comes again is verified again.
            known.clear();
        }
        known.insert(digest, found.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Clock;

    #[test]
    fn what_has_ended_is_not_found_and_the_memory_is_bounded() {
        let now = Clock::system().now();
        let found = |lasts: u64| Identified {
            subject: "jwt:https://x/#a".into(),
            ends: Some(now + Duration::from_secs(lasts)),
        };
        let verified = Verifications::default();
        verified.put([1; 32], &found(60), now);
        assert!(verified.get(&[1; 32], now).is_some());
        assert!(verified.get(&[1; 32], now + Duration::from_secs(60)).is_none());
        assert!(verified.get(&[2; 32], now).is_none());
        for number in 0..2 * MANY as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            verified.put(digest, &found(number), now);
        }
        assert!(verified.0.lock().unwrap().len() <= MANY);
    }
}
