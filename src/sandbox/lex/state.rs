//! Runs and what time does to them.

use serde_json::{Value, json};

use super::{Options, TestSet};
use crate::sandbox::aws::RateLimit;
use crate::sandbox::aws::account::{Account, Entry};
use crate::sandbox::scenario::{Lagging, Outcome, Script};

/// `Pending`, then `Waiting`, each that long before the run itself.
const STEP_MS: i64 = 400;

/// How many runs are remembered; beyond it the oldest is forgotten.
const RUNS_KEPT: usize = 5_000;

/// What a start names.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) bot_id: String,
    pub(super) bot_alias_id: String,
    pub(super) locale_id: String,
    pub(super) api_mode: String,
    pub(super) modality: String,
}

/// One run. Times are simulated milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) test_id: String,
    pub(super) test_name: String,
    pub(super) target: Target,
    pub(super) script: Script,
    pub(super) created: i64,
    pub(super) shown: Option<(i64, String)>,
    pub(super) finished: Option<(i64, &'static str)>,
}

impl Run {
    /// When and how it ends; none where it never does.
    pub(super) fn end(&self) -> Option<(i64, &'static str)> {
        if self.finished.is_some() {
            return self.finished;
        }
        let at = self.created.saturating_add(2 * STEP_MS).saturating_add(self.script.duration_ms());
        match self.script.outcome {
            Outcome::Hangs => None,
            Outcome::Broken => Some((at, "Failed")),
            Outcome::Passed | Outcome::Failed | Outcome::Errors | Outcome::Empty => Some((at, "Completed")),
        }
    }

    /// The status, and since when.
    pub(super) fn status(&self, now: i64) -> (&str, i64) {
        if let Some((since, shown)) = &self.shown {
            return (shown, *since);
        }
        match self.end().filter(|(at, _)| *at <= now) {
            Some((at, status)) => (status, at),
            None if now < self.created + STEP_MS => ("Pending", self.created),
            None if now < self.created + 2 * STEP_MS => ("Waiting", self.created + STEP_MS),
            None => ("InProgress", self.created + 2 * STEP_MS),
        }
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
    pub(super) account: Account<TestSet, Run>,
    pub(super) unfinished_limit: Option<usize>,
    pub(super) list_lag_ms: i64,
    pub(super) results_lag_ms: i64,
    pub(super) lagging: Option<Lagging>,
    pub(super) modified_ms: i64,
}

impl State {
    pub(super) fn new(options: &Options) -> Self {
        // Unlike Connect's, this service's throttling is modeled with the header.
        let mut limiter = RateLimit::new(options.rate_limit);
        limiter.retry_after = Some(1);
        Self {
            account: Account::new(options.tests.clone(), limiter),
            unfinished_limit: None,
            list_lag_ms: 0,
            results_lag_ms: 0,
            lagging: None,
            // 2026-10-01T09:30:00.250Z: any fixed moment does, and the fraction shows who rounds.
            modified_ms: 1_790_847_000_250,
        }
    }

    /// Accepts a run; `None` where the quota is used up.
    pub(super) fn start(&mut self, test: &TestSet, target: Target, script: Script, now: i64) -> Option<&Run> {
        let unfinished =
            self.account.runs.iter().filter(|run| run.end().is_none_or(|(at, _)| at > now)).count();
        if self.unfinished_limit.is_some_and(|limit| unfinished >= limit) {
            return None;
        }
        if self.account.runs.len() >= RUNS_KEPT {
            self.account.runs.remove(0);
        }
        let sequence = self.account.number();
        self.account.runs.push(Run {
            id: new_id(),
            sequence,
            test_id: test.id.clone(),
            test_name: test.name.clone(),
            target,
            script,
            created: now,
            shown: None,
            finished: None,
        });
        self.account.runs.last()
    }
}

/// Ten letters and digits, as all ids of this service.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string().to_uppercase().chars().take(10).collect()
}

/// Seconds with a fraction, as this service sends times.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit a double")]
pub(super) fn stamp(ms: i64) -> Value {
    json!(ms as f64 / 1000.0)
}
