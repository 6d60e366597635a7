//! The agenda by itself: time is a number, upstream is what the test says.

mod simulation;

use super::*;
use crate::backend::Allowance;
use crate::model::Timestamp;

const FLOOR: Duration = Duration::from_millis(500);

pub(super) fn polling(lists: Lists, rate: f64) -> Polling {
    let share = Allowance { rate, spare: 5.0, burst: 5.0, wait: Duration::ZERO };
    Polling {
        lists,
        page_size: 100,
        reads_say_more: lists == Lists::ByState,
        list: share,
        read: share,
        upstream_now: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn name(id: &str) -> ExecutionName {
    ExecutionName::parse(&format!("backends/b/tests/t/executions/{id}")).unwrap()
}

pub(super) fn facts(state: State) -> Facts {
    Facts {
        state,
        age: Duration::from_secs(60),
        usual: None,
        watched: true,
        wanted_staleness: None,
        listable: true,
        failures: 0,
        retry_after: None,
        gone: false,
    }
}

/// An agenda with a clock of its own.
struct Desk {
    agenda: Agenda,
    polling: Polling,
    now: Instant,
}

impl Desk {
    fn new(lists: Lists) -> Self {
        let polling = polling(lists, 2.0);
        Self { agenda: Agenda::new(&polling, FLOOR), polling, now: Instant::now() }
    }

    fn follow(&mut self, id: &str, facts: Facts) {
        self.agenda.follow(&name(id), facts, FLOOR, self.now);
    }

    fn next(&mut self) -> Next {
        self.agenda.next(self.now, &self.polling, true)
    }

    /// Lets time pass to whatever comes next.
    fn soon(&mut self) -> Next {
        loop {
            match self.next() {
                Next::At(moment) => self.now = moment,
                next => return next,
            }
        }
    }

    /// Carries out a walk that shows these.
    fn walk(&mut self, view: &View, shows: &[(&str, State)], complete: bool) {
        let began = self.now;
        self.now += Duration::from_millis(10);
        for (id, state) in shows {
            self.agenda.seen(&name(id), facts(*state), began, self.now);
        }
        let walk = Walk { began, pages: 1, failed: None, complete };
        self.agenda.walked(view, &walk, &self.polling, self.now);
    }

    /// What is read, in its order, while all reads find nothing new and nothing else happens.
    fn reads(&mut self, count: usize) -> Vec<String> {
        let mut read = Vec::new();
        while read.len() < count {
            match self.next() {
                Next::Read(name) => read.push(name.execution.as_str().to_owned()),
                other => panic!("{other:?} after {read:?}"),
            }
        }
        read
    }
}

#[test]
fn one_execution_is_read_by_itself_and_two_by_lists() {
    let mut desk = Desk::new(Lists::ByState);
    desk.follow("one", facts(State::Running));
    assert_eq!(desk.soon(), Next::Read(name("one")));
    desk.agenda.read(&name("one"), facts(State::Running), desk.now);
    desk.follow("two", facts(State::Running));
    assert_eq!(desk.next(), Next::Walk(View::Waiting, 0));
    desk.walk(&View::Waiting, &[], true);
    assert_eq!(desk.next(), Next::Walk(View::Running, 0));
    desk.walk(&View::Running, &[("one", State::Running), ("two", State::Running)], true);
    assert!(matches!(desk.next(), Next::At(_)), "lists say enough");
    desk.agenda.read(&name("two"), facts(State::Completed), desk.now);
    assert_eq!(desk.soon(), Next::Read(name("one")), "one is left");
}

#[test]
fn nothing_is_asked_where_nothing_is_unfinished_and_nobody_selects() {
    for lists in [Lists::ByState, Lists::Newest, Lists::ByTest, Lists::None] {
        let mut desk = Desk::new(lists);
        for id in ["one", "two", "three"] {
            desk.follow(id, facts(State::Running));
        }
        for id in ["one", "two", "three"] {
            desk.agenda.read(&name(id), facts(State::Completed), desk.now);
        }
        assert_eq!(desk.next(), Next::Nothing, "{lists:?}");
    }
}

#[test]
fn who_is_missing_from_the_list_of_what_runs_is_read_at_once() {
    let mut desk = Desk::new(Lists::ByState);
    for id in ["one", "two", "three"] {
        desk.follow(id, facts(State::Running));
    }
    desk.now += Duration::from_millis(1);
    assert_eq!(desk.next(), Next::Walk(View::Waiting, 0));
    desk.walk(&View::Waiting, &[], true);
    assert_eq!(desk.next(), Next::Walk(View::Running, 0));
    desk.walk(&View::Running, &[("one", State::Running), ("three", State::Running)], true);
    assert_eq!(desk.next(), Next::Read(name("two")));
    // Upstream says that it runs: the list lags, and it is read at its own pace until a list shows it again.
    desk.agenda.read(&name("two"), facts(State::Running), desk.now);
    assert!(matches!(desk.next(), Next::At(_)));
}

#[test]
fn who_is_on_neither_list_is_asked_for_and_who_moved_between_them_is_not() {
    let mut desk = Desk::new(Lists::ByState);
    for id in ["moved", "gone", "waits"] {
        desk.follow(id, facts(State::Pending));
    }
    desk.now += Duration::from_millis(1);
    assert_eq!(desk.next(), Next::Walk(View::Waiting, 0));
    desk.walk(&View::Waiting, &[("waits", State::Pending)], true);
    assert_eq!(desk.next(), Next::Walk(View::Running, 0));
    desk.walk(&View::Running, &[("moved", State::Running)], true);
    assert_eq!(desk.reads(1), ["gone"]);
    assert!(matches!(desk.next(), Next::At(_)));
}

#[test]
fn a_page_that_is_not_the_last_says_nothing_of_who_is_not_on_it() {
    let mut desk = Desk::new(Lists::ByState);
    for id in ["one", "two"] {
        desk.follow(id, facts(State::Running));
    }
    desk.now += Duration::from_millis(1);
    assert_eq!(desk.next(), Next::Walk(View::Waiting, 0));
    desk.walk(&View::Waiting, &[], false);
    assert_eq!(desk.next(), Next::Walk(View::Running, 0));
    desk.walk(&View::Running, &[("one", State::Running)], false);
    assert!(matches!(desk.next(), Next::At(_)));
}

#[test]
fn what_ended_together_is_read_oldest_watched_first_and_before_all_else() {
    let mut desk = Desk::new(Lists::Newest);
    for id in ["c", "a", "b"] {
        desk.follow(id, facts(State::Running));
        desk.now += Duration::from_millis(1);
    }
    desk.follow("unwatched", Facts { watched: false, ..facts(State::Running) });
    desk.follow("alone", Facts { listable: false, ..facts(State::Pending) });
    desk.now += FLOOR;
    assert_eq!(desk.next(), Next::Walk(View::Newest, 0));
    let ended: Vec<_> = ["unwatched", "b", "a", "c"].map(|id| (id, State::Settling)).into();
    desk.walk(&View::Newest, &ended, true);
    assert_eq!(desk.reads(5), ["c", "a", "b", "unwatched", "alone"]);
}

#[test]
fn counts_are_read_where_the_budget_has_room_only() {
    let mut desk = Desk::new(Lists::ByState);
    for id in ["one", "two"] {
        desk.follow(id, facts(State::Running));
    }
    let shows = [("one", State::Running), ("two", State::Running)];
    let mut reads_after_an_hour = |spare: f64| {
        desk.polling.read.spare = spare;
        let (end, mut reads) = (desk.now + Duration::from_secs(3600), 0);
        while desk.now < end {
            match desk.soon() {
                Next::Walk(View::Running, _) => desk.walk(&View::Running, &shows, true),
                Next::Walk(view, _) => desk.walk(&view, &[], true),
                Next::Read(name) => {
                    reads += 1;
                    desk.agenda.read(&name, facts(State::Running), desk.now);
                }
                other => panic!("{other:?}"),
            }
        }
        reads
    };
    assert!((1_000..2_000).contains(&reads_after_an_hour(5.0)), "every few seconds each");
    assert_eq!(reads_after_an_hour(3.0), 0, "the burst is for what has ended");
}

#[test]
fn a_failed_list_is_left_alone_for_as_long_as_upstream_says() {
    let mut desk = Desk::new(Lists::Newest);
    for id in ["one", "two"] {
        desk.follow(id, facts(State::Running));
    }
    assert_eq!(desk.next(), Next::Walk(View::Newest, 0));
    let failed = Some(Failed { retry_after: Some(Duration::from_secs(30)), unusable: false });
    let walk = Walk { began: desk.now, pages: 0, failed, complete: false };
    desk.agenda.walked(&View::Newest, &walk, &desk.polling, desk.now);
    assert_eq!(desk.agenda.swept(desk.now), Some(false));
    // Who comes now does not bring it forward.
    desk.follow("three", facts(State::Running));
    let before = desk.now;
    assert_eq!(desk.soon(), Next::Walk(View::Newest, 0));
    assert_eq!(desk.now - before, Duration::from_secs(30));
}

#[test]
fn those_of_a_list_that_can_not_be_used_are_read_by_themselves_until_it_shows_them_again() {
    let mut desk = Desk::new(Lists::Newest);
    for id in ["one", "two"] {
        desk.follow(id, facts(State::Running));
    }
    assert_eq!(desk.next(), Next::Walk(View::Newest, 0));
    let failed = Some(Failed { retry_after: Some(Duration::from_secs(30)), unusable: true });
    let walk = Walk { began: desk.now, pages: 0, failed, complete: false };
    desk.agenda.walked(&View::Newest, &walk, &desk.polling, desk.now);
    for _ in 0..2 {
        let mut read = [desk.soon(), desk.soon()];
        read.sort_by_key(|next| format!("{next:?}"));
        assert_eq!(read, [Next::Read(name("one")), Next::Read(name("two"))]);
        for id in ["one", "two"] {
            desk.agenda.read(&name(id), facts(State::Running), desk.now);
        }
    }
    while desk.soon() != Next::Walk(View::Newest, 0) {}
    desk.walk(&View::Newest, &[("one", State::Running), ("two", State::Running)], true);
    assert_eq!(desk.soon(), Next::Walk(View::Newest, 0), "the list says enough again");
}

#[test]
fn lists_that_were_asked_for_once_are_walked_through_once_though_they_keep_nobody_fresh() {
    for (lists, views) in
        [(Lists::ByState, vec![View::Waiting, View::Running]), (Lists::Newest, vec![View::Newest])]
    {
        let mut desk = Desk::new(lists);
        let asked = desk.now;
        assert!(desk.agenda.sweep(1, asked));
        for view in &views {
            assert_eq!(desk.agenda.swept(asked), None, "{view:?} is to come");
            assert_eq!(desk.next(), Next::Walk(view.clone(), 1));
            desk.walk(view, &[], true);
        }
        assert_eq!(desk.agenda.swept(asked), Some(true));
        assert_eq!(desk.next(), Next::Nothing);
    }
}

#[test]
fn runs_of_one_test_are_listed_together_and_others_read_alone() {
    let mut desk = Desk::new(Lists::ByTest);
    let other = ExecutionName::parse("backends/b/tests/other/executions/x").unwrap();
    desk.agenda.follow(&other, facts(State::Running), FLOOR, desk.now);
    desk.follow("one", facts(State::Running));
    desk.follow("two", facts(State::Running));
    let view = View::Test(name("one").test);
    assert_eq!(desk.next(), Next::Walk(view.clone(), 0));
    desk.walk(&view, &[("one", State::Running), ("two", State::Running)], true);
    assert_eq!(desk.soon(), Next::Read(other));
}

#[test]
fn the_promise_follows_the_load() {
    for (lists, count, expected_ms) in [
        (Lists::ByState, 1, 500),
        (Lists::ByState, 100, 526),
        (Lists::Newest, 1_000, 526),
        (Lists::ByTest, 4, 2_000),
        (Lists::None, 100, 50_000),
    ] {
        let mut desk = Desk::new(lists);
        for id in 0..count {
            desk.follow(&id.to_string(), facts(State::Running));
        }
        assert_eq!(desk.agenda.promise(&desk.polling).as_millis(), expected_ms, "{count} on {lists:?}");
    }
}
