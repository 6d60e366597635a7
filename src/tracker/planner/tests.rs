use proptest::prelude::*;

use super::*;

const FLOOR: Duration = Duration::from_millis(500);

fn facts(state: State) -> Facts {
    Facts {
        state,
        age: Duration::from_secs(100),
        usual: None,
        watched: true,
        wanted_staleness: None,
        listable: true,
        failures: 0,
        retry_after: None,
        gone: false,
    }
}

fn at_rate(rate: f64) -> Allowance {
    Allowance { rate, spare: 5.0, burst: 5.0, wait: Duration::ZERO }
}

#[test]
fn the_pace_slows_with_the_quiet_between_floor_and_ceiling() {
    let running = facts(State::Running);
    let unwatched = Facts { watched: false, ..running };
    for (facts, quiet_s, expected_ms) in [
        (&running, 0, 500),
        (&running, 16, 2_000),
        (&running, 100_000, 5_000),
        (&unwatched, 16, 2_000),
        (&unwatched, 100_000, 15_000),
        (&self::facts(State::Pending), 16, 2_000),
        (&self::facts(State::Settling), 0, 500),
        (&self::facts(State::Settling), 100, 3_000),
        (&self::facts(State::UpstreamUnknown), 1, 5_000),
    ] {
        let pace = pace(facts, Duration::from_secs(quiet_s), FLOOR);
        assert_eq!(pace, Duration::from_millis(expected_ms), "{:?} after {quiet_s} s", facts.state);
    }
}

#[test]
fn the_pace_is_fast_near_the_end_that_past_runs_foretell() {
    let usual = Usual { least: Duration::from_secs(200), most: Duration::from_secs(240) };
    let quiet = Duration::from_secs(60);
    for (age_s, is_fast) in [(60, false), (179, false), (180, true), (210, true), (300, true), (301, false)] {
        let facts = Facts { age: Duration::from_secs(age_s), usual: Some(usual), ..facts(State::Running) };
        assert_eq!(pace(&facts, quiet, FLOOR) == FLOOR, is_fast, "at {age_s} s");
    }
    let waiting = Facts { age: Duration::from_secs(210), usual: Some(usual), ..facts(State::Pending) };
    assert!(pace(&waiting, quiet, FLOOR) > FLOOR, "what has not begun does not end");
}

#[test]
fn a_watcher_can_ask_for_more_but_not_for_more_than_the_floor() {
    for (wanted_ms, expected_ms) in [(2_000, 2_000), (1, 500), (60_000, 5_000)] {
        let wanted_staleness = Some(Duration::from_millis(wanted_ms));
        let facts = Facts { wanted_staleness, ..facts(State::Running) };
        assert_eq!(pace(&facts, Duration::from_secs(1_000), FLOOR), Duration::from_millis(expected_ms));
    }
}

#[test]
fn what_is_done_is_never_read_again() {
    assert_eq!(pause(&facts(State::Completed), Duration::ZERO, FLOOR), None);
}

#[test]
fn a_hint_beats_the_back_off_and_failures_double_it() {
    for (failures, hint_s, expected_s) in [(1, None, 1), (3, None, 4), (30, None, 60), (1, Some(90), 90)] {
        let retry_after = hint_s.map(Duration::from_secs);
        let facts = Facts { failures, retry_after, ..facts(State::Running) };
        assert_eq!(pause(&facts, Duration::ZERO, FLOOR), Some(Duration::from_secs(expected_s)));
    }
}

#[test]
fn lists_use_the_budget_and_leave_some_of_it_to_the_seldom_ones() {
    for (rate, pages, frequent_ms, seldom_s) in
        [(2.0, 1, 526, 10), (1.0, 1, 1_052, 20), (2.0, 3, 1_578, 10), (1_000.0, 1, 500, 5)]
    {
        let list = at_rate(rate);
        assert_eq!(frequent(&list, pages, FLOOR).as_millis(), frequent_ms);
        assert_eq!(seldom(&list, FLOOR).as_secs(), seldom_s);
        let calls = 1.0 / frequent(&list, pages, FLOOR).as_secs_f64() * pages as f64;
        assert!(calls + 1.0 / seldom(&list, FLOOR).as_secs_f64() <= rate * 1.001);
    }
}

#[test]
fn a_list_is_worth_it_from_two_on_or_for_those_who_select_by_parent() {
    for (members, selected, worth) in
        [(0, false, false), (1, false, false), (2, false, true), (0, true, true)]
    {
        assert_eq!(lists_are_worth_it(members, selected), worth, "{members} {selected}");
    }
}

proptest! {
    #[test]
    fn no_facts_make_it_panic_or_poll_below_the_floor(
        state in prop::sample::select(&State::ALL[..]), age in any::<u32>(), quiet in any::<u32>(),
        failures in any::<u32>(), gone: bool, watched: bool, retry in proptest::option::of(0u64..100_000),
        wanted in proptest::option::of(0u64..100_000), usual in proptest::option::of((any::<u32>(), any::<u32>())),
    ) {
        let facts = Facts {
            age: Duration::from_millis(age.into()),
            usual: usual.map(|(least, more)| Usual {
                least: Duration::from_millis(least.into()),
                most: Duration::from_millis(u64::from(least) + u64::from(more)),
            }),
            failures,
            gone,
            watched,
            retry_after: retry.map(Duration::from_millis),
            wanted_staleness: wanted.map(Duration::from_millis),
            ..facts(state)
        };
        if let Some(pause) = pause(&facts, Duration::from_millis(quiet.into()), FLOOR) {
            prop_assert!(pause >= FLOOR);
        }
    }
}
