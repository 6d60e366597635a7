//! `run` of several tests at once, and of those that a filter picks.

use serde_json::json;
use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};

use crate::process::{
    Serving, client, ended, finish, free_port, line_with, program, signal, stderr_lines, testgate,
};
use crate::support::{PATIENCE, Setup, World};

async fn fast() -> World {
    World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await
}

fn tests_of(lines: &str) -> Vec<String> {
    let of = |line: &str| {
        let run: serde_json::Value = serde_json::from_str(line).unwrap();
        run["testDisplayName"].as_str().unwrap().to_owned()
    };
    lines.lines().map(of).collect()
}

#[tokio::test]
async fn several_tests_run_at_once_are_told_in_order_and_the_worst_counts() {
    let world = fast().await;
    let ran =
        testgate(&world, ["run", "lex/booking", "connect/holiday-closure", "lex/empty", "-o", "jsonl"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(tests_of(&ran.out), ["booking", "holiday-closure", "empty"]);
    let last = ran.err.lines().last().unwrap();
    assert_eq!(last, "3 runs in all: 1 passed, 1 failed, 1 inconclusive", "{ran:?}");

    let document = testgate(&world, ["run", "lex/booking", "connect/greeting", "-o", "json"]).await;
    assert_eq!(document.json()["executions"].as_array().unwrap().len(), 2, "{document:?}");
    assert_eq!(document.code, Some(0), "{document:?}");
}

#[tokio::test]
async fn a_filter_picks_the_tests_and_what_can_never_be_started_is_left_out() {
    let world = fast().await;
    let smoke = "upstream_labels.suite = \"smoke\"";
    let ran = testgate(&world, ["run", "connect", "--filter", smoke, "-o", "jsonl"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(tests_of(&ran.out), ["greeting", "holiday-closure"]);
    assert!(ran.err.contains("2 runs in all: 1 passed, 1 failed"), "{ran:?}");

    let cases = "display_name = \"row_count\" OR display_name = \"Orders, daily\"";
    let ran = testgate(&world, ["run", "quality", "--filter", cases, "-o", "jsonl"]).await;
    assert_eq!(tests_of(&ran.out), ["Orders, daily"], "{ran:?}");
    assert!(ran.err.contains(" that match can't be started by themselves and are left out"), "{ran:?}");

    let none = testgate(&world, ["run", "-", "--filter", "display_name = \"nothing like it\""]).await;
    assert_eq!((none.code, none.out.as_str()), (Some(6), ""), "{none:?}");
    assert!(none.err.contains("nothing was started"), "{none:?}");
}

#[tokio::test]
async fn tests_that_are_not_all_known_are_not_run_in_part() {
    let world = World::start().await;
    let away = FaultKind::Status { status: 503 };
    world.sandbox.inject("lex", Fault::new("*", away)).unwrap();
    let ran = testgate(&world, ["run", "-", "--filter", "startable = true"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{ran:?}");
    assert!(ran.err.contains("nothing was started, since the tests of backends/lex"), "{ran:?}");
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 0);
}

#[tokio::test]
async fn a_start_that_is_refused_keeps_no_other_back_and_is_trouble() {
    let world = fast().await;
    let ran = testgate(&world, ["run", "connect/draft-menu", "connect/greeting", "-o", "jsonl"]).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(tests_of(&ran.out), ["greeting"]);
    assert!(ran.err.contains("TEST_NOT_STARTABLE"), "{ran:?}");
    assert!(ran.err.ends_with("2 runs in all: 1 passed, 1 not started\n"), "{ran:?}");
}

#[tokio::test]
async fn the_same_request_id_attaches_to_all_of_them() {
    let world = fast().await;
    let arguments =
        ["run", "lex/booking", "connect/greeting", "lex/booking", "--request-id", "n-42", "-o", "name"];
    let first = testgate(&world, arguments).await;
    assert!(first.err.contains("lex/booking is named twice and run once"), "{first:?}");
    let second = testgate(&world, arguments).await;
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert_eq!((first.out.lines().count(), &first.out), (2, &second.out));
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 1);
}

#[tokio::test]
async fn more_starts_than_the_budget_bears_take_their_time_and_none_is_lost() {
    let world = World::with(Setup {
        clock_scale: 100.0,
        adjust: |backends| backends.iter_mut().for_each(|backend| backend.max_requests_per_second = 4.0),
        ..Setup::default()
    })
    .await;
    let count = 12;
    for number in 0..count {
        let tags = json!({"batch": "many"});
        world.control("connect", json!({"command": "add_test", "name": format!("n{number}"), "tags": tags}));
    }
    world.control("connect", json!({"command": "rate_limit", "enabled": false}));
    // Far too short for the last of them to get its turn in the first call.
    let many = ["run", "connect", "--filter", "upstream_labels.batch = \"many\"", "--request-timeout", "1s"];
    let ran = testgate(&world, many).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.ends_with(&format!("{count} runs in all: {count} passed\n")), "{ran:?}");
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), count);
}

#[tokio::test]
async fn ctrl_c_leaves_all_of_them_going_and_says_how_to_attach() {
    let world = World::start().await;
    let mut child = client(&world, ["run", "connect/slow-transfer", "lex/slow"]).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    signal(&child, "INT").await;
    let hint = line_with(&mut notes, "2 runs go on; `testgate watch '").await;
    assert_eq!(ended(child).await.code, Some(130));
    let names: Vec<_> = hint.split('\'').filter(|part| part.starts_with("backends/")).collect();
    let attached = testgate(&world, ["watch", names[0], names[1], "--timeout", "1s"]).await;
    assert_eq!(attached.code, Some(4), "{attached:?}");
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 0);
}

#[tokio::test]
async fn ctrl_c_stops_what_can_be_stopped_and_says_what_goes_on() {
    let world = World::start().await;
    let arguments = ["run", "connect/slow-transfer", "lex/slow", "--stop-on-interrupt"];
    let mut child = client(&world, arguments).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    line_with(&mut notes, "RUNNING").await;
    signal(&child, "TERM").await;
    line_with(&mut notes, ": told to stop").await;
    let hint = line_with(&mut notes, "the run goes on; `testgate watch 'backends/lex/").await;
    assert!(!hint.contains("connect"), "{hint}");
    assert_eq!(ended(child).await.code, Some(130));
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 1);
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_at_once() {
    let world = World::start().await;
    let mut child = client(&world, ["run", "connect/slow-transfer", "--stop-on-interrupt"]).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    world.sandbox.inject("connect", Fault::new("StopTestCaseExecution", FaultKind::Silent)).unwrap();
    signal(&child, "INT").await;
    crate::process::eventually("the stop is upstream", async || {
        world.calls("connect", "StopTestCaseExecution") > 0
    })
    .await;
    signal(&child, "INT").await;
    // A stop that was waited for would be told first, as done or as failed.
    let next = tokio::time::timeout(PATIENCE, notes.next_line()).await.expect("it does not leave").unwrap();
    assert!(next.as_deref().is_some_and(|line| line.starts_with("the run goes on; ")), "{next:?}");
    assert_eq!(ended(child).await.code, Some(130));
}

#[tokio::test]
async fn a_restart_of_the_gateway_in_the_middle_loses_none_and_starts_none_twice() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, &format!("127.0.0.1:{}", free_port()));
    let mut served = serving.start().await;
    let tests = ["run", "connect/slow-transfer", "lex/slow", "connect/greeting", "--server"];
    let mut child = program(tests.iter().chain([&served.address.as_str()])).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    served.child.kill().await.unwrap();
    line_with(&mut notes, "resuming").await;
    let _served = serving.start().await;
    line_with(&mut notes, "3 runs in all: 3 passed").await;
    assert_eq!(ended(child).await.code, Some(0));
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 2);
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
}

/// The upstream calls that a client's start and following made, but for polls.
async fn calls_but_polls(follow: impl AsyncFnOnce(&World, String)) -> Vec<String> {
    let world = fast().await;
    let test = world.test("connect", "greeting").await.name;
    let before = world.calls("connect", "*");
    follow(&world, test).await;
    let polls = ["GetTestCaseExecutionSummary", "ListTestCaseExecutions", "ListTestCaseExecutionRecords"];
    let made = world.sandbox.calls("connect", "*").into_iter().skip(before).map(|call| call.operation);
    made.filter(|call| !polls.contains(&call.as_str())).collect()
}

#[tokio::test]
async fn a_run_makes_no_upstream_call_beyond_its_start_and_the_polling() {
    let of_the_calls = calls_but_polls(async |world, parent| {
        let request = v1::StartExecutionRequest { parent, ..Default::default() };
        let started = world.client.clone().start_execution(request).await.unwrap().into_inner();
        world.follow(&started.execution.unwrap().name).await;
    });
    let of_the_command = calls_but_polls(async |world, test| {
        let ran = testgate(world, ["run", &test]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    });
    let (of_the_calls, of_the_command) = tokio::join!(of_the_calls, of_the_command);
    assert!(of_the_calls.contains(&"StartTestCaseExecution".to_owned()), "{of_the_calls:?}");
    assert_eq!(of_the_command, of_the_calls);
}

#[tokio::test]
async fn wrong_usage_of_several_is_told_before_anything_is_called() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for arguments in [
        &["run", "connect/greeting", "connect"][..],
        &["run", "connect/greeting", "--filter", "startable = true"],
        &["run", "connect", "--filter", ""],
        &["run", "connect/a", "connect/b", "--detach", "--junit", "x.xml"],
        &["run", "connect/a", "--validate-only", "--junit", "x.xml"],
    ] {
        let ran = finish(program(arguments.iter().chain([&"--server", &nobody.as_str()]))).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        assert!(!ran.err.contains("can't reach"), "{ran:?}");
    }
}
