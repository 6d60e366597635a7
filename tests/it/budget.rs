//! The budget under stress: throttling upstreams, greedy readers, and what a caller is told when there is no room.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testgate::config::backend::BackendConfig;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::{self, WatchExecutionsRequest};
use testgate::sandbox::fault::{Call, Fault, FaultKind};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::rig::{Stream, hurried, id_of, quick, shown, start_elsewhere, unthrottled, watching};
use crate::support::{Setup, World, told};

const SUMMARY: &str = "GetTestCaseExecutionSummary";
const TEST: &str = "DescribeTestCase";
const TESTS: &str = "ListTestCases";
const SECOND: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 1, nanos: 0 });
const RATE: f64 = 5.0;

/// Upstreams that throttle only when told to, and a gateway with a small budget.
async fn small_budget() -> World {
    let adjust = |backends: &mut Vec<BackendConfig>| {
        for backend in backends {
            backend.max_requests_per_second = RATE;
            backend.poll_interval = Duration::from_millis(100);
        }
    };
    unthrottled(World::with(Setup { adjust, ..hurried(1.0) }).await)
}

fn assert_within(calls: &[Call], rate: f64, burst: f64) {
    for (first, from) in calls.iter().enumerate() {
        for (count, to) in (1u32..).zip(&calls[first..]) {
            let seconds = to.at.duration_since(from.at).as_secs_f64();
            // One more for the moment between the gateway's clock and the arrival.
            let allowed = burst + rate * seconds + 1.0;
            assert!(f64::from(count) <= allowed, "{count} calls within {seconds} s");
        }
    }
}

fn tests_of_connect(within: &str) -> Request<v1::ListTestsRequest> {
    let mut request =
        Request::new(v1::ListTestsRequest { parent: "backends/connect".to_owned(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", within.parse().unwrap());
    request
}

async fn storm(retry_after: Option<u32>) {
    let world = small_budget().await;
    world.control("connect", json!({"command": "limits", "running": 50, "accepted": 100}));
    let names: Vec<_> = (0..12).map(|_| start_elsewhere(&world, "connect", "timeout")).collect();
    let request =
        WatchExecutionsRequest { heartbeat_interval: SECOND, max_staleness: SECOND, ..watching(&names) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    stream.opening().await;
    world.sandbox.inject("connect", Fault::new(SUMMARY, FaultKind::Throttle { retry_after })).unwrap();
    let begun = world.calls("connect", SUMMARY);
    for _ in 0..6 {
        stream.beat().await;
    }
    let calls = world.sandbox.calls("connect", SUMMARY);
    assert_within(&calls, RATE, RATE);
    // What was under way when the first answer came may still arrive; then the pace is half of the rate at most.
    let throttled: Vec<_> = calls.iter().skip(begun).cloned().collect();
    let first = throttled.first().expect("a call in six seconds").at;
    let after: Vec<_> =
        throttled.into_iter().filter(|call| call.at.duration_since(first).as_secs() >= 1).collect();
    assert_within(&after, RATE / 2.0, 1.0);
    if let Some(seconds) = retry_after {
        let pause = f64::from(seconds);
        for pair in after.windows(2) {
            let apart = pair[1].at.duration_since(pair[0].at).as_secs_f64();
            assert!(apart >= pause - 0.1, "{apart} s between calls that were told to wait {pause} s");
        }
    }
}

#[tokio::test]
async fn row_23_a_storm_of_429_gets_fewer_calls_than_the_budget_allows() {
    tokio::join!(storm(None), storm(Some(1)));
}

#[tokio::test]
async fn row_23_callers_retries_do_not_multiply_the_gateways() {
    let world = quick(1.0).await;
    let name = world.test("connect", "greeting").await.name;
    let read = || {
        let mut request = Request::new(v1::GetTestRequest { name: name.clone() });
        request.metadata_mut().insert("grpc-timeout", "30S".parse().unwrap());
        let mut client = world.client.clone();
        async move { client.get_test(request).await.unwrap_err() }
    };
    let throttle = |retry_after| Fault::new(TEST, FaultKind::Throttle { retry_after });
    world.sandbox.inject("connect", throttle(None)).unwrap();
    // Slow enough for all callers to come while the first is tried.
    world.sandbox.inject("connect", Fault::new(TEST, FaultKind::Delay { ms: 1000 })).unwrap();
    for status in join_all((0..20).map(|_| read())).await {
        assert_eq!(told(&status), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
        assert!(status.get_details_retry_info().is_some());
    }
    assert_eq!(world.calls("connect", TEST), 3, "three tries for twenty callers");

    world.sandbox.clear_faults("connect").unwrap();
    world.sandbox.inject("connect", throttle(Some(50))).unwrap();
    let status = read().await;
    assert_eq!(told(&status), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
    for _ in 0..5 {
        let status = read().await;
        assert_eq!(told(&status), (Code::ResourceExhausted, "BACKEND_BUDGET_EXHAUSTED".to_owned()));
        assert!(status.get_details_retry_info().is_some());
    }
    assert_eq!(world.calls("connect", TEST), 4, "a hint beyond the deadline ends the tries");
}

#[tokio::test]
async fn row_24_under_429_for_good_a_watch_keeps_the_last_state_and_goes_on() {
    let world = quick(1.0).await;
    let started = world.begin("connect", "greeting").await;
    world.control("connect", json!({"command": "hang", "execution": id_of(&started.name)}));
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&started.name]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    stream.until(|update| shown(update).state() == State::Running).await;
    world.sandbox.inject("connect", Fault::new(SUMMARY, FaultKind::Throttle { retry_after: None })).unwrap();
    let troubled = stream.until(|update| shown(update).condition.is_some()).await;
    let troubled = shown(&troubled);
    assert_eq!((troubled.state(), troubled.done), (State::Running, false));
    assert_eq!(troubled.condition.as_ref().unwrap().reason, "UPSTREAM_THROTTLED");
    // The trouble goes on, which is no news.
    let mut beats = 0;
    while beats < 5 {
        match stream.event().await {
            v1::watch_executions_response::Event::Heartbeat(_) => beats += 1,
            v1::watch_executions_response::Event::Update(update) => {
                panic!("an update without a change: {update:?}")
            }
            _ => {}
        }
    }
    world.sandbox.clear_faults("connect").unwrap();
    world.control(
        "connect",
        json!({"command": "finish", "execution": id_of(&started.name), "outcome": "passed"}),
    );
    let ended = stream.until(|update| shown(update).done).await;
    assert_eq!((shown(&ended).state(), &shown(&ended).condition), (State::Completed, &None));
}

#[tokio::test]
async fn a_refusal_names_the_budget_and_says_when_there_is_room() {
    let adjust = |backends: &mut Vec<BackendConfig>| {
        backends.iter_mut().for_each(|backend| backend.max_requests_per_second = 0.1);
    };
    let world = World::with(Setup { adjust, ..Setup::default() }).await;
    // The burst: what a caller's reads may take of it.
    let mut refused = None;
    for _ in 0..4 {
        refused = world.client.clone().list_tests(tests_of_connect("5S")).await.err();
    }
    let status = refused.expect("the fourth read is over the budget");
    assert_eq!(told(&status), (Code::ResourceExhausted, "BACKEND_BUDGET_EXHAUSTED".to_owned()));
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (&*info.metadata["backend"], &*info.metadata["upstreamOperation"]),
        ("backends/connect", TESTS)
    );
    assert!(status.message().contains("0.1 requests a second"), "{status}");
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() >= Duration::from_secs(5));
}

#[tokio::test]
async fn reads_and_polls_without_end_hold_up_no_start() {
    let world = small_budget().await;
    let name = start_elsewhere(&world, "connect", "timeout");
    let parent = world.test("connect", "greeting").await.name;
    let mut stream = Stream::open(&world, watching([&name])).await.unwrap();
    stream.opening().await;
    // The plan of a start reads the test, which greedy readers ask for too, each time another one.
    let others: Vec<_> = (0..60).map(|n| format!("backends/connect/tests/none-{n}")).collect();
    let greedy = join_all(others.into_iter().map(|name| {
        let mut client = world.client.clone();
        async move { client.get_test(v1::GetTestRequest { name }).await.map(drop) }
    }));
    let start = async {
        let describes = || world.calls("connect", TEST);
        crate::process::eventually("the readers wait for the budget", async || describes() >= 2).await;
        let before = describes();
        let request = v1::StartExecutionRequest { parent, ..Default::default() };
        world.client.clone().start_execution(request).await.unwrap();
        describes() - before
    };
    tokio::select! {
        _ = greedy => panic!("sixty reads within half of the budget take longer than a start"),
        passed_by = start => assert!(passed_by <= 10, "{passed_by} reads went before the start"),
    }
}
