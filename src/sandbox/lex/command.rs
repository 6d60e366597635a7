//! Commands of the control endpoint.

use serde::Deserialize;
use serde_json::{Value, json};

use super::operations::modality_of;
use super::state::{State, Target, new_id};
use super::{DEFAULT_BOT, Options, TestSet};
use crate::sandbox::scenario::{Lagging, Outcome, Script};

const STATUSES: [&str; 5] = ["Importing", "PendingAnnotation", "Deleting", "ValidationError", "Ready"];

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    State {},
    Start(Start),
    Set { execution: String, status: Option<String> },
    Finish { execution: String, outcome: Outcome },
    Hang { execution: String },
    Delete { execution: String },
    AddTest(NewTest),
    DeleteTest { test: String },
    SetTest { test: String, status: String },
    Limits { unfinished: Option<usize> },
    Lag { list_ms: Option<u32>, results_ms: Option<u32>, lagging: Option<Lagging> },
    Reset {},
}

#[derive(Debug, Deserialize)]
struct Start {
    test: String,
    script: Option<Script>,
    bot_id: Option<String>,
    bot_alias_id: Option<String>,
    locale_id: Option<String>,
    api_mode: Option<String>,
    modality: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NewTest {
    name: String,
    id: Option<String>,
    status: Option<String>,
    description: Option<String>,
    #[serde(default)]
    audio: bool,
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
            Command::Start(start) => return self.start_elsewhere(start, now),
            Command::Set { execution, status } => {
                let run = self.account.known(&execution)?;
                run.shown = None;
                match status.as_deref() {
                    Some("Completed") => run.finished = Some((now, "Completed")),
                    Some("Failed") => run.finished = Some((now, "Failed")),
                    Some("Stopped") => run.finished = Some((now, "Stopped")),
                    Some(other) => run.shown = Some((now, other.to_owned())),
                    None => {}
                }
            }
            Command::Finish { execution, outcome } => {
                let run = self.account.known(&execution)?;
                run.shown = None;
                run.script.outcome = outcome;
                let status = if outcome == Outcome::Broken { "Failed" } else { "Completed" };
                run.finished = Some((now, status));
            }
            Command::Hang { execution } => {
                let run = self.account.known(&execution)?;
                run.finished = None;
                run.script.outcome = Outcome::Hangs;
            }
            Command::Delete { execution } => {
                self.account.forget(&execution)?;
            }
            Command::AddTest(new) => return self.add_test(new),
            Command::DeleteTest { test } => {
                self.account.remove(&test)?;
            }
            Command::SetTest { test, status } => {
                let (id, status) = (self.account.named(&test)?.id.clone(), checked(&status)?);
                self.account
                    .tests
                    .iter_mut()
                    .filter(|test| test.id == id)
                    .for_each(|test| test.status = status.into());
            }
            Command::Limits { unfinished } => self.unfinished_limit = unfinished,
            Command::Lag { list_ms, results_ms, lagging } => {
                self.list_lag_ms = list_ms.map_or(self.list_lag_ms, i64::from);
                self.results_lag_ms = results_ms.map_or(self.results_lag_ms, i64::from);
                self.lagging = lagging.or(self.lagging);
            }
            Command::Reset {} => *self = Self::new(options),
        }
        Ok(json!({"ok": true}))
    }

    fn start_elsewhere(&mut self, start: Start, now: i64) -> Result<Value, String> {
        let test = self.account.named(&start.test)?.clone();
        let (bot, alias, locale) = DEFAULT_BOT;
        let target = Target {
            bot_id: start.bot_id.unwrap_or_else(|| bot.into()),
            bot_alias_id: start.bot_alias_id.unwrap_or_else(|| alias.into()),
            locale_id: start.locale_id.unwrap_or_else(|| locale.into()),
            api_mode: start.api_mode.unwrap_or_else(|| "NonStreaming".into()),
            modality: start.modality.unwrap_or_else(|| modality_of(&test).into()),
        };
        let script = start.script.unwrap_or_else(|| test.script.clone()).bounded();
        let run = self.start(&test, target, script, now).ok_or("too many runs are unfinished")?;
        Ok(json!({"execution": run.id, "test": run.test_id, "status": run.status(now).0}))
    }

    fn add_test(&mut self, new: NewTest) -> Result<Value, String> {
        let NewTest { name, id, status, description, audio, script } = new;
        let id = id.unwrap_or_else(new_id);
        if id.len() != 10 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("an id has ten letters and digits".into());
        }
        let mut test = TestSet::new(&id, &name);
        test.status = checked(status.as_deref().unwrap_or("Ready"))?.into();
        test.description = description.unwrap_or_default();
        test.audio = audio;
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
                    "id": test.id, "name": test.name, "status": test.status,
                    "audio": test.audio, "script": test.script,
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
                    "execution": run.id, "test": run.test_id, "name": run.test_name,
                    "status": run.status(now).0, "created_ms": run.created,
                })
            })
            .collect();
        json!({
            "tests": tests, "runs": runs, "run_count": self.account.runs.len(),
            "limits": {"unfinished": self.unfinished_limit},
            "list_lag_ms": self.list_lag_ms, "results_lag_ms": self.results_lag_ms, "lagging": self.lagging,
            "rate_limit": self.account.limiter.state(),
        })
    }
}

fn checked(status: &str) -> Result<&str, String> {
    if STATUSES.contains(&status) {
        Ok(status)
    } else {
        Err(format!("status is one of {}", STATUSES.join(", ")))
    }
}
