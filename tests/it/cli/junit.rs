//! `run --junit`: what is in the report, read by somebody else's parser, and that it is there whole or not at all.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testgate::sandbox::fault::{Fault, FaultKind};
use tokio::process::Command;

use crate::process::{client, ended, finish, isolate, line_with, signal, stderr_lines, testgate};
use crate::support::{Setup, World};

/// What Python's own parser makes of a report.
async fn parsed(report: &Path) -> Value {
    let script = "
import json, sys, xml.etree.ElementTree as tree
def shown(node):
    return {'tag': node.tag, 'text': (node.text or '').strip(), **node.attrib,
            'children': [shown(child) for child in node]}
root = tree.parse(sys.argv[1]).getroot()
print(json.dumps(shown(root)))";
    let mut python = Command::new("python3");
    python.arg("-c").arg(script).arg(report).stdin(Stdio::null()).kill_on_drop(true);
    let output = python.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn named<'a>(nodes: &'a Value, tag: &str) -> Vec<&'a Value> {
    nodes["children"].as_array().unwrap().iter().filter(|node| node["tag"] == tag).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

async fn fast() -> World {
    World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await
}

#[tokio::test]
async fn one_suite_a_test_and_one_case_an_item_also_where_runs_fail() {
    let world = fast().await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let tests = ["lex/booking-mismatch", "connect/greeting", "connect/broken-init", "connect/draft-menu"];
    let ran =
        testgate(&world, ["run"].iter().chain(&tests).chain(&["--junit", report.to_str().unwrap()])).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let root = parsed(&report).await;
    assert_eq!(root["tag"], "testsuites");
    let suites = named(&root, "testsuite");
    let names: Vec<_> = suites.iter().map(|suite| suite["name"].as_str().unwrap()).collect();
    assert_eq!(names, tests);

    let lex = named(suites[0], "testcase");
    assert_eq!((lex.len(), &suites[0]["failures"]), (6, &json!("2")));
    let failed: Vec<_> = lex.iter().flat_map(|case| named(case, "failure")).collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["message"], "intent BookHotel: Mismatched");
    assert!(failed[0]["text"].as_str().unwrap().contains("slot BookHotel.City: Mismatched"), "{failed:?}");

    assert_eq!((&suites[1]["failures"], &suites[1]["errors"]), (&json!("0"), &json!("0")));
    assert!(!named(suites[1], "testcase").is_empty());
    for suite in &suites[2..] {
        let cases = named(suite, "testcase");
        assert_eq!(named(cases.last().unwrap(), "error").len(), 1, "{suite}");
    }
    assert_eq!(files(folder.path()), ["report.xml"]);
}

#[tokio::test]
async fn control_characters_from_upstream_do_not_break_it() {
    let world = fast().await;
    let name = "bell \u{7} and \u{1b}[31mred\u{1b}[0m <&\">";
    world.control("connect", json!({"command": "add_test", "id": "odd", "name": name}));
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let ran = testgate(&world, ["run", "connect/odd", "--junit", report.to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let root = parsed(&report).await;
    assert_eq!(named(&root, "testsuite")[0]["name"], "connect/bell  and red <&\">");
}

#[tokio::test]
async fn a_file_that_can_not_be_written_is_told_before_anything_starts() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["/nowhere/report.xml", folder.path().to_str().unwrap(), "/dev/null"] {
        let ran = testgate(&world, ["run", "connect/greeting", "--junit", wrong]).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        let complaint = ran.complaint();
        assert!(complaint.starts_with(&format!("error: can't write --junit {wrong}: ")), "{complaint}");
    }
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 0);
}

#[tokio::test]
async fn a_full_disk_is_one_line_and_leaves_the_old_report_whole() {
    let world = fast().await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    std::fs::write(&report, "the old one").unwrap();
    // No file of the process may have any content, which is what a full disk looks like.
    let mut shell = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_testgate"), "run", "connect/greeting", "-o", "name"]);
    shell.arg("--junit").arg(&report);
    isolate(&mut shell);
    shell.env("TESTGATE_SERVER", world.gateway.addresses()[0].to_string());
    let ran = finish(shell).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(ran.err.matches("error: can't write --junit ").count(), 1, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "the verdict is told all the same: {ran:?}");
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "the old one");
    assert_eq!(files(folder.path()), ["report.xml"]);
}

#[tokio::test]
async fn items_that_can_not_be_read_are_trouble_and_the_rest_is_written() {
    let world = fast().await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let away = FaultKind::Status { status: 503 };
    let mut child =
        client(&world, ["run", "lex/slow", "connect/greeting", "--junit", report.to_str().unwrap()])
            .spawn()
            .unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "connect/tests/c0ffee00-0000-4000-8000-000000000001/executions/").await;
    world.sandbox.inject("connect", Fault::new("ListTestCaseExecutionRecords", away)).unwrap();
    line_with(&mut notes, "error: can't list the result items of backends/connect/").await;
    assert_eq!(ended(child).await.code, Some(3));
    let root = parsed(&report).await;
    let suites = named(&root, "testsuite");
    assert_eq!((&suites[0]["errors"], &suites[1]["errors"]), (&json!("0"), &json!("1")), "{root}");
}

#[tokio::test]
async fn an_interrupted_run_is_in_the_report_as_not_done() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let mut child = client(&world, ["run", "connect/slow-transfer", "--junit", report.to_str().unwrap()])
        .spawn()
        .unwrap();
    let mut notes = stderr_lines(&mut child);
    line_with(&mut notes, "RUNNING").await;
    signal(&child, "INT").await;
    assert_eq!(ended(child).await.code, Some(130));
    let root = parsed(&report).await;
    let case = &named(named(&root, "testsuite")[0], "testcase")[0];
    assert_eq!(named(case, "error")[0]["type"], "NOT_DONE", "{root}");
}
