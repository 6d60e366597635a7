//! Storing a result made elsewhere: never lost in silence, never written twice.
//!
//! A refused duplicate has side effects upstream (it opens an incident), so what is there is read before anything is
//! written, and after each write, whatever its reply said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::client::Span;
use super::wire::{CaseResult, NewResult, NewValue, Row, TestCase};
use super::{OpenMetadata, runs};
use crate::backend::{BackendError, Call, Effect, ErrorKind, Found, Record};
use crate::model::{Clock, ExecutionId, Timestamp, Verdict};

/// Upstream takes fewer than 12 digits for seconds; these are the first with 12 (March 1973).
const EARLIEST_MS: i64 = 100_000_000_000;
/// Results are of the past; a year allows for any clock and none for microseconds.
const LATEST_AHEAD: time::Duration = time::Duration::days(366);
/// Writes of one call: the second only where upstream accepted the first and does not have it, or its reply was lost.
const MAX_WRITES: usize = 2;

/// One writer at a time for each key. Holds as many keys as there are calls.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>);

type Key = (Uuid, i64);

impl Locks {
    pub(super) async fn hold(&self, key: Key) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

/// What a write is known to have done.
enum Written {
    /// Accepted; the id that the reply gave it.
    Accepted(Option<String>),
    /// A result with this key is there.
    Conflict(BackendError),
    /// The reply was lost.
    Lost(BackendError),
}

impl OpenMetadata {
    pub(super) async fn record_result(
        &self,
        call: &Call,
        id: Uuid,
        record: &Record,
    ) -> Result<Found, BackendError> {
        let wanted = wanted(record, &self.clock)?;
        let key = (id, wanted.timestamp);
        let _alone = self.locks.hold(key).await;
        let case = self.live_case(call, id).await?;

        if let Some(row) = self.stored(call, &case, wanted.timestamp).await? {
            return self.judge(id, &row, &wanted, None);
        }
        // From here on it may exist: it must not count as the work of a run, even if this call is cut off.
        self.recorded.insert(key, ());
        let mut lost = None;
        for _ in 0..MAX_WRITES {
            let written = match self.write(call, &case, &wanted).await {
                Ok(written) => written,
                Err(refused) => {
                    // Certainly nothing came of this write; an earlier one may still be under way.
                    if lost.is_none() {
                        self.recorded.forget(&key);
                    }
                    return Err(lost.unwrap_or(refused));
                }
            };
            let read = self.stored(call, &case, wanted.timestamp).await.map_err(|error| unknown(&error))?;
            match (read, written) {
                (Some(row), Written::Accepted(id_given)) => {
                    return self.judge(id, &row, &wanted, id_given.as_deref());
                }
                (Some(row), Written::Conflict(_) | Written::Lost(_)) => {
                    return self.judge(id, &row, &wanted, None);
                }
                (None, Written::Conflict(error)) => return Err(error),
                (None, Written::Accepted(_)) => lost = None,
                (None, Written::Lost(error)) => lost = Some(error),
            }
        }
        Err(lost.unwrap_or_else(|| {
            BackendError::new(
                ErrorKind::ResultNotStored,
                "OpenMetadata accepted the result and does not have it; it was written twice",
            )
            .with_effect(Effect::Possible)
        }))
    }

    /// The case, if it is there and not soft-deleted: a result would bring a deleted one back.
    async fn live_case(&self, call: &Call, id: Uuid) -> Result<TestCase, BackendError> {
        let case = self.client.case(call, id, true).await?.value;
        if case.deleted {
            let text = "the test case is deleted in OpenMetadata; recording on it would bring it back";
            return Err(BackendError::new(ErrorKind::UpstreamNotFound, text));
        }
        self.directory.note_case(&case);
        Ok(case)
    }

    async fn stored(
        &self,
        call: &Call,
        case: &TestCase,
        timestamp: i64,
    ) -> Result<Option<Row<CaseResult>>, BackendError> {
        let span = Span { from: timestamp, to: timestamp };
        let (rows, _) = self.client.results(call, case.id, &case.fully_qualified_name, span, 1).await?;
        Ok(rows.into_iter().next())
    }

    /// # Errors
    /// What refused the write, so that certainly nothing came of it.
    async fn write(&self, call: &Call, case: &TestCase, wanted: &NewResult) -> Result<Written, BackendError> {
        match self.client.add_result(call, case.id, &case.fully_qualified_name, wanted).await {
            Ok(id) => Ok(Written::Accepted(id)),
            Err(error) if error.kind == ErrorKind::UpstreamConflict => Ok(Written::Conflict(error)),
            Err(error) if error.effect == Effect::Possible => Ok(Written::Lost(error)),
            Err(error) => Err(error),
        }
    }

    /// What is there under the key: ours, the same, or another.
    fn judge(
        &self,
        id: Uuid,
        row: &Row<CaseResult>,
        wanted: &NewResult,
        id_given: Option<&str>,
    ) -> Result<Found, BackendError> {
        let ours = id_given.is_some_and(|given| given == row.value.id && row.value.status == wanted.status);
        if !ours && !same(&row.value, wanted) {
            let text = format!(
                "the test case has another result at {}: {} where {} was to be recorded",
                wanted.timestamp,
                crate::model::status::cut(row.value.status.clone(), 64),
                wanted.status
            );
            return Err(BackendError::new(ErrorKind::ResultExists, text));
        }
        let execution = ExecutionId::new(&row.value.timestamp.to_string())
            .map_err(|error| BackendError::new(ErrorKind::UpstreamInvalidResponse, error.to_string()))?;
        Ok(Found { execution, observation: runs::result_observation(id, &row.value, None) })
    }
}

/// The result to store, checked.
fn wanted(record: &Record, clock: &Clock) -> Result<NewResult, BackendError> {
    let status = match record.verdict {
        Verdict::Passed => "Success",
        Verdict::Failed => "Failed",
        Verdict::Inconclusive => "Aborted",
        Verdict::Pending | Verdict::None => {
            return Err(invalid("verdict", "must be PASSED, FAILED or INCONCLUSIVE"));
        }
    };
    let timestamp = plausible(record.end_time, clock.now())?;
    let texts =
        record.metrics.iter().flat_map(|metric| [&metric.name, &metric.value, &metric.predicted_value]);
    if record.message.contains('\0') {
        return Err(invalid("message", "must not contain NUL, which OpenMetadata can't store"));
    }
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(invalid("openmetadata.metrics", "must not contain NUL, which OpenMetadata can't store"));
    }
    for (field, rows) in
        [("openmetadata.passed_rows", record.passed_rows), ("openmetadata.failed_rows", record.failed_rows)]
    {
        if rows.is_some_and(|rows| rows < 0) {
            return Err(invalid(field, "must not be negative"));
        }
    }
    Ok(NewResult {
        timestamp,
        status,
        result: record.message.clone(),
        test_result_value: record
            .metrics
            .iter()
            .map(|metric| NewValue {
                name: metric.name.clone(),
                value: metric.value.clone(),
                predicted_value: metric.predicted_value.clone(),
            })
            .collect(),
        passed_rows: record.passed_rows,
        failed_rows: record.failed_rows,
    })
}

/// The key in milliseconds, if it can be one.
fn plausible(end_time: Timestamp, now: Timestamp) -> Result<i64, BackendError> {
    let milliseconds = runs::to_ms(end_time);
    if milliseconds < EARLIEST_MS {
        let text = format!(
            "{milliseconds} ms since 1970 is before March 1973; a time in seconds was probably taken for milliseconds"
        );
        return Err(invalid("end_time", &text));
    }
    if end_time > now.checked_add(LATEST_AHEAD).unwrap_or(now) {
        let text = format!(
            "{milliseconds} ms since 1970 is more than a year ahead; a time in microseconds was probably taken for \
             milliseconds"
        );
        return Err(invalid("end_time", &text));
    }
    Ok(milliseconds)
}

fn invalid(field: &'static str, rule: &str) -> BackendError {
    BackendError::new(ErrorKind::FieldInvalid(field), rule)
}

/// Whether a stored result says what was to be recorded. Absent and empty are the same.
fn same(row: &CaseResult, wanted: &NewResult) -> bool {
    row.status == wanted.status
        && row.result == wanted.result
        && row.passed_rows == wanted.passed_rows
        && row.failed_rows == wanted.failed_rows
        && row.test_result_value.len() == wanted.test_result_value.len()
        && row.test_result_value.iter().zip(&wanted.test_result_value).all(|(there, here)| {
            there.name == here.name
                && there.value == here.value
                && there.predicted_value == here.predicted_value
        })
}

/// A result that was sent and could not be read back.
fn unknown(error: &BackendError) -> BackendError {
    let mut unknown = BackendError::new(
        ErrorKind::RecordOutcomeUnknown,
        format!("the result was sent and could not be read back: {}", error.message),
    )
    .with_effect(Effect::Possible);
    unknown.upstream.clone_from(&error.upstream);
    unknown
}

#[cfg(test)]
mod tests;
