//! What of a new configuration a running gateway can take.

use super::{BackendConfig, Config, Problem, ServerConfig, StoreConfig, TelemetryConfig};

/// Finds the keys that differ and that only a restart can change.
pub(super) fn needing_restart(old: &Config, new: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut compare = |key: String, same: bool| {
        if !same {
            let message = "can't change while the gateway runs: restart it for that".to_owned();
            found.push(Problem { line: None, key, message });
        }
    };
    // Whoever adds a key decides here: `_` is for what changes at run time.
    let Config { server, store, auth: _, limits: _, telemetry, backends } = new;
    let ServerConfig {
        listen,
        admin_listen,
        drain_timeout,
        max_connections,
        max_connection_age,
        // They only judge the addresses, when the file is checked.
        allow_plaintext: _,
        allow_anonymous: _,
        doors,
        tls,
    } = server;
    compare("server.listen".into(), *listen == old.server.listen);
    compare("server.admin_listen".into(), *admin_listen == old.server.admin_listen);
    compare("server.drain_timeout".into(), *drain_timeout == old.server.drain_timeout);
    compare("server.max_connections".into(), *max_connections == old.server.max_connections);
    compare("server.max_connection_age".into(), *max_connection_age == old.server.max_connection_age);
    compare("server.doors".into(), *doors == old.server.doors);
    compare("server.tls".into(), *tls == old.server.tls);
    let StoreConfig { path, retention: _ } = store;
    compare("store.path".into(), *path == old.store.path);
    let TelemetryConfig { log_format, log_level: _, otlp_endpoint, audit } = telemetry;
    compare("telemetry.log_format".into(), *log_format == old.telemetry.log_format);
    compare("telemetry.otlp_endpoint".into(), *otlp_endpoint == old.telemetry.otlp_endpoint);
    compare("telemetry.audit_file".into(), *audit == old.telemetry.audit);
    for backend in backends {
        let Some(before) = old.backends.iter().find(|before| before.id == backend.id) else { continue };
        let BackendConfig { id, poll_interval, tracking_deadline, system, .. } = backend;
        let kind = std::mem::discriminant(system) == std::mem::discriminant(&before.system);
        compare(format!("backend {id}: kind"), kind);
        compare(format!("backend {id}: poll_interval"), *poll_interval == before.poll_interval);
        compare(format!("backend {id}: tracking_deadline"), *tracking_deadline == before.tracking_deadline);
    }
    found
}
