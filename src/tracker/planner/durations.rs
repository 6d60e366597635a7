//! How long runs of each test took lately, from which the end of the next one can be expected.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Usual;
use crate::model::TestId;

/// Runs that are remembered of each test.
const RUNS: usize = 8;
/// Fewer runs than this foretell nothing.
const ENOUGH: usize = 3;
/// Tests that are remembered.
const MAX_TESTS: usize = 10_000;

/// The past durations of one backend's tests.
#[derive(Debug, Default)]
pub(in crate::tracker) struct Durations(HashMap<TestId, VecDeque<Duration>>);

impl Durations {
    /// Whether a test's past was looked at.
    pub(in crate::tracker) fn know(&self, test: &TestId) -> bool {
        self.0.contains_key(test)
    }

    /// Takes runs of a test in, the older ones first.
    pub(in crate::tracker) fn add(&mut self, test: &TestId, past: impl IntoIterator<Item = Duration>) {
        if self.0.len() >= MAX_TESTS && !self.know(test) {
            return;
        }
        let runs = self.0.entry(test.clone()).or_default();
        for duration in past {
            if runs.len() >= RUNS {
                runs.pop_front();
            }
            runs.push_back(duration);
        }
    }

    /// How long runs of a test take, where enough is known.
    pub(in crate::tracker) fn usual(&self, test: &TestId) -> Option<Usual> {
        let runs = self.0.get(test).filter(|runs| runs.len() >= ENOUGH)?;
        Some(Usual { least: *runs.iter().min()?, most: *runs.iter().max()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Duration> {
        seconds.into_iter().map(Duration::from_secs)
    }

    #[test]
    fn the_last_few_runs_say_what_is_usual() {
        let (mut durations, test) = (Durations::default(), TestId::new("t").unwrap());
        assert!(!durations.know(&test));
        durations.add(&test, seconds([900, 60]));
        assert!(durations.know(&test));
        assert_eq!(durations.usual(&test), None, "two runs foretell nothing");
        durations.add(&test, seconds([50, 70]));
        let usual =
            |least, most| Some(Usual { least: Duration::from_secs(least), most: Duration::from_secs(most) });
        assert_eq!(durations.usual(&test), usual(50, 900));
        durations.add(&test, seconds([55; RUNS - 3]));
        assert_eq!(durations.usual(&test), usual(50, 70), "the oldest is forgotten");
    }

    #[test]
    fn only_so_many_tests_are_remembered() {
        let mut durations = Durations::default();
        for number in 0..=MAX_TESTS {
            durations.add(&TestId::new(&number.to_string()).unwrap(), []);
        }
        assert_eq!(durations.0.len(), MAX_TESTS);
    }
}
