//! A Connect test case, a Lex test set, an OpenMetadata test case or pipeline.

use super::{Capabilities, Labels, TestId, Timestamp};

/// Something that can be run, or whose results are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its id within the backend.
    pub id: TestId,
    /// Its name for people; may change.
    pub display_name: String,
    /// As upstream's own console shows it.
    pub upstream_id: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether it can be started now; `None` while not known.
    pub startable: Option<bool>,
    /// The raw upstream state behind a `false`.
    pub not_startable_reason: String,
    /// Its tags.
    pub upstream_labels: Labels,
    /// Last changed.
    pub update_time: Option<Timestamp>,
    /// In words.
    pub description: String,
    /// The upstream resource, byte for byte, where one test was asked for.
    pub payload: Option<Box<str>>,
}
