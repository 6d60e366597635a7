//! From configuration to adapter: the only place that tells the kinds apart.

use std::sync::Arc;

use super::connect::Connect;
use super::lex::Lex;
use super::openmetadata::OpenMetadata;
use super::{Backend, Shared};
use crate::config::backend::{BackendConfig, SystemConfig};

/// Builds the adapters of all configured backends. Makes no call and loads no credentials: that waits for first use.
pub fn build(backends: &[BackendConfig], shared: &Shared) -> Vec<Arc<dyn Backend>> {
    backends
        .iter()
        .map(|config| -> Arc<dyn Backend> {
            match &config.system {
                SystemConfig::Connect(connect) => Arc::new(Connect::new(config, connect, shared)),
                SystemConfig::Lex(lex) => Arc::new(Lex::new(config, lex, shared)),
                SystemConfig::OpenMetadata(openmetadata) => {
                    Arc::new(OpenMetadata::new(config, openmetadata, shared))
                }
            }
        })
        .collect()
}
