//! Connect's test-case types as they stand on the wire.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::aws::wire::{lenient, text, timestamp, token};
use crate::model::Timestamp;

/// Body of StartTestCaseExecution and StopTestCaseExecution.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TokenBody<'a> {
    pub(crate) client_token: &'a str,
}

/// Reply of StartTestCaseExecution.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Started {
    pub(crate) test_case_execution_id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) status: Option<String>,
}

/// Reply of GetTestCaseExecutionSummary.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) status: String,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) end_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) observation_summary: Option<ObservationSummary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ObservationSummary {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) total_observations: Option<i32>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) observations_passed: Option<i32>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) observations_failed: Option<i32>,
}

/// Reply of ListTestCaseExecutions; rows are [`ExecutionRow`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Executions {
    #[serde(default)]
    pub(crate) test_case_executions: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ExecutionRow {
    pub(crate) test_case_execution_id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_case_id: Option<String>,
    pub(crate) test_case_execution_status: String,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) end_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) tags: Option<HashMap<String, String>>,
}

/// Reply of ListTestCaseExecutionRecords; rows are [`RecordRow`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Records {
    #[serde(default)]
    pub(crate) execution_records: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RecordRow {
    #[serde(default, deserialize_with = "text")]
    pub(crate) observation_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) status: Option<String>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) timestamp: Option<Timestamp>,
    /// JSON within a string, of a schema that is not published.
    #[serde(default, deserialize_with = "text")]
    pub(crate) record: Option<String>,
}

/// What is known of a record's inner JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record {
    #[serde(default, rename = "Type", deserialize_with = "text")]
    pub(crate) kind: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) identifier: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) completion_reason: Option<CompletionReason>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CompletionReason {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) failure_reasons: Option<Vec<String>>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) message: Option<String>,
}

/// Reply of ListTestCases; rows are [`TestCaseRow`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TestCases {
    #[serde(default)]
    pub(crate) test_case_summary_list: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

/// Reply of SearchTestCases; rows are [`TestCaseRow`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FoundTestCases {
    #[serde(default)]
    pub(crate) test_cases: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

/// Reply of DescribeTestCase; the member is a [`TestCaseRow`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribedTestCase {
    pub(crate) test_case: Box<RawValue>,
}

/// A test case, whole or as a list shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TestCaseRow {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) arn: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) status: Option<String>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) last_modified_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) tags: Option<HashMap<String, String>>,
}

/// Body of SearchTestCases.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SearchBody<'a> {
    pub(crate) instance_id: &'a str,
    pub(crate) max_results: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search_filter: Option<SearchFilter<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SearchFilter<'a> {
    pub(crate) tag_filter: TagFilter<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagFilter<'a> {
    pub(crate) and_conditions: Vec<TagCondition<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagCondition<'a> {
    pub(crate) tag_key: &'a str,
    pub(crate) tag_value: &'a str,
}
