//! How a number of runs came out.

use std::fmt;

use super::exit::Exit;
use crate::proto::v1::Execution;
use crate::proto::v1::execution::State;

/// What became of a run, in the order in which a tally tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Done, and good.
    Passed,
    /// Done, and not good.
    Failed,
    /// The platform could not run it.
    Errored,
    /// Nobody knows any more.
    Lost,
    /// Ended without a verdict that counts.
    Inconclusive,
    /// Stopped, here or upstream.
    Stopped,
    /// Goes on.
    Unfinished,
    /// Its start was refused, or never sent.
    NotStarted,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Passed,
        Self::Failed,
        Self::Errored,
        Self::Lost,
        Self::Inconclusive,
        Self::Stopped,
        Self::Unfinished,
        Self::NotStarted,
    ];

    /// What became of an execution.
    pub(crate) fn of(execution: &Execution) -> Self {
        match Exit::of(execution) {
            Exit::Passed => Self::Passed,
            Exit::Failed => Self::Failed,
            Exit::Stopped => Self::Stopped,
            Exit::Trouble if execution.state() == State::Lost => Self::Lost,
            Exit::Trouble => Self::Errored,
            Exit::TimedOut => Self::Unfinished,
            Exit::Inconclusive | Exit::Usage | Exit::Interrupted => Self::Inconclusive,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Lost => "lost",
            Self::Inconclusive => "inconclusive",
            Self::Stopped => "stopped",
            Self::Unfinished => "not done",
            Self::NotStarted => "not started",
        }
    }
}

/// Runs by what became of them; shown as `9 passed, 1 failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally([usize; Outcome::ALL.len()]);

impl Tally {
    fn count(&self, outcome: Outcome) -> usize {
        self.0.get(outcome as usize).copied().unwrap_or_default()
    }
}

impl FromIterator<Outcome> for Tally {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            if let Some(count) = tally.0.get_mut(outcome as usize) {
                *count += 1;
            }
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for outcome in Outcome::ALL {
            let count = self.count(outcome);
            if count > 0 {
                write!(f, "{before}{count} {}", outcome.word())?;
                before = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_tells_what_there_is_in_one_order() {
        let tally: Tally =
            [Outcome::NotStarted, Outcome::Passed, Outcome::Failed, Outcome::Passed].into_iter().collect();
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 1 not started");
        assert_eq!(Tally::default().to_string(), "");
    }

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
