//! What a configured backend is and can do.

use std::time::Duration;

use super::{BackendId, Labels};

/// The three systems.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Amazon Connect test cases.
    AmazonConnect,
    /// The Amazon Lex V2 test workbench.
    AmazonLexV2,
    /// OpenMetadata data quality.
    OpenMetadata,
}

/// A backend as callers see it, but for its health.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendInfo {
    /// Its id.
    pub id: BackendId,
    /// What kind of system it is.
    pub kind: Kind,
    /// For people.
    pub display_name: String,
    /// Region, instance, base URL; never a secret.
    pub location: Labels,
    /// The floor of status latency.
    pub poll_interval: Duration,
    /// From the configuration.
    pub labels: Labels,
    /// The upper bound over its tests.
    pub capabilities: Capabilities,
}

/// What a test, or any test of a backend, can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Who deduplicates starts.
    pub start_mode: StartMode,
    /// What a stop stops.
    pub stop_scope: StopScope,
    /// Finds executions that were started elsewhere.
    pub list_executions: bool,
    /// Accepts results made elsewhere.
    pub record_execution: bool,
    /// Has artifacts.
    pub artifacts: bool,
    /// The kinds of result item that it has.
    pub result_kinds: &'static [ItemKind],
    /// Filter fields that upstream filters; others are scanned.
    pub filter_pushdown: &'static [&'static str],
}

/// Who deduplicates starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartMode {
    /// It can't be started.
    None,
    /// Upstream does, by a token.
    NativeToken,
    /// Only the gateway's journal does.
    GatewayDedup,
}

/// What a stop stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopScope {
    /// It can't be stopped.
    None,
    /// The one execution.
    Execution,
    /// Every unfinished execution of the test.
    Test,
}

/// The kinds of result item.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ItemKind {
    /// A Connect record.
    Observation,
    /// Lex, the whole run.
    Overall,
    /// Lex, one conversation.
    Conversation,
    /// Lex, one intent.
    Intent,
    /// Lex, one slot.
    Slot,
    /// Lex, one utterance.
    Utterance,
    /// One OpenMetadata case of a suite run.
    TestCase,
}
