//! Commands of the control endpoint.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{Run, Shown, State};
use super::{Options, TestCase};
use crate::sandbox::scenario::{Outcome, Script};

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    State {},
    Start {
        test: String,
        script: Option<Script>,
    },
    Set {
        execution: String,
        status: Option<String>,
        total: Option<u32>,
        passed: Option<u32>,
        failed: Option<u32>,
    },
    Finish {
        execution: String,
        outcome: Outcome,
    },
    Hang {
        execution: String,
    },
    Stop {
        execution: String,
    },
    Delete {
        execution: String,
    },
    AddTest(NewTest),
    DeleteTest {
        test: String,
    },
    Limits {
        running: Option<usize>,
        accepted: Option<usize>,
    },
    Timestamps {
        milliseconds: bool,
    },
    Lag {
        list_ms: u32,
    },
    Reset {},
}

#[derive(Debug, Deserialize)]
struct NewTest {
    name: String,
    id: Option<String>,
    status: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    script: Option<Script>,
}

impl State {
    pub(super) fn run_command(
        &mut self,
        options: &Options,
        command: &Value,
        now: i64,
    ) -> Result<Value, String> {
        match Command::deserialize(command).map_err(|error| error.to_string())? {
            Command::State {} => return Ok(self.show(now)),
            Command::Start { test, script } => {
                let test = self.account.named(&test)?.clone();
                let script = script.unwrap_or_else(|| test.script.clone()).bounded();
                // Nobody else's client token looks like this one.
                let token = format!("console-{}", super::state::new_id());
                let run =
                    self.start(&test, &token, script, now).ok_or("too many runs are queued or running")?;
                return Ok(json!({"execution": run.id, "test": run.test_id, "status": run.status(now)}));
            }
            Command::Set { execution, status, total, passed, failed } => {
                let run = self.account.known(&execution)?;
                if total.or(passed).or(failed).is_some() {
                    let (passed, failed) = (passed.unwrap_or(0), failed.unwrap_or(0));
                    let total = total.unwrap_or_else(|| passed.saturating_add(failed));
                    run.shown_counts = Some(Shown { total, passed, failed });
                }
                match status.as_deref() {
                    Some("PASSED") => end(run, now, "PASSED"),
                    Some("FAILED") => end(run, now, "FAILED"),
                    Some("STOPPED") => end(run, now, "STOPPED"),
                    _ => run.shown_status = status,
                }
            }
            Command::Finish { execution, outcome } => {
                let run = self.account.known(&execution)?;
                run.script.outcome = outcome;
                end(run, now, if outcome == Outcome::Passed { "PASSED" } else { "FAILED" });
                if outcome != Outcome::Hangs {
                    // All observations were made by the end.
                    run.script.seconds = 0.0;
                }
            }
            Command::Hang { execution } => self.account.known(&execution)?.script.outcome = Outcome::Hangs,
            Command::Stop { execution } => {
                if !Self::stop(self.account.known(&execution)?, "console", now) {
                    return Err("the run has ended".into());
                }
            }
            Command::Delete { execution } => {
                self.account.forget(&execution)?;
            }
            Command::AddTest(new) => return self.add_test(new),
            Command::DeleteTest { test } => {
                self.account.remove(&test)?;
            }
            Command::Limits { running, accepted } => {
                self.running_limit = running.unwrap_or(self.running_limit);
                self.accepted_limit = accepted.unwrap_or(self.accepted_limit);
            }
            Command::Timestamps { milliseconds } => self.milliseconds = milliseconds,
            Command::Lag { list_ms } => self.list_lag_ms = i64::from(list_ms),
            Command::Reset {} => *self = Self::new(options),
        }
        self.move_on(now);
        Ok(json!({"ok": true}))
    }

    fn add_test(&mut self, new: NewTest) -> Result<Value, String> {
        let NewTest { name, id, status, description, tags, script } = new;
        let id = id.unwrap_or_else(super::state::new_id);
        let published = match status.as_deref() {
            None | Some("PUBLISHED") => true,
            Some("SAVED") => false,
            Some(other) => return Err(format!("status can't be {other:?}")),
        };
        let mut test = TestCase::new(&id, &name);
        test.published = published;
        test.description = description.unwrap_or_default();
        test.tags = tags;
        if let Some(script) = script {
            test = test.script(script);
        }
        self.account.put(test)?;
        Ok(json!({"test": id}))
    }

    fn show(&self, now: i64) -> Value {
        let tests: Vec<_> = self
            .account
            .tests
            .iter()
            .map(|test| {
                json!({
                    "id": test.id, "name": test.name, "published": test.published,
                    "tags": test.tags, "script": test.script,
                })
            })
            .collect();
        // The newest hundred: a person reads this.
        let runs: Vec<_> = self
            .account
            .runs
            .iter()
            .rev()
            .take(100)
            .map(|run| {
                json!({
                    "execution": run.id, "test": run.test_id, "name": run.test_name, "status": run.status(now),
                    "requested_ms": run.requested, "begun_ms": run.begun, "ended_ms": run.ended.map(|(at, _)| at),
                })
            })
            .collect();
        json!({
            "tests": tests, "runs": runs, "run_count": self.account.runs.len(),
            "limits": {"running": self.running_limit, "accepted": self.accepted_limit},
            "milliseconds": self.milliseconds, "list_lag_ms": self.list_lag_ms,
            "rate_limit": self.account.limiter.state(),
        })
    }
}

fn end(run: &mut Run, now: i64, status: &'static str) {
    run.shown_status = None;
    if run.begun.is_none_or(|begun| begun > now) {
        run.begun = Some(now);
    }
    run.ended = Some((now, status));
}
