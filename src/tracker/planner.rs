//! When to read an execution next: a pure function of what is known of it.

use std::time::Duration;

use crate::model::State;

/// The longest pause between two readings of something that is followed.
const SLOWEST: Duration = Duration::from_secs(15);
/// The pause while evidence for a verdict is awaited.
const SETTLING: Duration = Duration::from_secs(3);
/// The longest pause after failures, unless upstream asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// What has run for this many pauses gets the next one: the pause grows with age.
const AGE_DIVISOR: u32 = 8;
/// How long after a 404 the second one counts.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(30);

/// What the pace depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) state: State,
    /// Since it was created.
    pub(super) age: Duration,
    /// The configured floor.
    pub(super) poll_interval: Duration,
    /// The smallest `max_staleness` that a watcher asked for.
    pub(super) wanted_staleness: Option<Duration>,
    /// Readings that failed in a row.
    pub(super) failures: u32,
    /// Upstream's hint with the last failure.
    pub(super) retry_after: Option<Duration>,
    /// The last reading said that it is gone.
    pub(super) gone: bool,
}

/// How long to wait before the next reading; `None` for what is done.
pub(super) fn next_pause(facts: &Facts) -> Option<Duration> {
    if facts.state.is_done() {
        return None;
    }
    if facts.gone {
        return Some(GONE_AFTER.max(facts.poll_interval));
    }
    if facts.failures > 0 {
        let backoff = facts.poll_interval.max(Duration::from_millis(500)) * 2u32.pow(facts.failures.min(7));
        return Some(backoff.min(LONGEST_BACKOFF).max(facts.retry_after.unwrap_or_default()));
    }
    let by_state = match facts.state {
        State::Settling => SETTLING.min((facts.age / AGE_DIVISOR).max(Duration::from_millis(500))),
        State::UpstreamUnknown => SLOWEST,
        _ => (facts.age / AGE_DIVISOR).min(SLOWEST),
    };
    let wanted = facts.wanted_staleness.map_or(by_state, |wanted| by_state.min(wanted));
    Some(wanted.max(facts.poll_interval))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_millis(500);

    fn facts(state: State, age_s: u64) -> Facts {
        Facts {
            state,
            age: Duration::from_secs(age_s),
            poll_interval: FLOOR,
            wanted_staleness: None,
            failures: 0,
            retry_after: None,
            gone: false,
        }
    }

    #[test]
    fn the_pause_grows_with_age_and_stays_between_floor_and_ceiling() {
        let pause = |age| next_pause(&facts(State::Running, age)).unwrap();
        assert_eq!(pause(0), FLOOR);
        assert_eq!(pause(16), Duration::from_secs(2));
        assert_eq!(pause(100_000), SLOWEST);
    }

    #[test]
    fn what_is_done_is_never_read_again() {
        assert_eq!(next_pause(&facts(State::Completed, 1)), None);
    }

    #[test]
    fn a_hint_beats_the_back_off_and_failures_double_it() {
        let failing =
            |failures, retry_after| next_pause(&Facts { failures, retry_after, ..facts(State::Running, 1) });
        assert_eq!(failing(1, None), Some(Duration::from_secs(1)));
        assert_eq!(failing(3, None), Some(Duration::from_secs(4)));
        assert_eq!(failing(30, None), Some(LONGEST_BACKOFF));
        assert_eq!(failing(1, Some(Duration::from_secs(90))), Some(Duration::from_secs(90)));
    }

    #[test]
    fn a_watcher_can_ask_for_more_but_not_for_more_than_the_floor() {
        let wanted = |ms| {
            let wanted_staleness = Some(Duration::from_millis(ms));
            next_pause(&Facts { wanted_staleness, ..facts(State::Running, 100) }).unwrap()
        };
        assert_eq!(wanted(2_000), Duration::from_secs(2));
        assert_eq!(wanted(1), FLOOR);
    }

    proptest! {
        #[test]
        fn no_facts_make_it_panic_or_poll_below_the_floor(
            state in prop::sample::select(&State::ALL[..]), age in any::<u32>(), failures in any::<u32>(), gone: bool,
            retry in proptest::option::of(0u64..100_000), wanted in proptest::option::of(0u64..100_000),
        ) {
            let facts = Facts {
                failures,
                gone,
                retry_after: retry.map(Duration::from_millis),
                wanted_staleness: wanted.map(Duration::from_millis),
                ..facts(state, age.into())
            };
            if let Some(pause) = next_pause(&facts) {
                prop_assert!(pause >= FLOOR);
            }
        }
    }
}
