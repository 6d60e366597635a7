//! What the store keeps: executions with what the tracker remembers of them, and starts.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::model::{Details, ExecutionName, Labels, Settling, SharedExecution, TestName, Timestamp};

/// An execution with what the tracker must not forget about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The execution as callers see it.
    pub execution: SharedExecution,
    /// What the next reading needs to know while the verdict settles.
    pub settling: Option<Settling>,
    /// When the gateway first saw it, by its own clock.
    pub first_seen: Timestamp,
    /// Since when upstream says that it does not exist.
    pub gone_since: Option<Timestamp>,
    /// Polled to its end whether or not anybody watches.
    pub followed: bool,
    /// Where its last change stands in the order of all changes.
    pub position: u64,
    /// The last stop that was or is about to be sent.
    pub stop: Option<Stop>,
}

/// A stop as its caller asked for it. It is written down before it is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stop {
    /// The caller's id of the request.
    pub request_id: String,
    /// Who asked.
    pub requester: String,
    /// For the audit log.
    pub reason: String,
    /// When it was written down, by the gateway's clock.
    pub time: Timestamp,
    /// Upstream took it. If not, its outcome is not known.
    pub accepted: bool,
}

impl Record {
    /// Whether its start went through this gateway, so that no other start may claim it.
    pub fn was_started_here(&self) -> bool {
        self.execution.name.execution.is_minted() || !self.execution.request_id.is_empty()
    }

    /// The name that upstream's id would have, where a start here owns that id.
    pub(super) fn claim(&self) -> Option<ExecutionName> {
        let started_here = self.was_started_here();
        started_here.then(|| claim_of(&self.execution.name, &self.execution.upstream_id)).flatten()
    }
}

/// The name that an id of upstream's would have beside an execution's.
pub(super) fn claim_of(name: &ExecutionName, upstream_id: &str) -> Option<ExecutionName> {
    let id = crate::model::ExecutionId::new(upstream_id).ok()?;
    Some(name.test_name().execution(id))
}

/// How long it is remembered what changed, for streams that resume.
pub const TOMBSTONES: Duration = Duration::from_hours(1);

/// What changed lately, as the store knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// In the order of their positions; only the latest of each execution.
    pub rows: Vec<ChangeRow>,
    /// Changes up to this position are no longer remembered.
    pub forgotten: u64,
    /// The process before this one wrote all that it knew. If not, an execution may have been shown in a state that
    /// is not here.
    pub complete: bool,
}

/// A change of an execution.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangeRow {
    /// Where it stands in the order of all changes.
    pub position: u64,
    /// Of what.
    pub name: ExecutionName,
    /// When it was written.
    pub time: Timestamp,
}

/// The identity of a start: who, of what, under which request id.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StartKey(pub(super) [u8; 32]);

impl StartKey {
    /// The key of a caller's start of a test.
    pub fn new(caller: &str, parent: &TestName, request_id: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let parent = parent.to_string();
        for part in [caller, parent.as_str(), request_id] {
            // The length goes first, or moving a byte from one part to the next would give the same key.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

impl fmt::Debug for StartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartKey(")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// A start that was or is about to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct StartRecord {
    /// Under which it is kept.
    pub key: StartKey,
    /// Who asked for it.
    pub caller: String,
    /// Which test it starts.
    pub parent: TestName,
    /// The caller's id of the request.
    pub request_id: String,
    /// A digest of options and labels, to tell a repeat from another request under the same id.
    pub fingerprint: [u8; 32],
    /// The caller's labels.
    pub labels: Labels,
    /// What upstream was given to tell repeats, or the id that a minted execution gets.
    pub token: String,
    /// When the intent was written, by the gateway's clock.
    pub time: Timestamp,
    /// The target and mode that were asked for.
    pub details: Details,
    /// The test's tags.
    pub upstream_labels: Labels,
    /// The test's name for people.
    pub test_display_name: String,
    /// How far it got.
    pub outcome: StartOutcome,
}

/// How far a start got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StartOutcome {
    /// Written down; whether upstream has it is not known.
    Sending,
    /// It is this execution.
    Started(ExecutionName),
    /// It never appeared upstream; the id is used up.
    NotConfirmed,
}

/// What one sweep deleted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Executions past the retention.
    pub executions: Vec<ExecutionName>,
    /// How many start records past their day.
    pub starts: usize,
    /// Whether there is more to delete, for the next call.
    pub more: bool,
}
