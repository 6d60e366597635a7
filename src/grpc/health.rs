//! The health service. A backend's health is for those who may see the backend; the gateway's own is for everybody.

use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::error::Failure;
use super::permission;
use crate::auth::{Caller, Right};
use crate::model::BackendId;

/// The health service over what a reporter is told.
pub fn health(reporter: HealthReporter) -> HealthServer<Guarded> {
    HealthServer::new(Guarded(HealthService::from_health_reporter(reporter)))
}

/// tonic's health service behind the callers' grants.
#[derive(Debug)]
pub struct Guarded(HealthService);

#[tonic::async_trait]
impl Health for Guarded {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        permit(&request)?;
        self.0.check(request).await
    }

    type WatchStream = <HealthService as Health>::WatchStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        permit(&request)?;
        self.0.watch(request).await
    }
}

fn permit(request: &Request<HealthCheckRequest>) -> Result<(), Failure> {
    // What is no backend's name is nobody's secret.
    let Some(backend) = request.get_ref().service.strip_prefix("backends/") else { return Ok(()) };
    let Ok(backend) = BackendId::new(backend) else { return Ok(()) };
    let caller = request.extensions().get::<Caller>().ok_or_else(|| {
        Failure::caller_unauthenticated("a backend's health is told only to those who are somebody")
    })?;
    permission::permit(caller, Right::Read, &backend)
}
