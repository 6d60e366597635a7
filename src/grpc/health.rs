//! The health service. A backend's health is for those who may see the backend; the gateway's own is for everybody.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::error::Failure;
use super::standing::{LOOK_EVERY, Standing};
use crate::auth::Caller;
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
        if let Some(standing) = standing(&request)? {
            standing.check()?;
        }
        self.0.check(request).await
    }

    type WatchStream = Statuses;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let standing = standing(&request)?;
        if let Some(standing) = &standing {
            standing.check()?;
        }
        let statuses = self.0.watch(request).await?;
        Ok(statuses.map(|statuses| match standing {
            None => statuses.boxed(),
            Some(standing) => while_permitted(statuses.boxed(), standing).boxed(),
        }))
    }
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// Who asks, where it is for a backend's health. What is no backend's name is nobody's secret.
fn standing(request: &Request<HealthCheckRequest>) -> Result<Option<Standing>, Failure> {
    let Some(backend) = request.get_ref().service.strip_prefix("backends/") else { return Ok(None) };
    let Ok(backend) = BackendId::new(backend) else { return Ok(None) };
    let caller = request.extensions().get::<Caller>().ok_or_else(|| {
        Failure::caller_unauthenticated("a backend's health is told only to those who are somebody")
    })?;
    Ok(Some(Standing::of_backend(caller.clone(), backend)))
}

/// The statuses up to the moment when their caller may not see them any more.
fn while_permitted(
    statuses: Statuses,
    standing: Standing,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> {
    let changes = standing.changes();
    stream::unfold(Some((statuses, standing, changes)), |state| async move {
        let (mut statuses, mut standing, mut changes) = state?;
        loop {
            let status = tokio::select! {
                status = statuses.next() => Some(status),
                _ = changes.changed() => None,
                () = tokio::time::sleep(LOOK_EVERY) => None,
            };
            if !standing.is_current()
                && let Err(failure) = standing.look(Vec::new).await
            {
                return Some((Err(failure.into()), None));
            }
            if let Some(status) = status {
                return status.map(|status| (status, Some((statuses, standing, changes))));
            }
        }
    })
}
