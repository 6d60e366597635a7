//! Lists: pages of any size, merged over backends, filtered, settled, and each execution once.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::{ListExecutionsRequest, Verdict};
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::Code;

use crate::rig::{Stream, hurried, id_of, quick, shown, start_elsewhere, unthrottled, watching};
use crate::support::{World, blamed, told, verdict};

fn listing(parent: &str) -> ListExecutionsRequest {
    ListExecutionsRequest { parent: parent.to_owned(), ..Default::default() }
}

async fn page(world: &World, request: ListExecutionsRequest) -> v1::ListExecutionsResponse {
    world.client.clone().list_executions(request).await.unwrap().into_inner()
}

/// All pages of a list.
async fn all(world: &World, mut request: ListExecutionsRequest) -> Vec<v1::Execution> {
    let mut rows = Vec::new();
    loop {
        let found = page(world, request.clone()).await;
        let most = if request.page_size == 0 { 50 } else { request.page_size };
        assert!(found.executions.len() <= usize::try_from(most).unwrap());
        assert!(found.unreachable.is_empty(), "{:?}", found.unreachable);
        rows.extend(found.executions);
        request.page_token = found.next_page_token;
        if request.page_token.is_empty() {
            return rows;
        }
    }
}

fn names(rows: &[v1::Execution]) -> HashSet<&str> {
    let names: HashSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "an execution came twice");
    names
}

/// A world with many runs in Connect and Lex that were started elsewhere.
async fn crowded(connect: usize, lex: usize) -> (World, HashSet<String>) {
    let world = quick(1.0).await;
    world.control("connect", json!({"command": "limits", "running": 5, "accepted": 100_000}));
    let mut started = HashSet::new();
    for _ in 0..connect {
        started.insert(start_elsewhere(&world, "connect", "timeout"));
    }
    for _ in 0..lex {
        let name = start_elsewhere(&world, "lex", "slow");
        world.control("lex", json!({"command": "hang", "execution": id_of(&name)}));
        started.insert(name);
    }
    (world, started)
}

#[tokio::test]
async fn pages_of_any_size_hold_each_execution_once() {
    let (world, started) = crowded(230, 60).await;
    for (parent, page_size) in [
        ("backends/connect/tests/-", 1000),
        ("backends/connect/tests/-", 7),
        ("backends/lex/tests/-", 50),
        ("backends/lex/tests/SLOWSET001", 11),
        ("backends/-/tests/-", 1000),
        ("backends/-/tests/-", 99),
        ("backends/-/tests/-", 0),
    ] {
        let rows = all(&world, ListExecutionsRequest { page_size, ..listing(parent) }).await;
        let mine = started.iter().filter(|name| {
            let prefix = parent.split('/').nth(1).unwrap();
            prefix == "-" || name.starts_with(&format!("backends/{prefix}/"))
        });
        let seen = names(&rows);
        for name in mine.clone() {
            assert!(seen.contains(name.as_str()), "{parent} by {page_size} lacks {name}");
        }
        let elsewhere = rows.iter().filter(|row| !row.name.starts_with("backends/quality/")).count();
        assert_eq!(elsewhere, mine.count(), "{parent} by {page_size}");
    }
}

#[tokio::test]
async fn a_merged_list_names_the_backend_that_is_down_and_shows_the_others() {
    let (world, _) = crowded(3, 2).await;
    world.sandbox.inject("openmetadata", Fault::new("*", FaultKind::ResetBefore)).unwrap();
    let found = page(&world, ListExecutionsRequest { page_size: 100, ..listing("backends/-/tests/-") }).await;
    assert_eq!(found.unreachable, ["backends/quality"]);
    assert_eq!(found.executions.len(), 5);
    let tests =
        v1::ListTestsRequest { parent: "backends/-".to_owned(), page_size: 1000, ..Default::default() };
    let tests = world.client.clone().list_tests(tests).await.unwrap().into_inner();
    assert_eq!(tests.unreachable, ["backends/quality"]);
    assert_eq!(tests.tests.len(), 20);

    let status = world.client.clone().list_executions(listing("backends/quality/tests/-")).await.unwrap_err();
    assert_eq!(told(&status), (Code::Unavailable, "UPSTREAM_UNREACHABLE".to_owned()));
}

#[tokio::test]
async fn filters_select_by_state_verdict_labels_and_time() {
    let world = quick(20.0).await;
    let running = start_elsewhere(&world, "connect", "timeout");
    // Upstream lists what is queued and what runs apart, so a run that is between them may show twice.
    world.reach(&running, testgate::proto::v1::execution::State::Running).await;
    let parent = world.test("connect", "greeting").await.name;
    let labelled = v1::StartExecutionRequest {
        parent: parent.clone(),
        labels: HashMap::from([("build no".to_owned(), "42".to_owned())]),
        ..Default::default()
    };
    let labelled =
        world.client.clone().start_execution(labelled).await.unwrap().into_inner().execution.unwrap();
    world.follow(&labelled.name).await;
    let failed = world.run("connect", "holiday-closure").await;
    for (filter, expected) in [
        ("done = false", vec![&running]),
        ("done = true", vec![&labelled.name, &failed.name]),
        ("verdict = PASSED", vec![&labelled.name]),
        ("verdict = VERDICT_FAILED", vec![&failed.name]),
        ("done = true AND NOT verdict = PASSED", vec![&failed.name]),
        ("labels.\"build no\" = \"42\"", vec![&labelled.name]),
        ("NOT labels.\"build no\" = \"42\"", vec![&failed.name, &running]),
        ("upstream_labels.suite = regression", vec![&running]),
        ("end_time > \"2001-01-01T00:00:00Z\"", vec![&labelled.name, &failed.name]),
        ("create_time < \"2001-01-01T00:00:00Z\"", vec![]),
        ("(state = COMPLETED OR state = RUNNING) AND verdict != FAILED", vec![&labelled.name, &running]),
    ] {
        let request =
            ListExecutionsRequest { filter: filter.to_owned(), ..listing("backends/connect/tests/-") };
        let rows = all(&world, request).await;
        let expected: HashSet<_> = expected.into_iter().map(String::as_str).collect();
        assert_eq!(names(&rows), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_page_token_goes_with_its_arguments_and_with_nothing_else() {
    let (world, started) = crowded(9, 0).await;
    let request = ListExecutionsRequest { page_size: 4, ..listing("backends/connect/tests/-") };
    let first = page(&world, request.clone()).await;
    let page_token = first.next_page_token.clone();
    let next = ListExecutionsRequest { page_token: page_token.clone(), ..request };

    // Another page size is no other list.
    let rest = page(&world, ListExecutionsRequest { page_size: 1000, ..next.clone() }).await;
    assert_eq!(first.executions.len() + rest.executions.len(), started.len());

    let mut altered = page_token.clone().into_bytes();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let refused = [
        ListExecutionsRequest { parent: "backends/-/tests/-".to_owned(), ..next.clone() },
        ListExecutionsRequest { filter: "done = false".to_owned(), ..next.clone() },
        ListExecutionsRequest { page_token: String::from_utf8(altered).unwrap(), ..next.clone() },
        ListExecutionsRequest { page_token: format!("{page_token}AA"), ..next.clone() },
        ListExecutionsRequest { page_token: page_token[1..].to_owned(), ..next.clone() },
    ];
    for (at, request) in refused.into_iter().enumerate() {
        let status = world.client.clone().list_executions(request).await.unwrap_err();
        assert_eq!(told(&status), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned()), "row {at}");
        assert_eq!(blamed(&status), ["page_token"]);
    }
    let elsewhere =
        v1::ListTestsRequest { parent: "backends/connect".to_owned(), page_token, ..Default::default() };
    let status = world.client.clone().list_tests(elsewhere).await.unwrap_err();
    assert_eq!(told(&status).1, "PAGE_TOKEN_INVALID");
    let other = unthrottled(World::over(world.sandbox.clone(), hurried(1.0)).await);
    let status = other.client.clone().list_executions(next).await.unwrap_err();
    assert_eq!(told(&status).1, "PAGE_TOKEN_INVALID", "a gateway with another key");
}

#[tokio::test]
async fn row_34_a_token_that_expired_upstream_is_told_as_such() {
    let (world, _) = crowded(9, 0).await;
    let request = ListExecutionsRequest { page_size: 4, ..listing("backends/connect/tests/-") };
    let page_token = page(&world, request.clone()).await.next_page_token;
    world.control("connect", json!({"command": "tokens", "expire": true}));
    let next = ListExecutionsRequest { page_token, ..request };
    let status = world.client.clone().list_executions(next).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn rows_that_need_another_call_are_settled() {
    let world = quick(20.0).await;
    let connect = start_elsewhere(&world, "connect", "broken-init");
    let lex = start_elsewhere(&world, "lex", "booking-mismatch");
    world.sandbox.clock().advance(std::time::Duration::from_secs(120));
    let rows = all(&world, listing("backends/connect/tests/-")).await;
    assert_eq!(rows[0].name, connect);
    assert_eq!((rows[0].state(), verdict(&rows[0])), (v1::execution::State::Errored, Verdict::Inconclusive));
    let rows = all(&world, listing("backends/lex/tests/-")).await;
    assert_eq!(rows[0].name, lex);
    assert_eq!(verdict(&rows[0]), Verdict::Failed);
    assert_eq!(rows[0].counts.unwrap().failed, Some(2));

    // What is final is kept: the next list makes no calls for it.
    let (summaries, results) = (
        world.calls("connect", "GetTestCaseExecutionSummary"),
        world.calls("lex", "ListTestExecutionResultItems"),
    );
    all(&world, listing("backends/-/tests/-")).await;
    assert_eq!(world.calls("connect", "GetTestCaseExecutionSummary"), summaries);
    assert_eq!(world.calls("lex", "ListTestExecutionResultItems"), results);
}

#[tokio::test]
async fn a_run_with_a_minted_name_is_listed_once_and_found_by_upstreams_id_too() {
    let world = quick(1.0).await;
    let started = world.begin("quality", "Orders, daily").await;
    assert!(id_of(&started.name).starts_with("g-"), "{}", started.name);
    let parent = started.name.split("/executions/").next().unwrap().to_owned();
    let mut stream = Stream::open(&world, watching([&started.name])).await.unwrap();
    let unseen = all(&world, listing(&parent)).await;
    assert!(names(&unseen).contains(started.name.as_str()), "{unseen:?}");
    assert_eq!(unseen.len(), 3, "two nights of history and the new one: {unseen:?}");
    let seen = stream.until(|update| !shown(update).upstream_id.is_empty()).await;
    let upstream_id = shown(&seen).upstream_id.clone();

    let rows = all(&world, listing(&parent)).await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(names(&rows).contains(started.name.as_str()));
    assert!(!rows.iter().any(|row| row.name.ends_with(&upstream_id)));
    let filtered = ListExecutionsRequest { filter: "done = false".to_owned(), ..listing(&parent) };
    assert_eq!(names(&all(&world, filtered).await), HashSet::from([started.name.as_str()]));
    let get = |name: String| v1::GetExecutionRequest { name, ..Default::default() };
    let by_upstream = get(format!("{parent}/executions/{upstream_id}"));
    let found =
        world.client.clone().get_execution(by_upstream).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(found.name, started.name);
    assert_eq!(found.create_time, started.create_time);
}

#[tokio::test]
async fn tests_are_paged_and_filtered() {
    let world = quick(1.0).await;
    let mut seen = HashSet::new();
    let mut request =
        v1::ListTestsRequest { parent: "backends/-".to_owned(), page_size: 3, ..Default::default() };
    loop {
        let found = world.client.clone().list_tests(request.clone()).await.unwrap().into_inner();
        assert!(found.tests.len() <= 3);
        for test in found.tests {
            assert!(seen.insert(test.name.clone()), "{} came twice", test.name);
        }
        request.page_token = found.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    // Ten of each AWS service, eleven pipelines and sixteen cases.
    assert_eq!(seen.len(), 47, "{seen:?}");
    for (parent, filter, expected) in [
        ("backends/connect", "upstream_labels.suite = smoke", 2),
        ("backends/connect", "startable = false", 1),
        ("backends/-", "display_name = greeting", 1),
        ("backends/lex", "startable = true AND NOT display_name = slow", 7),
    ] {
        let filter = filter.to_owned();
        let request = v1::ListTestsRequest { parent: parent.to_owned(), filter, ..Default::default() };
        let found = world.client.clone().list_tests(request.clone()).await.unwrap().into_inner();
        assert_eq!(found.tests.len(), expected, "{}", request.filter);
    }
}

#[tokio::test]
async fn backends_are_paged() {
    let world = World::start().await;
    let mut request = v1::ListBackendsRequest { page_size: 2, ..Default::default() };
    let first = world.client.clone().list_backends(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.backends.len(), 2);
    request.page_token = first.next_page_token;
    let second = world.client.clone().list_backends(request).await.unwrap().into_inner();
    let names: Vec<_> =
        first.backends.iter().chain(&second.backends).map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["backends/connect", "backends/lex", "backends/quality"]);
    assert_eq!(second.next_page_token, "");
}

#[tokio::test]
async fn a_batch_answers_in_order_or_not_at_all() {
    let world = quick(1.0).await;
    let names = [start_elsewhere(&world, "lex", "slow"), start_elsewhere(&world, "connect", "timeout")];
    let wanted = vec![names[1].clone(), names[0].clone(), names[1].clone()];
    let batch = |names| v1::BatchGetExecutionsRequest { names, ..Default::default() };
    let found = world.client.clone().batch_get_executions(batch(wanted.clone())).await.unwrap().into_inner();
    assert_eq!(found.executions.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), wanted);
    let missing = vec![names[0].clone(), "backends/connect/tests/nope/executions/nope".to_owned()];
    let status = world.client.clone().batch_get_executions(batch(missing)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn runs_that_upstream_does_not_show_yet_are_paged_with_the_others() {
    let world = quick(1.0).await;
    world.sandbox.inject("openmetadata", Fault::new("Trigger", FaultKind::Swallow)).unwrap();
    let parent = world.test("quality", "Orders, daily").await.name;
    let mut started = HashSet::new();
    for _ in 0..3 {
        let start = v1::StartExecutionRequest { parent: parent.clone(), ..Default::default() };
        let start = world.client.clone().start_execution(start).await.unwrap().into_inner();
        started.insert(start.execution.unwrap().name);
    }
    for page_size in [1, 2, 3, 4, 100] {
        let rows = all(&world, ListExecutionsRequest { page_size, ..listing(&parent) }).await;
        assert_eq!(rows.len(), 5, "by {page_size}: two nights of history and the new ones");
        assert!(started.iter().all(|name| names(&rows).contains(name.as_str())));
    }
}

#[tokio::test]
async fn runs_started_at_the_same_time_are_each_listed_once() {
    let world = quick(1.0).await;
    let parent = world.test("quality", "Orders, daily").await.name;
    let mut started = HashSet::new();
    for _ in 0..3 {
        let start = v1::StartExecutionRequest { parent: parent.clone(), ..Default::default() };
        let start = world.client.clone().start_execution(start).await.unwrap().into_inner();
        started.insert(start.execution.unwrap().name);
    }
    let rows = all(&world, listing(&parent)).await;
    let shown: Vec<_> = rows.iter().map(|row| (id_of(&row.name), &row.upstream_id)).collect();
    assert_eq!(rows.len(), 5, "{shown:?}");
    assert!(
        started.iter().all(|name| names(&rows).contains(name.as_str())),
        "{shown:?} lack some of {started:?}"
    );
    let runs: HashSet<_> = rows.iter().map(|row| &row.upstream_id).collect();
    assert_eq!(runs.len(), 5, "two executions share a run: {shown:?}");
}
