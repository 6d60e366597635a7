//! What a Lex test execution's status and results mean. Pure; `tests/golden/lex.txt` is its table.

use std::time::Duration;

use super::wire::ResultCounts;
use crate::model::{Counts, Failure, FailureKind, State, Verdict};

/// An answer without items is believed so long after the end: results lag behind the status.
pub(crate) const RESULTS_LAG: time::Duration = time::Duration::seconds(60);
/// Results that could not be read for so long are given up.
pub(crate) const UNREADABLE_LIMIT: Duration = Duration::from_secs(300);

/// Lex's execution status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Pending,
    Waiting,
    InProgress,
    Completed,
    Failed,
    Stopping,
    Stopped,
    Unknown(String),
}

/// What is known of a completed execution's results.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Results {
    /// They were not asked for, or could not be read, or are not there yet.
    Awaited,
    /// They could not be read for too long.
    GivenUp,
    /// They were read.
    Read(Tally),
}

/// Numbers of results, single- and multi-turn together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) total: i64,
    pub(crate) matched: i64,
    pub(crate) mismatched: i64,
    pub(crate) errors: i64,
    /// Under keys that are not known here.
    pub(crate) other: i64,
}

/// State, verdict, and why it did not pass.
pub(crate) type Meaning = (State, Verdict, Option<Failure>);

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        match text {
            "Pending" => Self::Pending,
            "Waiting" => Self::Waiting,
            "InProgress" => Self::InProgress,
            "Completed" => Self::Completed,
            "Failed" => Self::Failed,
            "Stopping" => Self::Stopping,
            "Stopped" => Self::Stopped,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// The table.
pub(crate) fn normalise(status: &Status, results: &Results, failure_reasons: &[String]) -> Meaning {
    match status {
        Status::Pending | Status::Waiting => (State::Pending, Verdict::Pending, None),
        Status::InProgress => (State::Running, Verdict::Pending, None),
        Status::Stopping => (State::Stopping, Verdict::Pending, None),
        Status::Completed => completed(results),
        Status::Failed => {
            let failure = Failure::new(FailureKind::UpstreamError, "Failed", failure_reasons.iter().cloned());
            (State::Errored, Verdict::Inconclusive, Some(failure))
        }
        Status::Stopped => {
            let failure = Failure::new(FailureKind::Stopped, "Stopped", failure_reasons.iter().cloned());
            (State::Stopped, Verdict::Inconclusive, Some(failure))
        }
        Status::Unknown(_) => (State::UpstreamUnknown, Verdict::Pending, None),
    }
}

fn completed(results: &Results) -> Meaning {
    match results {
        Results::Awaited => (State::Settling, Verdict::Pending, None),
        Results::GivenUp => {
            let text = format!("its results could not be read for {} s", UNREADABLE_LIMIT.as_secs());
            let failure = Failure::new(FailureKind::ResultUnavailable, "", [text]);
            (State::Completed, Verdict::Inconclusive, Some(failure))
        }
        Results::Read(tally) => {
            let (verdict, failure) = tally.verdict();
            (State::Completed, verdict, failure)
        }
    }
}

impl Tally {
    /// Adds one row.
    pub(crate) fn add(&mut self, total: i64, counts: &ResultCounts) {
        self.total = self.total.saturating_add(total);
        for (key, count) in counts {
            let slot = match key.as_str() {
                "Matched" => &mut self.matched,
                "Mismatched" => &mut self.mismatched,
                "ExecutionError" => &mut self.errors,
                _ => &mut self.other,
            };
            *slot = slot.saturating_add(*count);
        }
    }

    /// The tally of one row.
    pub(crate) fn of(total: i64, counts: &ResultCounts) -> Self {
        let mut tally = Self::default();
        tally.add(total, counts);
        tally
    }

    /// PASSED only where everything was evaluated and matched, and there was something.
    pub(crate) fn verdict(&self) -> (Verdict, Option<Failure>) {
        let Self { total, matched, mismatched, errors, other } = *self;
        let inconclusive = |kind, text| (Verdict::Inconclusive, Some(Failure::new(kind, "", [text])));
        if mismatched > 0 {
            let text = format!("{mismatched} of {total} results mismatched");
            return (Verdict::Failed, Some(Failure::new(FailureKind::Assertion, "Mismatched", [text])));
        }
        if errors > 0 {
            let text = format!("{errors} of {total} results could not be evaluated");
            let failure = Failure::new(FailureKind::UpstreamError, "ExecutionError", [text]);
            return (Verdict::Inconclusive, Some(failure));
        }
        if other != 0 {
            let text = format!("{other} of {total} results are of a kind that this gateway does not know");
            return inconclusive(FailureKind::ResultUnavailable, text);
        }
        if total <= 0 {
            return inconclusive(FailureKind::ResultUnavailable, "there is not a single result".into());
        }
        if matched != total || mismatched < 0 || errors < 0 {
            let text = format!("{matched} results are counted, {total} are announced");
            return inconclusive(FailureKind::ResultUnavailable, text);
        }
        (Verdict::Passed, None)
    }

    /// As counts.
    pub(crate) fn counts(&self) -> Counts {
        let count = |number: i64| Some(i32::try_from(number.max(0)).unwrap_or(i32::MAX));
        Counts {
            total: count(self.total),
            passed: count(self.matched),
            failed: count(self.mismatched),
            errored: count(self.errors),
            other: count(self.other),
            partial: false,
        }
    }
}

/// An item's own verdict.
pub(crate) fn match_verdict(result: &str) -> Verdict {
    match result {
        "Matched" => Verdict::Passed,
        "Mismatched" => Verdict::Failed,
        // ExecutionError, and whatever may come: only a match is evidence.
        _ => Verdict::Inconclusive,
    }
}

#[cfg(test)]
mod tests;
