//! The main job: list, start, follow to a verdict, read what is left behind.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use testgate::config::backend::SystemConfig;
use testgate::proto::v1::execution::{self, State};
use testgate::proto::v1::failure_reason::Kind as FailureKind;
use testgate::proto::v1::result_item::Kind as ItemKind;
use testgate::proto::v1::{self, Verdict};
use testgate::sandbox::openmetadata::seed;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::rig::{hurried, hurry, quick, unthrottled};
use crate::support::{Setup, World, state, told, verdict};

#[tokio::test]
async fn one_request_starts_any_kind_of_test_and_a_stream_shows_its_verdict() {
    let world = World::start().await;
    let tests = [("connect", "greeting"), ("lex", "booking"), ("quality", "Orders, daily")];
    join_all(tests.map(async |(backend, test)| {
        let ended = world.run(backend, test).await;
        let seen = (state(&ended), verdict(&ended));
        assert_eq!(seen, (State::Completed, Verdict::Passed), "{backend}/{test}: {ended:?}");
        assert!(ended.done);
        assert!(ended.counts.unwrap().total.unwrap() > 0, "{backend}/{test}");
        let items = items(&world, &ended.name, ItemKind::Unspecified).await.unwrap();
        assert!(!items.is_empty(), "{backend}/{test} has no items");
    }))
    .await;
}

/// How a test of the sandbox ends: state, verdict, kind of failure, counts (total, passed, failed, errored).
type Ending = (State, Verdict, FailureKind, [Option<i32>; 4]);

const NO_FAILURE: FailureKind = FailureKind::Unspecified;

fn ending(execution: &v1::Execution) -> Ending {
    let counts = execution.counts.unwrap_or_default();
    let failure = execution.failure.as_ref().map_or(NO_FAILURE, v1::FailureReason::kind);
    (
        state(execution),
        verdict(execution),
        failure,
        [counts.total, counts.passed, counts.failed, counts.errored],
    )
}

async fn assert_endings(world: &World, backend: &str, rows: &[(&str, Ending)]) {
    let ended = join_all(rows.iter().map(|(test, _)| world.run(backend, test))).await;
    let seen: Vec<_> = rows.iter().zip(&ended).map(|((test, _), ended)| (*test, ending(ended))).collect();
    for (seen, expected) in seen.iter().zip(rows) {
        assert_eq!(seen, expected, "{backend}");
    }
    for execution in &ended {
        assert!(execution.done && execution.condition.is_none(), "{execution:?}");
        assert!(execution.create_time.is_some() && execution.end_time.is_some(), "{execution:?}");
        assert_eq!(execution.failure.is_none(), verdict(execution) == Verdict::Passed, "{execution:?}");
        assert!(execution.failure.as_ref().is_none_or(|failure| !failure.messages.is_empty()));
    }
}

#[tokio::test]
async fn every_connect_test_of_the_sandbox_ends_as_its_description_says() {
    use State::{Completed, Errored};
    use Verdict::{Failed, Inconclusive, Passed};
    let world = quick(20.0).await;
    let counts = |total, passed, failed| [Some(total), Some(passed), Some(failed), None];
    let rows = [
        ("greeting", (Completed, Passed, NO_FAILURE, counts(4, 4, 0))),
        ("holiday-closure", (Completed, Failed, FailureKind::Assertion, counts(5, 4, 1))),
        ("slow-transfer", (Completed, Passed, NO_FAILURE, counts(4, 4, 0))),
        ("timeout", (Completed, Failed, FailureKind::Timeout, counts(2, 1, 0))),
        ("broken-init", (Errored, Inconclusive, FailureKind::UpstreamError, counts(0, 0, 0))),
        ("no-observations", (Completed, Failed, FailureKind::Assertion, counts(0, 0, 0))),
        ("late-records", (Completed, Failed, FailureKind::Assertion, counts(3, 2, 1))),
        ("chat-handover", (Completed, Passed, NO_FAILURE, counts(4, 4, 0))),
        ("odd: name/with \"everything\" 100% ✓", (Completed, Passed, NO_FAILURE, counts(4, 4, 0))),
    ];
    assert_endings(&world, "connect", &rows).await;
}

#[tokio::test]
async fn row_29_every_lex_test_of_the_sandbox_ends_as_its_description_says() {
    use State::{Completed, Errored};
    use Verdict::{Failed, Inconclusive, Passed};
    let world = quick(20.0).await;
    let all = |total| [Some(total), Some(total), Some(0), Some(0)];
    let rows = [
        ("booking", (Completed, Passed, NO_FAILURE, all(6))),
        (
            "booking-mismatch",
            (Completed, Failed, FailureKind::Assertion, [Some(6), Some(4), Some(2), Some(0)]),
        ),
        (
            "agent-errors",
            (Completed, Inconclusive, FailureKind::UpstreamError, [Some(6), Some(5), Some(0), Some(1)]),
        ),
        ("empty", (Completed, Inconclusive, FailureKind::ResultUnavailable, all(0))),
        ("broken-bot", (Errored, Inconclusive, FailureKind::UpstreamError, [None; 4])),
        ("slow", (Completed, Passed, NO_FAILURE, all(40))),
        ("late-results", (Completed, Passed, NO_FAILURE, all(6))),
        ("audio-booking", (Completed, Passed, NO_FAILURE, all(6))),
    ];
    assert_endings(&world, "lex", &rows).await;
}

#[tokio::test]
async fn every_openmetadata_pipeline_of_the_sandbox_ends_as_its_description_says() {
    use State::{Completed, Errored};
    use Verdict::{Failed, Inconclusive, Passed};
    let adjust = |backends: &mut Vec<_>| backends.iter_mut().for_each(hurry);
    let world = World::with(Setup { adjust, ..Setup::default() }).await;
    let counts = |total, passed, failed, errored| [Some(total), Some(passed), Some(failed), Some(errored)];
    let rows = [
        ("Orders, daily", (Completed, Passed, NO_FAILURE, counts(4, 4, 0, 0))),
        ("Orders, critical", (Completed, Passed, NO_FAILURE, counts(2, 2, 0, 0))),
        ("Orders table", (Completed, Passed, NO_FAILURE, counts(4, 4, 0, 0))),
        ("Customers, daily", (Completed, Failed, FailureKind::Assertion, counts(2, 1, 1, 0))),
        ("Payments, daily", (Completed, Inconclusive, FailureKind::UpstreamError, counts(2, 1, 0, 1))),
        ("Odd names, nightly", (Completed, Passed, NO_FAILURE, counts(7, 7, 0, 0))),
        ("Late, changes its mind", (Completed, Inconclusive, FailureKind::UpstreamError, counts(1, 1, 0, 0))),
        ("Breaks", (Errored, Inconclusive, FailureKind::UpstreamError, [None; 4])),
    ];
    assert_endings(&world, "quality", &rows).await;
}

async fn refused_start(world: &World, parent: &str) -> Status {
    let request = v1::StartExecutionRequest { parent: parent.to_owned(), ..Default::default() };
    world.client.clone().start_execution(request).await.unwrap_err()
}

#[tokio::test]
async fn what_cant_start_says_so_in_the_list_and_when_it_is_started() {
    let world = quick(1.0).await;
    for (backend, test, why) in [
        ("connect", "draft-menu", "SAVED"),
        ("lex", "importing", "Importing"),
        ("lex", "pending-annotation", "PendingAnnotation"),
        ("quality", "Drafts, not deployed", ""),
        ("quality", "Drafts, switched off", ""),
    ] {
        let test = world.test(backend, test).await;
        // A list may not know; the test itself always does.
        let get = v1::GetTestRequest { name: test.name.clone() };
        let got = world.client.clone().get_test(get).await.unwrap().into_inner().test.unwrap();
        assert_eq!(got.startable, Some(false), "{}", test.display_name);
        assert!(got.not_startable_reason.contains(why) && !got.not_startable_reason.is_empty(), "{got:?}");
        let status = refused_start(&world, &test.name).await;
        assert_eq!(
            told(&status),
            (Code::FailedPrecondition, "TEST_NOT_STARTABLE".to_owned()),
            "{}",
            test.name
        );
    }
    let case = format!("backends/quality/tests/case-{}", seed::CASE_ROW_COUNT);
    let status = refused_start(&world, &case).await;
    assert_eq!(told(&status), (Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED".to_owned()));
    assert_eq!(status.get_details_error_info().unwrap().metadata["backend"], "backends/quality");
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 0);
    assert_eq!(world.calls("lex", "StartTestExecution"), 0);
}

async fn items(world: &World, parent: &str, kind: ItemKind) -> Result<Vec<v1::ResultItem>, Status> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListResultItemsRequest {
            parent: parent.to_owned(),
            kind: kind.into(),
            page_size: 3,
            page_token,
            ..Default::default()
        };
        let page = world.client.clone().list_result_items(request).await?.into_inner();
        assert!(page.result_items.len() <= 3);
        all.extend(page.result_items);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn verdicts(items: &[v1::ResultItem]) -> HashMap<Verdict, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item.verdict()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_connect_executions_items_are_its_observations() {
    let world = quick(20.0).await;
    let ended = world.run("connect", "late-records").await;
    world.sandbox.clock().advance(Duration::from_secs(10));
    let found = items(&world, &ended.name, ItemKind::Unspecified).await.unwrap();
    assert!(found.iter().all(|item| item.kind() == ItemKind::Observation));
    let counts = verdicts(&found);
    assert_eq!(counts[&Verdict::Failed], 1, "{found:?}");
    let odd = found.iter().find(|item| !item.payload_json.contains("OBSERVATION"));
    assert!(odd.is_some(), "the record of an unknown type is missing: {found:?}");
    for item in &found {
        assert!(item.name.starts_with(&format!("{}/resultItems/", ended.name)), "{}", item.name);
        assert!(serde_json::from_str::<serde_json::Value>(&item.payload_json).is_ok());
    }
    let filtered = v1::ListResultItemsRequest {
        parent: ended.name.clone(),
        filter: "verdict = FAILED".to_owned(),
        ..Default::default()
    };
    let filtered = world.client.clone().list_result_items(filtered).await.unwrap().into_inner();
    assert_eq!(filtered.result_items.len(), 1);

    let artifacts = v1::ListArtifactsRequest { parent: ended.name, ..Default::default() };
    let status = world.client.clone().list_artifacts(artifacts).await.unwrap_err();
    assert_eq!(told(&status), (Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED".to_owned()));
}

#[tokio::test]
async fn a_lex_execution_has_five_levels_of_items_and_downloads_once_done() {
    let world = quick(20.0).await;
    let started = world.begin("lex", "booking-mismatch").await;
    let artifacts = || v1::ListArtifactsRequest { parent: started.name.clone(), ..Default::default() };
    let status = world.client.clone().list_artifacts(artifacts()).await.unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "EXECUTION_NOT_DONE".to_owned()));
    world.follow(&started.name).await;

    let levels = [
        (ItemKind::Overall, 2),
        (ItemKind::Conversation, 6),
        (ItemKind::Intent, 2),
        (ItemKind::Slot, 2),
        (ItemKind::Utterance, 18),
    ];
    for (kind, expected) in levels {
        let found = items(&world, &started.name, kind).await.unwrap();
        assert_eq!(found.len(), expected, "{kind:?}");
        assert!(found.iter().all(|item| item.kind() == kind), "{kind:?}");
        let names: std::collections::HashSet<_> = found.iter().map(|item| &item.name).collect();
        assert_eq!(names.len(), expected, "{kind:?} has names that are not unique");
    }
    let conversations = items(&world, &started.name, ItemKind::Unspecified).await.unwrap();
    assert!(conversations.iter().all(|item| item.kind() == ItemKind::Conversation));
    assert_eq!(verdicts(&conversations), HashMap::from([(Verdict::Passed, 4), (Verdict::Failed, 2)]));

    let found = world.client.clone().list_artifacts(artifacts()).await.unwrap().into_inner();
    assert!(!found.artifacts.is_empty());
    assert!(found.artifacts.iter().all(|artifact| artifact.uri.starts_with("http")));
}

#[tokio::test]
async fn a_pipeline_runs_items_are_the_results_of_its_cases() {
    let world = quick(1.0).await;
    let ended = world.run("quality", "Customers, daily").await;
    let found = items(&world, &ended.name, ItemKind::Unspecified).await.unwrap();
    assert!(found.iter().all(|item| item.kind() == ItemKind::TestCase));
    assert_eq!(verdicts(&found), HashMap::from([(Verdict::Passed, 1), (Verdict::Failed, 1)]));
    let Some(execution::Details::Openmetadata(details)) = &ended.details else { panic!("{ended:?}") };
    assert!(details.fully_qualified_name.contains("customers_daily"), "{details:?}");
    assert!(!details.run_id.is_empty());

    let artifacts = v1::ListArtifactsRequest { parent: ended.name, ..Default::default() };
    let status = world.client.clone().list_artifacts(artifacts).await.unwrap_err();
    assert_eq!(told(&status), (Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED".to_owned()));
}

#[tokio::test]
async fn get_test_shows_the_upstream_resource_and_lists_do_not() {
    let world = quick(1.0).await;
    let tests = [
        ("connect", "greeting", "Name"),
        ("lex", "booking", "testSetName"),
        ("quality", "Orders, daily", "name"),
    ];
    for (backend, test, member) in tests {
        let listed = world.test(backend, test).await;
        assert!(listed.payload_json.is_empty() && !listed.payload_omitted);
        let get = v1::GetTestRequest { name: listed.name.clone() };
        let got = world.client.clone().get_test(get).await.unwrap().into_inner().test.unwrap();
        let payload: serde_json::Value = serde_json::from_str(&got.payload_json).unwrap();
        assert!(
            payload.pointer(&format!("/{member}")).is_some() || got.payload_json.contains(member),
            "{payload}"
        );
        assert_eq!(got.startable, Some(true), "{backend}");
        assert_eq!(got.display_name, test);
        assert!(got.capabilities.is_some());
    }
    for parent in ["connect/tests/nope", "lex/tests/NOPE000000", "quality/tests/nope"] {
        let get = v1::GetTestRequest { name: format!("backends/{parent}") };
        let status = world.client.clone().get_test(get).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{parent}: {status:?}");
        assert!(status.get_details_resource_info().is_some(), "{parent}");
    }
}

#[tokio::test]
async fn validate_only_says_what_would_start_and_starts_nothing() {
    let world = quick(1.0).await;
    let parent = world.test("lex", "booking").await.name;
    let request = v1::StartExecutionRequest {
        parent: parent.clone(),
        request_id: "trial".to_owned(),
        labels: HashMap::from([("build".to_owned(), "42".to_owned())]),
        validate_only: true,
        ..Default::default()
    };
    let trial = world.client.clone().start_execution(request.clone()).await.unwrap().into_inner();
    let planned = trial.execution.unwrap();
    assert_eq!(planned.name, "");
    assert_eq!(planned.labels["build"], "42");
    let Some(execution::Details::Lex(details)) = planned.details else { panic!("no details") };
    assert_eq!(details.target.unwrap().bot_id, "BOT0000001");
    assert_eq!(world.calls("lex", "StartTestExecution"), 0);

    // The id is still free, for other parameters too.
    let real = v1::StartExecutionRequest { validate_only: false, labels: HashMap::new(), ..request };
    let real = world.client.clone().start_execution(real).await.unwrap().into_inner();
    assert!(!real.deduplicated);
    let draft = world.test("connect", "draft-menu").await.name;
    let draft = v1::StartExecutionRequest { parent: draft, validate_only: true, ..Default::default() };
    let status = world.client.clone().start_execution(draft).await.unwrap_err();
    assert_eq!(told(&status).1, "TEST_NOT_STARTABLE");
}

#[tokio::test]
async fn an_execution_is_found_under_its_own_test_only() {
    let world = quick(1.0).await;
    let started = world.begin("lex", "booking").await;
    let id = crate::rig::id_of(&started.name);
    let get = async |name: String| {
        world.client.clone().get_execution(v1::GetExecutionRequest { name, ..Default::default() }).await
    };
    // A fresh gateway has never seen it.
    let other = unthrottled(World::over(world.sandbox.clone(), hurried(1.0)).await);
    let loose = v1::GetExecutionRequest {
        name: format!("backends/lex/tests/-/executions/{id}"),
        ..Default::default()
    };
    let found = other.client.clone().get_execution(loose).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(found.name, started.name);
    let status = get(format!("backends/lex/tests/BOOKINGBAD/executions/{id}")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(told(&status).1, "RESOURCE_NOT_FOUND");
    let status = get(format!("backends/nobody/tests/BOOKINGBAD/executions/{id}")).await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned()));
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, "backends/nobody");
}

#[tokio::test]
async fn what_was_listed_as_ended_still_tells_its_counts() {
    let world = quick(20.0).await;
    let name = crate::rig::start_elsewhere(&world, "connect", "greeting");
    let id = crate::rig::id_of(&name).to_owned();
    let finish = serde_json::json!({"command": "finish", "execution": id, "outcome": "passed"});
    world.control("connect", finish);
    let list =
        v1::ListExecutionsRequest { parent: "backends/connect/tests/-".to_owned(), ..Default::default() };
    let listed = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
    assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    assert_eq!(verdict(&listed[0]), Verdict::Passed);
    let get = v1::GetExecutionRequest { name, ..Default::default() };
    let got = world.client.clone().get_execution(get).await.unwrap().into_inner().execution.unwrap();
    assert!(got.done && got.counts.is_some_and(|counts| counts.total.is_some()), "{got:?}");
    assert!(got.revision > listed[0].revision);
}

#[tokio::test]
async fn a_settling_run_is_believed_after_its_settle_time_and_not_before() {
    let adjust = |backends: &mut Vec<testgate::config::backend::BackendConfig>| {
        for backend in backends {
            hurry(backend);
            if let SystemConfig::OpenMetadata(openmetadata) = &mut backend.system {
                openmetadata.settle_time = Duration::from_secs(3600);
            }
        }
    };
    let world = World::with(Setup { adjust, ..Setup::default() }).await;
    let started = world.begin("quality", "Orders, daily").await;
    let mut stream = crate::rig::Stream::open(&world, crate::rig::watching([&started.name])).await.unwrap();
    stream.until(|update| crate::rig::shown(update).state() == State::Settling).await;
    let get = v1::GetExecutionRequest {
        name: started.name.clone(),
        max_staleness: Some(prost_types::Duration::default()),
    };
    let got = world.client.clone().get_execution(get).await.unwrap().into_inner().execution.unwrap();
    assert_eq!((state(&got), verdict(&got), got.done), (State::Settling, Verdict::Pending, false));
    world.skew.forward(Duration::from_secs(3601));
    let ended = stream.until(|update| crate::rig::shown(update).done).await.execution.unwrap();
    assert_eq!((state(&ended), verdict(&ended)), (State::Completed, Verdict::Passed));
}
