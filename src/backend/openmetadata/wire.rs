//! OpenMetadata's JSON as it comes: whatever may be absent may be null or `[]` too, and unknown members are skipped.

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A page or a whole list. Rows stay raw, so that a payload is upstream's own bytes. `data` has to be there: an
/// answer that is no list must not pass for an empty one.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(deserialize_with = "null_default")]
    pub(super) data: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) paging: Paging,
}

/// Where a cursor list goes on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Paging {
    #[serde(default)]
    pub(super) after: Option<String>,
}

/// A row with the bytes that it was read from.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) value: T,
    pub(super) raw: Box<RawValue>,
}

/// `GET /v1/system/version`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

/// A reference to another entity.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EntityRef {
    #[serde(deserialize_with = "uuid")]
    pub(super) id: Uuid,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
}

/// A tag on an entity.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tag {
    #[serde(default, rename = "tagFQN")]
    pub(super) fqn: Option<String>,
}

/// A test case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestCase {
    #[serde(deserialize_with = "uuid")]
    pub(super) id: Uuid,
    pub(super) name: String,
    #[serde(default)]
    pub(super) display_name: Option<String>,
    pub(super) fully_qualified_name: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "millis_option")]
    pub(super) updated_at: Option<i64>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) deleted: bool,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) tags: Vec<Tag>,
    #[serde(default)]
    pub(super) test_suite: Option<EntityRef>,
    /// The newest result, where it was asked for and there is one.
    #[serde(default)]
    pub(super) test_case_result: Option<Box<RawValue>>,
}

/// A result of a test case.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct CaseResult {
    #[serde(default, deserialize_with = "null_default")]
    pub(super) id: String,
    #[serde(rename = "testCaseFQN", default, deserialize_with = "null_default")]
    pub(super) fqn: String,
    #[serde(deserialize_with = "millis")]
    pub(super) timestamp: i64,
    #[serde(rename = "testCaseStatus", default, deserialize_with = "null_default")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) result: String,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) test_result_value: Vec<ResultValue>,
    #[serde(default)]
    pub(super) passed_rows: Option<i64>,
    #[serde(default)]
    pub(super) failed_rows: Option<i64>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) incident_id: String,
    #[serde(default)]
    pub(super) min_bound: Option<f64>,
    #[serde(default)]
    pub(super) max_bound: Option<f64>,
}

/// A measured value. The server makes strings of what it is sent; a number is taken as it is spelled.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultValue {
    #[serde(default, deserialize_with = "text")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) value: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) predicted_value: String,
}

/// An ingestion pipeline.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pipeline {
    #[serde(deserialize_with = "uuid")]
    pub(super) id: Uuid,
    pub(super) name: String,
    #[serde(default)]
    pub(super) display_name: Option<String>,
    pub(super) fully_qualified_name: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) pipeline_type: String,
    #[serde(default, deserialize_with = "millis_option")]
    pub(super) updated_at: Option<i64>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) deleted: bool,
    #[serde(default)]
    pub(super) enabled: Option<bool>,
    #[serde(default)]
    pub(super) deployed: Option<bool>,
    #[serde(default)]
    pub(super) service: Option<EntityRef>,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) source_config: SourceConfig,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) tags: Vec<Tag>,
}

/// The wrapper around a pipeline's own configuration.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SourceConfig {
    #[serde(default, deserialize_with = "null_default")]
    pub(super) config: SuiteConfig,
}

/// What a test-suite pipeline runs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SuiteConfig {
    /// The names of the cases that it runs; absent, null or empty is all of the suite.
    #[serde(default)]
    pub(super) test_cases: Option<Vec<String>>,
}

/// A suite with its pipelines.
#[derive(Debug, Deserialize)]
pub(super) struct Suite {
    #[serde(default, deserialize_with = "null_default")]
    pub(super) pipelines: Vec<EntityRef>,
}

/// The status of one run of a pipeline.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    #[serde(default, deserialize_with = "null_default")]
    pub(super) run_id: String,
    #[serde(rename = "pipelineState", default, deserialize_with = "null_default")]
    pub(super) state: String,
    #[serde(default, deserialize_with = "millis_option")]
    pub(super) start_date: Option<i64>,
    #[serde(default, deserialize_with = "millis_option")]
    pub(super) timestamp: Option<i64>,
    #[serde(default, deserialize_with = "millis_option")]
    pub(super) end_date: Option<i64>,
}

/// What trigger and kill answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceReply {
    #[serde(default)]
    pub(super) code: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    pub(super) reason: String,
    #[serde(default, deserialize_with = "null_default")]
    pub(super) run_id: String,
}

/// An error as the server's framework writes it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub(super) code: Option<i64>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// A result to store.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewResult {
    pub(super) timestamp: i64,
    #[serde(rename = "testCaseStatus")]
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) result: String,
    pub(super) test_result_value: Vec<NewValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) passed_rows: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed_rows: Option<i64>,
}

/// A measured value to store.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewValue {
    pub(super) name: String,
    pub(super) value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) predicted_value: String,
}

/// Reads a raw row.
pub(super) fn row<T: DeserializeOwned>(raw: Box<RawValue>) -> Result<Row<T>, serde_json::Error> {
    let value = serde_json::from_str(raw.get())?;
    Ok(Row { value, raw })
}

/// Takes null for the default.
fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = String::deserialize(deserializer)?;
    Uuid::try_parse(&text).map_err(D::Error::custom)
}

/// Milliseconds, also where they come as a float or in a string.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    millis_option(deserializer)?.ok_or_else(|| D::Error::custom("a timestamp is missing"))
}

fn millis_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    /// Beyond this a float no longer holds whole milliseconds; no calendar reaches that far.
    const WHOLE: f64 = 9.0e15;
    match Option::<Scalar>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Scalar::Int(value)) => Ok(Some(value)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be in range; the fraction is dropped as upstream does"
        )]
        Some(Scalar::Float(value)) if value.abs() < WHOLE => Ok(Some(value as i64)),
        Some(Scalar::Text(value)) => value.parse().map(Some).map_err(D::Error::custom),
        Some(Scalar::Float(_) | Scalar::Bool(_)) => Err(D::Error::custom("a timestamp is not a number")),
    }
}

/// Text, also where a number or a truth value stands in its place.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Option::<Scalar>::deserialize(deserializer)? {
        None => String::new(),
        Some(Scalar::Text(value)) => value,
        Some(Scalar::Int(value)) => value.to_string(),
        Some(Scalar::Float(value)) => value.to_string(),
        Some(Scalar::Bool(value)) => value.to_string(),
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let bare: CaseResult = serde_json::from_str(r#"{"timestamp":1769982800000}"#).unwrap();
        let nulls: CaseResult = serde_json::from_str(
            r#"{"timestamp":1769982800000,"testCaseStatus":null,"result":null,"testResultValue":null,"passedRows":null,
                "incidentId":null,"dimensionResults":[]}"#,
        )
        .unwrap();
        assert_eq!(bare, nulls);
        let listing: Listing = serde_json::from_str(r#"{"data":null,"paging":null}"#).unwrap();
        assert!(listing.data.is_empty() && listing.paging.after.is_none());
    }

    #[test]
    fn what_is_no_list_is_no_empty_list() {
        assert!(serde_json::from_str::<Listing>(r#"{"unexpected":true}"#).is_err());
        assert!(serde_json::from_str::<Listing>("[]").is_err());
    }

    #[test]
    fn values_that_upstream_would_coerce_are_read_as_it_would_store_them() {
        let row: CaseResult = serde_json::from_str(
            r#"{"timestamp":"1769982800000","testResultValue":[{"name":"n","value":3,"extra":1},{"name":null}]}"#,
        )
        .unwrap();
        assert_eq!(row.timestamp, 1_769_982_800_000);
        assert_eq!(row.test_result_value[0].value, "3");
        assert_eq!(row.test_result_value[1], ResultValue::default());
    }

    #[test]
    fn a_result_without_a_timestamp_is_refused() {
        assert!(serde_json::from_str::<CaseResult>("{}").is_err());
        assert!(serde_json::from_str::<CaseResult>(r#"{"timestamp":null}"#).is_err());
        assert!(serde_json::from_str::<CaseResult>(r#"{"timestamp":1e300}"#).is_err());
    }

    #[test]
    fn what_is_sent_always_has_its_values_and_never_a_null() {
        let sent = NewResult {
            timestamp: 1,
            status: "Success",
            result: String::new(),
            test_result_value: Vec::new(),
            passed_rows: None,
            failed_rows: None,
        };
        assert_eq!(
            serde_json::to_string(&sent).unwrap(),
            r#"{"timestamp":1,"testCaseStatus":"Success","testResultValue":[]}"#
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(serde_json::from_slice::<Listing>(&bytes));
            drop(serde_json::from_slice::<CaseResult>(&bytes));
            drop(serde_json::from_slice::<Pipeline>(&bytes));
        }

        #[test]
        fn nearly_right_json_never_panics(
            member in "timestamp|testCaseStatus|testResultValue|runId|startDate|data|paging|code",
            value in "null|-?[0-9]{1,25}|[0-9]\\.5e[0-9]{1,3}|\"\\PC{0,8}\"|\\[\\]|\\{\\}|\\[null\\]|true",
        ) {
            let json = format!("{{\"{member}\":{value}}}");
            drop(serde_json::from_str::<Listing>(&json));
            drop(serde_json::from_str::<CaseResult>(&json));
            drop(serde_json::from_str::<Run>(&json));
            drop(serde_json::from_str::<ServiceReply>(&json));
        }
    }
}
