//! Reading the configuration again while the gateway serves: all of it is taken, or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::access::Guard;
use super::{backend_setups, service_manager};
use crate::backend::Shared;
use crate::config::{Config, Problem};
use crate::telemetry::LogHandle;
use crate::trace::Tracer;
use crate::tracker::Tracker;

/// What a new configuration changes, and the one that holds.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) current: ArcSwap<Config>,
    pub(super) shared: Shared,
    pub(super) tracer: Tracer,
    pub(super) guard: Guard,
    pub(super) tracker: Tracker,
    pub(super) logs: Option<Arc<LogHandle>>,
}

impl Reload {
    /// Takes what was read, or says why not. Either is logged and counted.
    pub(super) fn take(&self, read: Result<Config, Vec<Problem>>) -> Result<(), Vec<Problem>> {
        service_manager::reloading();
        let taken = read.and_then(|config| self.apply(config));
        self.shared.metrics.config_reloaded(taken.is_ok());
        match &taken {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "the configuration is not taken: all stays as it was");
                }
            }
        }
        service_manager::ready();
        taken
    }

    fn apply(&self, config: Config) -> Result<(), Vec<Problem>> {
        let old = self.current.load_full();
        let problems = old.needing_restart(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let unchanged = config.backends.iter().filter(|backend| old.backends.contains(backend));
        let unchanged: HashSet<_> = unchanged.map(|backend| backend.id.clone()).collect();
        let unfinished = self.tracker.unfinished().map_err(|error| {
            vec![Problem { line: None, key: "store.path".to_owned(), message: error.to_string() }]
        })?;
        self.guard.auth.replace(config.auth.as_ref(), &config.limits)?;
        // From here on nothing fails.
        self.shared.quota.forget_rates();
        let setups = backend_setups(&config, &self.shared, &self.tracer);
        self.tracker.reconfigure(setups, &unchanged, config.store.retention, unfinished);
        if let Some(logs) = &self.logs
            && config.telemetry.log_level != old.telemetry.log_level
        {
            logs.configure(&config.telemetry.log_level);
        }
        self.current.store(Arc::new(config));
        Ok(())
    }
}
