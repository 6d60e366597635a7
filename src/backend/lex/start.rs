//! What a Lex start sends, and how one that was lost is recognised.

use super::wire::{BotAliasTarget, Execution, StartBody, Target};
use crate::backend::{BackendError, ErrorKind, StartPlan};
use crate::model::LexStartOptions;
use crate::model::{Details, LexApiMode, LexDetails, LexModality, LexTarget, TestId};

/// The request's options over the configured ones; the test set's id and name are left to the caller.
pub(super) fn merge(
    options: Option<&LexStartOptions>,
    defaults: &LexStartOptions,
) -> Result<LexDetails, BackendError> {
    let given = options.cloned().unwrap_or_default();
    let pick = |field: &'static str, given: Option<String>, default: &Option<String>| {
        let value = given.filter(|value| !value.is_empty()).or_else(|| default.clone());
        value.ok_or_else(|| missing(field))
    };
    let target = LexTarget {
        bot_id: pick("lex.target.bot_id", given.bot_id, &defaults.bot_id)?,
        bot_alias_id: pick("lex.target.bot_alias_id", given.bot_alias_id, &defaults.bot_alias_id)?,
        locale_id: pick("lex.target.locale_id", given.locale_id, &defaults.locale_id)?,
    };
    let api_mode = given.api_mode.or(defaults.api_mode).ok_or_else(|| missing("lex.api_mode"))?;
    Ok(LexDetails {
        target: Some(target),
        api_mode: Some(api_mode),
        modality: given.modality.or(defaults.modality),
        ..LexDetails::default()
    })
}

fn missing(field: &'static str) -> BackendError {
    let text =
        format!("{field} is required: it is neither in the request nor in the backend's start_defaults");
    BackendError::new(ErrorKind::FieldInvalid(field), text)
}

/// The plan's Lex part.
pub(super) fn details(plan: &StartPlan) -> Result<&LexDetails, BackendError> {
    match &plan.details {
        Details::Lex(details) => Ok(details),
        Details::Connect(_) | Details::OpenMetadata(_) => {
            Err(BackendError::new(ErrorKind::FieldInvalid("lex"), "the plan is not one of Amazon Lex V2"))
        }
    }
}

/// The body that a plan sends.
pub(super) fn body(plan: &StartPlan) -> Result<StartBody, BackendError> {
    let details = details(plan)?;
    let target = details.target.clone().ok_or_else(|| missing("lex.target"))?;
    let api_mode = details.api_mode.ok_or_else(|| missing("lex.api_mode"))?;
    Ok(StartBody {
        target: Target {
            bot_alias_target: BotAliasTarget {
                bot_id: target.bot_id,
                bot_alias_id: target.bot_alias_id,
                locale_id: target.locale_id,
            },
        },
        api_mode: api_mode_text(api_mode),
        test_execution_modality: details.modality.map(modality_text),
    })
}

/// Whether a listed execution may be the one that a plan started.
pub(super) fn is_same(row: &Execution, test: &TestId, wanted: &LexDetails) -> bool {
    let target = row.target.as_ref().map(|target| &target.bot_alias_target);
    let same_target = match (target, &wanted.target) {
        (Some(is), Some(wanted)) => {
            is.bot_id == wanted.bot_id
                && is.bot_alias_id == wanted.bot_alias_id
                && is.locale_id == wanted.locale_id
        }
        (None, _) | (_, None) => false,
    };
    // Upstream fills in a modality where the start named none.
    let same_modality = wanted.modality.is_none_or(|wanted| {
        row.test_execution_modality.as_deref().is_none_or(|is| is == modality_text(wanted))
    });
    row.test_set_id.as_deref() == Some(test.as_str())
        && same_target
        && row.api_mode.as_deref() == wanted.api_mode.map(api_mode_text)
        && same_modality
}

fn api_mode_text(mode: LexApiMode) -> &'static str {
    match mode {
        LexApiMode::Streaming => "Streaming",
        LexApiMode::NonStreaming => "NonStreaming",
    }
}

fn modality_text(modality: LexModality) -> &'static str {
    match modality {
        LexModality::Text => "Text",
        LexModality::Audio => "Audio",
    }
}

pub(super) fn read_api_mode(text: &str) -> Option<LexApiMode> {
    [LexApiMode::Streaming, LexApiMode::NonStreaming].into_iter().find(|mode| api_mode_text(*mode) == text)
}

pub(super) fn read_modality(text: &str) -> Option<LexModality> {
    [LexModality::Text, LexModality::Audio].into_iter().find(|modality| modality_text(*modality) == text)
}
