//! What a Connect execution's status means. Pure; `tests/golden/connect.txt` is its table.

use std::time::Duration;

use super::wire::{ObservationSummary, Record};
use crate::model::{Counts, Failure, FailureKind, State, Verdict};

/// Connect ends an execution after this long.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(300);
/// The records of a failure without observations are awaited so long after its end.
pub(crate) const RECORDS_LAG: time::Duration = time::Duration::seconds(60);

/// Connect's execution status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Initiated,
    InProgress,
    Passed,
    Failed,
    Stopped,
    Unknown(String),
}

/// What is known of an execution's records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Records {
    /// They were not asked for, or could not be read.
    Unread,
    /// They hold no completion, and may yet.
    Awaited,
    /// They hold no completion, and will not.
    WithoutCompletion,
    /// They say why it ended.
    Completion { reasons: Vec<String>, message: String },
}

/// Everything that decides.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) status: &'a Status,
    pub(crate) counts: Option<&'a Counts>,
    /// Whether the records hold an observation that the counts lack.
    pub(crate) has_observation: bool,
    /// From start to end.
    pub(crate) ran: Option<Duration>,
    pub(crate) records: &'a Records,
}

/// State, verdict, and why it did not pass.
pub(crate) type Meaning = (State, Verdict, Option<Failure>);

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        match text {
            "INITIATED" => Self::Initiated,
            "IN_PROGRESS" => Self::InProgress,
            "PASSED" => Self::Passed,
            "FAILED" => Self::Failed,
            "STOPPED" => Self::Stopped,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl Evidence<'_> {
    /// A failure without an observation: its records say whether it ever ran.
    pub(crate) fn needs_records(&self) -> bool {
        *self.status == Status::Failed && !self.is_observed()
    }

    fn is_observed(&self) -> bool {
        let some = |count: Option<i32>| count.is_some_and(|count| count > 0);
        self.has_observation
            || self
                .counts
                .is_some_and(|counts| some(counts.total) || some(counts.passed) || some(counts.failed))
    }

    fn timed_out(&self) -> bool {
        self.ran.is_some_and(|ran| ran >= TIME_LIMIT)
    }
}

/// The table.
pub(crate) fn normalise(evidence: &Evidence<'_>) -> Meaning {
    match evidence.status {
        Status::Initiated => (State::Pending, Verdict::Pending, None),
        Status::InProgress => (State::Running, Verdict::Pending, None),
        Status::Passed => (State::Completed, Verdict::Passed, None),
        Status::Failed if evidence.is_observed() => {
            (State::Completed, Verdict::Failed, Some(observed_failure(evidence)))
        }
        Status::Failed => unobserved_failure(evidence),
        Status::Stopped => {
            let failure = Failure::new(FailureKind::Stopped, "STOPPED", ["the execution was stopped".into()]);
            (State::Stopped, Verdict::Inconclusive, Some(failure))
        }
        Status::Unknown(_) => (State::UpstreamUnknown, Verdict::Pending, None),
    }
}

fn observed_failure(evidence: &Evidence<'_>) -> Failure {
    let failed = evidence.counts.and_then(|counts| counts.failed).unwrap_or(0);
    if failed <= 0 && evidence.timed_out() {
        return timeout("", None);
    }
    let text = match evidence.counts.and_then(|counts| counts.total) {
        Some(total) => format!("{failed} of {total} observations failed"),
        None => format!("{failed} observations failed"),
    };
    let messages = if failed > 0 { vec![text] } else { Vec::new() };
    Failure::new(FailureKind::Assertion, "", messages)
}

fn unobserved_failure(evidence: &Evidence<'_>) -> Meaning {
    match evidence.records {
        Records::Unread | Records::Awaited => (State::Settling, Verdict::Pending, None),
        Records::Completion { reasons, message }
            if reasons.iter().any(|reason| reason == "INITIALIZATION_FAILURE") =>
        {
            let failure =
                Failure::new(FailureKind::UpstreamError, "INITIALIZATION_FAILURE", [message.clone()]);
            (State::Errored, Verdict::Inconclusive, Some(failure))
        }
        Records::Completion { reasons, message } => {
            let code = reasons.first().map(String::as_str).unwrap_or_default();
            let failure = if evidence.timed_out() {
                timeout(code, Some(message))
            } else {
                Failure::new(FailureKind::Assertion, code, [message.clone()])
            };
            (State::Completed, Verdict::Failed, Some(failure))
        }
        Records::WithoutCompletion => {
            let failure = if evidence.timed_out() {
                timeout("", None)
            } else {
                let text = "Connect says FAILED and gives no observation and no reason";
                Failure::new(FailureKind::Assertion, "", [text.into()])
            };
            (State::Completed, Verdict::Failed, Some(failure))
        }
    }
}

fn timeout(code: &str, message: Option<&String>) -> Failure {
    let text = format!("the execution reached Connect's limit of {} s", TIME_LIMIT.as_secs());
    Failure::new(FailureKind::Timeout, code, [text].into_iter().chain(message.cloned()))
}

/// A record's own verdict.
pub(crate) fn record_verdict(status: &str) -> Verdict {
    match Status::from(status) {
        Status::Passed => Verdict::Passed,
        Status::Failed => Verdict::Failed,
        Status::InProgress | Status::Initiated => Verdict::Pending,
        Status::Stopped | Status::Unknown(_) => Verdict::Inconclusive,
    }
}

/// Counts as reported; a negative one is none.
pub(crate) fn counts(summary: &ObservationSummary, status: &Status) -> Counts {
    let sane = |count: Option<i32>| count.filter(|count| *count >= 0);
    Counts {
        total: sane(summary.total_observations),
        passed: sane(summary.observations_passed),
        failed: sane(summary.observations_failed),
        errored: None,
        other: None,
        partial: matches!(status, Status::Initiated | Status::InProgress | Status::Unknown(_)),
    }
}

/// What a record says of the execution's end, where it is a completion.
pub(crate) fn completion(record: &Record) -> Option<Records> {
    if record.kind.as_deref() != Some("COMPLETION") {
        return None;
    }
    let (reasons, message) = record.completion_reason.as_ref().map_or_else(Default::default, |reason| {
        (reason.failure_reasons.clone().unwrap_or_default(), reason.message.clone().unwrap_or_default())
    });
    Some(Records::Completion { reasons, message })
}

#[cfg(test)]
mod tests;
