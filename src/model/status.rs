//! State and verdict, kept apart: the first is about the run, the second about the system under test.

use super::Timestamp;

/// About the run, not its outcome.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Accepted, not yet running.
    Pending,
    /// Running.
    Running,
    /// A stop was asked for and has not taken effect.
    Stopping,
    /// An upstream value that this gateway does not know; still polled.
    UpstreamUnknown,
    /// Ended upstream; the evidence for its verdict is still awaited.
    Settling,
    /// Ran to its end; says nothing of the verdict.
    Completed,
    /// Could not run to its end.
    Errored,
    /// Stopped on request, here or upstream.
    Stopped,
    /// Upstream no longer knows it, or it was followed too long.
    Lost,
}

impl State {
    /// All states, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Running,
        Self::Stopping,
        Self::UpstreamUnknown,
        Self::Settling,
        Self::Completed,
        Self::Errored,
        Self::Stopped,
        Self::Lost,
    ];

    /// Whether nothing in the execution changes any more.
    pub fn is_done(self) -> bool {
        match self {
            Self::Completed | Self::Errored | Self::Stopped | Self::Lost => true,
            Self::Pending | Self::Running | Self::Stopping | Self::UpstreamUnknown | Self::Settling => false,
        }
    }

    /// The name without its enum prefix, as filters spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::UpstreamUnknown => "UPSTREAM_UNKNOWN",
            Self::Settling => "SETTLING",
            Self::Completed => "COMPLETED",
            Self::Errored => "ERRORED",
            Self::Stopped => "STOPPED",
            Self::Lost => "LOST",
        }
    }
}

/// About the system under test.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Not decided yet.
    Pending,
    /// Upstream gave positive evidence.
    Passed,
    /// An expectation was not met.
    Failed,
    /// Will never be decided.
    Inconclusive,
    /// Never has one, as a Lex agent turn.
    None,
}

impl Verdict {
    /// All verdicts, for tables and tests.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Passed, Self::Failed, Self::Inconclusive, Self::None];

    /// The name without its enum prefix, as filters spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::None => "NONE",
        }
    }
}

/// How many items passed and failed; `None` is "not reported", never 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// All items.
    pub total: Option<i32>,
    /// Observations passed, matched turns, successful cases.
    pub passed: Option<i32>,
    /// Observations failed, mismatched turns, failed cases.
    pub failed: Option<i32>,
    /// Items that could not be evaluated.
    pub errored: Option<i32>,
    /// Items under keys that this gateway does not know.
    pub other: Option<i32>,
    /// Still rising, or upstream said incomplete.
    pub partial: bool,
}

/// What kind of thing kept an execution or item from passing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// An expectation was not met.
    Assertion,
    /// It ran into a time limit.
    Timeout,
    /// The platform failed to run it.
    UpstreamError,
    /// It was stopped.
    Stopped,
    /// It ran, but its results could not be read.
    ResultUnavailable,
    /// Upstream no longer knows it, or it was followed too long.
    Lost,
}

/// Why an execution or item did not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// Upstream's own code, or empty.
    pub upstream_code: String,
    /// At most [`Failure::MAX_MESSAGES`], each cut at [`Failure::MAX_MESSAGE_BYTES`].
    pub messages: Vec<String>,
    /// How many messages were dropped.
    pub truncated_count: i32,
}

impl Failure {
    /// The most messages that are kept.
    pub const MAX_MESSAGES: usize = 4;
    /// The longest message, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 1024;

    /// A failure with bounded messages; empty ones are left out.
    pub fn new(
        kind: FailureKind,
        upstream_code: impl Into<String>,
        messages: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut kept = Vec::new();
        let mut truncated_count = 0i32;
        for message in messages.into_iter().filter(|message| !message.is_empty()) {
            if kept.len() < Self::MAX_MESSAGES {
                kept.push(cut(message, Self::MAX_MESSAGE_BYTES));
            } else {
                truncated_count = truncated_count.saturating_add(1);
            }
        }
        Self { kind, upstream_code: cut(upstream_code.into(), 256), messages: kept, truncated_count }
    }
}

/// Why what is shown is old, or a backend is unwell. It never changes a verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// The ErrorInfo reason of the failing call.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Since when this reason holds.
    pub since: Timestamp,
}

/// Cuts text to at most `max` bytes at a character's border.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_four_states_are_done() {
        let done: Vec<_> = State::ALL.into_iter().filter(|state| state.is_done()).collect();
        assert_eq!(done, [State::Completed, State::Errored, State::Stopped, State::Lost]);
    }

    #[test]
    fn failure_keeps_four_messages_and_counts_the_rest() {
        let failure = Failure::new(FailureKind::Assertion, "", (0..6).map(|n| format!("m{n}")));
        assert_eq!(failure.messages, ["m0", "m1", "m2", "m3"]);
        assert_eq!(failure.truncated_count, 2);
    }

    #[test]
    fn cutting_never_splits_a_character() {
        assert_eq!(cut("aé".into(), 2), "a");
        assert_eq!(cut("aé".into(), 3), "aé");
    }
}
