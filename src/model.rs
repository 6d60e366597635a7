//! The vocabulary: names, state and verdict, executions, tests, items. Imports nothing of ours and knows no transport.

pub mod backend;
pub mod clock;
pub mod execution;
pub mod filter;
pub mod id;
pub mod item;
pub mod near;
pub mod resource;
pub mod shared;
pub mod status;
pub mod test;

pub use backend::{BackendInfo, Capabilities, ItemKind, Kind, StartMode, StopScope};
pub use clock::Clock;
pub use execution::{
    ConnectDetails, Details, Execution, LexApiMode, LexDetails, LexModality, LexStartOptions, LexTarget,
    Observation, OpenMetadataDetails, Settling,
};
pub use id::{BackendId, ExecutionId, ExecutionName, NameError, Scope, TestId, TestName};
pub use item::{Artifact, Metric, ResultItem};
pub use shared::{Encoded, SharedExecution};
pub use status::{Condition, Counts, Failure, FailureKind, State, Verdict};
pub use test::Test;

/// A moment in UTC, as upstreams and callers exchange it.
pub type Timestamp = time::OffsetDateTime;

/// Key-value pairs in a stable order.
pub type Labels = std::collections::BTreeMap<String, String>;
