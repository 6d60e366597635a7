//! Backends, tests, result items and artifacts, as replies carry them.

use super::{from_duration, from_time};
use crate::model::id::encode;
use crate::model::{
    Artifact, BackendInfo, Capabilities, Condition, ExecutionName, Labels, ResultItem, Test, TestName,
    Timestamp,
};
use crate::proto::v1;

/// The longest `payload_json`; a longer one is left out and said to be.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// A backend with the outcome of its last probe.
pub fn backend(
    info: &BackendInfo,
    condition: Option<&Condition>,
    probe_time: Option<Timestamp>,
) -> v1::Backend {
    let BackendInfo { id, kind, display_name, location, poll_interval, labels, capabilities } = info;
    v1::Backend {
        name: format!("backends/{id}"),
        display_name: display_name.clone(),
        kind: v1::backend::Kind::from(*kind).into(),
        capabilities: Some(capabilities.into()),
        location: map(location),
        poll_interval: Some(from_duration(*poll_interval)),
        condition: condition.map(Into::into),
        probe_time: probe_time.and_then(from_time),
        labels: map(labels),
    }
}

/// A test under its name.
pub fn test(name: &TestName, test: &Test) -> v1::Test {
    let Test {
        id: _, // stands in the name
        display_name,
        upstream_id,
        capabilities,
        startable,
        not_startable_reason,
        upstream_labels,
        update_time,
        description,
        payload,
    } = test;
    let (payload_json, payload_omitted) = payload_within_limit(payload.as_deref());
    v1::Test {
        name: name.to_string(),
        display_name: display_name.clone(),
        upstream_id: upstream_id.clone(),
        capabilities: Some(capabilities.into()),
        startable: *startable,
        not_startable_reason: not_startable_reason.clone(),
        upstream_labels: map(upstream_labels),
        update_time: update_time.and_then(from_time),
        description: description.clone(),
        payload_json,
        payload_omitted,
    }
}

/// A result item of an execution.
pub fn result_item(parent: &ExecutionName, item: &ResultItem) -> v1::ResultItem {
    let ResultItem {
        id,
        kind,
        display_name,
        verdict,
        event_time,
        expected,
        actual,
        counts,
        failure,
        metrics,
        payload,
    } = item;
    let (payload_json, payload_omitted) = payload_within_limit(payload.as_deref());
    v1::ResultItem {
        name: format!("{parent}/resultItems/{}", encode(id)),
        kind: v1::result_item::Kind::from(*kind).into(),
        display_name: display_name.clone(),
        verdict: v1::Verdict::from(*verdict).into(),
        event_time: event_time.and_then(from_time),
        expected: expected.clone(),
        actual: actual.clone(),
        counts: counts.map(Into::into),
        failure: failure.as_ref().map(Into::into),
        metrics: metrics.iter().map(Into::into).collect(),
        payload_json,
        payload_omitted,
    }
}

/// An artifact of an execution. The link in it is a secret.
pub fn artifact(parent: &ExecutionName, artifact: &Artifact) -> v1::Artifact {
    let Artifact { id, uri, expire_time } = artifact;
    v1::Artifact {
        name: format!("{parent}/artifacts/{}", encode(id)),
        uri: uri.clone(),
        expire_time: expire_time.and_then(from_time),
    }
}

impl From<&Capabilities> for v1::Capabilities {
    fn from(capabilities: &Capabilities) -> Self {
        let Capabilities {
            start_mode,
            stop_scope,
            list_executions,
            record_execution,
            artifacts,
            result_kinds,
            filter_pushdown,
        } = capabilities;
        Self {
            start_mode: v1::capabilities::StartMode::from(*start_mode).into(),
            stop_scope: v1::capabilities::StopScope::from(*stop_scope).into(),
            list_executions: *list_executions,
            record_execution: *record_execution,
            artifacts: *artifacts,
            result_kinds: result_kinds.iter().map(|kind| v1::result_item::Kind::from(*kind).into()).collect(),
            filter_pushdown: filter_pushdown.iter().map(|&field| field.to_owned()).collect(),
        }
    }
}

fn map(labels: &Labels) -> std::collections::HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn payload_within_limit(payload: Option<&str>) -> (String, bool) {
    match payload {
        Some(payload) if payload.len() > MAX_PAYLOAD_BYTES => (String::new(), true),
        Some(payload) => (payload.to_owned(), false),
        None => (String::new(), false),
    }
}
