use std::num::NonZeroU16;

use super::*;
use crate::cli::tally::Outcome;
use crate::proto::v1::execution::State;
use crate::proto::v1::{Condition, Execution, FailureReason, ResultCounts, Verdict};

mod picture;

const NOW: Timestamp = Timestamp { seconds: 1_000_000, nanos: 0 };

fn size(rows: usize, columns: usize) -> Size {
    Size { rows, columns }
}

fn run(state: State, verdict: Verdict) -> Execution {
    let done = matches!(state, State::Completed | State::Errored | State::Stopped | State::Lost);
    Execution {
        name: "backends/b/tests/t/executions/e".into(),
        state: state.into(),
        verdict: verdict.into(),
        done,
        create_time: Some(Timestamp { seconds: NOW.seconds - 75, nanos: 0 }),
        end_time: done.then_some(Timestamp { seconds: NOW.seconds - 70, nanos: 0 }),
        ..Default::default()
    }
}

fn counted(mut execution: Execution, total: i32, passed: i32, failed: i32) -> Execution {
    execution.counts = Some(ResultCounts {
        total: Some(total),
        passed: Some(passed),
        failed: Some(failed),
        ..Default::default()
    });
    execution
}

fn entry<'a>(label: &str, execution: &'a Execution) -> Entry<'a> {
    Entry {
        label: label.to_owned(),
        execution: Some(execution),
        outcome: Outcome::of(execution),
        trouble: None,
    }
}

/// What a terminal of this size makes of the lines.
fn terminal(lines: &[String], size: Size) -> vt100::Parser {
    let one = |count: usize| NonZeroU16::new(u16::try_from(count).unwrap()).unwrap();
    let mut terminal = vt100::Parser::new(one(size.rows), one(size.columns), 0);
    for line in lines {
        terminal.process(format!("{line}\r\n").as_bytes());
    }
    terminal
}

fn shown(entries: &[Entry<'_>], size: Size) -> Vec<String> {
    let lines = frame(entries, &NOW, size);
    assert!(lines.len() < size.rows.max(1), "no room for the cursor: {lines:?}");
    let columns = u16::try_from(size.columns).unwrap();
    let terminal = terminal(&lines, size);
    terminal.screen().rows(0, columns).map(|line| line.trim_end().to_owned()).take(lines.len()).collect()
}

#[test]
fn a_line_a_run_with_state_verdict_time_and_counts() {
    let runs = [
        counted(run(State::Running, Verdict::Pending), 8, 4, 2),
        counted(run(State::Completed, Verdict::Passed), 3, 3, 0),
    ];
    let entries = [entry("b/one", &runs[0]), entry("b/two", &runs[1])];
    assert_eq!(
        shown(&entries, size(24, 100)),
        [
            "RUN    STATE      VERDICT  TIME",
            "b/one  RUNNING    PENDING  1m15s  ━━━━━━━━━━━━────  4/8 passed, 2 failed",
            "b/two  COMPLETED  PASSED   5s     ━━━━━━━━━━━━━━━━  3/3 passed",
            "1 of 2 done: 1 passed",
        ]
    );
    assert_eq!(
        shown(&entries[..1], size(24, 60)),
        ["RUN    STATE    VERDICT  TIME", "b/one  RUNNING  PENDING  1m15s  4/8 passed, 2 failed"],
        "a narrow terminal has no bar, and one run no sum"
    );
}

#[test]
fn only_lines_that_fit_are_drawn_and_the_rest_is_counted() {
    let (running, failed, pending, passed) = (
        run(State::Running, Verdict::Pending),
        run(State::Completed, Verdict::Failed),
        run(State::Pending, Verdict::Pending),
        run(State::Completed, Verdict::Passed),
    );
    let mut entries: Vec<_> = (0..900).map(|n| entry(&format!("b/passed{n}"), &passed)).collect();
    entries.extend((0..98).map(|n| entry(&format!("b/pending{n}"), &pending)));
    entries.push(entry("b/failed", &failed));
    entries.push(entry("b/running", &running));
    let lines = shown(&entries, size(10, 80));
    assert_eq!(lines.len(), 9);
    assert!(lines[1].starts_with("b/running ") && lines[2].starts_with("b/failed "), "{lines:?}");
    assert!(lines[3].starts_with("b/pending0 ") && lines[7].starts_with("b/pending4 "), "{lines:?}");
    assert_eq!(lines[8], "… and 993 more; 901 of 1000 done: 900 passed, 1 failed");
}

#[test]
fn it_fits_any_terminal() {
    let long = run(State::Completed, Verdict::Failed);
    let labels =
        ["b/a very long name of a test that somebody thought out, and then some more of it", "b/漢字"];
    let entries: Vec<_> = labels.iter().map(|label| entry(label, &long)).collect();
    for rows in 1..12 {
        for columns in 1..90 {
            for line in frame(&entries, &NOW, size(rows, columns)) {
                assert!(console::measure_text_width(&line) <= columns, "{columns}: {line:?}");
            }
            shown(&entries, size(rows, columns));
        }
    }
    assert!(frame(&[], &NOW, size(24, 80)).len() <= 1, "nothing yet");
}

#[test]
fn what_upstream_says_can_not_steer_the_terminal() {
    let mut evil = run(State::Completed, Verdict::Failed);
    let text = "\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}evil\u{9b}31m";
    evil.failure = Some(FailureReason { messages: vec![text.into()], ..Default::default() });
    let mut ill = run(State::Running, Verdict::Pending);
    ill.condition = Some(Condition { reason: text.into(), message: text.into(), ..Default::default() });
    let refused =
        Entry { label: text.into(), execution: None, outcome: Outcome::NotStarted, trouble: Some(text) };
    for line in frame(&[entry(text, &evil), entry("b/ill", &ill), refused], &NOW, size(24, 200)) {
        let styles_only = console::strip_ansi_codes(&line);
        assert!(!styles_only.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!line.contains("[2J") || line.contains("\u{fffd}[2J"), "{line:?}");
        assert!(!line.contains('\u{9b}') && !line.contains("\u{1b}]"), "{line:?}");
    }
}

#[test]
fn what_is_not_started_yet_or_never_will_be_has_a_line_too() {
    let waiting =
        Entry { label: "b/one".into(), execution: None, outcome: Outcome::Unfinished, trouble: None };
    let refused = Entry {
        label: "b/two".into(),
        execution: None,
        outcome: Outcome::NotStarted,
        trouble: Some("can't start it"),
    };
    let lines = shown(&[waiting, refused], size(24, 80));
    assert_eq!(lines[1], "b/one  STARTING");
    assert_eq!(lines[2], "b/two  NOT STARTED                 can't start it");
    assert_eq!(lines[3], "1 of 2 done: 1 not started");
}

#[test]
fn a_bar_shows_what_there_is_and_never_more_than_all() {
    for (total, passed, failed) in [(1000, 1, 1), (1, 5, 5), (3, 1, 0), (7, 7, 0), (i32::MAX, i32::MAX, 1)] {
        let execution = counted(run(State::Running, Verdict::Pending), total, passed, failed);
        let lines = shown(&[entry("b", &execution)], size(24, 100));
        let cells = lines[1].chars().filter(|c| "━─".contains(*c)).count();
        assert_eq!(cells, 16, "{lines:?}");
        let lines = frame(&[entry("b", &execution)], &NOW, size(24, 100));
        assert_eq!(failed > 0, lines[1].contains("\u{1b}[31m━"), "a failure is seen: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_terminal_nothing_is_drawn() {
    let view = View { live: false, changed: Cell::new(true) };
    let drawn = Cell::new(0);
    view.beside(tokio::time::sleep(Duration::from_secs(5)), |_, _| {
        drawn.set(drawn.get() + 1);
        Vec::new()
    })
    .await;
    assert_eq!(drawn.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_drawn_ten_times_a_second_while_things_change_and_once_while_they_do_not() {
    let view = View { live: true, changed: Cell::new(true) };
    let drawn = Cell::new(0);
    let table = |_: Size, _: &Timestamp| {
        drawn.set(drawn.get() + 1);
        Vec::new()
    };
    view.beside(tokio::time::sleep(Duration::from_secs(10)), table).await;
    assert!((10..=12).contains(&drawn.get()), "{} times", drawn.get());
    drawn.set(0);
    let busy = async {
        for _ in 0..10_000 {
            view.changed();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    view.beside(busy, table).await;
    assert!((90..=102).contains(&drawn.get()), "{} times", drawn.get());
}
