//! Lex V2's test workbench types as they stand on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::aws::wire::{lenient, text, timestamp, token};
use crate::model::Timestamp;

/// Numbers of results by `Matched`, `Mismatched`, `ExecutionError` and whatever else comes; a missing key is 0.
pub(crate) type ResultCounts = BTreeMap<String, i64>;

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) bot_alias_target: BotAliasTarget,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BotAliasTarget {
    pub(crate) bot_id: String,
    pub(crate) bot_alias_id: String,
    pub(crate) locale_id: String,
}

/// Body of StartTestExecution.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartBody {
    pub(crate) target: Target,
    pub(crate) api_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_execution_modality: Option<&'static str>,
}

/// An execution: the reply of DescribeTestExecution, and of StartTestExecution without a status, and a list's row.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Execution {
    pub(crate) test_execution_id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_execution_status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_set_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_set_name: Option<String>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) creation_date_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) last_updated_date_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) target: Option<Target>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) api_mode: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_execution_modality: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) failure_reasons: Option<Vec<String>>,
}

/// Body of the lists.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sort_by: Option<SortBy>,
    pub(crate) max_results: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SortBy {
    pub(crate) attribute: &'static str,
    pub(crate) order: &'static str,
}

/// Reply of ListTestExecutions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Executions {
    #[serde(default)]
    pub(crate) test_executions: Vec<Execution>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

/// Reply of ListTestSets; rows are [`TestSet`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestSets {
    #[serde(default)]
    pub(crate) test_sets: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

/// Reply of DescribeTestSet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestSet {
    pub(crate) test_set_id: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) test_set_name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) status: Option<String>,
    #[serde(default, deserialize_with = "timestamp")]
    pub(crate) last_updated_date_time: Option<Timestamp>,
}

/// Reply of GetTestExecutionArtifactsUrl. No `Debug`: the link is a secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArtifactsUrl {
    pub(crate) download_artifacts_url: String,
}

/// Body of ListTestExecutionResultItems.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResultsBody<'a> {
    pub(crate) result_filter_by: ResultFilter,
    pub(crate) max_results: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResultFilter {
    pub(crate) result_type_filter: &'static str,
}

/// Reply of ListTestExecutionResultItems.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResultsPage {
    #[serde(default)]
    pub(crate) test_execution_results: Option<Results>,
    #[serde(default, deserialize_with = "token")]
    pub(crate) next_token: Option<String>,
}

/// One member is set; its name is not always the filter's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    pub(crate) overall_test_results: Option<Items>,
    pub(crate) conversation_level_test_results: Option<Items>,
    pub(crate) intent_classification_test_results: Option<Items>,
    pub(crate) intent_level_slot_resolution_test_results: Option<Items>,
    pub(crate) utterance_level_test_results: Option<Items>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Items {
    pub(crate) items: Vec<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OverallItem {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) multi_turn_conversation: Option<bool>,
    pub(crate) total_result_count: i64,
    pub(crate) end_to_end_result_counts: ResultCounts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationItem {
    pub(crate) conversation_id: String,
    pub(crate) end_to_end_result: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) intent_classification_results: Option<Vec<IntentMatch>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) slot_resolution_results: Option<Vec<SlotMatch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntentMatch {
    pub(crate) intent_name: String,
    pub(crate) match_result: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlotMatch {
    pub(crate) intent_name: String,
    pub(crate) slot_name: String,
    pub(crate) match_result: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntentItem {
    pub(crate) intent_name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) multi_turn_conversation: Option<bool>,
    pub(crate) result_counts: IntentCounts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntentCounts {
    pub(crate) total_result_count: i64,
    pub(crate) intent_match_result_counts: ResultCounts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntentSlots {
    pub(crate) intent_name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) multi_turn_conversation: Option<bool>,
    pub(crate) slot_resolution_results: Vec<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlotItem {
    pub(crate) slot_name: String,
    pub(crate) result_counts: SlotCounts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlotCounts {
    pub(crate) total_result_count: i64,
    pub(crate) slot_match_result_counts: ResultCounts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UtteranceItem {
    pub(crate) record_number: u64,
    #[serde(default, deserialize_with = "text")]
    pub(crate) conversation_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) turn_result: Option<TurnResult>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct TurnResult {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) agent: Option<AgentTurn>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) user: Option<UserTurn>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentTurn {
    #[serde(default, deserialize_with = "text")]
    pub(crate) expected_agent_prompt: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) actual_agent_prompt: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) error_details: Option<ErrorDetails>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserTurn {
    #[serde(default, deserialize_with = "text")]
    pub(crate) end_to_end_result: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) expected_output: Option<TurnOutput>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) actual_output: Option<TurnOutput>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) error_details: Option<ErrorDetails>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TurnOutput {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) intent: Option<TurnIntent>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TurnIntent {
    #[serde(default, deserialize_with = "text")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorDetails {
    #[serde(default, deserialize_with = "text")]
    pub(crate) error_code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(crate) error_message: Option<String>,
}
