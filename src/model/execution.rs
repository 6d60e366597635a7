//! One run of a test, and the rules by which a reading of upstream changes it.

use super::status::{Condition, Counts, Failure, FailureKind, State, Verdict};
use super::{ExecutionName, Labels, TestId, Timestamp};

/// One run of a test. Field meanings are the contract's.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct Execution {
    pub name: ExecutionName,
    pub state: State,
    pub verdict: Verdict,
    pub counts: Option<Counts>,
    pub failure: Option<Failure>,
    pub create_time: Option<Timestamp>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub stop_request_time: Option<Timestamp>,
    pub observe_time: Option<Timestamp>,
    pub revision: i64,
    pub upstream_status: String,
    pub upstream_id: String,
    pub condition: Option<Condition>,
    pub labels: Labels,
    pub details: Option<Details>,
    pub upstream_labels: Labels,
    pub creator: String,
    pub request_id: String,
    pub stop_requester: String,
    pub stop_reason: String,
    pub test_display_name: String,
    pub reconciled: bool,
}

/// What only one kind of upstream has.
#[derive(Clone, Debug, PartialEq)]
pub enum Details {
    /// Amazon Connect.
    Connect(ConnectDetails),
    /// Amazon Lex V2.
    Lex(LexDetails),
    /// OpenMetadata.
    OpenMetadata(OpenMetadataDetails),
}

/// What only a Connect execution has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct ConnectDetails {
    pub instance_id: String,
    pub test_case_id: String,
}

/// What only a Lex execution has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct LexDetails {
    pub test_set_id: String,
    pub test_set_name: String,
    pub target: Option<LexTarget>,
    pub api_mode: Option<LexApiMode>,
    pub modality: Option<LexModality>,
    pub update_time: Option<Timestamp>,
}

/// The bot that a Lex test set runs against.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct LexTarget {
    pub bot_id: String,
    pub bot_alias_id: String,
    pub locale_id: String,
}

/// How Lex feeds the bot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LexApiMode {
    /// `Streaming`.
    Streaming,
    /// `NonStreaming`.
    NonStreaming,
}

/// What Lex feeds the bot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LexModality {
    /// `Text`.
    Text,
    /// `Audio`.
    Audio,
}

/// The options of a Lex start. In a request, what is unset comes from the backend's configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct LexStartOptions {
    pub bot_id: Option<String>,
    pub bot_alias_id: Option<String>,
    pub locale_id: Option<String>,
    pub api_mode: Option<LexApiMode>,
    pub modality: Option<LexModality>,
}

/// What only an OpenMetadata execution has.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in the proto under the same name")]
pub struct OpenMetadataDetails {
    pub fully_qualified_name: String,
    pub result_id: String,
    pub run_id: String,
    pub incident_id: String,
    pub passed_rows: Option<i64>,
    pub failed_rows: Option<i64>,
    pub min_bound: Option<f64>,
    pub max_bound: Option<f64>,
}

/// What one reading of upstream says of an execution, already normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The test it belongs to, where this reading says so.
    pub test: Option<TestId>,
    /// Upstream's id of the run, verbatim; empty while a minted execution is not correlated yet.
    pub upstream_id: String,
    /// Upstream's status, verbatim.
    pub upstream_status: String,
    /// The normalised state.
    pub state: State,
    /// The normalised verdict: PENDING unless the state is done.
    pub verdict: Verdict,
    /// Counts, where this reading says; `None` leaves what is known.
    pub counts: Option<Counts>,
    /// Why it did not pass.
    pub failure: Option<Failure>,
    /// Accepted.
    pub create_time: Option<Timestamp>,
    /// Running since.
    pub start_time: Option<Timestamp>,
    /// Ended.
    pub end_time: Option<Timestamp>,
    /// What only this kind of upstream has.
    pub details: Option<Details>,
    /// Upstream's tags; `None` leaves what is known.
    pub upstream_labels: Option<Labels>,
    /// The test's display name, where this reading says; empty leaves what is known.
    pub test_display_name: String,
    /// What the next reading needs to know about the settling of this one.
    pub settling: Option<Settling>,
    /// A part of the reading failed (reason, message), as a Lex run whose results could not be read.
    pub condition: Option<(String, String)>,
}

/// Memory between the readings of an execution that has ended upstream but is not settled. Survives a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settling {
    /// When the gateway first saw this ended status.
    pub since: Timestamp,
    /// The ended status that was seen.
    pub upstream_status: String,
}

impl Observation {
    /// A reading with a state and a verdict and nothing else yet.
    pub fn new(
        upstream_id: impl Into<String>,
        upstream_status: impl Into<String>,
        state: State,
        verdict: Verdict,
    ) -> Self {
        Self {
            test: None,
            upstream_id: upstream_id.into(),
            upstream_status: upstream_status.into(),
            state,
            verdict,
            counts: None,
            failure: None,
            create_time: None,
            start_time: None,
            end_time: None,
            details: None,
            upstream_labels: None,
            test_display_name: String::new(),
            settling: None,
            condition: None,
        }
    }
}

impl Execution {
    /// An execution of which only the name is known.
    pub fn unread(name: ExecutionName) -> Self {
        Self {
            name,
            state: State::Pending,
            verdict: Verdict::Pending,
            counts: None,
            failure: None,
            create_time: None,
            start_time: None,
            end_time: None,
            stop_request_time: None,
            observe_time: None,
            revision: 0,
            upstream_status: String::new(),
            upstream_id: String::new(),
            condition: None,
            labels: Labels::new(),
            details: None,
            upstream_labels: Labels::new(),
            creator: String::new(),
            request_id: String::new(),
            stop_requester: String::new(),
            stop_reason: String::new(),
            test_display_name: String::new(),
            reconciled: false,
        }
    }

    /// An execution as first shown by upstream at `now`.
    pub fn first_seen(name: ExecutionName, observation: Observation, now: Timestamp) -> Self {
        let mut execution = Self::unread(name);
        execution.observe(observation, now);
        execution
    }

    /// Whether nothing in it changes any more.
    pub fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// Takes a reading in. Returns whether anything but `observe_time` changed.
    ///
    /// Holds the invariants whatever the reading says: a terminal state is never left, a running execution does
    /// not become pending again, the verdict is pending exactly until done, `create_time` never changes.
    pub fn observe(&mut self, observation: Observation, now: Timestamp) -> bool {
        if self.is_done() {
            return false;
        }
        let Observation {
            test: _,
            upstream_id,
            upstream_status,
            state,
            verdict,
            counts,
            failure,
            create_time,
            start_time,
            end_time,
            details,
            upstream_labels,
            test_display_name,
            settling: _,
            condition,
        } = observation;

        let state = match state {
            State::Pending | State::Running if self.stop_request_time.is_some() => State::Stopping,
            State::Pending if matches!(self.state, State::Running | State::Stopping | State::Settling) => {
                self.state
            }
            _ => state,
        };
        let verdict = match (state.is_done(), verdict) {
            (false, _) => Verdict::Pending,
            (true, Verdict::Pending) => Verdict::Inconclusive,
            (true, verdict) => verdict,
        };
        let failure = if verdict == Verdict::Passed { None } else { failure };
        let create_time = self.create_time.or(create_time.and_then(presentable)).or(Some(now));
        let start_time = start_time.and_then(presentable).or(self.start_time);
        let end_time = end_time.and_then(presentable).or(self.end_time).or(state.is_done().then_some(now));
        let condition = match condition {
            Some((reason, message)) if !state.is_done() => Some(self.condition_since(reason, message, now)),
            _ => None,
        };
        // A condition's wording alone is no change, nor is the time of the reading.
        let mut changed = self.condition.as_ref().map(|known| &known.reason)
            != condition.as_ref().map(|known| &known.reason);
        self.condition = condition;
        self.observe_time = Some(now);
        changed |= put(&mut self.state, state);
        changed |= put(&mut self.verdict, verdict);
        changed |= put(&mut self.failure, failure);
        changed |= put(&mut self.create_time, create_time);
        changed |= put(&mut self.start_time, start_time);
        changed |= put(&mut self.end_time, end_time);
        changed |= put(&mut self.upstream_status, upstream_status);
        changed |= counts.is_some() && put(&mut self.counts, counts);
        changed |= !upstream_id.is_empty() && put(&mut self.upstream_id, upstream_id);
        changed |= details.is_some() && put(&mut self.details, details);
        changed |= upstream_labels.is_some_and(|labels| put(&mut self.upstream_labels, labels));
        changed |= !test_display_name.is_empty() && put(&mut self.test_display_name, test_display_name);
        changed
    }

    /// Notes that a reading failed. Returns whether that is news; never touches state or verdict.
    pub fn note_trouble(&mut self, reason: &str, message: &str, now: Timestamp) -> bool {
        if self.is_done() || self.condition.as_ref().is_some_and(|known| known.reason == reason) {
            return false;
        }
        self.condition = Some(self.condition_since(reason.to_owned(), message.to_owned(), now));
        true
    }

    /// Ends an execution that upstream no longer knows, or that was followed for too long.
    pub fn lose(&mut self, why: impl Into<String>, now: Timestamp) -> bool {
        if self.is_done() {
            return false;
        }
        self.state = State::Lost;
        self.verdict = Verdict::Inconclusive;
        self.failure = Some(Failure::new(FailureKind::Lost, "", [why.into()]));
        self.end_time = self.end_time.or(Some(now));
        self.condition = None;
        true
    }

    /// Notes that a stop was accepted here. Returns whether that changed anything.
    pub fn note_stop(&mut self, requester: &str, reason: &str, now: Timestamp) -> bool {
        if self.is_done() || self.stop_request_time.is_some() {
            return false;
        }
        self.stop_request_time = Some(now);
        self.stop_requester = requester.to_owned();
        self.stop_reason = reason.to_owned();
        if matches!(self.state, State::Pending | State::Running) {
            self.state = State::Stopping;
        }
        true
    }

    fn condition_since(&self, reason: String, message: String, now: Timestamp) -> Condition {
        let since = match &self.condition {
            Some(known) if known.reason == reason => known.since,
            _ => now,
        };
        Condition { reason, message, since }
    }
}

/// Puts a value in another's place. Returns whether it differs from that one.
fn put<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

/// Times outside the years 1 to 9999 are left unset.
pub fn presentable(time: Timestamp) -> Option<Timestamp> {
    (1..=9999).contains(&time.year()).then_some(time)
}

#[cfg(test)]
mod tests;
