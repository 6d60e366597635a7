//! Executions both ways, and the bound on their size.

use std::collections::HashMap;

use prost::Message as _;

use super::{ConvertError, enums, from_time, time_in};
use crate::model::status::cut;
use crate::model::{
    ConnectDetails, Details, Encoded, Execution, ExecutionName, LexDetails, LexTarget, OpenMetadataDetails,
    SharedExecution,
};
use crate::proto::v1;

/// The most bytes of one encoded execution, so that a page of them has a known size.
pub const MAX_EXECUTION_BYTES: usize = 7000;

/// An execution as replies and watches carry it: at most [`MAX_EXECUTION_BYTES`] encoded.
pub fn execution(execution: &Execution) -> v1::Execution {
    execution_within(execution, MAX_EXECUTION_BYTES)
}

/// The bytes of that message, made once for all who hold the execution.
pub fn encoded(execution: &SharedExecution) -> &Encoded {
    execution.encoded(|execution| {
        let (message, is_whole) = fitted(execution, MAX_EXECUTION_BYTES);
        Encoded { bytes: message.encode_to_vec().into(), is_whole }
    })
}

/// An execution of at most `max` bytes encoded. What it loses where it is longer depends on nothing but itself:
/// failure messages are cut first, then upstream's labels, then other texts, the caller's labels last.
pub fn execution_within(execution: &Execution, max: usize) -> v1::Execution {
    fitted(execution, max).0
}

/// The same, and whether it lost nothing.
fn fitted(execution: &Execution, max: usize) -> (v1::Execution, bool) {
    let mut message = v1::Execution::from(execution);
    let is_whole = message.encoded_len() <= max;
    if !is_whole {
        shrink(&mut message, max);
    }
    (message, is_whole)
}

impl From<&Execution> for v1::Execution {
    /// All of it, however long.
    fn from(execution: &Execution) -> Self {
        let Execution {
            name,
            state,
            verdict,
            counts,
            failure,
            create_time,
            start_time,
            end_time,
            stop_request_time,
            observe_time,
            revision,
            upstream_status,
            upstream_id,
            condition,
            labels,
            details,
            upstream_labels,
            creator,
            request_id,
            stop_requester,
            stop_reason,
            test_display_name,
            reconciled,
        } = execution;
        Self {
            name: name.text(),
            state: v1::execution::State::from(*state).into(),
            verdict: v1::Verdict::from(*verdict).into(),
            done: state.is_done(),
            counts: counts.map(Into::into),
            failure: failure.as_ref().map(Into::into),
            create_time: create_time.and_then(from_time),
            start_time: start_time.and_then(from_time),
            end_time: end_time.and_then(from_time),
            stop_request_time: stop_request_time.and_then(from_time),
            observe_time: observe_time.and_then(from_time),
            revision: *revision,
            upstream_status: upstream_status.clone(),
            upstream_id: upstream_id.clone(),
            condition: condition.as_ref().map(Into::into),
            labels: labels.clone().into_iter().collect(),
            upstream_labels: upstream_labels.clone().into_iter().collect(),
            creator: creator.clone(),
            request_id: request_id.clone(),
            stop_requester: stop_requester.clone(),
            stop_reason: stop_reason.clone(),
            test_display_name: test_display_name.clone(),
            reconciled: *reconciled,
            details: details.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Execution> for Execution {
    type Error = ConvertError;

    fn try_from(message: v1::Execution) -> Result<Self, ConvertError> {
        let v1::Execution {
            name,
            state,
            verdict,
            done: _, // follows from the state
            counts,
            failure,
            create_time,
            start_time,
            end_time,
            stop_request_time,
            observe_time,
            revision,
            upstream_status,
            upstream_id,
            condition,
            labels,
            upstream_labels,
            creator,
            request_id,
            stop_requester,
            stop_reason,
            test_display_name,
            reconciled,
            details,
        } = message;
        Ok(Self {
            name: ExecutionName::parse(&name)?,
            state: enums::state(state)?,
            verdict: enums::verdict(verdict)?,
            counts: counts.map(Into::into),
            failure: failure.map(TryInto::try_into).transpose()?,
            create_time: time_in("create_time", create_time)?,
            start_time: time_in("start_time", start_time)?,
            end_time: time_in("end_time", end_time)?,
            stop_request_time: time_in("stop_request_time", stop_request_time)?,
            observe_time: time_in("observe_time", observe_time)?,
            revision,
            upstream_status,
            upstream_id,
            condition: condition.map(TryInto::try_into).transpose()?,
            labels: labels.into_iter().collect(),
            details: details.map(TryInto::try_into).transpose()?,
            upstream_labels: upstream_labels.into_iter().collect(),
            creator,
            request_id,
            stop_requester,
            stop_reason,
            test_display_name,
            reconciled,
        })
    }
}

impl From<&Details> for v1::execution::Details {
    fn from(details: &Details) -> Self {
        match details.clone() {
            Details::Connect(ConnectDetails { instance_id, test_case_id }) => {
                Self::Connect(v1::ConnectDetails { instance_id, test_case_id })
            }
            Details::Lex(LexDetails {
                test_set_id,
                test_set_name,
                target,
                api_mode,
                modality,
                update_time,
            }) => Self::Lex(v1::LexDetails {
                test_set_id,
                test_set_name,
                target: target.map(Into::into),
                api_mode: api_mode.map_or(0, |mode| v1::LexApiMode::from(mode).into()),
                modality: modality.map_or(0, |modality| v1::LexModality::from(modality).into()),
                update_time: update_time.and_then(from_time),
            }),
            Details::OpenMetadata(OpenMetadataDetails {
                fully_qualified_name,
                result_id,
                run_id,
                incident_id,
                passed_rows,
                failed_rows,
                min_bound,
                max_bound,
            }) => Self::Openmetadata(v1::OpenMetadataDetails {
                fully_qualified_name,
                result_id,
                run_id,
                incident_id,
                passed_rows,
                failed_rows,
                min_bound,
                max_bound,
            }),
        }
    }
}

impl TryFrom<v1::execution::Details> for Details {
    type Error = ConvertError;

    fn try_from(details: v1::execution::Details) -> Result<Self, ConvertError> {
        Ok(match details {
            v1::execution::Details::Connect(v1::ConnectDetails { instance_id, test_case_id }) => {
                Self::Connect(ConnectDetails { instance_id, test_case_id })
            }
            v1::execution::Details::Lex(v1::LexDetails {
                test_set_id,
                test_set_name,
                target,
                api_mode,
                modality,
                update_time,
            }) => Self::Lex(LexDetails {
                test_set_id,
                test_set_name,
                target: target.map(Into::into),
                api_mode: enums::lex_api_mode(api_mode)?,
                modality: enums::lex_modality(modality)?,
                update_time: time_in("lex.update_time", update_time)?,
            }),
            v1::execution::Details::Openmetadata(v1::OpenMetadataDetails {
                fully_qualified_name,
                result_id,
                run_id,
                incident_id,
                passed_rows,
                failed_rows,
                min_bound,
                max_bound,
            }) => Self::OpenMetadata(OpenMetadataDetails {
                fully_qualified_name,
                result_id,
                run_id,
                incident_id,
                passed_rows,
                failed_rows,
                min_bound,
                max_bound,
            }),
        })
    }
}

impl From<LexTarget> for v1::LexTarget {
    fn from(target: LexTarget) -> Self {
        let LexTarget { bot_id, bot_alias_id, locale_id } = target;
        Self { bot_id, bot_alias_id, locale_id }
    }
}

impl From<v1::LexTarget> for LexTarget {
    fn from(target: v1::LexTarget) -> Self {
        let v1::LexTarget { bot_id, bot_alias_id, locale_id } = target;
        Self { bot_id, bot_alias_id, locale_id }
    }
}

/// Makes it fit, giving up first what is missed least. The name is the one thing that is never touched.
fn shrink(message: &mut v1::Execution, max: usize) {
    for longest in [512, 256, 128] {
        for text in message.failure.iter_mut().flat_map(|failure| &mut failure.messages) {
            cut_in_place(text, longest);
        }
        if message.encoded_len() <= max {
            return;
        }
    }
    let upstream_labels = std::mem::take(&mut message.upstream_labels);
    message.upstream_labels = first_that_fit(upstream_labels, max.saturating_sub(message.encoded_len()));
    for longest in [512, 256, 128] {
        if message.encoded_len() <= max {
            return;
        }
        for text in texts(message) {
            cut_in_place(text, longest);
        }
    }
    if message.encoded_len() > max {
        let labels = std::mem::take(&mut message.labels);
        message.labels = first_that_fit(labels, max.saturating_sub(message.encoded_len()));
    }
    if message.encoded_len() > max {
        texts(message).into_iter().for_each(|text| cut_in_place(text, 16));
        message.failure.iter_mut().for_each(|failure| failure.messages.clear());
    }
}

/// Every text but the name and the failure's messages.
fn texts(message: &mut v1::Execution) -> Vec<&mut String> {
    let mut texts = vec![
        &mut message.stop_reason,
        &mut message.test_display_name,
        &mut message.upstream_status,
        &mut message.upstream_id,
        &mut message.creator,
        &mut message.request_id,
        &mut message.stop_requester,
    ];
    if let Some(failure) = &mut message.failure {
        texts.push(&mut failure.upstream_code);
    }
    if let Some(condition) = &mut message.condition {
        texts.extend([&mut condition.reason, &mut condition.message]);
    }
    match &mut message.details {
        Some(v1::execution::Details::Connect(details)) => {
            texts.extend([&mut details.instance_id, &mut details.test_case_id]);
        }
        Some(v1::execution::Details::Lex(details)) => {
            texts.extend([&mut details.test_set_id, &mut details.test_set_name]);
            if let Some(target) = &mut details.target {
                texts.extend([&mut target.bot_id, &mut target.bot_alias_id, &mut target.locale_id]);
            }
        }
        Some(v1::execution::Details::Openmetadata(details)) => {
            texts.extend([
                &mut details.fully_qualified_name,
                &mut details.result_id,
                &mut details.run_id,
                &mut details.incident_id,
            ]);
        }
        None => {}
    }
    texts
}

/// The first labels in the order of their keys, as many as fit into `room` bytes.
fn first_that_fit(labels: HashMap<String, String>, room: usize) -> HashMap<String, String> {
    /// Tags and lengths of one entry: 2 bytes for the field's tag, up to 5 for each of three lengths, 2 more tags.
    const OVERHEAD: usize = 19;
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort_unstable();
    let mut used = 0usize;
    labels
        .into_iter()
        .take_while(|(key, value)| {
            used = used.saturating_add(key.len() + value.len() + OVERHEAD);
            used <= room
        })
        .collect()
}

fn cut_in_place(text: &mut String, longest: usize) {
    *text = cut(std::mem::take(text), longest);
}
