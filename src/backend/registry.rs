//! From configuration to adapter: the only place that tells the kinds apart.

use std::sync::Arc;

use super::Backend;
use super::connect::Connect;
use super::http::HttpClients;
use super::lex::Lex;
use super::openmetadata::OpenMetadata;
use super::quota::QuotaRegistry;
use crate::config::backend::{BackendConfig, SystemConfig};
use crate::model::Clock;

/// Builds the adapters of all configured backends. Makes no call and loads no credentials: that waits for first use.
pub fn build(backends: &[BackendConfig], clock: &Clock) -> Vec<Arc<dyn Backend>> {
    let (http, quota) = (HttpClients::default(), QuotaRegistry::default());
    backends
        .iter()
        .map(|config| -> Arc<dyn Backend> {
            let clock = clock.clone();
            match &config.system {
                SystemConfig::Connect(connect) => {
                    Arc::new(Connect::new(config, connect, &http, &quota, clock))
                }
                SystemConfig::Lex(lex) => Arc::new(Lex::new(config, lex, &http, &quota, clock)),
                SystemConfig::OpenMetadata(openmetadata) => {
                    Arc::new(OpenMetadata::new(config, openmetadata, &http, &quota, clock))
                }
            }
        })
        .collect()
}
