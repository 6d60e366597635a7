//! What an upstream system is to the gateway: one trait, its arguments, its errors.
//!
//! Adapters (`connect`, `lex`, `openmetadata`) never know who listens. Each is a client (one function an upstream
//! call), wire types, and a pure normalisation; they share the call engine, the quota and the HTTP client factory.

pub mod aws;
pub mod connect;
pub mod engine;
pub mod error;
pub mod http;
pub mod lex;
pub mod openmetadata;
pub mod quota;
pub mod registry;
pub mod retry;
pub mod switch;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use error::{BackendError, Effect, ErrorKind, UpstreamContext};
pub use quota::Budget;

use self::engine::Engine;
use self::http::{HttpClients, Proxy};
use self::quota::QuotaRegistry;
use crate::config::backend::BackendConfig;
use crate::metrics::Metrics;
use crate::model::execution::Settling;
use crate::model::{
    Artifact, BackendInfo, Capabilities, Clock, Counts, Details, ExecutionId, ItemKind, Kind, Labels,
    LexStartOptions, Metric, Observation, ResultItem, State, Test, TestId, Timestamp, Verdict,
};

/// What the backends of a process share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where HTTP clients come from.
    pub http: HttpClients,
    /// The budgets.
    pub quota: QuotaRegistry,
    /// The gateway's clock.
    pub clock: Clock,
    /// Where calls are counted.
    pub metrics: Metrics,
}

impl Shared {
    /// Nothing used up, nothing counted yet.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self { http: HttpClients::default(), quota: QuotaRegistry::default(), clock, metrics }
    }

    /// What a configured backend is.
    fn info(config: &BackendConfig, kind: Kind, location: Labels, capabilities: Capabilities) -> BackendInfo {
        BackendInfo {
            id: config.id.clone(),
            kind,
            display_name: config.display_name.clone(),
            location,
            poll_interval: config.poll_interval,
            labels: config.labels.clone(),
            capabilities,
        }
    }

    /// Makes the calls of one backend, within the budget of its group. `service` is `connect`, `lex` or `openmetadata`.
    fn engine(&self, service: &'static str, config: &BackendConfig, group: &str) -> Engine {
        Engine::new(
            service,
            self.http.get(config.ca_file.as_deref(), Proxy::Environment),
            self.quota.bucket(group, config.max_requests_per_second),
            config.request_timeout,
            config.max_response_size,
            self.clock.clone(),
            self.metrics.backend(config.id.as_str()),
        )
    }
}

/// Who a call is for: what the budget and the retry layer need to know.
#[derive(Clone, Debug)]
pub struct Call {
    /// No try begins, and no wait lasts, beyond this.
    pub deadline: Instant,
    /// Which share of the budget it draws on.
    pub priority: Priority,
    /// Whose fair share it draws on; empty for the gateway's own calls.
    pub caller: Arc<str>,
}

/// Which share of the budget a call draws on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// Starts, stops and records: may use all of it.
    Write,
    /// The polls of what is followed: may use all of it, after writes.
    Followed,
    /// Callers' reads: may use what half of the budget leaves.
    Read,
}

/// What a page is asked for.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct PageRequest {
    /// The most items that fit; adapters may return fewer.
    pub size: usize,
    /// Where the last page ended, as the adapter said it.
    pub token: Option<String>,
}

impl PageRequest {
    /// The page that answers this; a walk whose next page is this one again would never end.
    ///
    /// # Errors
    /// The page leads back to where it was asked for.
    pub fn answered<T>(&self, page: Page<T>) -> Result<Page<T>, BackendError> {
        if page.next.is_some() && page.next == self.token {
            let text = "the page's token leads to the same page again";
            return Err(BackendError::new(ErrorKind::UpstreamInvalidResponse, text));
        }
        Ok(page)
    }
}

/// A page of things.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The things, in upstream's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// The caller's options of a start, beyond the test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StartOptions {
    /// For Lex only.
    pub lex: Option<LexStartOptions>,
}

/// What a start would do, found out without starting anything.
#[derive(Clone, Debug, PartialEq)]
pub struct StartPlan {
    /// The details that the execution would have (Lex: target and mode; OpenMetadata: the pipeline's name).
    pub details: Details,
    /// Upstream's tags of the test.
    pub upstream_labels: Labels,
    /// The test's name for people.
    pub test_display_name: String,
}

/// A start about to be sent, or sent before a crash. The journal keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct StartIntent {
    /// The test.
    pub test: TestId,
    /// What the start does.
    pub plan: StartPlan,
    /// Hex SHA-256 of parent, caller and request id: Connect's ClientToken.
    pub token: String,
    /// When the intent was journalled, on the gateway's clock.
    pub time: Timestamp,
}

/// A start that upstream confirmed.
#[derive(Clone, Debug)]
pub struct Started {
    /// Upstream's id; `None` where it gave none, so the gateway mints one.
    pub execution: Option<ExecutionId>,
    /// What the reply said of it.
    pub observation: Observation,
}

/// A run found while looking for a start whose reply was lost.
#[derive(Clone, Debug)]
pub struct Found {
    /// Upstream's id.
    pub execution: ExecutionId,
    /// What upstream says of it.
    pub observation: Observation,
}

/// The execution that a read is about, with what is known from before.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its test; `None` only where the caller said `tests/-` (Lex).
    pub test: Option<TestId>,
    /// Its id: upstream's, or minted.
    pub execution: ExecutionId,
    /// Upstream's id where it is known to differ from `execution` (a minted execution that was correlated).
    pub upstream_id: Option<String>,
    /// When it was created, as far as known; for a minted one, when its start was sent.
    pub create_time: Option<Timestamp>,
    /// When it ended, where that is known already and its verdict is not.
    pub end_time: Option<Timestamp>,
    /// Whether a stop was accepted here.
    pub stop_requested: bool,
    /// Memory of the last reading while settling.
    pub settling: Option<Settling>,
    /// Upstream ids of this test's runs that belong to other executions; a minted one never correlates with them.
    pub claimed: Arc<[String]>,
    /// Whether to spend a call on counts that only rise (Connect, running).
    pub want_counts: bool,
    /// When the gateway took the execution in.
    pub first_seen: Option<Timestamp>,
    /// The last known counts.
    pub counts: Option<Counts>,
}

/// A row of an executions list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its test.
    pub test: TestId,
    /// Its id.
    pub execution: ExecutionId,
    /// What the list says of it; SETTLING where another call must settle its verdict.
    pub observation: Observation,
    /// Whether a reading of its own would say no more of its end: no counts, no reasons, no other verdict.
    pub complete: bool,
}

impl Listed {
    /// Whether the row tells of an end of which only a reading of its own tells all. It may be shown, not kept.
    pub fn is_outline(&self) -> bool {
        self.observation.state.is_done() && !self.complete
    }
}

/// What a list of executions may leave out, as far as upstream can tell.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ListHint {
    /// Only unfinished executions are wanted.
    pub unfinished_only: bool,
    /// Only executions that were created at or after this are wanted.
    pub created_from: Option<Timestamp>,
    /// Only executions that ended at or after this, or have not ended, are wanted.
    pub ended_from: Option<Timestamp>,
    /// Only what is in this state is wanted: PENDING or RUNNING.
    pub state: Option<State>,
}

/// How a backend's lists refresh what is followed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lists {
    /// They don't: each execution is read by itself.
    #[default]
    None,
    /// By state: a list of what runs and one of what waits. Who is on neither has moved on.
    ByState,
    /// The newest executions of all tests, whatever their state.
    Newest,
    /// The executions of one test each.
    ByTest,
}

/// What the budget leaves the polls of one upstream operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Calls a second.
    pub rate: f64,
    /// Calls that could be made at once now.
    pub spare: f64,
    /// The most that `spare` reaches.
    pub burst: f64,
    /// How long one more call would wait now.
    pub wait: Duration,
}

impl Allowance {
    /// What is left of a reading that takes a call of each of two operations.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rate: self.rate.min(other.rate),
            spare: self.spare.min(other.spare),
            burst: self.burst.min(other.burst),
            wait: self.wait.max(other.wait),
        }
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { rate: 1.0, spare: 1.0, burst: 1.0, wait: Duration::ZERO }
    }
}

/// What the planner of polls needs to know of a backend. Changes with its budget and clock.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// What its lists are good for.
    pub lists: Lists,
    /// Executions on one page of such a list, at most.
    pub page_size: usize,
    /// Whether reading a running execution by itself says more of it (counts that rise) than its list.
    pub reads_say_more: bool,
    /// The budget of lists.
    pub list: Allowance,
    /// The budget of single reads.
    pub read: Allowance,
    /// The present on upstream's clock.
    pub upstream_now: Timestamp,
}

/// What a list of tests may leave out, or must show, as far as upstream can tell.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TestHint {
    /// Somebody looks at the tests' tags, which cheap lists do not show.
    pub reads_labels: bool,
    /// Only tests with all of these tags are wanted.
    pub labels: Vec<(String, String)>,
}

/// A result made elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key, whole milliseconds.
    pub end_time: Timestamp,
    /// PASSED, FAILED or INCONCLUSIVE.
    pub verdict: Verdict,
    /// In words.
    pub message: String,
    /// Measured values.
    pub metrics: Vec<Metric>,
    /// Rows that passed.
    pub passed_rows: Option<i64>,
    /// Rows that failed.
    pub failed_rows: Option<i64>,
}

/// What a backend may do for the probe of `testgate check --probe` and of readiness.
pub type ProbeResult = Result<(), BackendError>;

/// One Connect instance, one Lex account and region, or one OpenMetadata server.
///
/// Every method makes its upstream calls within the backend's budget and `call.deadline`, and retries by itself
/// where that is safe; what it returns is what was left after that.
#[async_trait]
pub trait Backend: Debug + Send + Sync {
    /// What it is and can do. Cheap: no call.
    fn info(&self) -> BackendInfo;

    /// How it is polled, and what its budget leaves for that now. Cheap: no call.
    fn polling(&self) -> Polling;

    /// One cheap read that proves reachability and credentials.
    async fn probe(&self, call: &Call) -> ProbeResult;

    /// A page of its tests.
    async fn list_tests(&self, call: &Call, page: &PageRequest) -> Result<Page<Test>, BackendError>;

    /// A page of its tests for a filter. May return tests that the hint does not want; tokens are those of the same
    /// hint. Without a way to push it down this is the plain list.
    async fn find_tests(
        &self,
        call: &Call,
        hint: &TestHint,
        page: &PageRequest,
    ) -> Result<Page<Test>, BackendError> {
        let TestHint { reads_labels: _, labels: _ } = hint;
        self.list_tests(call, page).await
    }

    /// One test with its payload.
    async fn get_test(&self, call: &Call, test: &TestId) -> Result<Test, BackendError>;

    /// Checks that a start could be sent, and says what it would do. Starts nothing.
    async fn plan_start(
        &self,
        call: &Call,
        test: &TestId,
        options: &StartOptions,
    ) -> Result<StartPlan, BackendError>;

    /// Sends a start, once: where the reply is lost, the error's effect is `Possible` and nothing is sent again
    /// (Connect, whose token makes it safe, retries by itself).
    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError>;

    /// Runs of the intent's test, target and mode that were created after it, whoever started them. For tokened
    /// starts this sends the start again instead, which is safe, and returns its one answer.
    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError>;

    /// Asks upstream to stop. `token` is stable over the retries of one caller's request.
    async fn stop(&self, call: &Call, target: &Target, token: &str) -> Result<(), BackendError>;

    /// Stores a result made elsewhere and returns it as read back.
    async fn record(&self, call: &Call, test: &TestId, record: &Record) -> Result<Found, BackendError>;

    /// Reads one execution.
    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError>;

    /// A page of executions, of one test or of all.
    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError>;

    /// A page of an execution's result items. `kind` is one of the backend's `result_kinds`, or `None` for its default.
    async fn list_items(
        &self,
        call: &Call,
        target: &Target,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError>;

    /// An execution's downloads.
    async fn list_artifacts(&self, call: &Call, target: &Target) -> Result<Vec<Artifact>, BackendError>;
}
