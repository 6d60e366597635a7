//! Simulated Amazon Lex V2: the test workbench.
//!
//! Commands of `POST /lex` (and [`Upstream::control`]), each `{"command":NAME,…}`; `test` takes an id or a name:
//!
//! | Command | Members | Does |
//! |---|---|---|
//! | `state` | | shows test sets, runs and switches |
//! | `start` | `test`, `script`?, `bot_id`?, `bot_alias_id`?, `locale_id`?, `api_mode`?, `modality`? | starts a run as if from the console |
//! | `set` | `execution`, `status` (null to undo) | shows this status; a final one ends the run |
//! | `finish` | `execution`, `outcome` | ends a run now |
//! | `hang` | `execution` | the run no longer ends by itself |
//! | `delete` | `execution` | forgets it: it answers 404 |
//! | `add_test` | `name`, `id`?, `status`?, `description`?, `audio`?, `script`? | adds or replaces a test set |
//! | `delete_test` | `test` | removes a test set |
//! | `set_test` | `test`, `status` | `Importing`, `PendingAnnotation`, `Deleting`, `ValidationError`, `Ready` |
//! | `limits` | `unfinished` (null for none) | further starts are refused with 402 |
//! | `lag` | `list_ms`?, `results_ms`?, `lagging`? | new runs show in lists, and results become readable, that much later |
//! | `rate_limit`, `tokens`, `credentials`, `reset` | | as Connect's |

mod command;
mod data;
mod operations;
mod results;
mod state;

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::state::State;
use super::aws::{self, AwsError, Dialect};
use super::clock::Clock;
use super::http::{Refusal, Reply, Request, Upstream};
use super::scenario::Script;
use super::sigv4::{DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY};

pub use self::data::default_tests;

/// The region that requests must be signed for.
pub const DEFAULT_REGION: &str = "eu-west-1";

/// A bot, alias and locale to run the default test sets against; any others are accepted too.
pub const DEFAULT_BOT: (&str, &str, &str) = ("BOT0000001", "TSTALIASID", "en_US");

/// How a simulated Lex starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The region.
    pub region: String,
    /// Whether each operation is limited to two requests a second with a burst of five.
    pub rate_limit: bool,
    /// The test sets.
    pub tests: Vec<TestSet>,
}

impl Default for Options {
    fn default() -> Self {
        Self { region: DEFAULT_REGION.into(), rate_limit: true, tests: default_tests() }
    }
}

/// One test set.
#[derive(Clone, Debug)]
pub struct TestSet {
    /// Ten letters and digits.
    pub id: String,
    /// The display name.
    pub name: String,
    /// The description.
    pub description: String,
    /// `Ready` can be started; see the model for the others.
    pub status: String,
    /// Whether it holds audio; text otherwise.
    pub audio: bool,
    /// What its runs do.
    pub script: Script,
}

impl TestSet {
    /// A text test set that is ready; its script follows its name.
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            description: String::new(),
            status: "Ready".into(),
            audio: false,
            script: Script::from_name(name),
        }
    }

    /// The same with another script.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = script.bounded();
        self
    }
}

/// The simulated service.
#[derive(Debug)]
pub struct Lex {
    clock: Arc<Clock>,
    options: Options,
    state: Mutex<State>,
}

impl Lex {
    /// A service with these test sets and no runs.
    pub fn new(clock: Arc<Clock>, options: Options) -> Self {
        let state = Mutex::new(State::new(&options));
        Self { clock, options, state }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each request changes the state in whole steps, so what a panic left behind is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request, swallowed: bool) -> Result<(StatusCode, Value), AwsError> {
        let (operation, label) = route(request).ok_or_else(AwsError::unknown_operation)?;
        let mut state = self.lock();
        let State { keys, limiter, .. } = &mut *state;
        aws::front_door(request, operation, keys, &self.options.region, "lex", limiter, &self.clock)?;
        let now = self.clock.now_ms();
        let body = state.carry_out(&self.options, operation, &label, request, now, swallowed)?;
        let status = if operation == "StartTestExecution" { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok((status, body))
    }

    fn reply(&self, request: &Request, swallowed: bool) -> Reply {
        let reply = match self.answer(request, swallowed) {
            Ok((status, body)) => Reply::json(status, &body),
            Err(error) => error.reply(Dialect::Lex),
        };
        aws::request_id(reply)
    }
}

impl Upstream for Lex {
    fn name(&self) -> &'static str {
        "lex"
    }

    fn operation(&self, request: &Request) -> Option<&'static str> {
        route(request).map(|(operation, _)| operation)
    }

    fn handle(&self, request: &Request) -> Reply {
        self.reply(request, false)
    }

    fn handle_swallowed(&self, request: &Request) -> Reply {
        self.reply(request, true)
    }

    fn refusal(&self, refusal: Refusal) -> Reply {
        aws::refusal(refusal, Dialect::Lex)
    }

    fn control(&self, command: &Value) -> Result<Value, String> {
        self.lock().command(&self.options, command, self.clock.now_ms())
    }

    fn banner(&self) -> Value {
        let state = self.lock();
        let tests: Vec<_> = state
            .tests
            .iter()
            .map(|test| json!({"id": test.id, "name": test.name, "description": test.description}))
            .collect();
        let (bot, alias, locale) = DEFAULT_BOT;
        json!({
            "region": self.options.region,
            "bot_id": bot,
            "bot_alias_id": alias,
            "locale_id": locale,
            "access_key_id": DEFAULT_ACCESS_KEY_ID,
            "secret_access_key": DEFAULT_SECRET_ACCESS_KEY,
            "tests": tests,
        })
    }
}

/// The operation and its only label.
fn route(request: &Request) -> Option<(&'static str, String)> {
    let labels = aws::labels(&request.raw_path)?;
    let parts: Vec<&str> = labels.iter().map(String::as_str).collect();
    let (method, operation, label) = match parts.as_slice() {
        ["testsets"] => (Method::POST, "ListTestSets", ""),
        ["testsets", id] => (Method::GET, "DescribeTestSet", *id),
        ["testsets", id, "testexecutions"] => (Method::POST, "StartTestExecution", *id),
        ["testexecutions"] => (Method::POST, "ListTestExecutions", ""),
        ["testexecutions", id] => (Method::GET, "DescribeTestExecution", *id),
        ["testexecutions", id, "results"] => (Method::POST, "ListTestExecutionResultItems", *id),
        ["testexecutions", id, "artifacturl"] => (Method::GET, "GetTestExecutionArtifactsUrl", *id),
        _ => return None,
    };
    (request.method == method).then(|| (operation, label.to_owned()))
}

#[cfg(test)]
mod tests;
