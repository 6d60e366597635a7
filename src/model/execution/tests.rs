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
    let states = (prop::sample::select(&State::ALL[..]), prop::sample::select(&Verdict::ALL[..]));
    let few = || prop::option::of(0u8..2);
    (states, prop::array::uniform8(few())).prop_map(|((state, verdict), parts)| {
        let [counts, failure, created, started, ended, labels, name, condition] = parts;
        let time = |seconds| NOW + time::Duration::seconds(i64::from(seconds));
        Observation {
            counts: counts.map(|total| Counts { total: Some(total.into()), ..Counts::default() }),
            failure: failure.map(|code| Failure::new(FailureKind::Assertion, code.to_string(), [])),
            create_time: created.map(time),
            start_time: started.map(time),
            end_time: ended.map(time),
            upstream_labels: labels.map(|label| [("l".to_owned(), label.to_string())].into()),
            test_display_name: name.map(|name| name.to_string()).unwrap_or_default(),
            condition: condition.map(|reason| (reason.to_string(), format!("{parts:?}"))),
            ..reading(state, verdict)
        }
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
            prop_assert_eq!(execution.create_time, before.create_time.or(execution.create_time));
            let mut same = Execution { observe_time: execution.observe_time, ..before.clone() };
            if let (Some(was), Some(is)) = (&mut same.condition, &execution.condition)
                && was.reason == is.reason
            {
                was.message.clone_from(&is.message);
            }
            prop_assert_eq!(changed, execution != same, "a change that was not told, or the other way round");
            prop_assert!(!(execution.is_done() && execution.condition.is_some()));
            prop_assert!(!(execution.verdict == Verdict::Passed && execution.failure.is_some()));
            let went_back = execution.state == State::Pending
                && matches!(before.state, State::Running | State::Stopping | State::Settling);
            prop_assert!(!went_back);
        }
    }
}

#[test]
fn each_part_of_a_reading_is_a_change_where_it_differs_and_only_then() {
    let alterations: [fn(&mut Observation); 11] = [
        |reading| reading.state = State::Settling,
        |reading| reading.upstream_id = "other".to_owned(),
        |reading| reading.upstream_status = "other".to_owned(),
        |reading| reading.counts = Some(Counts { total: Some(1), ..Counts::default() }),
        |reading| reading.failure = Some(Failure::new(FailureKind::Assertion, "code", [])),
        |reading| reading.start_time = Some(NOW),
        |reading| reading.end_time = Some(NOW),
        |reading| reading.details = Some(Details::Connect(ConnectDetails::default())),
        |reading| reading.upstream_labels = Some([("key".to_owned(), "value".to_owned())].into()),
        |reading| reading.test_display_name = "name".to_owned(),
        |reading| reading.condition = Some(("REASON".to_owned(), "message".to_owned())),
    ];
    for (at, alter) in alterations.iter().enumerate() {
        let mut execution = Execution::first_seen(name(), reading(State::Running, Verdict::Pending), NOW);
        let altered = || {
            let mut reading = reading(State::Running, Verdict::Pending);
            alter(&mut reading);
            reading
        };
        assert!(execution.observe(altered(), NOW), "part {at}");
        assert!(!execution.observe(altered(), NOW), "part {at}");
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
