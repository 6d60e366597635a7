//! Simulated Amazon Connect: test cases and their executions.
//!
//! Commands of `POST /connect` (and `Upstream::control`), each `{"command":NAME,…}`; `test` takes an id or a name:
//!
//! | Command | Members | Does |
//! |---|---|---|
//! | `state` | | shows tests, runs, limits and switches |
//! | `start` | `test`, `script`? | starts a run as if from the console |
//! | `set` | `execution`, `status` (null to undo), `total`?, `passed`?, `failed`? | shows this status; a final one ends the run |
//! | `finish` | `execution`, `outcome` | ends a run now |
//! | `hang` | `execution` | the run no longer ends by itself before its five minutes |
//! | `stop` | `execution` | stops it as the console would |
//! | `delete` | `execution` | forgets it: it answers 404 |
//! | `add_test` | `name`, `id`?, `status`?, `description`?, `tags`?, `script`? | adds or replaces a test case |
//! | `delete_test` | `test` | removes a test case |
//! | `limits` | `running`?, `accepted`? | 5 and 100 to start with |
//! | `timestamps` | `milliseconds` | true to start with, as the real service does |
//! | `lag` | `list_ms` | new runs show in lists only after that time |
//! | `rate_limit` | `enabled`?, `per_second`?, `burst`?, `retry_after`? | 2 a second and 5 at once to start with |
//! | `tokens` | `expire`?, `loop`?, `padding`? | page tokens that expired, loop, or are very long |
//! | `credentials` | `access_key_id`, `secret_access_key`?, `session_token`?, `expired`?, `remove`? | the keys it knows |
//! | `reset` | | back to the start |

mod command;
mod data;
mod operations;
mod records;
mod search;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use self::state::{Run, State};
use super::aws::account::{Account, Entry};
use super::aws::service::{Service, Simulated, Simulation};
use super::aws::{self, AwsError, Dialect};
use super::clock::Clock;
use super::http::Request;
use super::scenario::Script;

pub use self::data::default_tests;

/// The instance that the default data belongs to.
pub const DEFAULT_INSTANCE_ID: &str = "11111111-2222-4333-8444-555555555555";

/// The region that requests must be signed for.
pub const DEFAULT_REGION: &str = "us-west-2";

/// The account in ARNs.
pub(crate) const ACCOUNT: &str = "123456789012";

/// How a simulated Connect starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The only instance.
    pub instance_id: String,
    /// The region.
    pub region: String,
    /// Whether each operation is limited to two requests a second with a burst of five.
    pub rate_limit: bool,
    /// Whether timestamps are milliseconds, as the service sends them, or seconds, as its model says.
    pub milliseconds: bool,
    /// The test cases.
    pub tests: Vec<TestCase>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance_id: DEFAULT_INSTANCE_ID.into(),
            region: DEFAULT_REGION.into(),
            rate_limit: true,
            milliseconds: true,
            tests: default_tests(),
        }
    }
}

/// One test case.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Upstream's id.
    pub id: String,
    /// The display name.
    pub name: String,
    /// The description.
    pub description: String,
    /// Whether it is published; a saved one can't be started.
    pub published: bool,
    /// Whether it is a chat; a voice call otherwise.
    pub chat: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What its runs do.
    pub script: Script,
}

impl TestCase {
    /// A published voice test case; its script follows its name.
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            description: String::new(),
            published: true,
            chat: false,
            tags: BTreeMap::new(),
            script: Script::from_name(name),
        }
    }

    /// The same with a tag more.
    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The same with another script.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = script.bounded();
        self
    }
}

impl Entry for TestCase {
    const KIND: &'static str = "test case";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The simulated service.
#[derive(Debug)]
pub struct Connect(Simulation<State>);

impl Connect {
    /// A service with these test cases and no runs.
    pub fn new(clock: Arc<Clock>, options: Options) -> Self {
        Self(Simulation::new(clock, options))
    }
}

impl Simulated for Connect {
    type Service = State;

    fn simulation(&self) -> &Simulation<State> {
        &self.0
    }
}

impl Service for State {
    type Options = Options;
    type Test = TestCase;
    type Run = Run;

    const NAME: &'static str = "connect";
    const DIALECT: Dialect = Dialect::Connect;

    fn new(options: &Options) -> Self {
        Self::new(options)
    }

    fn account(&mut self) -> &mut Account<TestCase, Run> {
        &mut self.account
    }

    fn route(request: &Request) -> Option<(&'static str, Vec<String>)> {
        let labels = aws::labels(&request.raw_path)?;
        let parts: Vec<&str> = labels.iter().map(String::as_str).collect();
        let (method, operation, held): (_, _, &[&str]) = match parts.as_slice() {
            ["test-cases-summary", held @ ..] if held.len() == 1 => (Method::GET, "ListTestCases", held),
            ["search-test-cases"] => (Method::POST, "SearchTestCases", &[]),
            ["test-case-executions", held @ ..] if held.len() == 1 => {
                (Method::GET, "ListTestCaseExecutions", held)
            }
            ["test-cases", held @ ..] if held.len() == 2 => (Method::GET, "DescribeTestCase", held),
            ["test-cases", held @ .., "start-execution"] if held.len() == 2 => {
                (Method::PUT, "StartTestCaseExecution", held)
            }
            ["test-cases", held @ .., "stop-execution"] if held.len() == 3 => {
                (Method::POST, "StopTestCaseExecution", held)
            }
            ["test-cases", held @ .., "summary"] if held.len() == 3 => {
                (Method::GET, "GetTestCaseExecutionSummary", held)
            }
            ["test-cases", held @ .., "records"] if held.len() == 3 => {
                (Method::GET, "ListTestCaseExecutionRecords", held)
            }
            _ => return None,
        };
        let held = held.iter().map(|label| (*label).to_owned()).collect();
        (request.method == method).then_some((operation, held))
    }

    fn settle(&mut self, now: i64) {
        self.move_on(now);
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
        self.run_operation(options, operation, labels, request, now, swallowed)
    }

    fn command(&mut self, options: &Options, command: &Value, now: i64) -> Result<Value, String> {
        self.run_command(options, command, now)
    }

    fn region(options: &Options) -> &str {
        &options.region
    }

    fn ids(options: &Options) -> Value {
        json!({"instance_id": options.instance_id})
    }

    fn show(test: &TestCase) -> Value {
        json!({"id": test.id, "name": test.name, "description": test.description})
    }
}

#[cfg(test)]
mod tests;
