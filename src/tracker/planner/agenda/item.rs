//! One execution on the agenda: what is known of it, and why and when it is read by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{COUNTS, Facts, LIST_LAG, pace, pause};
use crate::backend::{Allowance, Lists};
use crate::model::{ExecutionName, State, TestId};

/// What a reading is for, the most urgent first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Class {
    /// It has ended, or a list that should show it does not.
    Ended,
    /// No list shows it.
    Alone,
    /// It failed before, or was gone.
    Troubled,
    /// It has just begun, and no list has shown it yet.
    Fresh,
    /// To see its counts rise, where the budget has room.
    Counts,
}

impl Class {
    /// Whether a reading that was planned for this stays planned when lists show the execution, or don't.
    pub(super) fn outlives(self, listed: bool) -> bool {
        match self {
            Self::Ended => true,
            Self::Alone | Self::Troubled => !listed,
            Self::Fresh | Self::Counts => listed,
        }
    }
}

/// The order of readings whose time has come: by what they are for, then by who has watched longest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    class: Class,
    unwatched: bool,
    since: Instant,
}

impl Rank {
    /// How long the budget has such a reading wait. What is not urgent leaves the burst to what has ended.
    pub(super) fn wait(&self, share: &Allowance) -> Duration {
        let missing = match self.class {
            Class::Ended | Class::Alone | Class::Troubled => 0.0,
            Class::Fresh | Class::Counts => (share.burst - 1.0 - share.spare).max(0.0),
        };
        share.wait.max(Duration::from_secs_f64((missing / share.rate).min(3600.0)))
    }
}

/// A reading that is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) class: Class,
    pub(super) due: Instant,
    /// Its place among those whose time has come.
    pub(super) ready: Option<Rank>,
}

/// One execution.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) facts: Facts,
    /// When the facts were learnt.
    learnt_at: Instant,
    /// When its state changed, as far as known.
    pub(super) changed_at: Instant,
    /// How long its state had not changed then.
    quiet_before: Duration,
    /// Since when it is followed, or watched.
    since: Instant,
    /// With what else lists refresh it.
    pub(super) group: Option<Group>,
    /// The beginning of the last walk that showed it.
    pub(super) seen: Option<Instant>,
    /// A list that should show it did not, and a reading was asked for.
    pub(super) missing: bool,
    pub(super) planned: Option<Planned>,
    pub(super) reading: bool,
    /// When the reading under way was due.
    pub(super) due: Option<Instant>,
    /// Wanted once more as soon as the reading under way is over.
    pub(super) again: bool,
    pub(super) read_at: Option<Instant>,
}

impl Item {
    pub(super) fn new(facts: Facts, now: Instant) -> Self {
        Self {
            facts,
            learnt_at: now,
            changed_at: now,
            quiet_before: facts.age,
            since: now,
            group: None,
            seen: None,
            missing: false,
            planned: None,
            reading: false,
            due: None,
            again: false,
            read_at: None,
        }
    }

    pub(super) fn learn(&mut self, facts: Facts, now: Instant) {
        if facts.state != self.facts.state {
            self.changed_at = now;
            self.quiet_before = Duration::ZERO;
        }
        if facts.watched && !self.facts.watched {
            self.since = now;
        }
        self.facts = facts;
        self.learnt_at = now;
    }

    /// Since it began.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.facts.age + now.saturating_duration_since(self.learnt_at)
    }

    fn quiet(&self, now: Instant) -> Duration {
        self.quiet_before + now.saturating_duration_since(self.changed_at)
    }

    /// The facts as of now.
    fn aged(&self, now: Instant) -> Facts {
        Facts { age: self.age(now), ..self.facts }
    }

    /// How old what is known of it may grow.
    pub(super) fn pace(&self, floor: Duration, now: Instant) -> Duration {
        pace(&self.aged(now), self.quiet(now), floor)
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.facts.failures > 0 || self.facts.gone
    }

    /// Whether a list may not show it yet.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.seen.is_none() && self.age(now) < LIST_LAG
    }

    /// Why and when it is to be read by itself; `None` where lists do.
    pub(super) fn next_reading(
        &self,
        listed: bool,
        reads_say_more: bool,
        floor: Duration,
        now: Instant,
    ) -> Option<(Class, Instant)> {
        let from = self.read_at.unwrap_or(now);
        if listed {
            let counts = reads_say_more && self.facts.watched && self.facts.state == State::Running;
            return match (self.is_fresh(now), counts) {
                (true, _) => Some((Class::Fresh, now + LIST_LAG / 5)),
                (false, true) => Some((Class::Counts, (from + COUNTS).max(now))),
                (false, false) => None,
            };
        }
        let pause = pause(&self.aged(now), self.quiet(now), floor)?;
        let class = match self.facts.state {
            _ if self.is_troubled() => Class::Troubled,
            State::Settling => Class::Ended,
            _ => Class::Alone,
        };
        // What has just ended is read at once, and then at its pace.
        let just_ended =
            class == Class::Ended && self.read_at.is_none_or(|read_at| read_at < self.changed_at);
        Some((class, if just_ended { now } else { (from + pause).max(now) }))
    }

    /// Its time has come: gives it its place in the order.
    pub(super) fn make_ready(&mut self) -> Option<Rank> {
        let (unwatched, since) = (!self.facts.watched, self.since);
        let planned = self.planned.as_mut()?;
        let rank = Rank { class: planned.class, unwatched, since };
        planned.ready = Some(rank);
        Some(rank)
    }

    pub(super) fn begin_reading(&mut self) {
        self.due = self.planned.take().map(|planned| planned.due);
        self.reading = true;
        self.again = false;
    }
}

/// Executions that one list, or two, refresh together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Group {
    /// Those of all tests.
    All,
    /// Those of one.
    Test(TestId),
}

impl Group {
    /// Where an execution belongs; `None` where no list shows it.
    pub(super) fn of(lists: Lists, name: &ExecutionName, facts: &Facts) -> Option<Self> {
        let shown =
            facts.listable && matches!(facts.state, State::Pending | State::Running | State::Stopping);
        match lists {
            Lists::ByState | Lists::Newest if shown => Some(Self::All),
            Lists::ByTest if shown => Some(Self::Test(name.test.clone())),
            _ => None,
        }
    }
}
