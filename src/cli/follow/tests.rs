use super::*;
use crate::proto::v1::execution::State;
use crate::proto::v1::{Condition, SnapshotComplete, Verdict, WatchComplete};

fn run(name: &str, revision: i64, done: bool) -> Execution {
    let (state, verdict) =
        if done { (State::Completed, Verdict::Passed) } else { (State::Running, Verdict::Pending) };
    Execution {
        name: name.into(),
        revision,
        done,
        state: state.into(),
        verdict: verdict.into(),
        ..Default::default()
    }
}

fn update(kind: Type, execution: Execution) -> WatchExecutionsResponse {
    let update = ExecutionUpdate { r#type: kind.into(), execution: Some(execution), coalesced_count: 0 };
    WatchExecutionsResponse { resume_token: String::new(), event: Some(Event::Update(update)) }
}

fn whole(token: &str, reset: bool) -> WatchExecutionsResponse {
    WatchExecutionsResponse {
        resume_token: token.into(),
        event: Some(Event::SnapshotComplete(SnapshotComplete { reset, ..Default::default() })),
    }
}

fn shown(selection: &mut Selection, message: WatchExecutionsResponse) -> bool {
    matches!(selection.apply(message, true), Step::Change(_))
}

#[test]
fn a_repeated_or_older_revision_is_dropped() {
    let mut selection = Selection::default();
    assert!(shown(&mut selection, update(Type::Snapshot, run("a", 5, false))));
    assert!(!shown(&mut selection, update(Type::Changed, run("a", 5, false))));
    assert!(!shown(&mut selection, update(Type::Changed, run("a", 4, true))));
    assert!(shown(&mut selection, update(Type::Changed, run("a", 6, true))));
    assert_eq!(selection.exit(), Exit::Passed);
}

#[test]
fn a_repeated_snapshot_is_shown_once() {
    let mut selection = Selection::default();
    assert!(shown(&mut selection, update(Type::Snapshot, run("a", 5, false))));
    selection.open();
    assert!(!shown(&mut selection, update(Type::Snapshot, run("a", 5, false))));
}

#[test]
fn a_reset_drops_what_its_snapshot_lacks_and_takes_lower_revisions() {
    let mut selection = Selection::default();
    for name in ["a", "b"] {
        shown(&mut selection, update(Type::Snapshot, run(name, 9, false)));
    }
    selection.apply(whole("t1", false), true);
    selection.open();
    assert!(shown(&mut selection, update(Type::Snapshot, run("a", 1, true))));
    selection.apply(whole("t2", true), true);
    assert_eq!(selection.executions().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(selection.token, "t2");
}

#[test]
fn resuming_without_reset_keeps_what_was_known() {
    let mut selection = Selection::default();
    shown(&mut selection, update(Type::Snapshot, run("a", 9, true)));
    selection.apply(whole("t1", false), true);
    selection.open();
    selection.apply(whole("t2", false), true);
    assert_eq!(selection.exit(), Exit::Passed);
}

#[test]
fn the_token_is_kept_until_a_newer_one_comes() {
    let mut selection = Selection::default();
    selection.apply(whole("t1", false), true);
    shown(&mut selection, update(Type::Changed, run("a", 1, false)));
    assert_eq!(selection.token, "t1");
}

#[test]
fn what_is_gone_before_its_end_is_trouble_and_after_it_is_not() {
    let mut selection = Selection::default();
    shown(&mut selection, update(Type::Removed, run("a", 1, true)));
    assert_eq!(selection.exit(), Exit::Passed);
    shown(&mut selection, update(Type::Removed, run("b", 1, false)));
    assert_eq!(selection.exit(), Exit::Trouble);
}

#[test]
fn a_live_selection_forgets_what_left_it() {
    let mut selection = Selection::default();
    selection.apply(update(Type::Snapshot, run("a", 1, false)), false);
    selection.apply(update(Type::Removed, run("a", 2, false)), false);
    assert!(selection.seen.is_empty());
}

#[test]
fn complete_ends_it_and_an_unknown_event_does_not() {
    let mut selection = Selection::default();
    let complete = Event::Complete(WatchComplete { done_count: 1 });
    let message = WatchExecutionsResponse { resume_token: String::new(), event: Some(complete) };
    assert!(matches!(selection.apply(message, true), Step::Complete));
    assert!(matches!(selection.apply(WatchExecutionsResponse::default(), true), Step::Quiet));
}

#[test]
fn a_line_has_no_control_bytes() {
    let mut execution = run("backends/a/tests/t/executions/e", 1, true);
    execution.condition =
        Some(Condition { reason: "R".into(), message: "a\u{1b}[0m\nb".into(), ..Default::default() });
    let update =
        ExecutionUpdate { r#type: Type::Changed.into(), execution: Some(execution), coalesced_count: 0 };
    let line = change_line(&update);
    assert!(line.starts_with("backends/a/tests/t/executions/e  COMPLETED  PASSED"), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
}

#[tokio::test(start_paused = true)]
async fn back_off_grows_obeys_hints_and_gives_up() {
    let mut backoff = Backoff::new();
    assert!(backoff.is_fresh());
    let first = backoff.next(None).unwrap();
    assert!(first >= Backoff::FIRST && first <= Backoff::FIRST * 2);
    for _ in 0..20 {
        assert!(backoff.next(None).unwrap() <= Backoff::LONGEST * 2);
    }
    assert!(backoff.next(Some(Duration::from_secs(10))).unwrap() >= Duration::from_secs(10));
    assert!(backoff.next(Some(Duration::from_secs(9999))).unwrap() <= Backoff::LONGEST_HINT);
    tokio::time::advance(Backoff::PATIENCE).await;
    assert_eq!(backoff.next(None), None);
    backoff.reset();
    assert!(backoff.next(None).is_some());
}
