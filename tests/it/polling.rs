//! One poller for an execution, within the budget and upstream's wishes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::{self, Verdict, WatchExecutionsRequest};
use testgate::sandbox::fault::{Call, Fault, FaultKind};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::rig::{Stream, hurried, hurry, id_of, quick, shown, start_elsewhere, unthrottled, watching};
use crate::support::{Setup, World, state, told, verdict};

const LIST_RUNS: &str = "ListPipelineStatus";
const GET_RUN: &str = "GetPipelineStatus";
const SUMMARY: &str = "GetTestCaseExecutionSummary";
const LIST: &str = "ListTestCaseExecutions";
const NOW: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 0, nanos: 0 });
const SECOND: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 1, nanos: 0 });

/// Starts an execution that does not end by itself.
async fn begin_endless(world: &World) -> String {
    let started = world.begin("connect", "greeting").await;
    world.control("connect", json!({"command": "hang", "execution": id_of(&started.name)}));
    started.name
}

fn finish(world: &World, name: &str) {
    world.control("connect", json!({"command": "finish", "execution": id_of(name), "outcome": "passed"}));
}

fn forced(name: &str) -> v1::GetExecutionRequest {
    v1::GetExecutionRequest { name: name.to_owned(), max_staleness: NOW }
}

/// How many summaries one execution costs while so many wait for it and watch it, over four heartbeats.
async fn cost(waits: usize, watches: usize) -> usize {
    let world = quick(1.0).await;
    let name = begin_endless(&world).await;
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&name]) };
    let mut streams = Vec::new();
    for _ in 0..watches {
        streams.push(Stream::open(&world, request.clone()).await.unwrap());
    }
    let waiting = join_all((0..waits).map(|_| {
        let mut client = world.client.clone();
        let request = v1::WaitExecutionRequest { name: name.clone(), ..Default::default() };
        async move { client.wait_execution(request).await.unwrap().into_inner().execution.unwrap() }
    }));
    let driving = async {
        for _ in 0..4 {
            streams[0].beat().await;
        }
        let calls = world.calls("connect", SUMMARY);
        finish(&world, &name);
        for stream in &mut streams {
            stream.until(|update| shown(update).done).await;
        }
        calls
    };
    let (waited, calls) = tokio::join!(waiting, driving);
    assert!(waited.iter().all(|execution| execution.done));
    calls
}

#[tokio::test]
async fn many_who_follow_one_execution_cost_upstream_no_more_than_one() {
    let (one, many) = tokio::join!(cost(0, 1), cost(50, 20));
    assert!(one > 4, "{one} polls in four seconds");
    assert!(many <= one + one / 4 + 2, "{many} calls for seventy followers, {one} for one");
}

fn assert_within(calls: &[Call], rate: f64, burst: f64) {
    for (first, from) in calls.iter().enumerate() {
        for (count, to) in calls[first..].iter().enumerate() {
            let seconds = to.at.duration_since(from.at).as_secs_f64();
            // One more for the moment between the gateway's clock and the arrival.
            let allowed = burst + rate * seconds + 1.0;
            let count = count + 1;
            assert!(count as f64 <= allowed, "{count} calls within {seconds} s");
        }
    }
}

#[tokio::test]
async fn polls_stay_within_the_budget_however_many_executions_are_followed() {
    let world = World::start().await;
    world.control("connect", json!({"command": "limits", "running": 50, "accepted": 100}));
    let names: Vec<_> = (0..12).map(|_| start_elsewhere(&world, "connect", "timeout")).collect();
    let request =
        WatchExecutionsRequest { heartbeat_interval: SECOND, max_staleness: SECOND, ..watching(&names) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (snapshot, mark) = stream.opening().await;
    assert_eq!(snapshot.len(), 12);
    assert!(snapshot.iter().all(|update| state(shown(update)) != State::Unspecified), "lists show them all");
    assert_eq!(mark.max_staleness, SECOND);
    for _ in 0..8 {
        stream.beat().await;
    }
    let lists = world.sandbox.calls("connect", LIST);
    assert!(lists.len() >= 5, "{} lists", lists.len());
    for calls in [lists, world.sandbox.calls("connect", SUMMARY)] {
        assert_within(&calls, 2.0, 5.0);
    }
}

#[tokio::test]
async fn many_who_watch_many_executions_cost_list_calls_only() {
    let world = World::start().await;
    let script = json!({"outcome": "hangs"});
    let names: Vec<_> = (0..20)
        .map(|_| {
            let start = json!({"command": "start", "test": "booking", "script": script});
            let started = world.control("lex", start);
            let id = |member: &str| started[member].as_str().unwrap().to_owned();
            format!("backends/lex/tests/{}/executions/{}", id("test"), id("execution"))
        })
        .collect();
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching(&names) };
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = Stream::open(&world, request.clone()).await.unwrap();
        assert_eq!(stream.opening().await.0.len(), names.len());
        streams.push(stream);
    }
    for _ in 0..4 {
        streams[0].beat().await;
    }
    let lists = world.sandbox.calls("lex", "ListTestExecutions");
    assert!(lists.len() >= 3, "{} lists", lists.len());
    assert_within(&lists, 2.0, 5.0);
    for single in ["DescribeTestExecution", "ListTestExecutionResultItems"] {
        assert_eq!(world.calls("lex", single), 0, "{single}");
    }
}

#[tokio::test]
async fn runs_of_one_pipeline_are_kept_fresh_by_its_list() {
    let world = quick(1.0).await;
    let test = world.test("quality", "Orders, critical").await.name;
    let (_, pipeline) = test.split_once("/tests/pipeline-").unwrap();
    let begin = || {
        let start = json!({"do": "start_run", "pipeline": pipeline, "hangs": true});
        let started = world.control("openmetadata", start);
        format!("{test}/executions/{}", started["run"].as_str().unwrap())
    };
    let names: Vec<_> = (0..4).map(|_| begin()).collect();
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching(&names) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    assert_eq!(stream.opening().await.0.len(), names.len());
    let listed_again = async |stream: &mut Stream| {
        let (before, mut beats) = (world.calls("openmetadata", LIST_RUNS), 0);
        while world.calls("openmetadata", LIST_RUNS) < before + 3 {
            stream.beat().await;
            beats += 1;
            assert!(beats < 30, "nobody asks for the list");
        }
    };
    listed_again(&mut stream).await;
    let reads = world.calls("openmetadata", GET_RUN);
    listed_again(&mut stream).await;
    assert_eq!(world.calls("openmetadata", GET_RUN), reads, "the list says enough");
    let finish = json!({"do": "finish_run", "run": id_of(&names[2]), "state": "success"});
    world.control("openmetadata", finish);
    let settling = stream.until(|update| shown(update).name == names[2]).await.execution.unwrap();
    assert!(matches!(state(&settling), State::Settling | State::Completed), "{settling:?}");
}

#[tokio::test]
async fn a_retry_after_is_obeyed() {
    let world = quick(1.0).await;
    let name = begin_endless(&world).await;
    let throttle = FaultKind::Throttle { retry_after: Some(3) };
    world.sandbox.inject("connect", Fault::new(SUMMARY, throttle).times(1)).unwrap();
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&name]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let after_throttle = loop {
        stream.beat().await;
        let calls = world.sandbox.calls("connect", SUMMARY);
        if let Some(at) = calls.iter().position(|call| call.status == Some(429))
            && let Some(next) = calls.get(at + 1)
        {
            break next.at.duration_since(calls[at].at);
        }
    };
    assert!(after_throttle >= Duration::from_millis(2900), "{after_throttle:?}");
    finish(&world, &name);
    stream.until(|update| shown(update).done && shown(update).condition.is_none()).await;
}

#[tokio::test]
async fn a_forced_read_of_a_throttled_upstream_says_when_to_come_back() {
    let world = quick(1.0).await;
    let name = start_elsewhere(&world, "connect", "timeout");
    let known =
        world.client.clone().get_execution(forced(&name)).await.unwrap().into_inner().execution.unwrap();
    let throttle = FaultKind::Throttle { retry_after: Some(30) };
    world.sandbox.inject("connect", Fault::new(SUMMARY, throttle)).unwrap();
    let with_deadline = || {
        let mut request = Request::new(forced(&name));
        request.metadata_mut().insert("grpc-timeout", "5S".parse().unwrap());
        request
    };
    let status = world.client.clone().get_execution(with_deadline()).await.unwrap_err();
    assert_eq!(told(&status), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(delay >= Duration::from_secs(25), "{delay:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["backend"], "backends/connect");
    assert_eq!(info.metadata["upstreamHttpStatus"], "429");

    // Upstream is left alone until then.
    let calls = world.calls("connect", SUMMARY);
    let status = world.client.clone().get_execution(with_deadline()).await.unwrap_err();
    assert_eq!(told(&status), (Code::ResourceExhausted, "BACKEND_BUDGET_EXHAUSTED".to_owned()));
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(world.calls("connect", SUMMARY), calls);
    // A read that takes what is known is answered.
    let wait = v1::WaitExecutionRequest { name: name.clone(), timeout: NOW, after_revision: None };
    let seen = world.client.clone().wait_execution(wait).await.unwrap().into_inner().execution.unwrap();
    assert_eq!((state(&seen), verdict(&seen)), (state(&known), Verdict::Pending));
    assert_eq!(seen.condition.unwrap().reason, "UPSTREAM_THROTTLED");
}

#[tokio::test]
async fn forced_reads_at_the_same_time_are_one_upstream_call() {
    let world = quick(1.0).await;
    let name = start_elsewhere(&world, "connect", "timeout");
    world.sandbox.inject("connect", Fault::new(SUMMARY, FaultKind::Delay { ms: 1500 })).unwrap();
    let reads = join_all((0..30).map(|_| {
        let (mut client, request) = (world.client.clone(), forced(&name));
        async move { client.get_execution(request).await.unwrap().into_inner().execution.unwrap() }
    }))
    .await;
    assert_eq!(world.calls("connect", SUMMARY), 1);
    assert!(reads.iter().all(|read| read == &reads[0]));
}

#[tokio::test]
async fn a_short_deadline_of_one_reader_is_not_another_readers() {
    let world = quick(1.0).await;
    let name = start_elsewhere(&world, "connect", "timeout");
    world.sandbox.inject("connect", Fault::new(SUMMARY, FaultKind::Delay { ms: 1500 })).unwrap();
    let mut hasty = Request::new(forced(&name));
    hasty.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let (mut one, mut other) = (world.client.clone(), world.client.clone());
    let (hasty, patient) = tokio::join!(one.get_execution(hasty), other.get_execution(forced(&name)));
    // The client's own clock may be the first to call it off.
    assert!(matches!(hasty.unwrap_err().code(), Code::DeadlineExceeded | Code::Cancelled));
    assert_eq!(patient.unwrap().into_inner().execution.unwrap().name, name);
}

#[tokio::test]
async fn what_was_followed_for_too_long_is_lost() {
    let adjust = |backends: &mut Vec<testgate::config::backend::BackendConfig>| {
        for backend in backends {
            hurry(backend);
            backend.tracking_deadline = Duration::from_secs(3600);
        }
    };
    let world = unthrottled(World::with(Setup { adjust, ..hurried(1.0) }).await);
    let name = begin_endless(&world).await;
    let mut stream = Stream::open(&world, watching([&name])).await.unwrap();
    stream.opening().await;
    world.skew.forward(Duration::from_secs(3700));
    let lost = stream.until(|update| shown(update).done).await.execution.unwrap();
    assert_eq!((state(&lost), verdict(&lost)), (State::Lost, Verdict::Inconclusive));
    assert_eq!(lost.failure.unwrap().kind(), v1::failure_reason::Kind::Lost);
    finish(&world, &name);
    let calls = world.calls("connect", SUMMARY);
    let again =
        world.client.clone().get_execution(forced(&name)).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(state(&again), State::Lost, "a final state is never left");
    assert_eq!(world.calls("connect", SUMMARY), calls);
}

#[tokio::test]
async fn row_30_an_unknown_status_is_kept_verbatim_and_decides_nothing() {
    let world = quick(1.0).await;
    let name = begin_endless(&world).await;
    let mut stream = Stream::open(&world, watching([&name])).await.unwrap();
    let paused = json!({"command": "set", "execution": id_of(&name), "status": "PAUSED"});
    world.control("connect", paused);
    let unknown = stream.until(|update| shown(update).state() == State::UpstreamUnknown).await;
    let unknown = unknown.execution.unwrap();
    assert_eq!(
        (unknown.upstream_status.as_str(), verdict(&unknown), unknown.done),
        ("PAUSED", Verdict::Pending, false)
    );
    finish(&world, &name);
    world.client.clone().get_execution(forced(&name)).await.unwrap();
    let ended = stream.until(|update| shown(update).done).await.execution.unwrap();
    assert_eq!(verdict(&ended), Verdict::Passed);
}

#[tokio::test]
async fn row_32_a_status_that_goes_backwards_changes_nothing() {
    let world = quick(20.0).await;
    let ended = world.run("connect", "greeting").await;
    world.control(
        "connect",
        json!({"command": "set", "execution": id_of(&ended.name), "status": "IN_PROGRESS"}),
    );
    let again = world.client.clone().get_execution(forced(&ended.name)).await.unwrap().into_inner();
    assert_eq!(again.execution.unwrap(), ended);
    let listed =
        v1::ListExecutionsRequest { parent: "backends/connect/tests/-".to_owned(), ..Default::default() };
    let listed = world.client.clone().list_executions(listed).await.unwrap().into_inner();
    assert_eq!(listed.executions, [ended]);
}
