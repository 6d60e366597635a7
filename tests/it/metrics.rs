//! The metrics of a gateway at work, as a scraper reads them.

use std::collections::HashMap;

use serde_json::json;
use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};

use crate::process::eventually;
use crate::rig::{Stream, quick, watching_parent};
use crate::support::{World, admin};

const SERVICE: &str = "grpc_service=\"testgate.v1.TestExecutionService\"";

/// One scrape: each series with its value.
pub(crate) struct Scrape(HashMap<String, f64>);

impl Scrape {
    pub(crate) async fn of(world: &World) -> Self {
        let (status, text) = admin(&world.gateway, "GET", "/metrics", "").await;
        assert_eq!(status, 200);
        Self::parse(&text)
    }

    /// Reads the text as strictly as a scraper does: types before samples, no series twice.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut series, mut types) = (HashMap::new(), HashMap::new());
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("TYPE"), Some(name), Some(kind)) => {
                        assert_eq!(
                            types.insert(name.to_owned(), kind.to_owned()),
                            None,
                            "{name} is typed twice"
                        );
                    }
                    (Some("HELP"), Some(_), Some(help)) => assert!(!help.is_empty(), "{line}"),
                    _ => panic!("an odd comment: {line}"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("an odd line: {line}"));
            let base = name.split('{').next().unwrap();
            let typed = types.contains_key(base)
                || ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|end| base.strip_suffix(end))
                    .any(|base| types.get(base).is_some_and(|kind| kind == "histogram"));
            assert!(typed, "{base} has no type");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("an odd value: {line}"));
            assert_eq!(series.insert(name.to_owned(), value), None, "{name} is there twice");
        }
        Self(series)
    }

    /// The sum of the series of a name whose labels hold all of these texts.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        let found = self.0.iter().filter(|(series, _)| of_name(series));
        found
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// All names of series.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[tokio::test]
async fn calls_streams_and_upstream_requests_are_counted() {
    let world = quick(100.0).await;
    let mut client = world.client.clone();
    for _ in 0..3 {
        client.list_backends(v1::ListBackendsRequest::default()).await.unwrap();
    }
    let missing = v1::GetBackendRequest { name: "backends/nobody".to_owned() };
    client.get_backend(missing).await.unwrap_err();
    let mut stream = Stream::open(&world, watching_parent("backends/lex/tests/-")).await.unwrap();
    stream.opening().await;
    let executed = world.run("lex", "booking").await;

    // The stream that followed the run has ended, and its end is counted a moment after its reader has left.
    let ended = async |count| {
        let labels = [SERVICE, "grpc_method=\"WatchExecutions\""];
        Scrape::of(&world).await.sum("grpc_server_handled_total", &labels) == count
    };
    eventually("the run's stream has ended", async || ended(1.0).await).await;
    let scrape = Scrape::of(&world).await;
    let counted = |name: &str, method: &str, more: &str| {
        scrape.sum(name, &[SERVICE, &format!("grpc_method=\"{method}\""), more])
    };
    assert_eq!(counted("grpc_server_started_total", "ListBackends", "\"unary\""), 3.0);
    assert_eq!(counted("grpc_server_handled_total", "ListBackends", "grpc_code=\"OK\""), 3.0);
    assert_eq!(counted("grpc_server_handling_seconds_count", "ListBackends", ""), 3.0);
    assert_eq!(counted("grpc_server_msg_received_total", "ListBackends", ""), 3.0);
    assert_eq!(counted("grpc_server_msg_sent_total", "ListBackends", ""), 3.0);
    assert_eq!(counted("grpc_server_handled_total", "GetBackend", "grpc_code=\"NotFound\""), 1.0);
    assert_eq!(counted("grpc_server_msg_sent_total", "GetBackend", ""), 0.0);
    assert_eq!(counted("grpc_server_started_total", "WatchExecutions", "\"server_stream\""), 2.0);
    assert_eq!(counted("grpc_server_msg_received_total", "WatchExecutions", ""), 2.0);
    assert!(counted("grpc_server_msg_sent_total", "WatchExecutions", "") >= 4.0);
    assert_eq!(scrape.sum("testgate_watch_streams", &[]), 1.0);
    assert!(scrape.sum("testgate_watch_updates_total", &[]) >= 2.0);

    let lex = "backend=\"lex\"";
    let starts = [lex, "operation=\"StartTestExecution\"", "code=\"20"];
    assert_eq!(scrape.sum("testgate_upstream_requests_total", &starts), 1.0);
    assert_eq!(scrape.sum("testgate_upstream_request_seconds_count", &starts[..2]), 1.0);
    assert_eq!(scrape.sum("testgate_budget_wait_seconds_count", &starts[..2]), 1.0);
    assert!(scrape.sum("testgate_poll_lag_seconds_count", &[lex]) >= 1.0);
    let id = executed.name.rsplit('/').next().unwrap();
    assert!(scrape.series().all(|series| !series.contains(id)), "a label holds an execution's name");

    drop(stream);
    eventually("the open stream has ended too", async || ended(2.0).await).await;
    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.sum("testgate_watch_streams", &[]), 0.0);
    let cancelled = [SERVICE, "grpc_method=\"WatchExecutions\"", "grpc_code=\"Canceled\""];
    assert!(scrape.sum("grpc_server_handled_total", &cancelled) >= 1.0);
}

#[tokio::test]
async fn followed_executions_are_counted_at_the_scrape() {
    let world = quick(1.0).await;
    let running = |scrape: &Scrape| {
        let unfinished = ["PENDING", "RUNNING", "SETTLING"].map(|state| format!("state=\"{state}\""));
        unfinished
            .iter()
            .map(|state| scrape.sum("testgate_tracked_executions", &["backend=\"lex\"", state]))
            .sum::<f64>()
    };
    assert_eq!(running(&Scrape::of(&world).await), 0.0);
    world.begin("lex", "booking").await;
    assert_eq!(running(&Scrape::of(&world).await), 1.0);
    assert_eq!(Scrape::of(&world).await.sum("testgate_tracked_executions", &["backend=\"connect\""]), 0.0);
}

#[tokio::test]
async fn throttled_and_failed_requests_have_their_codes() {
    let world = quick(1.0).await;
    let list = || v1::ListTestsRequest { parent: "backends/connect".to_owned(), ..Default::default() };
    let throttle = FaultKind::Throttle { retry_after: None };
    world.sandbox.inject("connect", Fault::new("ListTestCases", throttle).times(1)).unwrap();
    world.client.clone().list_tests(list()).await.unwrap();
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "expired"}));
    let quality = v1::ListTestsRequest { parent: "backends/quality".to_owned(), ..Default::default() };
    world.client.clone().list_tests(quality).await.unwrap_err();

    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.sum("testgate_upstream_throttled_total", &["backend=\"connect\""]), 1.0);
    let refused = ["backend=\"quality\"", "code=\"401\""];
    assert!(scrape.sum("testgate_upstream_requests_total", &refused) >= 1.0);
}
