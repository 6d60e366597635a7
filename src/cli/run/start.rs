//! The start call, sent again for as long as that is safe and of use.

use std::time::Duration;

use tonic::Code;

use crate::cli::client::Gateway;
use crate::cli::failure::{Failure, is_lost, reason, retry_delay};
use crate::cli::follow::Backoff;
use crate::cli::render::note;
use crate::proto::v1::{StartExecutionRequest, StartExecutionResponse};

/// Starts, and starts again with the same id while the answer is lost or in doubt, or while there is no room for
/// another: one id never starts twice.
pub(super) async fn start(
    gateway: &Gateway,
    request: &StartExecutionRequest,
) -> Result<StartExecutionResponse, Failure> {
    let what = format!("start {}", request.parent);
    let mut backoff = Backoff::new();
    loop {
        let status = match gateway.client().start_execution(gateway.request(request.clone())).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let in_doubt = reason(&status).as_deref() == Some("START_OUTCOME_UNKNOWN");
        // Many starts at a time run into budgets and quotas, which have room again when the gateway says so.
        let full = status.code() == Code::ResourceExhausted && retry_delay(&status).is_some();
        if !in_doubt && !full && !is_lost(&status) {
            return Err(Failure::call(what, status));
        }
        let fresh = backoff.is_fresh();
        // What may have started shows up upstream in its own time; asking faster finds nothing sooner.
        let hint = if in_doubt { Some(Duration::from_secs(5)) } else { retry_delay(&status) };
        let Some(wait) = backoff.next(hint) else { return Err(Failure::call(what, status)) };
        if fresh && full {
            let reason = reason(&status).unwrap_or_default();
            note(format!("{} has to wait: {reason}", request.parent));
        } else if fresh {
            note("no clear answer to the start; asking again with the same request id");
        }
        tokio::time::sleep(wait).await;
    }
}
