//! The gRPC face: checks requests, asks the tracker, converts answers. Knows no adapter.

mod backends;
pub mod error;
mod executions;
mod from_tracker;
mod health;
mod lifecycle;
mod page;
mod permission;
mod services;
mod standing;
pub mod validate;
mod wait;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::auth::Caller;
use crate::backend::{Call, Priority};
use crate::metrics::Metrics;
use crate::proto::v1::test_execution_service_server::TestExecutionService;
use crate::proto::{encoded, v1};
use crate::server::Deadline;
use crate::tasks::Lifecycle;
use crate::token::{Epoch, PageTokens, ResumeTokens, TokenKey};
use crate::tracker::Tracker;
use error::Failure;
pub use health::health;
pub use services::Services;
pub use watch::Feed;

/// What a unary call without a deadline gets.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// The service of the contract.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracker: Tracker,
    lifecycle: Lifecycle,
    page_tokens: PageTokens,
    resume_tokens: ResumeTokens,
    metrics: Metrics,
    /// From then on the moments of heartbeats are counted.
    began: Instant,
}

impl Service {
    /// A service over a tracker. `key` and `epoch` make its tokens.
    pub fn new(
        tracker: Tracker,
        lifecycle: Lifecycle,
        key: &TokenKey,
        epoch: Epoch,
        metrics: Metrics,
    ) -> Self {
        let (page_tokens, resume_tokens) = (PageTokens::new(key), ResumeTokens::new(key, epoch));
        let began = Instant::now();
        Self(Arc::new(Inner { tracker, lifecycle, page_tokens, resume_tokens, metrics, began }))
    }
}

/// What is known of a call beside its message.
#[derive(Clone, Debug)]
struct Context {
    caller: Caller,
    /// The caller's own deadline, where there is one.
    deadline: Option<Instant>,
}

impl Context {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        // The gate lets nobody through whom it can't name; were there a way around it, nobody comes in by that.
        let caller = request.extensions().get::<Caller>().cloned().ok_or_else(|| {
            tracing::error!("a call came to the service without a caller");
            Status::from(Failure::internal())
        })?;
        Ok(Self { caller, deadline })
    }

    fn call(&self, priority: Priority) -> Call {
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + DEFAULT_DEADLINE);
        Call { deadline, priority, caller: self.caller.subject().clone() }
    }
}

fn reply<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl TestExecutionService for Service {
    async fn list_backends(
        &self,
        request: Request<v1::ListBackendsRequest>,
    ) -> Result<Response<v1::ListBackendsResponse>, Status> {
        reply(self.0.list_backends(&Context::of(&request)?, request.into_inner()))
    }

    async fn get_backend(
        &self,
        request: Request<v1::GetBackendRequest>,
    ) -> Result<Response<v1::GetBackendResponse>, Status> {
        reply(self.0.get_backend(&Context::of(&request)?, &request.into_inner()))
    }

    async fn list_tests(
        &self,
        request: Request<v1::ListTestsRequest>,
    ) -> Result<Response<v1::ListTestsResponse>, Status> {
        reply(self.0.list_tests(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn get_test(
        &self,
        request: Request<v1::GetTestRequest>,
    ) -> Result<Response<v1::GetTestResponse>, Status> {
        reply(self.0.get_test(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn start_execution(
        &self,
        request: Request<v1::StartExecutionRequest>,
    ) -> Result<Response<v1::StartExecutionResponse>, Status> {
        reply(self.0.start_execution(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn stop_execution(
        &self,
        request: Request<v1::StopExecutionRequest>,
    ) -> Result<Response<v1::StopExecutionResponse>, Status> {
        reply(self.0.stop_execution(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn record_execution(
        &self,
        request: Request<v1::RecordExecutionRequest>,
    ) -> Result<Response<v1::RecordExecutionResponse>, Status> {
        reply(self.0.record_execution(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn get_execution(
        &self,
        request: Request<v1::GetExecutionRequest>,
    ) -> Result<Response<encoded::GetExecutionResponse>, Status> {
        reply(self.0.get_execution(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn batch_get_executions(
        &self,
        request: Request<v1::BatchGetExecutionsRequest>,
    ) -> Result<Response<encoded::BatchGetExecutionsResponse>, Status> {
        reply(self.0.batch_get_executions(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn list_executions(
        &self,
        request: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<encoded::ListExecutionsResponse>, Status> {
        reply(self.0.list_executions(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn list_result_items(
        &self,
        request: Request<v1::ListResultItemsRequest>,
    ) -> Result<Response<v1::ListResultItemsResponse>, Status> {
        reply(self.0.list_result_items(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        reply(self.0.list_artifacts(&Context::of(&request)?, request.into_inner()).await)
    }

    async fn wait_execution(
        &self,
        request: Request<v1::WaitExecutionRequest>,
    ) -> Result<Response<encoded::WaitExecutionResponse>, Status> {
        reply(self.0.wait_execution(&Context::of(&request)?, request.into_inner()).await)
    }
}
