//! Starting, stopping, recording.

use super::error::Failure;
use super::validate::{MAX_MESSAGE_BYTES, MAX_METRICS, MAX_REASON_BYTES, MAX_REQUEST_ID_BYTES, Violations};
use super::{Context, Inner};
use crate::auth::Right;
use crate::backend::{Priority, Record, StartOptions};
use crate::model::LexStartOptions;
use crate::model::status::cut;
use crate::model::{ExecutionName, Kind, Metric, TestName, Verdict};
use crate::proto::v1::record_execution_request::Details as RecordDetails;
use crate::proto::v1::start_execution_request::Options;
use crate::proto::{convert, v1};
use crate::trace;
use crate::tracker::{StartRequest, StopRequest};

/// The longest id in a Lex target, in bytes.
const MAX_LEX_ID_BYTES: usize = 128;
/// The longest name that is noted, in bytes: no longer one is valid.
const MAX_NOTED_BYTES: usize = 2048;

impl Inner {
    pub(super) async fn start_execution(
        &self,
        context: &Context,
        request: v1::StartExecutionRequest,
    ) -> Result<v1::StartExecutionResponse, Failure> {
        note(&request.parent, &request.request_id);
        let mut violations = Violations::new();
        let test = violations.name("parent", TestName::parse(&request.parent));
        let request_id = violations.request_id(&request.request_id).map(str::to_owned);
        let labels = violations.labels(request.labels);
        let lex = request.options.map(|Options::Lex(lex)| lex_options(&mut violations, lex));
        let test = violations.finish_with(test)?;
        context.permit(Right::Write, &test.backend)?;
        let _counted = context.caller.begin_start()?;
        let (info, _) = self.tracker.backend(&test.backend)?;
        if lex.is_some() && info.kind != Kind::AmazonLexV2 {
            let rule =
                format!("backends/{} is not a Lex backend, so it takes no `lex` options", test.backend);
            return Err(Failure::field_invalid("lex", rule).with_backend(&test.backend));
        }
        let start = StartRequest {
            test,
            caller: context.caller.subject().clone(),
            request_id: request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            options: StartOptions { lex },
            labels,
        };
        let call = context.call(Priority::Write);
        if request.validate_only {
            let (plan, labels) = self.tracker.validate_start(&start, &call).await?;
            return Ok(v1::StartExecutionResponse {
                execution: Some(v1::Execution {
                    labels: labels.into_iter().collect(),
                    upstream_labels: plan.upstream_labels.into_iter().collect(),
                    test_display_name: plan.test_display_name,
                    details: Some((&plan.details).into()),
                    ..v1::Execution::default()
                }),
                deduplicated: false,
            });
        }
        trace::note(|notes| notes.request_id.clone_from(&start.request_id));
        let outcome = self.tracker.start(start, call).await?;
        trace::note(|notes| notes.resource = outcome.execution.name.to_string());
        Ok(v1::StartExecutionResponse {
            execution: Some(convert::execution(&outcome.execution)),
            deduplicated: outcome.deduplicated,
        })
    }

    pub(super) async fn stop_execution(
        &self,
        context: &Context,
        request: v1::StopExecutionRequest,
    ) -> Result<v1::StopExecutionResponse, Failure> {
        note(&request.name, &request.request_id);
        trace::note(|notes| notes.reason = cut(request.reason.clone(), MAX_REASON_BYTES));
        let mut violations = Violations::new();
        let name = violations.name("name", ExecutionName::parse(&request.name));
        violations.request_id(&request.request_id);
        violations.text("reason", &request.reason, MAX_REASON_BYTES);
        let name = violations.finish_with(name)?;
        context.permit(Right::Write, &name.backend)?;
        let stop = StopRequest {
            name,
            caller: context.caller.subject().clone(),
            request_id: request.request_id,
            reason: request.reason,
            allow_test_scope: request.allow_test_scope,
        };
        let execution = self.tracker.stop(stop, context.call(Priority::Write)).await?;
        Ok(v1::StopExecutionResponse { execution: Some(convert::execution(&execution)) })
    }

    pub(super) async fn record_execution(
        &self,
        context: &Context,
        request: v1::RecordExecutionRequest,
    ) -> Result<v1::RecordExecutionResponse, Failure> {
        note(&request.parent, "");
        let mut violations = Violations::new();
        let test = violations.name("parent", TestName::parse(&request.parent));
        if request.end_time.is_none() {
            violations.add("end_time", "is required");
        }
        let end_time = violations.timestamp("end_time", request.end_time.as_ref());
        let verdict = match convert::verdict(request.verdict) {
            Ok(verdict @ (Verdict::Passed | Verdict::Failed | Verdict::Inconclusive)) => Some(verdict),
            Ok(_) | Err(_) => {
                violations.add("verdict", "must be VERDICT_PASSED, VERDICT_FAILED or VERDICT_INCONCLUSIVE");
                None
            }
        };
        violations.text("message", &request.message, MAX_MESSAGE_BYTES);
        let details = request.details.map(|RecordDetails::Openmetadata(details)| details).unwrap_or_default();
        violations.count("openmetadata.metrics", details.metrics.len(), MAX_METRICS);
        for (at, metric) in details.metrics.iter().take(MAX_METRICS).enumerate() {
            let texts = [
                ("name", &metric.name),
                ("value", &metric.value),
                ("predicted_value", &metric.predicted_value),
            ];
            for (field, text) in texts {
                let field = format!("openmetadata.metrics[{at}].{field}");
                violations.text(&field, text, super::validate::MAX_METRIC_BYTES);
            }
        }
        violations.not_negative("openmetadata.passed_rows", details.passed_rows);
        violations.not_negative("openmetadata.failed_rows", details.failed_rows);
        let (test, end_time, verdict) = violations.finish_with(
            test.zip(end_time).zip(verdict).map(|((test, end), verdict)| (test, end, verdict)),
        )?;
        context.permit(Right::Write, &test.backend)?;
        let whole_ms = i64::from(end_time.nanosecond() % 1_000_000);
        let record = Record {
            end_time: end_time - time::Duration::nanoseconds(whole_ms),
            verdict,
            message: request.message,
            metrics: details.metrics.into_iter().map(metric).collect(),
            passed_rows: details.passed_rows,
            failed_rows: details.failed_rows,
        };
        let execution = self.tracker.record(test, record, context.call(Priority::Write)).await?;
        trace::note(|notes| notes.resource = execution.name.to_string());
        Ok(v1::RecordExecutionResponse { execution: Some(convert::execution(&execution)) })
    }
}

/// Tells the audit log what a change is about, as far as the caller's own words are fit for it.
fn note(resource: &str, request_id: &str) {
    trace::note(|notes| {
        notes.resource = cut(resource.to_owned(), MAX_NOTED_BYTES);
        notes.request_id = cut(request_id.to_owned(), MAX_REQUEST_ID_BYTES);
    });
}

fn metric(metric: v1::Metric) -> Metric {
    let v1::Metric { name, value, predicted_value } = metric;
    Metric { name, value, predicted_value }
}

fn lex_options(violations: &mut Violations, options: v1::LexStartOptions) -> LexStartOptions {
    let v1::LexStartOptions { target, api_mode, modality } = options;
    let v1::LexTarget { bot_id, bot_alias_id, locale_id } = target.unwrap_or_default();
    let mut id = |field: &str, id: String| {
        violations.text(&format!("lex.target.{field}"), &id, MAX_LEX_ID_BYTES);
        (!id.is_empty()).then_some(id)
    };
    let (bot_id, bot_alias_id, locale_id) =
        (id("bot_id", bot_id), id("bot_alias_id", bot_alias_id), id("locale_id", locale_id));
    let api_mode = convert::lex_api_mode(api_mode).map_err(|error| error.to_string());
    let modality = convert::lex_modality(modality).map_err(|error| error.to_string());
    LexStartOptions {
        bot_id,
        bot_alias_id,
        locale_id,
        api_mode: violations.check("lex.api_mode", api_mode).flatten(),
        modality: violations.check("lex.modality", modality).flatten(),
    }
}
