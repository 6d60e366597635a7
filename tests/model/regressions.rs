//! Cases that once failed, each by the name of what was wrong.

use testgate::backend::Lists;

use crate::upstream::{End, Stage};
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
