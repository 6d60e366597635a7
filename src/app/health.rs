//! Telling others how the gateway is: the gRPC health service and the admin port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::access::Guard;
use super::reload::Reload;
use crate::admin::{self, Admin, Readiness};
use crate::metrics::Levels;
use crate::model::BackendId;
use crate::proto::v1::test_execution_service_server::SERVICE_NAME;
use crate::tasks::{Lifecycle, Tasks};
use crate::telemetry::LogHandle;
use crate::tracker::Tracker;

/// How often a backend's health is compared with what was last told.
const REFRESH: Duration = Duration::from_secs(2);
/// How often a backend that is unwell is asked again.
const PROBE_AGAIN: Duration = Duration::from_secs(60);

/// Keeps the gRPC health service told until the gateway drains.
pub(super) async fn keep_told(
    tracker: Tracker,
    health: HealthReporter,
    lifecycle: Lifecycle,
    probe_by: Instant,
) {
    for name in ["", SERVICE_NAME] {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    let draining = lifecycle.draining();
    tokio::select! {
        () = draining => {}
        () = tell(&tracker, &health, probe_by) => {}
    }
    let backends = tracker.backends().into_iter().map(|(info, _)| format!("backends/{}", info.id));
    for name in ["".to_owned(), SERVICE_NAME.to_owned()].into_iter().chain(backends) {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
}

async fn tell(tracker: &Tracker, health: &HealthReporter, probe_by: Instant) {
    tracker.probe_all(probe_by).await;
    for name in ["", SERVICE_NAME] {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    let mut told: Vec<(BackendId, bool)> = Vec::new();
    let mut probed = Instant::now();
    loop {
        let now: Vec<_> = tracker
            .backends()
            .into_iter()
            .map(|(info, health)| (info.id, health.condition.is_none()))
            .collect();
        if now != told {
            for (id, well) in &now {
                let status = if *well { ServingStatus::Serving } else { ServingStatus::NotServing };
                health.set_service_status(format!("backends/{id}"), status).await;
            }
            for (gone, _) in told.iter().filter(|(id, _)| now.iter().all(|(other, _)| other != id)) {
                health.clone().clear_service_status(&format!("backends/{gone}")).await;
            }
            told = now;
        }
        tokio::time::sleep(REFRESH).await;
        if told.iter().any(|(_, well)| !well) && probed.elapsed() >= PROBE_AGAIN {
            probed = Instant::now();
            tracker.probe_all(Instant::now() + REFRESH).await;
        }
    }
}

/// Opens the admin port, where there is to be one.
pub(super) async fn serve_admin(
    reload: &Arc<Reload>,
    lifecycle: &Lifecycle,
    tasks: &Tasks,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = reload.current.load().server.admin_listen else { return Ok(None) };
    let bound = admin::bind(address).await?;
    let address = bound.address();
    let (tracker, metrics) = (reload.tracker.clone(), reload.shared.metrics.clone());
    let (readiness, config, guard) = (tracker.clone(), Arc::clone(reload), reload.guard.clone());
    let logs = reload.logs.clone();
    let admin = Admin {
        lifecycle: lifecycle.clone(),
        log: reload.logs.clone(),
        config: Box::new(move || config.current.load().redacted()),
        readiness: Box::new(move || readiness_of(&readiness)),
        metrics: Box::new(move || metrics.render(levels_of(&tracker, &guard, logs.as_deref()))),
    };
    // It goes on through a drain, so that probes see the drain, and ends with the tasks.
    tasks.spawn("admin port", admin::serve(bound, Arc::new(admin), tasks.clone()));
    Ok(Some(address))
}

fn readiness_of(tracker: &Tracker) -> Vec<Readiness> {
    let store = tracker.store_status();
    let store = Readiness {
        name: "store".to_owned(),
        ready: store.is_ok(),
        required: false,
        detail: store.err().map(|error| error.to_string()).unwrap_or_default(),
    };
    let backends = tracker.backends().into_iter().map(|(info, health)| Readiness {
        name: format!("backends/{}", info.id),
        ready: health.condition.is_none(),
        required: false,
        detail: health
            .condition
            .map(|condition| format!("{}: {}", condition.reason, condition.message))
            .unwrap_or_default(),
    });
    std::iter::once(store).chain(backends).collect()
}

/// What is not counted as it happens.
fn levels_of(tracker: &Tracker, guard: &Guard, logs: Option<&LogHandle>) -> Levels {
    let followed = tracker.followed().into_iter();
    Levels {
        store_bytes: tracker.store_bytes(),
        tracked: followed.map(|(id, state, count)| (id.to_string(), state.as_str(), count)).collect(),
        certificate_seconds: guard.tls.as_ref().map(|tls| (tls.ends() - tracker.now()).whole_seconds()),
        log_lines_dropped: logs.map(LogHandle::dropped).unwrap_or_default(),
    }
}
