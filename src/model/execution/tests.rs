use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::model::{BackendId, ExecutionId, TestId, TestName};

const NOW: Timestamp = datetime!(2026-11-21 05:00 UTC);

fn name() -> ExecutionName {
    let test = TestName { backend: BackendId::new("connect").unwrap(), test: TestId::new("t").unwrap() };
    test.execution(ExecutionId::new("e").unwrap())
}

fn reading(state: State, verdict: Verdict) -> Observation {
    Observation::new("e", state.as_str(), state, verdict)
}

fn any_reading() -> impl Strategy<Value = Observation> {
    (prop::sample::select(&State::ALL[..]), prop::sample::select(&Verdict::ALL[..]), any::<Option<i32>>())
        .prop_map(|(state, verdict, total)| Observation {
            counts: total.map(|total| Counts { total: Some(total), ..Counts::default() }),
            ..reading(state, verdict)
        })
}

proptest! {
    #[test]
    fn no_sequence_of_readings_breaks_an_invariant(readings in prop::collection::vec(any_reading(), 1..20)) {
        let mut execution = Execution::unread(name());
        for (n, reading) in readings.into_iter().enumerate() {
            let before = execution.clone();
            let now = NOW + time::Duration::seconds(i64::try_from(n).unwrap());
            let changed = execution.observe(reading, now);
            if before.is_done() {
                prop_assert!(!changed);
                prop_assert_eq!(&execution, &before);
            }
            prop_assert_eq!(execution.is_done(), execution.verdict != Verdict::Pending);
            prop_assert_eq!(execution.create_time, Some(NOW));
            prop_assert!(!(execution.is_done() && execution.condition.is_some()));
            prop_assert!(!(execution.verdict == Verdict::Passed && execution.failure.is_some()));
            let went_back = execution.state == State::Pending
                && matches!(before.state, State::Running | State::Stopping | State::Settling);
            prop_assert!(!went_back);
        }
    }
}

#[test]
fn a_new_observe_time_alone_is_no_change() {
    let mut execution = Execution::first_seen(name(), reading(State::Running, Verdict::Pending), NOW);
    let later = NOW + time::Duration::seconds(5);
    assert!(!execution.observe(reading(State::Running, Verdict::Pending), later));
    assert_eq!(execution.observe_time, Some(later));
}

#[test]
fn trouble_is_a_condition_and_a_good_reading_clears_it() {
    let mut execution = Execution::first_seen(name(), reading(State::Running, Verdict::Pending), NOW);
    assert!(execution.note_trouble("UPSTREAM_TIMEOUT", "slow", NOW));
    assert!(!execution.note_trouble("UPSTREAM_TIMEOUT", "still slow", NOW));
    assert_eq!((execution.state, execution.verdict), (State::Running, Verdict::Pending));
    assert!(execution.observe(reading(State::Running, Verdict::Pending), NOW));
    assert_eq!(execution.condition, None);
}

#[test]
fn a_stop_shows_as_stopping_until_upstream_ends_it() {
    let mut execution = Execution::first_seen(name(), reading(State::Running, Verdict::Pending), NOW);
    assert!(execution.note_stop("me", "enough", NOW));
    assert!(
        !execution.observe(reading(State::Running, Verdict::Pending), NOW)
            || execution.state == State::Stopping
    );
    assert_eq!(execution.state, State::Stopping);
    assert!(execution.observe(reading(State::Stopped, Verdict::Inconclusive), NOW));
    assert_eq!(execution.state, State::Stopped);
}

#[test]
fn times_outside_the_calendar_are_left_unset() {
    let mut odd = reading(State::Running, Verdict::Pending);
    odd.start_time = Some(datetime!(-0001-01-01 0:00 UTC));
    assert_eq!(Execution::first_seen(name(), odd, NOW).start_time, None);
}

#[test]
fn a_lost_execution_is_inconclusive_for_good() {
    let mut execution = Execution::first_seen(name(), reading(State::Running, Verdict::Pending), NOW);
    assert!(execution.lose("gone", NOW));
    assert_eq!((execution.state, execution.verdict), (State::Lost, Verdict::Inconclusive));
    assert!(!execution.observe(reading(State::Completed, Verdict::Passed), NOW));
}
