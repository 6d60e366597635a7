//! What OpenMetadata's words mean: one pure function for results, one for runs. `tests/golden/openmetadata.txt` is
//! the table of both, and every line of it is run.

use std::time::Duration;

use super::wire::CaseResult;
use crate::model::{Counts, Failure, FailureKind, Settling, State, Timestamp, Verdict};

/// State, verdict and what explains them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) state: State,
    pub(super) verdict: Verdict,
    pub(super) counts: Option<Counts>,
    pub(super) failure: Option<Failure>,
}

/// What a `testCaseStatus` says of its case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CaseStatus {
    /// The expectation was met.
    Success,
    /// It was not.
    Failed,
    /// It could not be evaluated: error or timeout.
    Aborted,
    /// Created, not run yet.
    Queued,
    /// A word that this version does not know.
    Unknown,
}

/// What a `pipelineState` says of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Waiting for the runner.
    Queued,
    /// Under way.
    Running,
    /// At its end.
    Ended(End),
    /// A word that this version does not know.
    Unknown,
}

/// How a run ended. It says whether the workflow ran, not whether tests passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The workflow ran.
    Success,
    /// Some of its steps failed.
    Partial,
    /// The workflow failed.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

/// What the results within a run's time say of one case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CaseWord {
    /// The case's name.
    pub(super) name: String,
    /// Its worst result, `None` where there is none.
    pub(super) status: Option<CaseStatus>,
    /// That result's own words.
    pub(super) message: String,
}

/// What is known when a run's final state is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    /// The `pipelineState`.
    pub(super) status: &'a str,
    /// What the last reading left.
    pub(super) known: Option<&'a Settling>,
    /// The present on the gateway's clock.
    pub(super) now: Timestamp,
    /// How long ago it ended on upstream's clock, where this is the first sight of the run.
    pub(super) ended_ago: Option<Duration>,
    /// How long a final state is doubted.
    pub(super) settle_time: Duration,
}

impl Reading {
    fn new(state: State, verdict: Verdict) -> Self {
        Self { state, verdict, counts: None, failure: None }
    }

    fn failed_by(
        mut self,
        kind: FailureKind,
        code: &str,
        messages: impl IntoIterator<Item = String>,
    ) -> Self {
        self.failure = Some(Failure::new(kind, code, messages));
        self
    }
}

impl CaseStatus {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "Success" => Self::Success,
            "Failed" => Self::Failed,
            "Aborted" => Self::Aborted,
            "Queued" => Self::Queued,
            _ => Self::Unknown,
        }
    }

    /// The worst of several results decides what is said of a case.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Queued => 1,
            Self::Unknown => 2,
            Self::Aborted => 3,
            Self::Failed => 4,
        }
    }
}

impl Phase {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "success" => Self::Ended(End::Success),
            "partialSuccess" => Self::Ended(End::Partial),
            "failed" => Self::Ended(End::Failed),
            "stopped" => Self::Ended(End::Stopped),
            _ => Self::Unknown,
        }
    }
}

impl CaseWord {
    /// The word of a case's results; the newest of equally bad ones speaks.
    pub(super) fn of<'a>(name: &str, results: impl IntoIterator<Item = &'a CaseResult>) -> Self {
        let mut word = Self { name: name.to_owned(), status: None, message: String::new() };
        for result in results {
            let status = CaseStatus::parse(&result.status);
            if word.status.is_none_or(|known| status.rank() > known.rank()) {
                word.status = Some(status);
                word.message.clone_from(&result.result);
            }
        }
        word
    }

    fn line(&self) -> String {
        match (self.status, self.message.as_str()) {
            (None, _) => format!("{}: no result within the run", self.name),
            (Some(status), "") => format!("{}: {status:?}", self.name),
            (Some(_), message) => format!("{}: {message}", self.name),
        }
    }
}

/// A result of a case: an execution that was done when it came to be, unless it is still queued.
pub(super) fn result(status: &str, message: &str) -> Reading {
    let one = |passed, failed, errored| {
        Some(Counts {
            total: Some(1),
            passed: Some(passed),
            failed: Some(failed),
            errored: Some(errored),
            other: Some(0),
            partial: false,
        })
    };
    let words = [message.to_owned()];
    let (mut reading, counts) = match CaseStatus::parse(status) {
        CaseStatus::Success => (Reading::new(State::Completed, Verdict::Passed), one(1, 0, 0)),
        CaseStatus::Failed => (
            Reading::new(State::Completed, Verdict::Failed).failed_by(FailureKind::Assertion, "", words),
            one(0, 1, 0),
        ),
        CaseStatus::Aborted => (
            Reading::new(State::Errored, Verdict::Inconclusive).failed_by(
                FailureKind::UpstreamError,
                status,
                words,
            ),
            one(0, 0, 1),
        ),
        CaseStatus::Queued => (Reading::new(State::Pending, Verdict::Pending), None),
        CaseStatus::Unknown => (Reading::new(State::UpstreamUnknown, Verdict::Pending), None),
    };
    reading.counts = counts;
    reading
}

/// What a case of a run shows as a result item; `status` is `None` where it has no result in the run's time.
pub(super) fn item(status: Option<&str>, message: &str, run_ended: bool) -> (Verdict, Option<Failure>) {
    let Some(status) = status else {
        let missing = ["no result within the run".to_owned()];
        return if run_ended {
            (Verdict::Inconclusive, Some(Failure::new(FailureKind::ResultUnavailable, "", missing)))
        } else {
            (Verdict::Pending, None)
        };
    };
    match result(status, message) {
        Reading { verdict: Verdict::Pending, .. } if run_ended => {
            let words = [message.to_owned()];
            (Verdict::Inconclusive, Some(Failure::new(FailureKind::ResultUnavailable, status, words)))
        }
        Reading { verdict, failure, .. } => (verdict, failure),
    }
}

/// A run that has not ended, or whose end is not believed yet.
pub(super) fn unfinished(phase: Phase) -> Reading {
    let state = match phase {
        Phase::Queued => State::Pending,
        Phase::Running => State::Running,
        Phase::Ended(_) => State::Settling,
        Phase::Unknown => State::UpstreamUnknown,
    };
    Reading::new(state, Verdict::Pending)
}

/// Whether a final state is believed; where not, what the next reading has to know.
pub(super) fn settle(sight: &Sight<'_>) -> Result<(), Settling> {
    match sight.known {
        Some(known) if known.upstream_status == sight.status => {
            if sight.now - known.since >= sight.settle_time { Ok(()) } else { Err(known.clone()) }
        }
        None if sight.ended_ago.is_some_and(|ago| ago > sight.settle_time) => Ok(()),
        Some(_) | None => Err(Settling { since: sight.now, upstream_status: sight.status.to_owned() }),
    }
}

/// Whether the verdict of such an end hangs on the results of the suite's cases.
pub(super) fn needs_results(end: End) -> bool {
    matches!(end, End::Success | End::Partial)
}

/// A run whose end is believed. `cases` are those that it ran, and count only where [`needs_results`] says so.
pub(super) fn ended(end: End, stop_requested: bool, cases: &[CaseWord]) -> Reading {
    match end {
        End::Success => by_results(cases, false),
        End::Partial => by_results(cases, true),
        End::Failed if stop_requested => Reading::new(State::Stopped, Verdict::Inconclusive).failed_by(
            FailureKind::Stopped,
            "failed",
            ["the pipeline was stopped".to_owned()],
        ),
        End::Failed => Reading::new(State::Errored, Verdict::Inconclusive).failed_by(
            FailureKind::UpstreamError,
            "failed",
            ["the pipeline failed to run the suite".to_owned()],
        ),
        End::Stopped => Reading::new(State::Stopped, Verdict::Inconclusive).failed_by(
            FailureKind::Stopped,
            "stopped",
            ["the run was stopped".to_owned()],
        ),
    }
}

fn by_results(cases: &[CaseWord], partial: bool) -> Reading {
    let with = |wanted: CaseStatus| cases.iter().filter(move |case| case.status == Some(wanted));
    let count = |wanted| i32::try_from(with(wanted).count()).unwrap_or(i32::MAX);
    let counts = Counts {
        total: Some(i32::try_from(cases.len()).unwrap_or(i32::MAX)),
        passed: Some(count(CaseStatus::Success)),
        failed: Some(count(CaseStatus::Failed)),
        errored: Some(count(CaseStatus::Aborted)),
        other: Some(count(CaseStatus::Queued).saturating_add(count(CaseStatus::Unknown))),
        partial,
    };
    let lines = |wanted| with(wanted).map(CaseWord::line);
    let unsettled = || {
        cases
            .iter()
            .filter(|case| !matches!(case.status, Some(CaseStatus::Success | CaseStatus::Aborted)))
            .map(CaseWord::line)
    };
    let inconclusive = Reading::new(State::Completed, Verdict::Inconclusive);
    let mut reading = if count(CaseStatus::Failed) > 0 {
        let code = if partial { "partialSuccess" } else { "" };
        Reading::new(State::Completed, Verdict::Failed).failed_by(
            FailureKind::Assertion,
            code,
            lines(CaseStatus::Failed),
        )
    } else if count(CaseStatus::Aborted) > 0 {
        inconclusive.failed_by(
            FailureKind::UpstreamError,
            "Aborted",
            lines(CaseStatus::Aborted).chain(unsettled()),
        )
    } else if cases.is_empty() {
        inconclusive.failed_by(FailureKind::ResultUnavailable, "", ["the run left no result".to_owned()])
    } else if cases.iter().any(|case| case.status != Some(CaseStatus::Success)) {
        inconclusive.failed_by(FailureKind::ResultUnavailable, "", unsettled())
    } else if partial {
        inconclusive.failed_by(
            FailureKind::UpstreamError,
            "partialSuccess",
            ["the pipeline reported that a part of it failed".to_owned()],
        )
    } else {
        Reading::new(State::Completed, Verdict::Passed)
    };
    reading.counts = Some(counts);
    reading
}

#[cfg(test)]
mod tests;
