//! The configuration as the admin port shows it.

use serde_json::{Value, json};

use super::access::{
    AuthConfig, ClientCa, GrantConfig, IssuerConfig, KeySource, Role, TlsConfig, TokenConfig,
};
use super::backend::{
    ApiStyle, AwsConfig, BackendConfig, ConnectConfig, LexConfig, OpenMetadataConfig, SecretSource,
    SystemConfig,
};
use super::value::spell_duration;
use super::{Config, LimitsConfig, ServerConfig, StoreConfig, StorePath, TelemetryConfig};
use crate::model::{LexApiMode, LexModality, LexStartOptions};

/// What stands for a value that is set and not shown.
const REDACTED: &str = "(redacted)";

pub(super) fn config(config: &Config) -> Value {
    let Config { server, store, auth, limits, telemetry, backends } = config;
    json!({
        "server": self::server(server),
        "store": self::store(store),
        "auth": auth.as_ref().map(self::auth),
        "limits": self::limits(limits),
        "telemetry": self::telemetry(telemetry),
        "backend": backends.iter().map(backend).collect::<Vec<_>>(),
    })
}

fn server(server: &ServerConfig) -> Value {
    let ServerConfig {
        listen,
        admin_listen,
        drain_timeout,
        max_connections,
        max_connection_age,
        allow_plaintext,
        allow_anonymous,
        doors,
        tls,
    } = server;
    json!({
        "listen": listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "admin_listen": admin_listen.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        "drain_timeout": spell_duration(*drain_timeout),
        "max_connections": max_connections,
        "max_connection_age": spell_duration(*max_connection_age),
        "allow_plaintext": allow_plaintext,
        "allow_anonymous": allow_anonymous,
        "doors": doors.names(),
        "cors_origins": doors.origins.spelled(),
        "tls": tls.as_ref().map(self::tls),
    })
}

fn tls(tls: &TlsConfig) -> Value {
    let TlsConfig { cert_file, key_file, clients } = tls;
    let (ca_file, client_auth) = match clients {
        Some(ClientCa { ca_file, required }) => {
            (Some(ca_file), if *required { "required" } else { "optional" })
        }
        None => (None, "off"),
    };
    json!({
        "cert_file": cert_file.display().to_string(),
        "key_file": key_file.display().to_string(),
        "client_ca_file": ca_file.map(|path| path.display().to_string()),
        "client_auth": client_auth,
    })
}

fn auth(auth: &AuthConfig) -> Value {
    let AuthConfig { tokens, issuers, grants } = auth;
    json!({
        "token": tokens.iter().map(token).collect::<Vec<_>>(),
        "jwt": issuers.iter().map(issuer).collect::<Vec<_>>(),
        "grant": grants.iter().map(grant).collect::<Vec<_>>(),
    })
}

fn token(token: &TokenConfig) -> Value {
    let TokenConfig { subject, source } = token;
    let (key, value) = secret(source);
    json!({ "subject": subject, key: value })
}

fn issuer(issuer: &IssuerConfig) -> Value {
    let IssuerConfig { issuer, audiences, keys } = issuer;
    let (key, place, ca_file) = match keys {
        KeySource::Url { url, ca_file } => ("jwks_url", json!(url), ca_file.as_ref()),
        KeySource::File(path) => ("jwks_file", json!(path.display().to_string()), None),
    };
    json!({ "issuer": issuer, "audience": audiences, key: place, "ca_file": ca_file.map(|path| path.display().to_string()) })
}

fn grant(grant: &GrantConfig) -> Value {
    let GrantConfig { subjects, role, backends, transcripts } = grant;
    let role = match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
    };
    json!({ "subjects": subjects, "role": role, "backends": backends, "transcripts": transcripts })
}

fn limits(limits: &LimitsConfig) -> Value {
    let LimitsConfig { requests_per_second, concurrent_streams, watched_names, starts_in_flight } = limits;
    json!({
        "requests_per_second": requests_per_second,
        "concurrent_streams": concurrent_streams,
        "watched_names": watched_names,
        "starts_in_flight": starts_in_flight,
    })
}

/// The key that names a secret's place, and the place.
fn secret(source: &SecretSource) -> (&'static str, Value) {
    match source {
        SecretSource::Env(name) => ("token_env", json!(name)),
        SecretSource::File(path) => ("token_file", json!(path.display().to_string())),
        SecretSource::Fixed(_) => ("token", json!(REDACTED)),
    }
}

fn store(store: &StoreConfig) -> Value {
    let StoreConfig { path, retention } = store;
    let path = match path {
        StorePath::Memory => ":memory:".to_owned(),
        StorePath::File(path) => path.display().to_string(),
    };
    json!({ "path": path, "retention": spell_duration(*retention) })
}

fn telemetry(telemetry: &TelemetryConfig) -> Value {
    let TelemetryConfig { log_format, log_level, otlp_endpoint, audit } = telemetry;
    let mut dump = json!({
        "log_format": log_format.as_str(),
        "log_level": log_level,
        "otlp_endpoint": otlp_endpoint,
        "audit_file": audit.as_ref().map(|audit| audit.file.display().to_string()),
        "audit_max_size": audit.as_ref().map(|audit| format!("{}B", audit.max_size)),
        "audit_keep": audit.as_ref().map(|audit| audit.keep),
    });
    if let Value::Object(dump) = &mut dump {
        dump.retain(|_, value| !value.is_null());
    }
    dump
}

fn backend(backend: &BackendConfig) -> Value {
    let BackendConfig {
        id,
        display_name,
        labels,
        max_requests_per_second,
        poll_interval,
        tracking_deadline,
        request_timeout,
        max_response_size,
        ca_file,
        quota_group,
        system,
    } = backend;
    let (kind, own) = self::system(system);
    let mut dump = json!({
        "id": id.as_str(),
        "kind": kind,
        "display_name": display_name,
        "labels": labels,
        "max_requests_per_second": max_requests_per_second,
        "poll_interval": spell_duration(*poll_interval),
        "tracking_deadline": spell_duration(*tracking_deadline),
        "request_timeout": spell_duration(*request_timeout),
        "max_response_size": format!("{max_response_size}B"),
        "ca_file": ca_file.as_ref().map(|path| path.display().to_string()),
        "quota_group": quota_group,
    });
    if let (Value::Object(dump), Value::Object(own)) = (&mut dump, own) {
        dump.extend(own);
        dump.retain(|_, value| !value.is_null());
    }
    dump
}

fn system(system: &SystemConfig) -> (&'static str, Value) {
    match system {
        SystemConfig::Connect(ConnectConfig { aws, instance_id }) => {
            let mut dump = self::aws(aws);
            dump["instance_id"] = json!(instance_id);
            ("amazon-connect", dump)
        }
        SystemConfig::Lex(LexConfig { aws, start_defaults }) => {
            let mut dump = self::aws(aws);
            dump["start_defaults"] = self::start_defaults(start_defaults);
            ("amazon-lex-v2", dump)
        }
        SystemConfig::OpenMetadata(OpenMetadataConfig { base_url, token, api, settle_time }) => {
            let (key, value) = token.as_ref().map_or(("token", Value::Null), secret);
            let api = match api {
                ApiStyle::Auto => "auto",
                ApiStyle::Documented => "documented",
                ApiStyle::ByFqn => "by-fqn",
            };
            let settle_time = spell_duration(*settle_time);
            (
                "openmetadata",
                json!({ "base_url": base_url, key: value, "api": api, "settle_time": settle_time }),
            )
        }
    }
}

fn aws(aws: &AwsConfig) -> Value {
    let AwsConfig { region, endpoint_url, profile, assume_role_arn, external_id, static_credentials } = aws;
    json!({
        "region": region,
        "endpoint_url": endpoint_url,
        "profile": profile,
        "assume_role_arn": assume_role_arn,
        "external_id": external_id.as_ref().map(|_| REDACTED),
        "static_credentials": static_credentials.as_ref().map(|_| REDACTED),
    })
}

fn start_defaults(defaults: &LexStartOptions) -> Value {
    let LexStartOptions { bot_id, bot_alias_id, locale_id, api_mode, modality } = defaults;
    let api_mode = api_mode.map(|mode| match mode {
        LexApiMode::Streaming => "streaming",
        LexApiMode::NonStreaming => "non-streaming",
    });
    let modality = modality.map(|modality| match modality {
        LexModality::Audio => "audio",
        LexModality::Text => "text",
    });
    json!({
        "bot_id": bot_id,
        "bot_alias_id": bot_alias_id,
        "locale_id": locale_id,
        "api_mode": api_mode,
        "modality": modality,
    })
}
