//! The model and the contract's messages, each made from the other.
//!
//! Every struct is taken apart without `..`, so that a new field does not compile until it is carried over.

mod enums;
mod execution;
mod resource;

use std::time::Duration;

use super::v1;
use crate::model::execution::presentable;
use crate::model::{Condition, Counts, Failure, Metric, NameError, Timestamp};

pub use enums::{UnknownEnum, item_kind, lex_api_mode, lex_modality, verdict};
pub use execution::{MAX_EXECUTION_BYTES, encoded, execution, execution_within};
pub use resource::{MAX_PAYLOAD_BYTES, artifact, backend, result_item, test};

/// A message that the model can't hold: one that a later version wrote, or that nobody should have.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A name that breaks the rules of names.
    #[error("the name {0}")]
    Name(#[from] NameError),
    /// A time out of range.
    #[error("{field} is not a valid time")]
    Time {
        /// Where it stands.
        field: &'static str,
    },
    /// An enum's number without a meaning here.
    #[error(transparent)]
    Enum(#[from] UnknownEnum),
}

/// A moment as the contract has it; `None` outside the years 1 to 9999, which no client could read.
pub fn from_time(time: Timestamp) -> Option<prost_types::Timestamp> {
    let time = presentable(time.to_offset(time::UtcOffset::UTC))?;
    let nanos = i32::try_from(time.nanosecond()).ok()?;
    Some(prost_types::Timestamp { seconds: time.unix_timestamp(), nanos })
}

/// A moment that came in; `None` if it is malformed or outside the years 1 to 9999.
pub fn to_time(time: &prost_types::Timestamp) -> Option<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = *time;
    let nanos = u32::try_from(nanos).ok()?;
    Timestamp::from_unix_timestamp(seconds).ok()?.replace_nanosecond(nanos).ok().and_then(presentable)
}

/// A length of time as the contract has it; the longest that it can hold where that is exceeded.
pub fn from_duration(duration: Duration) -> prost_types::Duration {
    /// 10,000 years, the limit that protobuf sets.
    const MAX_SECONDS: u64 = 315_576_000_000;
    let seconds = duration.as_secs().min(MAX_SECONDS);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A length of time that came in; `None` if it is negative or malformed.
pub fn to_duration(duration: &prost_types::Duration) -> Option<Duration> {
    let prost_types::Duration { seconds, nanos } = *duration;
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

fn time_in(
    field: &'static str,
    time: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, ConvertError> {
    time.map(|time| to_time(&time).ok_or(ConvertError::Time { field })).transpose()
}

impl From<&Condition> for v1::Condition {
    fn from(condition: &Condition) -> Self {
        let Condition { reason, message, since } = condition;
        Self { reason: reason.clone(), message: message.clone(), since_time: from_time(*since) }
    }
}

impl TryFrom<v1::Condition> for Condition {
    type Error = ConvertError;

    fn try_from(condition: v1::Condition) -> Result<Self, ConvertError> {
        let v1::Condition { reason, message, since_time } = condition;
        let since = time_in("condition.since_time", since_time)?
            .ok_or(ConvertError::Time { field: "condition.since_time" })?;
        Ok(Self { reason, message, since })
    }
}

impl From<Counts> for v1::ResultCounts {
    fn from(counts: Counts) -> Self {
        let Counts { total, passed, failed, errored, other, partial } = counts;
        Self { total, passed, failed, errored, other, partial }
    }
}

impl From<v1::ResultCounts> for Counts {
    fn from(counts: v1::ResultCounts) -> Self {
        let v1::ResultCounts { total, passed, failed, errored, other, partial } = counts;
        Self { total, passed, failed, errored, other, partial }
    }
}

impl From<&Failure> for v1::FailureReason {
    fn from(failure: &Failure) -> Self {
        let Failure { kind, upstream_code, messages, truncated_count } = failure;
        Self {
            kind: v1::failure_reason::Kind::from(*kind).into(),
            upstream_code: upstream_code.clone(),
            messages: messages.clone(),
            truncated_count: *truncated_count,
        }
    }
}

impl TryFrom<v1::FailureReason> for Failure {
    type Error = ConvertError;

    fn try_from(failure: v1::FailureReason) -> Result<Self, ConvertError> {
        let kind = enums::failure_kind(failure.kind)?;
        let v1::FailureReason { kind: _, upstream_code, messages, truncated_count } = failure;
        Ok(Self { kind, upstream_code, messages, truncated_count })
    }
}

impl From<&Metric> for v1::Metric {
    fn from(metric: &Metric) -> Self {
        let Metric { name, value, predicted_value } = metric;
        Self { name: name.clone(), value: value.clone(), predicted_value: predicted_value.clone() }
    }
}

impl From<v1::Metric> for Metric {
    fn from(metric: v1::Metric) -> Self {
        let v1::Metric { name, value, predicted_value } = metric;
        Self { name, value, predicted_value }
    }
}

#[cfg(test)]
pub(crate) mod tests;
