//! How much of its configured rate an operation uses: less after upstream throttled it, more again as time goes by.

use std::time::Duration;

use tokio::time::Instant;

/// What a throttling answer leaves of the share.
const DECREASE: f64 = 0.5;
/// The least share: upstream is never left alone for good, or nobody would learn that it has recovered.
pub(super) const LEAST: f64 = 1.0 / 16.0;
/// What comes back each second: from a half to the whole takes 50 s.
const INCREASE_A_SECOND: f64 = 0.01;

/// A share between [`LEAST`] and 1 that falls by a factor and rises by a sum (AIMD), as TCP's window does, so that
/// several gateways on one upstream quota come to even parts of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// As it was at `since`.
    value: f64,
    /// From when on it rises.
    since: Instant,
    /// When it last fell: what was sent before cannot have known.
    fell_at: Option<Instant>,
}

impl Share {
    pub(super) fn whole(now: Instant) -> Self {
        Self { value: 1.0, since: now, fell_at: None }
    }

    pub(super) fn at(&self, now: Instant) -> f64 {
        let risen = now.saturating_duration_since(self.since).as_secs_f64() * INCREASE_A_SECOND;
        (self.value + risen).min(1.0)
    }

    /// Takes a throttling answer to a call that was sent at `sent_at`; it rises again after the pause that upstream
    /// asked for. Calls that were under way together count once. Returns whether it fell.
    pub(super) fn fall(&mut self, sent_at: Instant, now: Instant, pause: Duration) -> bool {
        let resume = now + pause;
        if self.fell_at.is_some_and(|fell_at| sent_at <= fell_at) {
            self.value = self.at(now);
            self.since = self.since.max(resume);
            return false;
        }
        self.value = (self.at(now) * DECREASE).max(LEAST);
        self.since = resume;
        self.fell_at = Some(now);
        true
    }

    /// Notes that it is whole again. Returns whether that is news.
    pub(super) fn recover(&mut self, now: Instant) -> bool {
        self.fell_at.is_some() && self.at(now) >= 1.0 && {
            *self = Self::whole(now);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(share: f64, expected: f64) -> bool {
        (share - expected).abs() < 1e-9
    }

    #[test]
    fn it_halves_and_comes_back_by_a_sum() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut share = Share::whole(begin);
        assert!(share.fall(at(0), at(1), Duration::ZERO));
        assert!(near(share.at(at(1)), 0.5));
        assert!(near(share.at(at(11)), 0.6));
        assert!(share.fall(at(11), at(11), Duration::ZERO));
        assert!(near(share.at(at(11)), 0.3));
        assert!(!share.recover(at(80)));
        assert!(share.recover(at(82)));
        assert!(!share.recover(at(83)), "told once");
    }

    #[test]
    fn answers_to_calls_that_were_under_way_together_count_once() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut share = Share::whole(begin);
        assert!(share.fall(at(0), at(100), Duration::ZERO));
        for sent in [0, 50, 100] {
            assert!(!share.fall(at(sent), at(110), Duration::ZERO));
        }
        assert!(share.fall(at(101), at(120), Duration::ZERO));
    }

    #[test]
    fn it_rises_only_after_the_pause() {
        let begin = Instant::now();
        let mut share = Share::whole(begin);
        share.fall(begin, begin, Duration::from_secs(30));
        assert!(near(share.at(begin + Duration::from_secs(30)), 0.5));
        assert!(near(share.at(begin + Duration::from_secs(40)), 0.6));
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_always_recovers(
            steps in proptest::collection::vec((0u64..100_000, 0u64..100_000), 0..200),
        ) {
            let mut now = Instant::now();
            let mut share = Share::whole(now);
            for (passed, pause) in steps {
                let sent = now;
                now += Duration::from_millis(passed);
                let before = share.at(now);
                let fell = share.fall(sent, now, Duration::from_millis(pause));
                prop_assert!(share.at(now) <= before);
                prop_assert!(!fell || near(share.at(now), (before * DECREASE).max(LEAST)));
                prop_assert!((LEAST..=1.0).contains(&share.at(now)));
            }
            prop_assert!(near(share.at(now + Duration::from_secs(200)), 1.0));
        }
    }
}
