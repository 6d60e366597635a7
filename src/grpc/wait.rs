//! Waiting for one execution.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Failure;
use super::permission;
use super::validate::Violations;
use super::{Context, Inner};
use crate::auth::Right;
use crate::backend::{Call, Priority};
use crate::model::ExecutionName;
use crate::proto::{encoded, v1};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// A caller's shorter deadline is answered this long before it passes.
const MARGIN: Duration = Duration::from_millis(200);

impl Inner {
    pub(super) async fn wait_execution(
        &self,
        context: &Context,
        request: v1::WaitExecutionRequest,
    ) -> Result<encoded::WaitExecutionResponse, Failure> {
        let mut violations = Violations::new();
        let name = violations.name("name", ExecutionName::parse(&request.name));
        let timeout = violations.granted(
            "timeout",
            request.timeout.as_ref(),
            DEFAULT_TIMEOUT,
            Duration::ZERO..=MAX_TIMEOUT,
        );
        let name = violations.finish_with(name)?;
        context.permit(Right::Read, &name.backend)?;
        let wait_until = Instant::now() + timeout;
        let answer_by = context.deadline.map_or(wait_until, |deadline| wait_until.min(deadline - MARGIN));

        let call = Call {
            deadline: context.deadline.unwrap_or(wait_until + MARGIN),
            ..context.call(Priority::Read)
        };
        let (_follow, mut states) = self.tracker.follow(&name, &call).await?;
        let lifecycle = self.lifecycle.clone();
        let arrived = states.wait_for(|execution| match request.after_revision {
            _ if execution.is_done() => true,
            Some(known) => execution.revision > known,
            None => false,
        });
        let arrived = tokio::select! {
            arrived = tokio::time::timeout_at(answer_by, arrived) => arrived.map(|state| state.map(|state| state.clone())),
            () = lifecycle.draining() => return Err(Failure::draining()),
        };
        // Minutes may have passed.
        let caller = context.caller.renew().await;
        let caller = caller.map_err(|refusal| Failure::caller_unauthenticated(refusal.0))?;
        permission::permit(&caller, Right::Read, &name.backend)?;
        let execution = match arrived {
            Ok(Ok(execution)) => execution,
            // It turned out not to exist while it was waited for.
            Ok(Err(_)) => {
                return Err(Failure::resource_not_found(
                    crate::model::resource::EXECUTION,
                    &name.to_string(),
                ));
            }
            Err(_) => states.borrow().clone(),
        };
        Ok(encoded::WaitExecutionResponse { execution: execution.encoded() })
    }
}
