//! When to ask upstream what: pure functions of what is known, and the agenda that applies them piece by piece.
//!
//! Nothing here calls, sleeps or looks at a clock. [`agenda`] keeps what one backend's poller has to do; it is told of
//! each change by itself, so that thousands of executions are never planned anew for the sake of one.

mod agenda;
mod durations;

use std::time::Duration;

pub(super) use self::agenda::{Agenda, Failed, Next, View, Walk};
pub(super) use self::durations::Durations;

use crate::backend::Allowance;
use crate::model::State;

/// The longest pause between two looks at what nobody watches.
const SLOWEST: Duration = Duration::from_secs(15);
/// The longest pause between two looks at what somebody watches.
const SLOWEST_WATCHED: Duration = Duration::from_secs(5);
/// The pause while evidence for a verdict is awaited.
const SETTLING: Duration = Duration::from_secs(3);
/// The pause between two readings of the counts of what runs.
const COUNTS: Duration = Duration::from_secs(5);
/// The longest pause after failures, unless upstream asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// What has not changed for this many pauses gets the next one: the pause grows with the quiet.
const QUIET_DIVISOR: u32 = 8;
/// How long after a 404 the second one counts.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(30);
/// A list may not show yet what began so short a time ago.
const LIST_LAG: Duration = Duration::from_secs(10);
/// The share of the budget of lists that the frequent list takes; the seldom ones live off the rest.
const FREQUENT_SHARE: f64 = 0.95;
/// A seldom list is made once for so many calls that the budget allows.
const SELDOM_CALLS: f64 = 20.0;
/// The shortest pause between two seldom lists.
const SELDOM: Duration = Duration::from_secs(5);

/// What the pace of one execution depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) state: State,
    /// Since it began to run, or else was created.
    pub(super) age: Duration,
    /// How long runs of its test take.
    pub(super) usual: Option<Usual>,
    /// Somebody watches it or waits for it.
    pub(super) watched: bool,
    /// The smallest `max_staleness` that a watcher asked for.
    pub(super) wanted_staleness: Option<Duration>,
    /// A list can show it: upstream's id of it is known.
    pub(super) listable: bool,
    /// Readings of it alone that failed in a row.
    pub(super) failures: u32,
    /// Upstream's hint with the last failure.
    pub(super) retry_after: Option<Duration>,
    /// The last reading said that it is gone.
    pub(super) gone: bool,
}

/// How long past runs of a test took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Usual {
    /// The shortest.
    pub(super) least: Duration,
    /// The longest.
    pub(super) most: Duration,
}

impl Usual {
    /// Whether a run of this age may end at any moment: some margin around what was seen.
    fn is_due(self, age: Duration) -> bool {
        age >= self.least - self.least / 10 && age <= self.most + self.most / 4
    }
}

/// How old what is known of an execution may grow, lists and readings alike. `quiet` is the time since its state
/// changed, `floor` the configured minimum.
pub(super) fn pace(facts: &Facts, quiet: Duration, floor: Duration) -> Duration {
    let slowest = if facts.watched { SLOWEST_WATCHED } else { SLOWEST };
    let by_state = match facts.state {
        State::Settling => SETTLING.min((quiet / QUIET_DIVISOR).max(Duration::from_millis(500))),
        State::UpstreamUnknown => slowest,
        State::Running if facts.usual.is_some_and(|usual| usual.is_due(facts.age)) => floor,
        _ => (quiet / QUIET_DIVISOR).min(slowest),
    };
    facts.wanted_staleness.map_or(by_state, |wanted| by_state.min(wanted)).max(floor)
}

/// How long to wait before an execution is read by itself again; `None` for what is done.
pub(super) fn pause(facts: &Facts, quiet: Duration, floor: Duration) -> Option<Duration> {
    if facts.state.is_done() {
        None
    } else if facts.gone {
        Some(GONE_AFTER.max(floor))
    } else if facts.failures > 0 {
        Some(back_off(facts.failures, facts.retry_after, floor))
    } else {
        Some(pace(facts, quiet, floor))
    }
}

/// How long to leave upstream alone after so many failures in a row.
pub(super) fn back_off(failures: u32, retry_after: Option<Duration>, floor: Duration) -> Duration {
    let doubled = floor.max(Duration::from_millis(500)) * 2u32.pow(failures.min(7));
    doubled.min(LONGEST_BACKOFF).max(retry_after.unwrap_or_default())
}

/// The shortest pause between two walks of the frequent list, each of so many pages.
pub(super) fn frequent(list: &Allowance, pages: usize, floor: Duration) -> Duration {
    every(pages.max(1), list.rate * FREQUENT_SHARE).max(floor)
}

/// The pause between two walks of a seldom list.
pub(super) fn seldom(list: &Allowance, floor: Duration) -> Duration {
    Duration::from_secs_f64((SELDOM_CALLS / list.rate).min(3600.0)).max(SELDOM).max(floor)
}

/// Whether lists are cheaper than readings of `members` executions: one call beside one is no gain.
pub(super) fn lists_are_worth_it(members: usize, selected: bool) -> bool {
    selected || members >= 2
}

/// The time that so many calls take at a rate.
fn every(calls: usize, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Duration::from_secs_f64((calls as f64 / rate).min(3600.0))
}

#[cfg(test)]
mod tests;
