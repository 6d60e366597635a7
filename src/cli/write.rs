//! `stop` and `record`.

use clap::Args;
use prost_types::Timestamp;

use super::Global;
use super::args::{self, RecordVerdict};
use super::client::Gateway;
use super::exit::Exit;
use super::failure::Failure;
use super::names;
use super::render::Output;
use crate::proto::v1::record_execution_request::Details;
use crate::proto::v1::{
    Execution, Metric, OpenMetadataRecord, RecordExecutionRequest, StopExecutionRequest, Verdict,
};

/// `testgate stop`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate stop connect-prod/greeting/EXECUTION --reason 'enough seen'\n  testgate stop \
                  quality/orders/EXECUTION --allow-test-scope"
)]
pub(crate) struct StopArgs {
    /// The execution: BACKEND/TEST/EXECUTION or its full name
    name: String,
    /// Why, for the audit log
    #[arg(long, default_value = "")]
    reason: String,
    /// Consent to stopping every unfinished run of the same OpenMetadata pipeline
    #[arg(long)]
    allow_test_scope: bool,
    /// A repeat with the same id stops nothing else
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// `testgate record`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  testgate record metadata/orders_not_null --verdict failed --end-time \
                  2026-11-21T10:00:00Z \\\n    --message '3 rows' --metric nullCount=3")]
pub(crate) struct RecordArgs {
    /// The test: BACKEND/TEST or its full name
    test: String,
    /// What came out
    #[arg(long, value_enum)]
    verdict: RecordVerdict,
    /// When it ended, which is the result's key: RFC 3339, or milliseconds since 1970
    #[arg(long, value_parser = args::timestamp, value_name = "TIME", allow_hyphen_values = true)]
    end_time: Timestamp,
    /// What to tell the reader
    #[arg(long, default_value = "")]
    message: String,
    /// A measured value; may be repeated
    #[arg(long = "metric", value_parser = args::pair, value_name = "NAME=VALUE")]
    metrics: Vec<(String, String)>,
    /// Rows that passed
    #[arg(long, value_name = "N")]
    passed_rows: Option<i64>,
    /// Rows that failed
    #[arg(long, value_name = "N")]
    failed_rows: Option<i64>,
}

/// Stops an execution.
pub(crate) async fn stop(args: StopArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let reference = names::parse_execution(&args.name)?;
    let gateway = Gateway::connect(global).await?;
    let name = names::resolve(&gateway, reference).await?.name;
    let request = StopExecutionRequest {
        name,
        request_id: args.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        reason: args.reason,
        allow_test_scope: args.allow_test_scope,
    };
    out.rows(&[send_stop(&gateway, request).await?])?;
    Ok(Exit::Passed)
}

/// The stop call by itself; Ctrl-C with `--stop-on-interrupt` needs it too.
pub(crate) async fn send_stop(
    gateway: &Gateway,
    request: StopExecutionRequest,
) -> Result<Execution, Failure> {
    let what = format!("stop {}", request.name);
    let reply = gateway.client().stop_execution(gateway.request(request)).await;
    let reply = reply.map_err(|status| Failure::call(&what, status))?.into_inner();
    reply.execution.ok_or_else(|| Failure::Trouble(format!("can't {what}: the reply is empty")))
}

/// Records a result that was made elsewhere.
pub(crate) async fn record(args: RecordArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let reference = names::parse_test(&args.test)?;
    let gateway = Gateway::connect(global).await?;
    let parent = names::resolve(&gateway, reference).await?.name;
    let what = format!("record a result of {parent}");
    let metrics = args
        .metrics
        .into_iter()
        .map(|(name, value)| Metric { name, value, predicted_value: String::new() })
        .collect::<Vec<_>>();
    let RecordArgs { passed_rows, failed_rows, .. } = args;
    let measured = !metrics.is_empty() || passed_rows.is_some() || failed_rows.is_some();
    let request = RecordExecutionRequest {
        parent,
        end_time: Some(args.end_time),
        verdict: Verdict::from(args.verdict).into(),
        message: args.message,
        details: measured.then_some(Details::Openmetadata(OpenMetadataRecord {
            metrics,
            passed_rows,
            failed_rows,
        })),
    };
    let reply = gateway.client().record_execution(gateway.request(request)).await;
    let reply = reply.map_err(|status| Failure::call(&what, status))?.into_inner();
    let recorded =
        reply.execution.ok_or_else(|| Failure::Trouble(format!("can't {what}: the reply is empty")))?;
    out.rows(&[recorded])?;
    Ok(Exit::Passed)
}
