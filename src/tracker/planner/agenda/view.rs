//! The lists on the agenda: which there are, and when they are walked through.

use std::time::Duration;

use tokio::time::Instant;

use super::item::Group;
use crate::model::{ExecutionName, TestId};

/// A list that refreshes many executions. Of those that are due together the first goes first: who begins to run
/// between the list of what waits and that of what runs is seen twice rather than never.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::tracker) enum View {
    /// Those that wait. Seldom: a queue tells little.
    Waiting,
    /// Those that run.
    Running,
    /// Whatever began lately, ended or not, for those who select by parent.
    Recent,
    /// The newest, whatever their state.
    Newest,
    /// Those of one test.
    Test(TestId),
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::tracker) enum Next {
    /// Walk through a list, so many pages of it in any case.
    Walk(View, usize),
    /// Read an execution by itself.
    Read(ExecutionName),
    /// Nothing before this moment.
    At(Instant),
    /// Nothing until something changes.
    Nothing,
}

/// How a walk through a list went.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracker) struct Walk {
    /// When its first call was made.
    pub(in crate::tracker) began: Instant,
    /// How many pages it took.
    pub(in crate::tracker) pages: usize,
    /// `None` where it succeeded.
    pub(in crate::tracker) failed: Option<Failed>,
    /// It showed all there is, or all that could be one of those followed.
    pub(in crate::tracker) complete: bool,
}

/// Why a walk failed.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracker) struct Failed {
    /// Upstream's hint when to come back.
    pub(in crate::tracker) retry_after: Option<Duration>,
    /// Upstream answered, and what it answered is no list: until one shows them again, those on it are read by
    /// themselves.
    pub(in crate::tracker) unusable: bool,
}

/// A list's place on the agenda.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) due: Option<Instant>,
    /// How many pages the next walk looks through in any case.
    pub(super) depth: usize,
    /// As many the walk under way goes through; one that fails leaves them to the next.
    pub(super) depth_under_way: usize,
    pub(super) walking: bool,
    /// When the last walk began that succeeded.
    pub(super) looked: Option<Instant>,
    pub(super) failures: u32,
    /// How many pages that one took.
    pub(super) pages: usize,
    /// The shortest pause after it that the budget bears.
    pub(super) pause: Duration,
}

impl Turn {
    /// Has its turn come at the latest then, unless it is under way or being left alone after a failure.
    pub(super) fn bring_forward(&mut self, to: Instant) {
        if !self.walking && self.failures == 0 {
            self.due = Some(self.due.map_or(to, |due| due.min(to)));
        }
    }
}

impl View {
    /// The group whose executions it shows.
    pub(super) fn group(&self) -> Group {
        match self {
            Self::Test(test) => Group::Test(test.clone()),
            Self::Running | Self::Waiting | Self::Recent | Self::Newest => Group::All,
        }
    }
}
