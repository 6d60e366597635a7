//! The live table of `run` and `watch`, as a person sees it.

use serde_json::json;

use crate::process::{Serving, free_port};
use crate::rig::start_elsewhere;
use crate::support::{Setup, World};
use crate::terminal::Terminal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_testgate");

fn server(world: &World) -> String {
    world.gateway.addresses()[0].to_string()
}

fn terminal(world: &World, rows: u16, columns: u16, arguments: &[&str]) -> Terminal {
    let arguments: Vec<_> = [PROGRAM].iter().chain(arguments).copied().collect();
    Terminal::run(rows, columns, &arguments, &[("TESTGATE_SERVER", &server(world))])
}

fn with(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_run_is_a_line_with_a_bar_and_its_last_state_stays() {
    let world = World::with(Setup { clock_scale: 4.0, ..Setup::default() }).await;
    let mut terminal = terminal(&world, 24, 220, &["run", "connect/slow-transfer"]);
    terminal
        .until("a running line with a bar", |lines| {
            let running = lines.iter().find(|line| line.contains("connect/slow-transfer"));
            running
                .is_some_and(|line| line.contains("RUNNING") && line.contains('━') && line.contains("passed"))
        })
        .await;
    let lines = terminal.lines();
    assert!(lines[0].starts_with("RUN ") && lines[0].contains("STATE"), "{lines:#?}");
    assert_eq!(with(&lines, "connect/slow-transfer"), 1, "{lines:#?}");
    let left = terminal.ended().await;
    assert_eq!((left.code, left.cursor_is_hidden), (Some(0), false), "{left:?}");
    // The data, and nothing of what was drawn before.
    assert!(left.lines[0].starts_with("NAME "), "{left:#?}");
    assert!(left.lines[1].contains("COMPLETED") && left.lines[1].contains("PASSED"), "{left:#?}");
    assert_eq!(with(&left.lines, "RUNNING"), 0, "{left:#?}");
}

#[tokio::test]
async fn only_lines_that_fit_are_drawn_and_nothing_scrolls() {
    let world = World::start().await;
    world.control("connect", json!({"command": "limits", "running": 60, "accepted": 60}));
    for _ in 0..40 {
        start_elsewhere(&world, "connect", "timeout");
    }
    let mut terminal = terminal(&world, 12, 100, &["watch", "-"]);
    let all =
        |lines: &[String]| lines.last().is_some_and(|line| line.starts_with("… and 31 more; 0 of 40 done"));
    terminal.until("a summary of what does not fit", all).await;
    let lines = terminal.lines();
    assert_eq!((lines.len(), terminal.scrolled()), (11, 0), "{lines:#?}");
    assert_eq!(with(&lines, "connect/c0ffee00-"), 9, "{lines:#?}");

    terminal.resize(20, 60);
    let more = |lines: &[String]| lines.last().is_some_and(|line| line.starts_with("… and 23 more"));
    terminal.until("as many as fit now", more).await;
    terminal.resize(8, 90);
    let fewer = |lines: &[String]| lines.last().is_some_and(|line| line.starts_with("… and 35 more"));
    terminal.until("as few as fit now", fewer).await;
    let lines = terminal.lines();
    assert_eq!(with(&lines, "… and"), 1, "{lines:#?}");
    assert_eq!(with(&lines, "connect/c0ffee00-"), 5, "{lines:#?}");
}

#[tokio::test]
async fn ctrl_c_leaves_the_table_and_says_below_it_how_to_attach() {
    let world = World::start().await;
    let mut terminal = terminal(&world, 24, 160, &["run", "connect/slow-transfer", "lex/slow"]);
    terminal.until("both run", |lines| with(lines, "RUNNING") == 2).await;
    terminal.types("\u{3}").await;
    let left = terminal.ended().await;
    assert_eq!((left.code, left.cursor_is_hidden), (Some(130), false), "{left:?}");
    let place = |text: &str| left.lines.iter().position(|line| line.contains(text));
    let (table, hint) = (place("lex/slow").unwrap(), place("2 runs go on; `testgate watch").unwrap());
    assert!(table < hint, "{left:#?}");
    assert_eq!(with(&left.lines, "RUNNING"), 2, "{left:#?}");
}

#[tokio::test]
async fn a_kill_leaves_a_terminal_that_needs_no_reset() {
    let world = World::start().await;
    let mut terminal = terminal(&world, 24, 100, &["watch", "-"]);
    start_elsewhere(&world, "connect", "timeout");
    terminal.until("it is drawn", |lines| with(lines, "connect/c0ffee00-") == 1).await;
    terminal.kill();
    assert!(!terminal.ended().await.cursor_is_hidden);
}

#[tokio::test]
async fn what_is_told_meanwhile_stands_above_the_table() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, &format!("127.0.0.1:{}", free_port()));
    let mut served = serving.start().await;
    let arguments = [PROGRAM, "run", "lex/slow", "--server", &served.address];
    let mut terminal = Terminal::run(24, 120, &arguments, &[]);
    terminal.until("it runs", |lines| with(lines, "RUNNING") == 1).await;
    served.child.kill().await.unwrap();
    terminal
        .until("the loss is told above", |lines| {
            lines[0] == "the watch was cut off; resuming" && with(lines, "RUNNING") == 1
        })
        .await;
    let _served = serving.start().await;
    let left = terminal.ended().await;
    assert_eq!(left.code, Some(0), "{left:#?}");
    assert_eq!(with(&left.lines, "COMPLETED"), 1, "{left:#?}");
    assert_eq!(world.calls("lex", "StartTestExecution"), 1);
}

#[tokio::test]
async fn a_name_with_escape_sequences_steers_nothing() {
    let world = World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await;
    let name = "evil\u{1b}]0;title\u{7}\u{1b}[2J";
    let tags = json!({"kind": "evil"});
    world.control("connect", json!({"command": "add_test", "id": "evil", "name": name, "tags": tags}));
    let evil = ["run", "connect", "--filter", "upstream_labels.kind = \"evil\""];
    let left = terminal(&world, 24, 220, &evil).ended().await;
    assert_eq!(left.code, Some(0), "{left:#?}");
    assert!(!left.raw.contains("\u{1b}]") && !left.raw.contains("\u{1b}[2J"), "{left:#?}");
    let harmless = "evil\u{fffd}]0;title\u{fffd}\u{fffd}[2J";
    assert!(left.raw.contains(&format!("connect/{harmless}")), "in the live table: {left:#?}");
    assert!(left.raw.contains(&format!("  {harmless}  COMPLETED")), "in the last one: {left:#?}");
}

#[tokio::test]
async fn no_control_byte_is_written_where_it_is_not_wanted() {
    let world = World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await;
    let server = server(&world);
    let runs = [("CI", "true"), ("NO_COLOR", "1"), ("TERM", "dumb")].map(async |unwanted| {
        let variables = [("TESTGATE_SERVER", server.as_str()), unwanted];
        let arguments = [PROGRAM, "run", "connect/holiday-closure", "lex/booking"];
        let left = Terminal::run(24, 200, &arguments, &variables).ended().await;
        assert_eq!(left.code, Some(1), "{unwanted:?}: {left:#?}");
        assert!(left.raw.chars().all(|c| !c.is_control() || "\r\n".contains(c)), "{unwanted:?}: {left:?}");
        assert!(with(&left.lines, "COMPLETED  FAILED") >= 1, "a line for a change: {unwanted:?}: {left:#?}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn data_goes_to_stdout_alone_beside_a_live_table() {
    let world = World::with(Setup { clock_scale: 4.0, ..Setup::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    let line = format!("exec '{PROGRAM}' run lex/slow -o json > '{}'", file.display());
    let server = server(&world);
    let mut terminal = Terminal::run(24, 120, &["sh", "-c", &line], &[("TESTGATE_SERVER", &server)]);
    terminal.until("the table is drawn", |lines| with(lines, "RUNNING") == 1).await;
    let left = terminal.ended().await;
    assert_eq!(left.code, Some(0), "{left:#?}");
    assert_eq!(with(&left.lines, "COMPLETED"), 1, "the last state stays: {left:#?}");
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(run["verdict"], "VERDICT_PASSED");
}

#[tokio::test]
async fn a_watch_by_names_ends_with_all_last_states_as_data() {
    let world = World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await;
    let mut names = Vec::new();
    for test in ["greeting", "holiday-closure"] {
        names.push(world.begin("connect", test).await.name);
    }
    let left = terminal(&world, 24, 200, &["watch", &names[0], &names[1]]).ended().await;
    assert_eq!(left.code, Some(1), "{left:#?}");
    assert!(left.lines[0].starts_with("NAME "), "{left:#?}");
    for name in names {
        assert_eq!(with(&left.lines, &name), 1, "{left:#?}");
    }
}
