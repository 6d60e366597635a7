//! `check --probe`: calls each configured backend and says what may be read there.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{BackendError, Call, ListHint, PageRequest, Priority, Shared, registry};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::{BackendId, Clock};

const WITHIN: Duration = Duration::from_secs(30);

/// What one backend answered.
#[derive(Debug)]
pub struct ProbedBackend {
    /// Which.
    pub id: BackendId,
    /// Each thing that was tried, in words, and how it went.
    pub findings: Vec<(&'static str, Result<(), BackendError>)>,
}

/// Calls each backend. Reads only: starts, stops and records are never tried.
pub async fn probe(config: &Config) -> Vec<ProbedBackend> {
    let backends = registry::build(&config.backends, &Shared::new(Clock::system(), Metrics::new()));
    let probes = backends.iter().map(|backend| async move {
        let call =
            Call { deadline: Instant::now() + WITHIN, priority: Priority::Read, caller: "check".into() };
        let page = PageRequest { size: 1, token: None };
        let findings = vec![
            ("reach it", backend.probe(&call).await),
            ("list tests", backend.list_tests(&call, &page).await.map(drop)),
            (
                "list executions",
                backend.list_executions(&call, None, &page, &ListHint::default()).await.map(drop),
            ),
        ];
        ProbedBackend { id: backend.info().id, findings }
    });
    futures_util::future::join_all(probes).await
}
