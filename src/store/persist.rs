//! The stored form: protobuf, wrapped around the contract's own messages, so that it evolves by protobuf's rules.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::record::{Record, StartKey, StartOutcome, StartRecord, Stop};
use crate::model::{Encoded, Execution, ExecutionName, Settling, SharedExecution, TestName, Timestamp};
use crate::proto::convert::{encoded, execution_within, from_time, to_time};
use crate::proto::v1;

/// The most bytes of one stored execution. More than a reply may have, so that filters see the same labels
/// after a restart; yet bounded, because upstream decides how long they are.
const MAX_STORED_EXECUTION_BYTES: usize = 64 * 1024;

#[derive(Clone, PartialEq, Message)]
struct StoredRecord {
    /// A [`v1::Execution`], never empty: it has a name.
    #[prost(bytes = "bytes", tag = "1")]
    execution: Bytes,
    #[prost(message, optional, tag = "2")]
    settling: Option<StoredSettling>,
    #[prost(message, optional, tag = "3")]
    first_seen: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "4")]
    gone_since: Option<prost_types::Timestamp>,
    #[prost(bool, tag = "5")]
    followed: bool,
    #[prost(uint64, tag = "6")]
    position: u64,
    /// Microseconds since 1970, by the gateway's clock, when it was first stored as done.
    #[prost(int64, optional, tag = "7")]
    done_at: Option<i64>,
    #[prost(message, optional, tag = "8")]
    stop: Option<StoredStop>,
}

/// As much of a [`StoredRecord`] as says what leads to it; the rest is skipped.
#[derive(Clone, PartialEq, Message)]
struct StoredHead {
    #[prost(message, optional, tag = "1")]
    execution: Option<ExecutionHead>,
    #[prost(bool, tag = "5")]
    followed: bool,
    #[prost(uint64, tag = "6")]
    position: u64,
    #[prost(int64, optional, tag = "7")]
    done_at: Option<i64>,
}

/// As much of an execution.
#[derive(Clone, PartialEq, Message)]
struct ExecutionHead {
    #[prost(string, tag = "14")]
    upstream_id: String,
    #[prost(string, tag = "22")]
    request_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredStop {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(string, tag = "2")]
    requester: String,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(message, optional, tag = "4")]
    time: Option<prost_types::Timestamp>,
    #[prost(bool, tag = "5")]
    accepted: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSettling {
    #[prost(message, optional, tag = "1")]
    since: Option<prost_types::Timestamp>,
    #[prost(string, tag = "2")]
    upstream_status: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredStart {
    #[prost(string, tag = "1")]
    caller: String,
    #[prost(string, tag = "2")]
    parent: String,
    #[prost(string, tag = "3")]
    request_id: String,
    #[prost(bytes = "vec", tag = "4")]
    fingerprint: Vec<u8>,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    token: String,
    #[prost(message, optional, tag = "7")]
    time: Option<prost_types::Timestamp>,
    #[prost(btree_map = "string, string", tag = "8")]
    upstream_labels: BTreeMap<String, String>,
    #[prost(string, tag = "9")]
    test_display_name: String,
    #[prost(enumeration = "StoredOutcome", tag = "10")]
    outcome: i32,
    /// The execution's name, where it was started.
    #[prost(string, tag = "11")]
    execution: String,
    #[prost(oneof = "v1::execution::Details", tags = "17, 18, 19")]
    details: Option<v1::execution::Details>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum StoredOutcome {
    Unspecified = 0,
    Sending = 1,
    Started = 2,
    NotConfirmed = 3,
}

/// Stored bytes that make no sense.
pub(super) type Nonsense = String;

/// A record's bytes; `done_at` is when it was first stored as done.
pub(super) fn encode_record(record: &Record, done_at: Option<i64>) -> Vec<u8> {
    let Record { execution, settling, first_seen, gone_since, followed, position, stop } = record;
    StoredRecord {
        execution: stored(execution),
        settling: settling.as_ref().map(|Settling { since, upstream_status }| StoredSettling {
            since: from_time(*since),
            upstream_status: upstream_status.clone(),
        }),
        first_seen: from_time(*first_seen),
        gone_since: gone_since.and_then(from_time),
        followed: *followed,
        position: *position,
        done_at,
        stop: stop.clone().map(|Stop { request_id, requester, reason, time, accepted }| StoredStop {
            request_id,
            requester,
            reason,
            time: from_time(time),
            accepted,
        }),
    }
    .encode_to_vec()
}

/// An execution's bytes: those of replies, where nothing had to be cut for them.
fn stored(execution: &SharedExecution) -> Bytes {
    match encoded(execution) {
        Encoded { bytes, is_whole: true } => bytes.clone(),
        _ => execution_within(execution, MAX_STORED_EXECUTION_BYTES).encode_to_vec().into(),
    }
}

/// A record from its bytes, and when it was first stored as done.
pub(super) fn decode_record(bytes: &[u8]) -> Result<(Record, Option<i64>), Nonsense> {
    let StoredRecord { execution, settling, first_seen, gone_since, followed, position, done_at, stop } =
        StoredRecord::decode(bytes).map_err(|error| error.to_string())?;
    if execution.is_empty() {
        return Err("a record without its execution".to_owned());
    }
    let execution = v1::Execution::decode(execution).map_err(|error| error.to_string())?;
    let record = Record {
        execution: Execution::try_from(execution).map_err(|error| error.to_string())?.into(),
        settling: settling
            .map(|StoredSettling { since, upstream_status }| {
                Ok::<_, Nonsense>(Settling { since: time("settling.since", since)?, upstream_status })
            })
            .transpose()?,
        first_seen: time("first_seen", first_seen)?,
        gone_since: gone_since.map(|moment| time("gone_since", Some(moment))).transpose()?,
        followed,
        position,
        stop: stop
            .map(|StoredStop { request_id, requester, reason, time: at, accepted }| {
                Ok::<_, Nonsense>(Stop {
                    request_id,
                    requester,
                    reason,
                    time: time("stop.time", at)?,
                    accepted,
                })
            })
            .transpose()?,
    };
    Ok((record, done_at))
}

/// What a change needs to know of the record that it overwrites.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) followed: bool,
    pub(super) position: u64,
    /// When it was first stored as done.
    pub(super) done_at: Option<i64>,
    pub(super) started_here: bool,
    pub(super) upstream_id: String,
}

impl Head {
    /// That of a record which is about to be stored.
    pub(super) fn of(record: &Record, done_at: Option<i64>) -> Self {
        Self {
            followed: record.followed,
            position: record.position,
            done_at,
            started_here: record.was_started_here(),
            upstream_id: record.execution.upstream_id.clone(),
        }
    }
}

/// The head of a stored record, for a fraction of what all of it would cost.
pub(super) fn decode_head(name: &ExecutionName, bytes: &[u8]) -> Result<Head, Nonsense> {
    let StoredHead { execution, followed, position, done_at } =
        StoredHead::decode(bytes).map_err(|error| error.to_string())?;
    let ExecutionHead { upstream_id, request_id } = execution.ok_or("a record without its execution")?;
    let started_here = name.execution.is_minted() || !request_id.is_empty();
    Ok(Head { followed, position, done_at, started_here, upstream_id })
}

/// A start's bytes.
pub(super) fn encode_start(start: &StartRecord) -> Vec<u8> {
    let StartRecord {
        key: _, // under which the bytes are stored
        caller,
        parent,
        request_id,
        fingerprint,
        labels,
        token,
        time,
        details,
        upstream_labels,
        test_display_name,
        outcome,
    } = start.clone();
    let (outcome, execution) = match outcome {
        StartOutcome::Sending => (StoredOutcome::Sending, String::new()),
        StartOutcome::Started(name) => (StoredOutcome::Started, name.to_string()),
        StartOutcome::NotConfirmed => (StoredOutcome::NotConfirmed, String::new()),
    };
    StoredStart {
        caller,
        parent: parent.to_string(),
        request_id,
        fingerprint: fingerprint.to_vec(),
        labels,
        token,
        time: from_time(time),
        upstream_labels,
        test_display_name,
        outcome: outcome.into(),
        execution,
        details: Some((&details).into()),
    }
    .encode_to_vec()
}

/// A start from its key and bytes.
pub(super) fn decode_start(key: StartKey, bytes: &[u8]) -> Result<StartRecord, Nonsense> {
    let stored = StoredStart::decode(bytes).map_err(|error| error.to_string())?;
    let outcome = match stored.outcome() {
        StoredOutcome::Sending => StartOutcome::Sending,
        StoredOutcome::Started => {
            let name = ExecutionName::parse(&stored.execution).map_err(|error| error.to_string())?;
            StartOutcome::Started(name)
        }
        StoredOutcome::NotConfirmed => StartOutcome::NotConfirmed,
        StoredOutcome::Unspecified => return Err("a start without an outcome".into()),
    };
    let StoredStart {
        caller,
        parent,
        request_id,
        fingerprint,
        labels,
        token,
        time: at,
        upstream_labels,
        test_display_name,
        outcome: _,
        execution: _,
        details,
    } = stored;
    Ok(StartRecord {
        key,
        caller,
        parent: TestName::parse(&parent).map_err(|error| error.to_string())?,
        request_id,
        fingerprint: fingerprint.try_into().map_err(|_| "a fingerprint of the wrong length")?,
        labels,
        token,
        time: time("time", at)?,
        details: details
            .ok_or("a start without details")?
            .try_into()
            .map_err(|error: crate::proto::convert::ConvertError| error.to_string())?,
        upstream_labels,
        test_display_name,
        outcome,
    })
}

fn time(field: &str, moment: Option<prost_types::Timestamp>) -> Result<Timestamp, Nonsense> {
    moment.as_ref().and_then(to_time).ok_or_else(|| format!("{field} is not a time"))
}

/// A moment from an index.
pub(super) fn moment(micros: i64) -> Option<Timestamp> {
    Timestamp::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

/// A moment as indexes order it: microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}
