//! Cases that once failed, each by the name of what was wrong.

use testgate::backend::Lists;

use crate::upstream::{End, Mood, Stage};
use crate::{Case, Op, run};

/// The plainest case there is, so that a failure of all cases has a short one.
#[test]
fn a_run_that_ends_is_told_to_who_follows_it() {
    let ops = vec![
        Op::Begin { test: 0 },
        Op::WatchNames { reader: 0, runs: 1, until_done: true },
        Op::WatchParent { reader: 1, test: None },
        Op::Pass { steps: 20 },
        Op::Read { reader: 0, most: 100 },
        Op::Move { run: 0, stage: Stage::Ended(End::Passed) },
        Op::Restart { kill: true },
    ];
    run(&Case { lists: Lists::None, outlines: false, ops });
}

/// An end was on its way to the disk when a second stream opened.
#[test]
fn a_stream_that_opens_while_an_end_is_saved_is_told_of_it() {
    let ops = vec![
        Op::Start { test: 1 },
        Op::Start { test: 0 },
        Op::Pass { steps: 67 },
        Op::Begin { test: 1 },
        Op::Move { run: 0, stage: Stage::Ended(End::Passed) },
        Op::WatchNames { reader: 1, runs: 47, until_done: true },
        Op::Pass { steps: 7 },
        Op::WatchNames { reader: 0, runs: 119, until_done: false },
        Op::Pass { steps: 72 },
        Op::Start { test: 0 },
        Op::Pass { steps: 4 },
        Op::Read { reader: 1, most: 2 },
        Op::WatchParent { reader: 1, test: None },
    ];
    run(&Case { lists: Lists::None, outlines: false, ops });
}

/// A fresh stream took an end that was being saved for a part of what its mark made void.
#[test]
fn an_end_that_is_saved_while_a_stream_opens_comes_after_its_mark() {
    let ops = vec![
        Op::Begin { test: 1 },
        Op::Pass { steps: 14 },
        Op::Move { run: 0, stage: Stage::Ended(End::Broken) },
        Op::WatchNames { reader: 1, runs: 1, until_done: true },
        Op::Pass { steps: 62 },
    ];
    run(&Case { lists: Lists::None, outlines: true, ops });
}

/// The first look failed, and the next one went no further than the first page.
#[test]
fn a_look_that_failed_is_made_again_in_its_whole_depth() {
    let mut ops = vec![Op::Feel(Mood::Unreachable)];
    ops.extend((0..25).map(|_| Op::Begin { test: 0 }));
    ops.extend([Op::WatchParent { reader: 0, test: None }, Op::Pass { steps: 1 }]);
    run(&Case { lists: Lists::Newest, outlines: false, ops });
}
