//! What a simulated run does: how long it takes and how it ends.

use serde::{Deserialize, Serialize};

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything holds.
    Passed,
    /// Some checks don't hold.
    Failed,
    /// Lex: some conversations end in an execution error. Connect has no such thing and fails to initialise.
    Errors,
    /// The platform can't run it. Connect: an initialisation failure; Lex: `Failed` with reasons.
    Broken,
    /// It ends without any evidence. Connect: `FAILED`, no observations, no records; Lex: no results.
    Empty,
    /// It never ends by itself; Connect cuts it off after five minutes.
    Hangs,
}

/// How results that lag behind the end look until they are there (Lex).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lagging {
    /// 404 for the first half, an empty page for the second.
    #[default]
    Mixed,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// A page without items.
    EmptyPage,
}

/// A run's script, in simulated time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// How it ends.
    pub outcome: Outcome,
    /// How long it runs once it began.
    pub seconds: f64,
    /// Observations (Connect) or conversations (Lex).
    pub checks: u32,
    /// How many of them don't hold, with an outcome of `failed` or `errors`.
    pub failing: u32,
    /// How long after the end the last evidence becomes readable: records (Connect) or results (Lex).
    pub lag_seconds: f64,
    /// What late results look like until then (Lex).
    pub lagging: Lagging,
    /// Adds a record of a type that no documentation names (Connect).
    pub odd_records: bool,
}

/// Bounds that keep arithmetic and memory in hand.
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;
const MAX_CHECKS: u32 = 200_000;

impl Default for Script {
    fn default() -> Self {
        Self::passing()
    }
}

impl Script {
    /// Passes after four seconds.
    pub fn passing() -> Self {
        Self {
            outcome: Outcome::Passed,
            seconds: 4.0,
            checks: 4,
            failing: 0,
            lag_seconds: 0.0,
            lagging: Lagging::Mixed,
            odd_records: false,
        }
    }

    /// What a test does that has a name and no script: the name says it.
    ///
    /// `fail`, `closure` and `mismatch` fail, `error` has errors, `broken` and `init` can't be run, `empty` and
    /// `no-observation` show nothing, `timeout` and `hang` don't end; `slow` takes 20 seconds, `late` shows its
    /// evidence eight seconds after the end; everything else passes in four.
    pub fn from_name(name: &str) -> Self {
        let name = name.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let mut script = Self::passing();
        if has(&["broken", "init"]) {
            script.outcome = Outcome::Broken;
            script.seconds = 1.0;
        } else if has(&["empty", "no-observation"]) {
            script.outcome = Outcome::Empty;
        } else if has(&["timeout", "hang"]) {
            script.outcome = Outcome::Hangs;
        } else if has(&["error"]) {
            script.outcome = Outcome::Errors;
            script.failing = 1;
        } else if has(&["fail", "closure", "mismatch"]) {
            script.outcome = Outcome::Failed;
            script.failing = 1;
        }
        if has(&["slow"]) {
            script.seconds = 20.0;
        }
        if has(&["late"]) {
            script.lag_seconds = 8.0;
        }
        script
    }

    /// Brings every figure within its bounds, so that no script can overflow or exhaust anything.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let bounded = |seconds: f64| if seconds.is_finite() { seconds.clamp(0.0, MAX_SECONDS) } else { 0.0 };
        self.seconds = bounded(self.seconds);
        self.lag_seconds = bounded(self.lag_seconds);
        self.checks = self.checks.min(MAX_CHECKS);
        self.failing = self.failing.min(self.checks);
        self
    }

    /// How many checks don't hold.
    pub(crate) fn failures(&self) -> u32 {
        match self.outcome {
            Outcome::Failed | Outcome::Errors => self.failing.clamp(1, self.checks.max(1)).min(self.checks),
            Outcome::Passed | Outcome::Broken | Outcome::Empty | Outcome::Hangs => 0,
        }
    }

    pub(crate) fn duration_ms(&self) -> i64 {
        millis(self.seconds)
    }

    pub(crate) fn lag_ms(&self) -> i64 {
        millis(self.lag_seconds)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "scripts are bounded to a week")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_happens() {
        for (name, outcome, seconds) in [
            ("greeting", Outcome::Passed, 4.0),
            ("holiday-closure", Outcome::Failed, 4.0),
            ("slow-transfer", Outcome::Passed, 20.0),
            ("broken-init", Outcome::Broken, 1.0),
            ("no-observations", Outcome::Empty, 4.0),
            ("Timeout", Outcome::Hangs, 4.0),
            ("agent-errors", Outcome::Errors, 4.0),
        ] {
            let script = Script::from_name(name);
            assert_eq!((script.outcome, script.seconds), (outcome, seconds), "{name}");
        }
    }

    #[test]
    fn scripts_are_bounded() {
        let wild = Script {
            seconds: f64::INFINITY,
            lag_seconds: -1.0,
            checks: u32::MAX,
            failing: u32::MAX,
            ..Script::passing()
        };
        let bounded = wild.bounded();
        assert_eq!((bounded.seconds, bounded.lag_seconds), (0.0, 0.0));
        assert_eq!((bounded.checks, bounded.failing), (MAX_CHECKS, MAX_CHECKS));
    }

    #[test]
    fn a_script_reads_from_what_differs() {
        let script: Script = serde_json::from_str(r#"{"outcome":"failed","checks":3}"#).unwrap();
        assert_eq!((script.checks, script.failures()), (3, 1));
        assert!(serde_json::from_str::<Script>(r#"{"outcom":"failed"}"#).is_err());
    }
}
