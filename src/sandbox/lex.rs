//! Simulated Amazon Lex V2: the test workbench.
//!
//! Commands of `POST /lex` (and `Upstream::control`), each `{"command":NAME,…}`; `test` takes an id or a name:
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

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::state::{Run, State};
use super::aws::account::{Account, Entry};
use super::aws::service::{Service, Simulated, Simulation};
use super::aws::{self, AwsError, Dialect};
use super::clock::Clock;
use super::http::Request;
use super::scenario::Script;

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

impl Entry for TestSet {
    const KIND: &'static str = "test set";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The simulated service.
#[derive(Debug)]
pub struct Lex(Simulation<State>);

impl Lex {
    /// A service with these test sets and no runs.
    pub fn new(clock: Arc<Clock>, options: Options) -> Self {
        Self(Simulation::new(clock, options))
    }
}

impl Simulated for Lex {
    type Service = State;

    fn simulation(&self) -> &Simulation<State> {
        &self.0
    }
}

impl Service for State {
    type Options = Options;
    type Test = TestSet;
    type Run = Run;

    const NAME: &'static str = "lex";
    const DIALECT: Dialect = Dialect::Lex;

    fn new(options: &Options) -> Self {
        Self::new(options)
    }

    fn account(&mut self) -> &mut Account<TestSet, Run> {
        &mut self.account
    }

    fn route(request: &Request) -> Option<(&'static str, Vec<String>)> {
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
        (request.method == method).then(|| (operation, vec![label.to_owned()]))
    }

    fn carry_out(
        &mut self,
        options: &Options,
        operation: &str,
        labels: &[String],
        request: &Request,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        self.run_operation(
            options,
            operation,
            labels.first().map(String::as_str).unwrap_or_default(),
            request,
            now,
            swallowed,
        )
    }

    fn success(operation: &str) -> StatusCode {
        if operation == "StartTestExecution" { StatusCode::ACCEPTED } else { StatusCode::OK }
    }

    fn command(&mut self, options: &Options, command: &Value, now: i64) -> Result<Value, String> {
        self.run_command(options, command, now)
    }

    fn region(options: &Options) -> &str {
        &options.region
    }

    fn ids(_: &Options) -> Value {
        let (bot, alias, locale) = DEFAULT_BOT;
        json!({"bot_id": bot, "bot_alias_id": alias, "locale_id": locale})
    }

    fn show(test: &TestSet) -> Value {
        json!({"id": test.id, "name": test.name, "description": test.description})
    }
}

#[cfg(test)]
mod tests;
