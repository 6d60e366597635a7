use testgate::backend::{Backend, BackendError, ErrorKind, ListHint, StartOptions, TestHint};
use testgate::model::{FailureKind, State, TestId, Verdict};
use testgate::sandbox::fault::{Fault, FaultKind};

use crate::support::{World, call, page, target, world};

fn id(number: u32) -> String {
    format!("c0ffee00-0000-4000-8000-{number:012}")
}

const ODD: &str = "odd/id with space & 100% \"quotes\" ünï✓";

async fn run(world: &World, test: &str) -> (State, Verdict, Option<FailureKind>) {
    let (target, started) = world.start(&world.connect, test).await;
    assert!(matches!(started.observation.state, State::Pending | State::Running));
    let (last, _) = world.follow(&world.connect, target).await;
    (last.state, last.verdict, last.failure.map(|failure| failure.kind))
}

#[tokio::test]
async fn every_default_test_reaches_its_verdict() {
    let world = world().await;
    for (test, expected) in [
        (id(1), (State::Completed, Verdict::Passed, None)),
        (id(2), (State::Completed, Verdict::Failed, Some(FailureKind::Assertion))),
        (id(3), (State::Completed, Verdict::Passed, None)),
        (id(4), (State::Completed, Verdict::Failed, Some(FailureKind::Timeout))),
        (id(6), (State::Errored, Verdict::Inconclusive, Some(FailureKind::UpstreamError))),
        (id(7), (State::Completed, Verdict::Failed, Some(FailureKind::Assertion))),
        (id(8), (State::Completed, Verdict::Failed, Some(FailureKind::Assertion))),
        (id(9), (State::Completed, Verdict::Passed, None)),
        (ODD.to_owned(), (State::Completed, Verdict::Passed, None)),
    ] {
        assert_eq!(run(&world, &test).await, expected, "{test}");
    }
}

#[tokio::test]
async fn a_failure_without_evidence_settles_for_a_minute() {
    let world = world().await;
    let (target, _) = world.start(&world.connect, &id(7)).await;
    let (last, seconds) = world.follow(&world.connect, target).await;
    let settled = world.now() - last.end_time.unwrap();
    assert!((60..=62).contains(&settled.whole_seconds()), "{settled} after {seconds} s");
}

#[tokio::test]
async fn times_are_sane_though_they_come_in_milliseconds() {
    let world = world().await;
    let begun = world.now();
    let (target, _) = world.start(&world.connect, &id(1)).await;
    let (last, _) = world.follow(&world.connect, target).await;
    let start = last.start_time.unwrap() - begun;
    assert!(start.whole_seconds().abs() <= 2, "{start}");
    assert_eq!(last.counts.unwrap().failed, Some(0));
    assert!(last.counts.unwrap().passed > Some(0) && !last.counts.unwrap().partial);
}

#[tokio::test]
async fn the_same_token_starts_once_and_a_lost_reply_is_asked_for_again() {
    let world = world().await;
    world
        .sandbox
        .inject("connect", Fault::new("StartTestCaseExecution", FaultKind::ResetAfter).times(1))
        .unwrap();
    let intent = world.intent(&world.connect, &id(1), "t1").await;
    let first = world.connect.start(&call(), &intent).await.unwrap().execution.unwrap();
    let again = world.connect.find_started(&call(), &intent).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].execution, first);
    let listed =
        world.connect.list_executions(&call(), None, &page(50, None), &ListHint::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn what_is_saved_only_can_not_be_started() {
    let world = world().await;
    let draft = TestId::new(&id(5)).unwrap();
    let error = world.connect.plan_start(&call(), &draft, &StartOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TestNotStartable);
    assert!(error.message.contains("SAVED"), "{error}");
}

#[tokio::test]
async fn a_stopped_execution_is_stopped() {
    let world = world().await;
    let (target, _) = world.start(&world.connect, &id(3)).await;
    world.pass(5);
    world.connect.stop(&call(), &target, "stop-1").await.unwrap();
    let (last, _) = world.follow(&world.connect, target).await;
    assert_eq!((last.state, last.verdict), (State::Stopped, Verdict::Inconclusive));
}

#[tokio::test]
async fn tests_are_listed_described_and_found_by_tag() {
    let world = world().await;
    let mut listed = Vec::new();
    let mut token = None;
    loop {
        let found = world.connect.list_tests(&call(), &page(3, token)).await.unwrap();
        listed.extend(found.items);
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 10);
    let odd = world.connect.get_test(&call(), &TestId::new(ODD).unwrap()).await.unwrap();
    assert_eq!(odd.upstream_labels.get("suite").map(String::as_str), Some("odd"));
    assert!(odd.payload.unwrap().starts_with('{'));
    let hint = TestHint { reads_labels: true, labels: vec![("suite".into(), "smoke".into())] };
    let found = world.connect.find_tests(&call(), &hint, &page(50, None)).await.unwrap();
    assert_eq!(found.items.len(), 2);
}

#[tokio::test]
async fn unfinished_executions_are_listed_queued_and_running() {
    let world = world().await;
    for number in 0..7 {
        let intent = world.intent(&world.connect, &id(3), &format!("t{number}")).await;
        world.connect.start(&call(), &intent).await.unwrap();
    }
    let (done, _) = world.start(&world.connect, &id(1)).await;
    world.pass(3);
    let hint = ListHint { unfinished_only: true, ..ListHint::default() };
    let mut states = Vec::new();
    let mut token = None;
    loop {
        let found = world.connect.list_executions(&call(), None, &page(2, token), &hint).await.unwrap();
        states.extend(found.items.iter().map(|row| row.observation.state));
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    let count = |state| states.iter().filter(|is| **is == state).count();
    assert_eq!((count(State::Running), count(State::Pending), states.len()), (5, 3, 8), "{states:?}");
    world.follow(&world.connect, done).await;
    let test = TestId::new(&id(1)).unwrap();
    let all =
        world.connect.list_executions(&call(), Some(&test), &page(50, None), &ListHint::default()).await;
    assert_eq!(all.unwrap().items.len(), 1);
}

#[tokio::test]
async fn records_are_items_but_the_completion_is_not() {
    let world = world().await;
    let (target, _) = world.start(&world.connect, &id(8)).await;
    world.follow(&world.connect, target.clone()).await;
    world.pass(20);
    let mut items = Vec::new();
    let mut token = None;
    loop {
        let found = world.connect.list_items(&call(), &target, None, &page(2, token)).await.unwrap();
        items.extend(found.items);
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    let failed = items.iter().filter(|item| item.verdict == Verdict::Failed).count();
    assert!(items.len() >= 3 && failed == 1, "{items:#?}");
    assert!(items.iter().all(|item| item.payload.as_deref().is_some_and(|payload| payload.starts_with('{'))));
    let text = format!("{items:?}");
    assert!(!text.contains("COMPLETION"), "{text}");
    let mut ids: Vec<_> = items.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len());
}

async fn failing(kind: FaultKind) -> BackendError {
    let world = world().await;
    let (target, _) = world.start(&world.connect, &id(1)).await;
    world.sandbox.inject("connect", Fault::new("GetTestCaseExecutionSummary", kind)).unwrap();
    world.connect.observe(&call(), &target).await.unwrap_err()
}

#[tokio::test]
async fn faults_are_told_apart() {
    let status = |status| FaultKind::Status { status };
    for (fault, kind) in [
        (FaultKind::Throttle { retry_after: Some(40) }, ErrorKind::UpstreamThrottled),
        (FaultKind::Quota, ErrorKind::UpstreamQuotaExceeded),
        (status(500), ErrorKind::UpstreamInternal),
        (FaultKind::Html { status: 502 }, ErrorKind::UpstreamInternal),
        (FaultKind::Html { status: 200 }, ErrorKind::UpstreamInvalidResponse),
        (FaultKind::Truncate, ErrorKind::UpstreamUnreachable),
        (FaultKind::WrongJson, ErrorKind::UpstreamInvalidResponse),
        (FaultKind::ResetBefore, ErrorKind::UpstreamUnreachable),
        (FaultKind::Redirect { location: "http://127.0.0.1:9/".into() }, ErrorKind::UpstreamRedirected),
    ] {
        assert_eq!(failing(fault.clone()).await.kind, kind, "{fault:?}");
    }
}

#[tokio::test]
async fn an_execution_under_another_test_is_not_found() {
    let world = world().await;
    let (started, _) = world.start(&world.connect, &id(1)).await;
    let error = world.connect.observe(&call(), &target(&id(2), &started.execution)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::UpstreamNotFound);
    assert!(error.resource.unwrap().1.starts_with("backends/connect/tests/"));
}
