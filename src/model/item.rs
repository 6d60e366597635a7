//! What an execution leaves behind: result items and artifacts.

use super::status::{Counts, Failure, Verdict};
use super::{ItemKind, Timestamp};

/// One row of an execution's results.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultItem {
    /// Its id within the execution, unescaped.
    pub id: String,
    /// Its kind.
    pub kind: ItemKind,
    /// For people.
    pub display_name: String,
    /// Its own verdict.
    pub verdict: Verdict,
    /// When it happened.
    pub event_time: Option<Timestamp>,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub actual: String,
    /// Counts, for kinds that aggregate.
    pub counts: Option<Counts>,
    /// Why it did not pass.
    pub failure: Option<Failure>,
    /// Measured values.
    pub metrics: Vec<Metric>,
    /// The upstream row, byte for byte.
    pub payload: Option<Box<str>>,
}

/// A measured value, as upstream gave it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its value, never re-parsed.
    pub value: String,
    /// What was predicted, or empty.
    pub predicted_value: String,
}

/// Something to download. The link is a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Artifact {
    /// Its id within the execution, unescaped.
    pub id: String,
    /// A pre-signed link: kept out of logs and watches.
    pub uri: String,
    /// When the link ends, where that is known.
    pub expire_time: Option<Timestamp>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("id", &self.id)
            .field("expire_time", &self.expire_time)
            .finish_non_exhaustive()
    }
}
