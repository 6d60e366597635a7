//! Stopping: what can be stopped, with whose consent, and once for a request id.

use std::time::Duration;

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::Verdict;
use testgate::proto::v1::execution::State;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Setup, World, blamed, state, told, verdict};

const SLOW: &str = "Takes a minute";

async fn stop(world: &World, name: &str, id: &str) -> Result<v1::Execution, Status> {
    send(world, request(name, id)).await
}

fn request(name: &str, id: &str) -> v1::StopExecutionRequest {
    v1::StopExecutionRequest { name: name.to_owned(), request_id: id.to_owned(), ..Default::default() }
}

/// With consent to stop every unfinished run of the test.
fn consenting(name: &str, id: &str) -> v1::StopExecutionRequest {
    v1::StopExecutionRequest { allow_test_scope: true, ..request(name, id) }
}

async fn send(world: &World, request: v1::StopExecutionRequest) -> Result<v1::Execution, Status> {
    let answer = world.client.clone().stop_execution(request).await?;
    Ok(answer.into_inner().execution.unwrap())
}

async fn last(world: &World, name: &str) -> v1::Execution {
    world.follow(name).await.pop().unwrap()
}

/// Waits until the gateway knows which run is its own.
async fn correlated(world: &World, name: &str) -> v1::Execution {
    let mut revision = 0;
    loop {
        let wait = v1::WaitExecutionRequest {
            name: name.to_owned(),
            after_revision: Some(revision),
            timeout: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
        };
        let execution =
            world.client.clone().wait_execution(wait).await.unwrap().into_inner().execution.unwrap();
        if state(&execution) == State::Running && !execution.upstream_id.is_empty() {
            return execution;
        }
        assert!(!execution.done && execution.revision > revision, "{execution:?}");
        revision = execution.revision;
    }
}

fn kubernetes(world: &World) {
    world.control("openmetadata", json!({"do": "set", "runner": "kubernetes"}));
}

#[tokio::test]
async fn a_connect_execution_is_stopping_and_then_stopped() {
    let world = World::start().await;
    let other = world.begin("connect", "slow-transfer").await;
    let started = world.begin("connect", "slow-transfer").await;
    let request = v1::StopExecutionRequest { reason: "wrong build".into(), ..request(&started.name, "stop") };
    let stopping = send(&world, request).await.unwrap();
    assert_eq!(state(&stopping), State::Stopping, "{stopping:?}");
    assert!(!stopping.done && stopping.stop_request_time.is_some() && stopping.revision > started.revision);
    assert_eq!(stopping.stop_reason, "wrong build");
    assert!(!stopping.stop_requester.is_empty());

    let stopped = last(&world, &started.name).await;
    assert_eq!((state(&stopped), verdict(&stopped)), (State::Stopped, Verdict::Inconclusive));
    assert_eq!((&stopped.stop_reason, &stopped.request_id), (&stopping.stop_reason, &started.request_id));
    let spared = v1::GetExecutionRequest { name: other.name, ..Default::default() };
    let spared = world.client.clone().get_execution(spared).await.unwrap().into_inner().execution.unwrap();
    assert!(!spared.done && spared.stop_request_time.is_none(), "Connect stops one execution only");
}

#[tokio::test]
async fn what_is_done_stays_as_it_is() {
    let world = World::start().await;
    for (backend, test) in [("connect", "greeting"), ("quality", "Orders, daily")] {
        let done = world.run(backend, test).await;
        // Consent is not needed where nothing is stopped.
        let answer = stop(&world, &done.name, "late").await.unwrap();
        assert_eq!(answer, done, "{backend}");
    }
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 0);
    assert_eq!(world.calls("openmetadata", "Kill"), 0);
}

#[tokio::test]
async fn lex_cannot_stop_even_what_is_done() {
    let world = World::start().await;
    let started = world.begin("lex", "booking").await;
    let running = stop(&world, &started.name, "").await.unwrap_err();
    last(&world, &started.name).await;
    let done = stop(&world, &started.name, "").await.unwrap_err();
    for refused in [running, done] {
        assert_eq!(told(&refused), (Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED".into()));
        assert!(refused.get_details_retry_info().is_none());
    }
}

#[tokio::test]
async fn a_result_of_a_case_is_done_and_cannot_fail_to_stop() {
    let world = World::start().await;
    let parent = world.test("quality", "email_format").await.name;
    let list = v1::ListExecutionsRequest { parent, ..Default::default() };
    let rows = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
    let answer = stop(&world, &rows[0].name, "").await.unwrap();
    assert!(answer.done);
}

#[tokio::test]
async fn openmetadata_stops_a_whole_test_and_asks_for_consent() {
    tokio::join!(stop_a_whole_test(true), stop_a_whole_test(false));
}

async fn stop_a_whole_test(airflow: bool) {
    let world = World::start().await;
    if !airflow {
        kubernetes(&world);
    }
    let first = world.begin("quality", SLOW).await;
    let second = world.begin("quality", SLOW).await;
    let refused = stop(&world, &first.name, "stop").await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "STOP_SCOPE_NOT_ALLOWED".into()));
    assert_eq!(world.calls("openmetadata", "Kill"), 0);
    for one in [&first, &second] {
        correlated(&world, &one.name).await;
    }

    let stopping = send(&world, consenting(&first.name, "stop")).await.unwrap();
    assert_eq!(state(&stopping), State::Stopping);
    for one in [&first, &second] {
        let ended = last(&world, &one.name).await;
        assert_eq!(
            (state(&ended), verdict(&ended)),
            (State::Stopped, Verdict::Inconclusive),
            "airflow {airflow}: {ended:?}"
        );
        assert!(ended.stop_request_time.is_some(), "it counts as stopped here");
    }
    assert_eq!(world.calls("openmetadata", "Kill"), 1);
}

#[tokio::test]
async fn a_run_of_somebody_else_counts_as_stopped_here_once_it_is_followed() {
    let world = World::start().await;
    let ours = world.begin("quality", SLOW).await;
    correlated(&world, &ours.name).await;
    let run = world.control("openmetadata", json!({"do": "start_run", "pipeline": "late_slow"}));
    let theirs = format!(
        "{}/executions/{}",
        ours.name.split("/executions/").next().unwrap(),
        run["run"].as_str().unwrap()
    );
    let get = v1::GetExecutionRequest { name: theirs.clone(), ..Default::default() };
    world.client.clone().get_execution(get).await.unwrap();

    send(&world, consenting(&ours.name, "stop")).await.unwrap();
    let ended = last(&world, &theirs).await;
    assert_eq!((state(&ended), verdict(&ended)), (State::Stopped, Verdict::Inconclusive), "{ended:?}");
}

#[tokio::test]
async fn a_repeat_with_the_same_id_stops_nothing_else() {
    let world = World::start().await;
    let first = world.begin("quality", SLOW).await;
    correlated(&world, &first.name).await;
    send(&world, consenting(&first.name, "stop")).await.unwrap();
    let survivor = world.begin("quality", SLOW).await;
    for _ in 0..2 {
        let repeat = send(&world, consenting(&first.name, "stop")).await.unwrap();
        assert!(repeat.stop_request_time.is_some());
    }
    last(&world, &first.name).await;
    send(&world, consenting(&first.name, "stop")).await.unwrap();
    assert_eq!(world.calls("openmetadata", "Kill"), 1);
    let survivor = correlated(&world, &survivor.name).await;
    assert!(survivor.stop_request_time.is_none(), "{survivor:?}");
}

#[tokio::test]
async fn twenty_concurrent_stops_with_one_id_kill_once() {
    let world = World::start().await;
    let started = world.begin("quality", SLOW).await;
    correlated(&world, &started.name).await;
    let stops = (0..20).map(|_| send(&world, consenting(&started.name, "stop")));
    for answer in futures_util::future::join_all(stops).await {
        assert!(answer.unwrap().stop_request_time.is_some());
    }
    assert_eq!(world.calls("openmetadata", "Kill"), 1);
}

#[tokio::test]
async fn a_lost_reply_of_a_kill_is_an_unknown_outcome() {
    tokio::join!(
        lose_a_kill(FaultKind::ResetAfter, true),
        lose_a_kill(FaultKind::Truncate, true),
        lose_a_kill(FaultKind::Silent, false),
        lose_a_kill(FaultKind::Status { status: 500 }, false),
    );
}

async fn lose_a_kill(lost: FaultKind, happened: bool) {
    let world = World::with(Setup {
        adjust: |backends| {
            backends.iter_mut().for_each(|one| one.request_timeout = Duration::from_millis(400));
        },
        ..Setup::default()
    })
    .await;
    let started = world.begin("quality", SLOW).await;
    correlated(&world, &started.name).await;
    world.sandbox.inject("openmetadata", Fault::new("Kill", lost.clone()).times(1)).unwrap();
    let unknown = send(&world, consenting(&started.name, "stop")).await.unwrap_err();
    assert_eq!(told(&unknown), (Code::Unknown, "STOP_OUTCOME_UNKNOWN".into()), "{lost:?}: {unknown}");
    assert!(unknown.get_details_retry_info().is_none());
    assert_eq!(world.calls("openmetadata", "Kill"), 1, "{lost:?}");

    // The same request again settles it.
    send(&world, consenting(&started.name, "stop")).await.unwrap();
    let ended = last(&world, &started.name).await;
    assert_eq!(
        (state(&ended), verdict(&ended)),
        (State::Stopped, Verdict::Inconclusive),
        "{lost:?} {ended:?}"
    );
    if !happened {
        assert_eq!(world.calls("openmetadata", "Kill"), 2, "{lost:?}");
    }
}

#[tokio::test]
async fn a_lost_reply_of_connect_is_asked_again() {
    let world = World::start().await;
    let started = world.begin("connect", "slow-transfer").await;
    let fault = Fault::new("StopTestCaseExecution", FaultKind::ResetAfter).times(1);
    world.sandbox.inject("connect", fault).unwrap();
    let stopping = stop(&world, &started.name, "stop").await.unwrap();
    assert_eq!(state(&stopping), State::Stopping);
    assert_eq!(state(&last(&world, &started.name).await), State::Stopped);
}

#[tokio::test]
async fn an_execution_under_the_wrong_test_is_not_found() {
    let world = World::start().await;
    for (backend, test, wrong) in
        [("connect", "slow-transfer", "greeting"), ("quality", SLOW, "Orders, daily")]
    {
        if backend == "quality" {
            kubernetes(&world);
        }
        let started = world.begin(backend, test).await;
        let id = started.name.split("/executions/").nth(1).unwrap();
        let wrong = format!("{}/executions/{id}", world.test(backend, wrong).await.name);
        let missing = send(&world, consenting(&wrong, "")).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound, "{backend}: {missing}");
        let survivor = v1::GetExecutionRequest { name: started.name, ..Default::default() };
        let survivor = world.client.clone().get_execution(survivor).await.unwrap().into_inner();
        assert!(survivor.execution.unwrap().stop_request_time.is_none());
    }
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 0);
    assert_eq!(world.calls("openmetadata", "Kill"), 0);
}

#[tokio::test]
async fn a_stop_has_its_limits() {
    let world = World::start().await;
    let name = world.begin("connect", "slow-transfer").await.name;
    let long = v1::StopExecutionRequest { reason: "x".repeat(1025), ..request(&name, "") };
    assert_eq!(blamed(&send(&world, long).await.unwrap_err()), ["reason"]);
    assert_eq!(blamed(&stop(&world, &name, &"x".repeat(129)).await.unwrap_err()), ["request_id"]);
    assert_eq!(
        blamed(&stop(&world, "backends/connect/tests/-/executions/x", "").await.unwrap_err()),
        ["name"]
    );
    let unknown = stop(&world, "backends/nowhere/tests/x/executions/y", "").await.unwrap_err();
    assert_eq!(told(&unknown), (Code::NotFound, "RESOURCE_NOT_FOUND".into()));
    let fits = v1::StopExecutionRequest { reason: "x".repeat(1024), ..request(&name, "") };
    send(&world, fits).await.unwrap();
}
