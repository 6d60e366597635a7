//! Runs, their queue, and what time does to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Options, TestCase};
use crate::sandbox::aws::RateLimit;
use crate::sandbox::aws::account::{Account, Entry};
use crate::sandbox::scenario::{Outcome, Script};

/// The service cuts a run off after five minutes.
pub(super) const RUN_LIMIT_MS: i64 = 300_000;

/// From acceptance to the first moment of `IN_PROGRESS`, where nothing is in the way.
const WARM_UP_MS: i64 = 500;

/// From a stop's acceptance to `STOPPED`.
const STOP_MS: i64 = 1_000;

/// How many runs are remembered; beyond it the oldest ended one is forgotten.
const RUNS_KEPT: usize = 5_000;

pub(super) const STATUSES: [&str; 5] = ["INITIATED", "PASSED", "FAILED", "IN_PROGRESS", "STOPPED"];

/// Counts that a `set` command shows instead of the script's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) total: u32,
    pub(super) passed: u32,
    pub(super) failed: u32,
}

/// One run. Times are simulated milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) test_id: String,
    pub(super) test_name: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) token: String,
    pub(super) script: Script,
    pub(super) requested: i64,
    /// When it left the queue, or will: a slot is held from then on.
    pub(super) begun: Option<i64>,
    pub(super) stop: Option<(i64, String)>,
    pub(super) ended: Option<(i64, &'static str)>,
    pub(super) shown_status: Option<String>,
    pub(super) shown_counts: Option<Shown>,
}

impl Run {
    pub(super) fn status(&self, now: i64) -> &str {
        if let Some(shown) = &self.shown_status {
            return shown;
        }
        match (self.ended, self.begun) {
            (Some((_, status)), _) => status,
            (None, Some(begun)) if begun <= now => "IN_PROGRESS",
            (None, _) => "INITIATED",
        }
    }

    /// The start as the API shows it: acceptance while it is queued, then the moment it began to run.
    pub(super) fn start(&self, now: i64) -> i64 {
        self.begun.filter(|begun| *begun <= now).unwrap_or(self.requested)
    }

    /// When and how it ends if nobody interferes.
    fn plan(&self, begun: i64) -> (i64, &'static str) {
        let natural = match self.script.outcome {
            Outcome::Hangs => i64::MAX,
            _ => begun.saturating_add(self.script.duration_ms()),
        };
        let limit = begun.saturating_add(RUN_LIMIT_MS);
        let planned = if natural > limit {
            (limit, "FAILED")
        } else if self.script.outcome == Outcome::Passed {
            (natural, "PASSED")
        } else {
            (natural, "FAILED")
        };
        match &self.stop {
            Some((at, _)) if *at < planned.0 => (*at, "STOPPED"),
            _ => planned,
        }
    }

    /// Whether the platform never ran it.
    pub(super) fn broken(&self) -> bool {
        matches!(self.script.outcome, Outcome::Broken | Outcome::Errors)
    }

    /// The moment at which observation `index` is made.
    pub(super) fn observed_at(&self, begun: i64, index: u32) -> i64 {
        let share = f64::from(index + 1) / f64::from(self.script.checks + 1);
        let length = match self.script.outcome {
            // One observation is made early, the next one is awaited in vain.
            Outcome::Hangs if index == 0 => return begun.saturating_add(1_000),
            Outcome::Hangs => return i64::MAX,
            _ => self.script.duration_ms(),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "bounded to a week")]
        begun.saturating_add((length as f64 * share) as i64)
    }

    /// How many observations exist, hold, and don't hold.
    pub(super) fn counts(&self, now: i64) -> Shown {
        if let Some(shown) = self.shown_counts {
            return shown;
        }
        let none = Shown { total: 0, passed: 0, failed: 0 };
        let Some(begun) = self.begun.filter(|begun| *begun <= now) else { return none };
        if self.broken() || self.script.outcome == Outcome::Empty {
            return none;
        }
        let until = self.ended.map_or(now, |(at, _)| at.min(now));
        let made =
            (0..self.script.checks).take_while(|index| self.observed_at(begun, *index) <= until).count();
        let made = u32::try_from(made).unwrap_or(u32::MAX);
        let failing_from = self.script.checks - self.script.failures();
        let failed = made.saturating_sub(failing_from);
        Shown { total: self.script.checks, passed: made - failed, failed }
    }
}

impl Entry for Run {
    const KIND: &'static str = "execution";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.test_name
    }
}

/// Everything that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) account: Account<TestCase, Run>,
    pub(super) milliseconds: bool,
    pub(super) running_limit: usize,
    pub(super) accepted_limit: usize,
    pub(super) list_lag_ms: i64,
    pub(super) modified_ms: i64,
    /// When a slot last became free.
    free_since: i64,
}

impl State {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            account: Account::new(options.tests.clone(), RateLimit::new(options.rate_limit)),
            milliseconds: options.milliseconds,
            running_limit: 5,
            accepted_limit: 100,
            list_lag_ms: 0,
            // 2026-10-01T09:30:00.250Z: any fixed moment does, and the fraction shows who rounds.
            modified_ms: 1_790_847_000_250,
            free_since: 0,
        }
    }

    /// The runs that hold a slot.
    fn running(&self) -> impl Iterator<Item = &Run> {
        self.account.runs.iter().filter(|run| run.begun.is_some() && run.ended.is_none())
    }

    /// Lets happen what was due by now: runs end, and the queue moves up in the order of arrival.
    pub(super) fn move_on(&mut self, now: i64) {
        loop {
            if self.running().count() < self.running_limit
                && let Some(head) =
                    self.account.runs.iter().position(|run| run.begun.is_none() && run.ended.is_none())
                && let Some(run) = self.account.runs.get_mut(head)
            {
                run.begun = Some((run.requested + WARM_UP_MS).max(self.free_since));
                continue;
            }
            let due = self
                .running()
                .filter_map(|run| Some((run.plan(run.begun?), run.sequence)))
                .filter(|((at, _), _)| *at <= now)
                .min_by_key(|((at, _), sequence)| (*at, *sequence));
            let Some((end, sequence)) = due else { return };
            if let Some(run) = self.account.runs.iter_mut().find(|run| run.sequence == sequence) {
                run.ended = Some(end);
                self.free_since = self.free_since.max(end.0);
            }
        }
    }

    /// Accepts a run; `None` where the quota is used up.
    pub(super) fn start(&mut self, test: &TestCase, token: &str, script: Script, now: i64) -> Option<&Run> {
        let unfinished = self.account.runs.iter().filter(|run| run.ended.is_none()).count();
        if unfinished >= self.accepted_limit {
            return None;
        }
        if self.account.runs.len() >= RUNS_KEPT
            && let Some(oldest) = self.account.runs.iter().position(|run| run.ended.is_some())
        {
            self.account.runs.remove(oldest);
        }
        let sequence = self.account.number();
        self.account.runs.push(Run {
            id: new_id(),
            sequence,
            test_id: test.id.clone(),
            test_name: test.name.clone(),
            tags: test.tags.clone(),
            token: token.into(),
            script,
            requested: now,
            begun: None,
            stop: None,
            ended: None,
            shown_status: None,
            shown_counts: None,
        });
        self.move_on(now);
        self.account.runs.last()
    }

    /// Asks a run to stop; one that still waits stops at once. False where it had ended before.
    pub(super) fn stop(run: &mut Run, token: &str, now: i64) -> bool {
        if run.ended.is_some() {
            return false;
        }
        if run.begun.is_some_and(|begun| begun <= now) {
            run.stop.get_or_insert((now + STOP_MS, token.to_owned()));
        } else {
            run.stop = Some((now, token.to_owned()));
            run.ended = Some((now, "STOPPED"));
        }
        true
    }

    /// A time as the wire has it at the moment.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit a double")]
    pub(super) fn stamp(&self, ms: i64) -> Value {
        if self.milliseconds { json!(ms) } else { json!(ms as f64 / 1000.0) }
    }

    /// Whether lists show it already.
    pub(super) fn listed(&self, run: &Run, now: i64) -> bool {
        run.requested.saturating_add(self.list_lag_ms) <= now
    }
}

pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
