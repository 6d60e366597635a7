//! `run` and `watch`: exit codes, interrupts, and a gateway that goes away in the middle.

use serde_json::json;
use testgate::sandbox::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt as _;

use crate::process::{
    Serving, client, ended, eventually, finish, free_port, line_with, program, signal, stderr_lines,
    stdout_lines, testgate,
};
use crate::support::{Setup, World};

async fn fast() -> World {
    World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await
}

#[tokio::test]
async fn the_exit_code_tells_the_verdict() {
    let world = fast().await;
    let cases = [
        ("connect/greeting", 0, "COMPLETED  PASSED"),
        ("connect/holiday-closure", 1, "COMPLETED  FAILED"),
        ("connect/broken-init", 3, "ERRORED  INCONCLUSIVE"),
        ("lex/booking", 0, "COMPLETED  PASSED"),
        ("lex/empty", 6, "COMPLETED  INCONCLUSIVE"),
        ("lex/agent-errors", 6, "COMPLETED  INCONCLUSIVE"),
        ("lex/broken-bot", 3, "ERRORED  INCONCLUSIVE"),
        ("quality/Orders, daily", 0, "COMPLETED  PASSED"),
        ("quality/Customers, daily", 1, "COMPLETED  FAILED"),
    ];
    let runs = cases.map(|(test, ..)| testgate(&world, ["run", test, "-o", "name"]));
    for ((test, code, end), ran) in cases.iter().zip(futures_util::future::join_all(runs).await) {
        assert_eq!(ran.code, Some(*code), "{test}: {ran:?}");
        assert_eq!(ran.out.lines().count(), 1, "{test}: {ran:?}");
        assert!(ran.err.lines().last().unwrap().contains(end), "{test}: {ran:?}");
        let again = testgate(&world, ["watch", ran.out.trim_end()]).await;
        assert_eq!(again.code, Some(*code), "watch after the end: {again:?}");
    }
}

#[tokio::test]
async fn row_51_a_run_in_which_nothing_was_tested_is_inconclusive_and_exits_with_6() {
    let world = fast().await;
    let overview = world.control("openmetadata", json!({"do": "overview"}));
    let cases = overview["cases"].as_array().unwrap().iter().map(|case| case["fqn"].as_str().unwrap());
    for case in cases.filter(|case| case.contains(".customers.")) {
        world.control("openmetadata", json!({"do": "delete_case", "case": case}));
    }
    let runs = ["lex/empty", "quality/Customers, daily"].map(async |test| {
        let ran = testgate(&world, ["run", test, "-o", "name"]).await;
        let shown = testgate(&world, ["get", ran.out.trim_end(), "-o", "json"]).await.json();
        assert_eq!(shown["verdict"], "VERDICT_INCONCLUSIVE", "{test}: {shown}");
        assert_eq!(ran.code, Some(6), "{test}: {ran:?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn of_several_runs_the_worst_counts() {
    let world = fast().await;
    let runs = ["connect/greeting", "connect/holiday-closure"]
        .map(|test| testgate(&world, ["run", test, "--detach", "-o", "name"]));
    let names: Vec<String> = futures_util::future::join_all(runs)
        .await
        .into_iter()
        .map(|ran| ran.out.trim_end().to_owned())
        .collect();
    let watched = testgate(&world, ["watch", &names[0], &names[1], "-o", "json"]).await;
    assert_eq!(watched.code, Some(1), "{watched:?}");
    assert_eq!(watched.json()["executions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_is_stopped_elsewhere_has_a_code_of_its_own() {
    let world = World::start().await;
    let mut child = client(&world, ["run", "connect/slow-transfer"]).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    let started = line_with(&mut notes, ": started, ").await;
    let name = started.split(": started").next().unwrap();
    let stopped = testgate(&world, ["stop", name]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    line_with(&mut notes, "STOPPED").await;
    assert_eq!(ended(child).await.code, Some(5));
}

#[tokio::test]
async fn a_time_limit_ends_the_following_and_not_the_run() {
    let world = World::start().await;
    let ran = testgate(&world, ["run", "connect/slow-transfer", "--timeout", "2s", "-o", "name"]).await;
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("the run goes on; `testgate watch '"), "{ran:?}");
    let shown = testgate(&world, ["get", ran.out.trim_end(), "-o", "json"]).await.json();
    assert_eq!(shown.get("done"), None, "{shown}");
    let watched = testgate(&world, ["watch", ran.out.trim_end(), "--timeout", "1s"]).await;
    assert_eq!(watched.code, Some(4), "{watched:?}");
}

#[tokio::test]
async fn wrong_usage_is_told_before_anything_is_called() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for arguments in [
        &["run"][..],
        &["run", "connect"],
        &["run", "connect/greeting", "--label", "build"],
        &["run", "connect/greeting", "--timeout", "soon"],
        &["run", "connect/greeting", "--detach", "--timeout", "1s"],
        &["watch", "connect/greeting/e", "connect/greeting"],
        &["watch", "-", "-o", "json"],
        &["get", "connect/greeting", "--items"],
        &["tests", "connect/greeting"],
        &["stop", "connect/greeting"],
        &["record", "quality/row_count", "--verdict", "green", "--end-time", "1"],
        &["frobnicate"],
        &["backends", "--frobnicate"],
        &[],
    ] {
        let ran = finish(program(arguments.iter().chain([&"--server", &nobody.as_str()]))).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        assert!(!ran.err.contains("can't reach"), "{ran:?}");
    }
}

#[tokio::test]
async fn row_52_ctrl_c_leaves_the_run_going_and_says_how_to_attach() {
    let world = World::start().await;
    let mut child = client(&world, ["run", "connect/slow-transfer"]).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    signal(&child, "INT").await;
    let hint = line_with(&mut notes, "the run goes on; `testgate watch '").await;
    assert_eq!(ended(child).await.code, Some(130));
    let name = hint.split('\'').nth(1).unwrap();
    let shown = testgate(&world, ["get", name, "-o", "json"]).await.json();
    assert_eq!(shown["state"], "STATE_RUNNING", "{shown}");
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 0);
}

#[tokio::test]
async fn row_52_ctrl_c_stops_the_run_where_that_was_asked_for() {
    let world = World::start().await;
    let mut child = client(&world, ["run", "connect/slow-transfer", "--stop-on-interrupt"]).spawn().unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    signal(&child, "INT").await;
    line_with(&mut notes, ": told to stop").await;
    assert_eq!(ended(child).await.code, Some(130));
    assert_eq!(world.calls("connect", "StopTestCaseExecution"), 1);
}

#[tokio::test]
async fn a_lost_reply_to_a_start_is_asked_for_again_and_starts_once() {
    let world = World::start().await;
    world.sandbox.inject("lex", Fault::new("StartTestExecution", FaultKind::ResetAfter).times(1)).unwrap();
    let ran = testgate(&world, ["run", "lex/booking"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
}

#[tokio::test]
async fn a_repeated_request_id_attaches_to_the_same_run() {
    let world = fast().await;
    let arguments = ["run", "lex/booking", "--request-id", "nightly-42", "-o", "name"];
    let first = testgate(&world, arguments).await;
    let second = testgate(&world, arguments).await;
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert_eq!(first.out, second.out);
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
}

#[tokio::test]
async fn row_52_a_reader_that_leaves_after_one_line_changes_no_verdict() {
    let world = fast().await;
    for (test, code) in [("lex/booking", 0), ("connect/holiday-closure", 1)] {
        let mut child = client(&world, ["run", test, "-o", "jsonl"]).spawn().unwrap();
        let mut lines = stdout_lines(&mut child);
        let first = lines.next_line().await.unwrap().unwrap();
        assert!(first.starts_with('{') && !first.contains('\u{1b}'), "{first}");
        drop(lines);
        let ran = ended(child).await;
        assert_eq!(ran.code, Some(code), "{test}: {ran:?}");
        assert!(!ran.err.contains("panicked") && !ran.err.contains("stdout"), "{test}: {ran:?}");
    }
}

#[tokio::test]
async fn row_52_a_watch_of_everything_shows_a_line_for_each_change_without_control_bytes() {
    let world = fast().await;
    let mut child = client(&world, ["watch", "-", "--filter", "labels.build = \"42\""]).spawn().unwrap();
    let mut out = crate::process::stdout_lines(&mut child);
    let ran = testgate(&world, ["run", "connect/holiday-closure", "--label", "build=42", "-o", "name"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line = line_with(&mut out, "COMPLETED  FAILED").await;
    assert!(line.starts_with(ran.out.trim_end()), "{line}");
    assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    signal(&child, "INT").await;
    let mut notes = String::new();
    child.stderr.take().unwrap().read_to_string(&mut notes).await.unwrap();
    assert_eq!((ended(child).await.code, notes.contains("the runs go on")), (Some(130), true), "{notes}");
}

#[tokio::test]
async fn a_restart_of_the_gateway_in_the_middle_costs_nothing() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, &format!("127.0.0.1:{}", free_port()));
    let mut served = serving.start().await;
    for test in ["connect/slow-transfer", "lex/slow"] {
        let mut child = program(["run", test, "--server", &served.address]).spawn().unwrap();
        let mut notes = stderr_lines(&mut child);
        line_with(&mut notes, "RUNNING").await;
        served.child.kill().await.unwrap();
        line_with(&mut notes, "resuming").await;
        served = serving.start().await;
        line_with(&mut notes, "COMPLETED  PASSED").await;
        assert_eq!(ended(child).await.code, Some(0), "{test}");
    }
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 1);
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
}

#[tokio::test]
async fn a_gateway_that_dies_during_the_start_still_starts_once() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, &format!("127.0.0.1:{}", free_port()));
    let mut served = serving.start().await;
    // The reply is lost, and whether the start took place can't be found out yet.
    let away = FaultKind::Status { status: 503 };
    world.sandbox.inject("lex", Fault::new("StartTestExecution", FaultKind::ResetAfter).times(1)).unwrap();
    world.sandbox.inject("lex", Fault::new("ListTestExecutions", away)).unwrap();
    let child = program(["run", "lex/booking", "--server", &served.address]).spawn().unwrap();
    eventually("the start is upstream", async || world.calls("lex", "StartTestExecution") == 1).await;
    served.child.kill().await.unwrap();
    world.sandbox.clear_faults("lex").unwrap();
    let _served = serving.start().await;
    let ran = ended(child).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(world.calls("lex", "StartTestExecution"), 1, "{ran:?}");
}
