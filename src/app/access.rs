//! Who may connect and call: TLS and identity, kept fresh while the gateway runs.

use std::time::Duration;

use anyhow::Context as _;

use crate::auth::Auth;
use crate::config::Config;
use crate::model::Clock;
use crate::tasks::Tasks;
use crate::tls::Tls;

/// How often files are looked at. Two looks in a row must find a change, so it is in force within two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What guards the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) auth: Auth,
    pub(super) tls: Option<Tls>,
}

impl Guard {
    /// Reads what the configuration names, and goes on to look whether it changes.
    pub(super) fn start(config: &Config, clock: &Clock, tasks: &Tasks) -> anyhow::Result<Self> {
        let auth =
            Auth::new(config.auth.as_ref(), &config.limits, clock.clone()).context("auth can't be set up")?;
        let tls = config.server.tls.as_ref().map(|tls| Tls::new(tls, clock.clone())).transpose()?;
        let guard = Self { auth, tls };
        tasks.spawn_loop("access files", guard.clone().look_now_and_then());
        Ok(guard)
    }

    async fn look_now_and_then(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.tls.is_none() && !self.auth.has_files() {
                continue;
            }
            let guard = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                guard.auth.look();
                if let Some(tls) = &guard.tls {
                    tls.look();
                }
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "files could not be looked at");
            }
        }
    }
}
