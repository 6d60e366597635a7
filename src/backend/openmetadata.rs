//! OpenMetadata: test cases whose results are recorded, and the pipelines that run their suites.
//!
//! There is no call that runs one case: a start triggers a pipeline, which runs its suite. A case's executions are
//! its results, keyed by their time; a pipeline's are its runs. Results carry no run id, so a run's verdict comes
//! from what its suite's cases have between the run's start and end.

mod api;
mod client;
mod items;
mod list;
mod names;
mod protocol;
mod recent;
mod record;
mod runs;
mod status;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use self::api::Api;
use self::client::Client;
use self::names::{Directory, Subject, labels, shown};
use self::protocol::Bearer;
use self::recent::Recent;
use self::record::Locks;
use self::status::CaseWord;
use self::wire::{Pipeline, Row, TestCase};
use super::{
    Backend, BackendError, Call, ErrorKind, Found, ListHint, Listed, Page, PageRequest, Polling, ProbeResult,
    Record, Shared, StartIntent, StartOptions, StartPlan, Started, Target,
};
use crate::config::backend::{BackendConfig, OpenMetadataConfig};
use crate::model::{
    Artifact, BackendInfo, Capabilities, Clock, Details, ExecutionId, ItemKind, Kind, Labels, Observation,
    OpenMetadataDetails, ResultItem, StartMode, StopScope, Test, TestId,
};

const ITEMS: &[ItemKind] = &[ItemKind::TestCase];
const PUSHDOWN: &[&str] = &["create_time"];

const PIPELINE_CAPABILITIES: Capabilities = Capabilities {
    start_mode: StartMode::GatewayDedup,
    stop_scope: StopScope::Test,
    list_executions: true,
    record_execution: false,
    artifacts: false,
    result_kinds: ITEMS,
    filter_pushdown: PUSHDOWN,
};
const CASE_CAPABILITIES: Capabilities = Capabilities {
    start_mode: StartMode::None,
    stop_scope: StopScope::None,
    record_execution: true,
    ..PIPELINE_CAPABILITIES
};
const CAPABILITIES: Capabilities = Capabilities { record_execution: true, ..PIPELINE_CAPABILITIES };

/// Results recorded through the gateway that are remembered, so that they don't count for a run.
const MAX_RECORDED: usize = 100_000;
/// No run is judged later than this after its results.
const RECORDED_TTL: Duration = Duration::from_secs(2 * 86_400);
/// Words of cases that are remembered while a large suite is read over several calls.
const MAX_WORDS: usize = 50_000;
const WORDS_TTL: Duration = Duration::from_secs(3_600);

/// One OpenMetadata server.
#[derive(Debug)]
pub struct OpenMetadata {
    info: BackendInfo,
    client: Client,
    directory: Directory,
    locks: Locks,
    /// What was recorded here. A restart forgets it, and a run of that time would count it then.
    recorded: Recent<(Uuid, i64), ()>,
    words: Recent<(Uuid, String), CaseWord>,
    /// Runs that upstream has shown.
    seen: Recent<(Uuid, String), ()>,
    settle_time: Duration,
    tracking_deadline: Duration,
    clock: Clock,
}

impl OpenMetadata {
    /// Makes no call and reads no token yet.
    pub fn new(config: &BackendConfig, openmetadata: &OpenMetadataConfig, shared: &Shared) -> Self {
        let group = match &config.quota_group {
            Some(named) => format!("named/{named}"),
            None => format!("openmetadata/{}", config.id),
        };
        let location = Labels::from([("base_url".to_owned(), openmetadata.base_url.clone())]);
        Self {
            info: Shared::info(config, Kind::OpenMetadata, location, CAPABILITIES),
            client: Client {
                engine: shared.engine("openmetadata", config, &group),
                bearer: Bearer::new(&openmetadata.base_url, openmetadata.token.clone()),
                api: Api::new(openmetadata.api),
            },
            directory: Directory::new(),
            locks: Locks::default(),
            recorded: Recent::new(MAX_RECORDED, RECORDED_TTL),
            words: Recent::new(MAX_WORDS, WORDS_TTL),
            seen: Recent::new(MAX_WORDS, WORDS_TTL),
            settle_time: openmetadata.settle_time,
            tracking_deadline: config.tracking_deadline,
            clock: shared.clock.clone(),
        }
    }

    fn subject(&self, test: &TestId) -> Result<Subject, BackendError> {
        Subject::parse(test).ok_or_else(|| {
            let text = "OpenMetadata tests are named case-{uuid} or pipeline-{uuid}, in lower case";
            BackendError::new(ErrorKind::ResourceNotFound, text).of_test(&self.info, test)
        })
    }

    fn target_subject(&self, target: &Target) -> Result<Subject, BackendError> {
        match &target.test {
            Some(test) => self.subject(test),
            None => Err(BackendError::new(
                ErrorKind::FieldInvalid("name"),
                "OpenMetadata needs the test in the name",
            )),
        }
    }

    /// A pipeline, if it runs a test suite: a start or stop must not reach one that ingests.
    async fn suite_pipeline(&self, call: &Call, id: Uuid) -> Result<Row<Pipeline>, BackendError> {
        let row = self.client.pipeline(call, id).await?;
        if row.value.pipeline_type == "TestSuite" && !row.value.deleted {
            return Ok(row);
        }
        Err(BackendError::new(
            ErrorKind::UpstreamNotFound,
            "the pipeline does not run a test suite, or is deleted",
        ))
    }

    /// Why a case can't be started, with the pipelines that run its suite where that is cheap to find out.
    async fn not_by_itself(&self, call: &Call, id: Uuid) -> BackendError {
        let refusal = |hint: &str| {
            let text = format!("OpenMetadata has no call that runs one test case{hint}");
            BackendError::new(ErrorKind::CapabilityNotSupported, text)
        };
        let case = match self.client.case(call, id, false).await {
            Ok(case) => case.value,
            Err(error) if error.is_gone() => return error,
            Err(_) => return refusal("; start its suite's pipeline"),
        };
        let Some(suite) = case.test_suite else { return refusal("; start its suite's pipeline") };
        match self.client.suite(call, suite.id).await {
            Ok(suite) if suite.pipelines.is_empty() => refusal(", and no pipeline runs its suite"),
            Ok(suite) => {
                let names: Vec<_> = suite
                    .pipelines
                    .iter()
                    .take(4)
                    .map(|pipeline| format!("pipeline-{}", pipeline.id))
                    .collect();
                refusal(&format!("; its suite is run by {}", names.join(", ")))
            }
            Err(_) => refusal("; start its suite's pipeline"),
        }
    }

    async fn plan(&self, call: &Call, id: Uuid) -> Result<StartPlan, BackendError> {
        let pipeline = self.suite_pipeline(call, id).await?.value;
        if let Some(reason) = not_startable(&pipeline) {
            let text = format!("the pipeline can't be started now: {reason}");
            return Err(BackendError::new(ErrorKind::TestNotStartable, text));
        }
        let known = self.directory.note_pipeline(&pipeline);
        let details =
            OpenMetadataDetails { fully_qualified_name: known.fqn.clone(), ..OpenMetadataDetails::default() };
        Ok(StartPlan {
            details: Details::OpenMetadata(details),
            upstream_labels: known.tags.clone(),
            test_display_name: known.display_name.clone(),
        })
    }

    async fn observe_once(
        &self,
        call: &Call,
        subject: Subject,
        target: &Target,
    ) -> Result<Observation, BackendError> {
        match subject {
            Subject::Case(id) => self.observe_result(call, id, target).await,
            Subject::Pipeline(id) => self.observe_run(call, id, target).await,
        }
    }

    async fn executions_of(
        &self,
        call: &Call,
        subject: Subject,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        match subject {
            Subject::Case(id) => {
                let case = self.case_ref(call, id).await?;
                self.results_page(call, &case, page, hint).await
            }
            Subject::Pipeline(id) => {
                let pipeline = self.pipeline_ref(call, id).await?;
                self.runs_page(call, &pipeline, page, hint).await
            }
        }
    }
}

#[async_trait]
impl Backend for OpenMetadata {
    fn info(&self) -> BackendInfo {
        let mut info = self.info.clone();
        info.location.insert("api".to_owned(), self.client.api.as_str().to_owned());
        if let Some(version) = self.client.api.version() {
            info.location.insert("version".to_owned(), version);
        }
        info
    }

    fn polling(&self) -> Polling {
        self.client.polling()
    }

    async fn probe(&self, call: &Call) -> ProbeResult {
        self.client.version(call).await?;
        // The version is told to anybody; this proves the token.
        self.client.cases(call, None, "", 1, None).await?;
        Ok(())
    }

    async fn list_tests(&self, call: &Call, page: &PageRequest) -> Result<Page<Test>, BackendError> {
        self.tests(call, page).await
    }

    async fn get_test(&self, call: &Call, test: &TestId) -> Result<Test, BackendError> {
        let read = match self.subject(test)? {
            Subject::Case(id) => self.client.case(call, id, false).await.map(|row| {
                let payload = Some(row.raw.get().into());
                Test { payload, ..case_test(&row.value) }
            }),
            Subject::Pipeline(id) => self.suite_pipeline(call, id).await.map(|row| {
                let payload = Some(row.raw.get().into());
                Test { payload, ..pipeline_test(&row.value) }
            }),
        };
        read.map_err(|error| error.of_test(&self.info, test))
    }

    async fn plan_start(
        &self,
        call: &Call,
        test: &TestId,
        options: &StartOptions,
    ) -> Result<StartPlan, BackendError> {
        if options.lex.is_some() {
            let text = "goes with Lex backends only; this is OpenMetadata";
            return Err(BackendError::new(ErrorKind::FieldInvalid("lex"), text));
        }
        let planned = match self.subject(test)? {
            Subject::Case(id) => Err(self.not_by_itself(call, id).await),
            Subject::Pipeline(id) => self.plan(call, id).await,
        };
        planned.map_err(|error| error.of_test(&self.info, test))
    }

    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError> {
        let Subject::Pipeline(id) = self.subject(&intent.test)? else {
            let text = "OpenMetadata has no call that runs one test case; start its suite's pipeline";
            return Err(BackendError::new(ErrorKind::CapabilityNotSupported, text));
        };
        let reply =
            self.client.trigger(call, id).await.map_err(|error| error.of_test(&self.info, &intent.test))?;
        // Airflow gives no run id; the gateway mints one, and the run is found by its time.
        let execution = ExecutionId::new(&reply.run_id).ok();
        let mut observation = Observation::new(
            execution.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            "",
            crate::model::State::Pending,
            crate::model::Verdict::Pending,
        );
        observation.test = Some(intent.test.clone());
        observation.create_time = Some(intent.time);
        observation.upstream_labels = Some(intent.plan.upstream_labels.clone());
        observation.test_display_name.clone_from(&intent.plan.test_display_name);
        observation.details = Some(match &intent.plan.details {
            Details::OpenMetadata(details) => {
                Details::OpenMetadata(OpenMetadataDetails { run_id: reply.run_id, ..details.clone() })
            }
            other => other.clone(),
        });
        Ok(Started { execution, observation })
    }

    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError> {
        let Subject::Pipeline(id) = self.subject(&intent.test)? else { return Ok(Vec::new()) };
        let pipeline = self.pipeline_ref(call, id).await?;
        let runs = self.runs_since(call, &pipeline, Some(intent.time)).await?;
        Ok(runs
            .iter()
            .filter_map(|run| {
                let execution = ExecutionId::new(&run.run_id).ok()?;
                Some(Found { execution, observation: self.listed_run(&pipeline, run) })
            })
            .collect())
    }

    async fn stop(&self, call: &Call, target: &Target, _token: &str) -> Result<(), BackendError> {
        let Subject::Pipeline(id) = self.target_subject(target)? else {
            let text = "a result of an OpenMetadata test case is not a run that could be stopped";
            return Err(BackendError::new(ErrorKind::CapabilityNotSupported, text));
        };
        self.pipeline_ref(call, id).await.map_err(|error| error.of_execution(&self.info, target))?;
        self.client.kill(call, id).await.map_err(|error| error.of_execution(&self.info, target))?;
        Ok(())
    }

    async fn record(&self, call: &Call, test: &TestId, record: &Record) -> Result<Found, BackendError> {
        let Subject::Case(id) = self.subject(test)? else {
            let text = "results can be recorded on test cases, not on pipelines";
            return Err(BackendError::new(ErrorKind::CapabilityNotSupported, text));
        };
        self.record_result(call, id, record).await.map_err(|error| error.of_test(&self.info, test))
    }

    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError> {
        let subject = self.target_subject(target)?;
        let begun = Instant::now();
        let observed = match self.observe_once(call, subject, target).await {
            // The name may have changed since it was read.
            Err(error) if error.is_gone() && self.directory.forget(subject, begun) => {
                self.observe_once(call, subject, target).await
            }
            observed => observed,
        };
        observed.map_err(|error| error.of_execution(&self.info, target))
    }

    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let Some(test) = test else { return self.all_executions(call, page, hint).await };
        let subject = self.subject(test)?;
        let begun = Instant::now();
        let listed = match self.executions_of(call, subject, page, hint).await {
            Err(error) if error.is_gone() && self.directory.forget(subject, begun) => {
                self.executions_of(call, subject, page, hint).await
            }
            listed => listed,
        };
        listed.map_err(|error| error.of_test(&self.info, test))
    }

    async fn list_items(
        &self,
        call: &Call,
        target: &Target,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        if kind.is_some_and(|kind| kind != ItemKind::TestCase) {
            let text = "OpenMetadata has result items of kind TEST_CASE only";
            return Err(BackendError::new(ErrorKind::FieldInvalid("kind"), text));
        }
        let items = match self.target_subject(target)? {
            Subject::Case(id) => self.result_items(call, id, target).await,
            Subject::Pipeline(id) => self.run_items(call, id, target, page).await,
        };
        items.map_err(|error| error.of_execution(&self.info, target))
    }

    async fn list_artifacts(&self, _call: &Call, _target: &Target) -> Result<Vec<Artifact>, BackendError> {
        Err(BackendError::new(ErrorKind::CapabilityNotSupported, "OpenMetadata executions have no artifacts"))
    }
}

/// The raw upstream state that keeps a pipeline from being started.
fn not_startable(pipeline: &Pipeline) -> Option<String> {
    let missing: Vec<_> = [("enabled", pipeline.enabled), ("deployed", pipeline.deployed)]
        .into_iter()
        .filter(|(_, value)| *value != Some(true))
        .map(|(name, value)| match value {
            Some(value) => format!("{name}: {value}"),
            None => format!("{name} is not set"),
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn pipeline_test(pipeline: &Pipeline) -> Test {
    let reason = not_startable(pipeline);
    Test {
        id: Subject::Pipeline(pipeline.id).test_id(),
        display_name: shown(pipeline.display_name.as_deref(), &pipeline.name),
        upstream_id: pipeline.fully_qualified_name.clone(),
        capabilities: PIPELINE_CAPABILITIES,
        startable: Some(reason.is_none()),
        not_startable_reason: reason.unwrap_or_default(),
        upstream_labels: labels(&pipeline.tags),
        update_time: pipeline.updated_at.and_then(runs::from_ms),
        description: pipeline.description.clone().unwrap_or_default(),
        payload: None,
    }
}

fn case_test(case: &TestCase) -> Test {
    Test {
        id: Subject::Case(case.id).test_id(),
        display_name: shown(case.display_name.as_deref(), &case.name),
        upstream_id: case.fully_qualified_name.clone(),
        capabilities: CASE_CAPABILITIES,
        startable: Some(false),
        not_startable_reason: "a test case is run by its suite's pipeline".to_owned(),
        upstream_labels: labels(&case.tags),
        update_time: case.updated_at.and_then(runs::from_ms),
        description: case.description.clone().unwrap_or_default(),
        payload: None,
    }
}

#[cfg(test)]
mod tests;
