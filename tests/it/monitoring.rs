//! The dashboard and the alerts: that they parse, and ask for nothing that a gateway does not have.

use std::collections::BTreeSet;

use testgate::metrics::{Levels, Metrics};

use crate::metrics::Scrape;
use crate::rig::quick;
use crate::support::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring");

/// Names of metrics in a query: words that look like ours or a middleware's, and are no label.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = ["testgate_", "grpc_server_", "process_"];
    words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// All strings below a key, wherever it is.
fn strings_at<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => strings_at(value, key, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings_at(item, key, found)),
        _ => {}
    }
}

/// The names that a gateway at work exposes.
async fn exposed() -> BTreeSet<String> {
    let world: World = quick(100.0).await;
    world.run("lex", "booking").await;
    let (_, text) = crate::support::admin(&world.gateway, "GET", "/metrics", "").await;
    let scrape = Scrape::parse(&text);
    let mut names: BTreeSet<_> =
        scrape.series().map(|series| series.split('{').next().unwrap().to_owned()).collect();
    // It serves without TLS, so this one is shown by one that is told of a certificate.
    let levels = Levels { certificate_seconds: Some(1), ..Levels::default() };
    let with_tls = Scrape::parse(&Metrics::new().render(levels));
    names.extend(with_tls.series().filter(|name| name.contains("certificate")).map(str::to_owned));
    names
}

#[track_caller]
fn assert_all_exist(queries: &[&str], exposed: &BTreeSet<String>) {
    assert!(!queries.is_empty());
    for query in queries {
        let wanted = metrics_in(query);
        let missing: Vec<_> = wanted.difference(exposed).collect();
        assert!(missing.is_empty(), "{query}\nasks for {missing:?}");
        assert!(!wanted.is_empty() || query.contains("up{"), "{query}\nasks for nothing of ours");
        let (open, closed) = (query.matches('(').count(), query.matches(')').count());
        assert_eq!(open, closed, "{query}");
    }
}

/// What the configuration's page promises.
const PROMISED: [&str; 18] = [
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_handling_seconds_count",
    "testgate_upstream_requests_total",
    "testgate_upstream_request_seconds_count",
    "testgate_upstream_throttled_total",
    "testgate_budget_wait_seconds_count",
    "testgate_poll_lag_seconds_count",
    "testgate_tracked_executions",
    "testgate_watch_streams",
    "testgate_watch_updates_total",
    "testgate_watch_coalesced_total",
    "testgate_watch_dropped_streams_total",
    "testgate_config_reloads_total",
    "testgate_certificate_expiry_seconds",
    "testgate_store_bytes",
];

#[tokio::test]
async fn every_promised_metric_is_exposed() {
    let exposed = exposed().await;
    let missing: Vec<_> = PROMISED.iter().filter(|name| !exposed.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn the_dashboard_asks_only_for_what_there_is() {
    let text = std::fs::read_to_string(format!("{FOLDER}/grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    strings_at(&dashboard, "expr", &mut queries);
    let exposed = exposed().await;
    assert_all_exist(&queries, &exposed);
    // And it shows all there is.
    let shown: BTreeSet<_> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<_> = shown.iter().map(|name| base(name)).collect();
    let all: BTreeSet<_> = exposed.iter().map(|name| base(name)).collect();
    assert_eq!(all.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
    let ids: Vec<_> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a panel's id is there twice");
}

#[tokio::test]
async fn the_alerts_ask_only_for_what_there_is() {
    let Ok(python) = std::env::var("TESTGATE_PYTHON_OM") else {
        panic!("TESTGATE_PYTHON_OM is not set: run tests/run, which installs a YAML reader and sets it");
    };
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = tokio::process::Command::new(python)
        .args(["-c", script, &format!("{FOLDER}/prometheus-rules.yaml")])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rules: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut queries = Vec::new();
    strings_at(&rules, "expr", &mut queries);
    assert_all_exist(&queries, &exposed().await);
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        assert!(rule["alert"].as_str().unwrap().starts_with("Testgate"), "{rule}");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        assert!(
            rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(),
            "{rule}"
        );
    }
}
