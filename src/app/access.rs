//! Who may connect and call: TLS and identity, kept fresh while the gateway runs.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::auth::{Auth, FetchKeys};
use crate::backend::http::{HttpClients, Proxy, with_parsed_url};
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
        let auth = Auth::new(config.auth.as_ref(), &config.limits, clock.clone()).map_err(|problems| {
            let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", all.join("; "))
        })?;
        let http1 = config.server.doors.any_open();
        let tls = config.server.tls.as_ref().map(|tls| Tls::new(tls, http1, clock.clone())).transpose()?;
        let guard = Self { auth, tls };
        tasks.spawn_loop("access files", guard.clone().look_now_and_then());
        let auth = guard.auth.clone();
        tasks.spawn_loop("issuers' keys", async move { auth.keep_keys_fresh(&Fetch::default()).await });
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

/// How long a key set may take to come.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// The largest key set, in bytes.
const MAX_KEY_SET: usize = 256 * 1024;

/// Fetches issuers' key sets the way everything is fetched: no redirects, bounded, by the environment's proxies.
#[derive(Default)]
struct Fetch(HttpClients);

#[async_trait]
impl FetchKeys for Fetch {
    async fn fetch(&self, url: &str, ca_file: Option<&Path>) -> Result<Bytes, String> {
        let request = http::Request::get(url).header(http::header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let request = with_parsed_url(request).map_err(|error| error.message)?;
        let client = self.0.get(ca_file, Proxy::Environment);
        let reply = client.send(request, FETCH_WITHIN, MAX_KEY_SET).await.map_err(|error| error.message)?;
        if reply.status == http::StatusCode::OK {
            Ok(reply.body)
        } else {
            Err(format!("status {}", reply.status))
        }
    }
}
