//! Amazon Connect's test cases.

mod client;
mod status;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use self::client::{Client, ExecutionFilter};
use self::status::{Evidence, Records, Status};
use self::wire::{ExecutionRow, Record, RecordRow, Summary, TestCaseRow};
use super::aws::CONNECT;
use super::aws::client::JsonClient;
use super::{
    Backend, BackendError, Call, ErrorKind, Found, ListHint, Listed, Page, PageRequest, Polling, ProbeResult,
    Shared, StartIntent, StartOptions, StartPlan, Started, Target, TestHint,
};
use crate::config::backend::{BackendConfig, ConnectConfig};
use crate::model::{
    Artifact, BackendInfo, Capabilities, Clock, ConnectDetails, Counts, Details, ExecutionId, ItemKind, Kind,
    Labels, Observation, ResultItem, Settling, StartMode, State, StopScope, Test, TestId, Timestamp,
};

/// The pages of records that are searched for a completion.
const MAX_RECORD_PAGES: usize = 5;
/// Whether upstream's `startTime` includes its own millisecond is not documented.
const START_MARGIN: time::Duration = time::Duration::seconds(1);
/// The two unfinished statuses, in the order an execution passes them: one that moves on between two pages is seen
/// twice rather than never.
const UNFINISHED: [&str; 2] = ["INITIATED", "IN_PROGRESS"];

const CAPABILITIES: Capabilities = Capabilities {
    start_mode: StartMode::NativeToken,
    stop_scope: StopScope::Execution,
    list_executions: true,
    record_execution: false,
    artifacts: false,
    result_kinds: &[ItemKind::Observation],
    filter_pushdown: &["done", "create_time", "upstream_labels"],
};

/// One Connect instance.
#[derive(Debug)]
pub struct Connect {
    info: BackendInfo,
    client: Client,
    clock: Clock,
}

/// What the records of an execution came to.
struct ReadRecords {
    records: Records,
    has_observation: bool,
}

impl Connect {
    /// Makes no call and loads no credentials yet.
    pub fn new(config: &BackendConfig, connect: &ConnectConfig, shared: &Shared) -> Self {
        let mut location = Labels::from([("instance_id".to_owned(), connect.instance_id.clone())]);
        location.extend(connect.aws.region.clone().map(|region| ("region".to_owned(), region)));
        Self {
            info: Shared::info(config, Kind::AmazonConnect, location, CAPABILITIES),
            client: Client {
                json: JsonClient::new("connect", &CONNECT, &connect.aws, config, shared),
                instance: connect.instance_id.clone(),
            },
            clock: shared.clock.clone(),
        }
    }

    fn details(&self, test: &str) -> Details {
        let instance_id = self.client.instance.clone();
        Details::Connect(ConnectDetails { instance_id, test_case_id: test.to_owned() })
    }

    /// Sends a start, or sends it again: the token makes both the same.
    async fn send_start(&self, call: &Call, intent: &StartIntent) -> Result<Found, BackendError> {
        let test = intent.test.as_str();
        let started = self
            .client
            .start(call, test, &intent.token)
            .await
            .map_err(|error| error.of_test(&self.info, &intent.test))?;
        let execution =
            ExecutionId::new(&started.test_case_execution_id).map_err(|error| unusable(&error.0))?;
        let raw = started.status.unwrap_or_else(|| "INITIATED".to_owned());
        let (state, verdict, failure) = status::normalise(&Evidence {
            status: &Status::from(raw.as_str()),
            counts: None,
            has_observation: false,
            ran: None,
            records: &Records::Unread,
        });
        let mut observation = Observation::new(execution.as_str(), raw, state, verdict);
        observation.failure = failure;
        observation.test = Some(intent.test.clone());
        observation.details = Some(self.details(test));
        Ok(Found { execution, observation })
    }

    /// Reads the records for what a summary without observations leaves open.
    async fn read_records(
        &self,
        call: &Call,
        test: &str,
        execution: &str,
        may_come: bool,
    ) -> Result<ReadRecords, BackendError> {
        let mut page = PageRequest { size: 100, token: None };
        let mut has_observation = false;
        for _ in 0..MAX_RECORD_PAGES {
            let (rows, next) = self.client.records(call, test, execution, &page).await?;
            for (row, _) in rows {
                let record = inner(&row);
                has_observation |= record.kind.as_deref() == Some("OBSERVATION");
                if let Some(records) = status::completion(&record) {
                    return Ok(ReadRecords { records, has_observation });
                }
            }
            match next {
                None => break,
                next => page.token = next,
            }
        }
        let records = if may_come { Records::Awaited } else { Records::WithoutCompletion };
        Ok(ReadRecords { records, has_observation })
    }

    /// Normalises a summary, and asks for the records where only they can tell.
    async fn settle(
        &self,
        call: &Call,
        (test, execution): (&str, &str),
        summary: &Summary,
        settling: Option<&Settling>,
    ) -> Observation {
        let status = Status::from(summary.status.as_str());
        let counts = summary.observation_summary.as_ref().map(|counts| status::counts(counts, &status));
        let mut evidence = Evidence {
            status: &status,
            counts: counts.as_ref(),
            has_observation: false,
            ran: ran(summary.start_time, summary.end_time),
            records: &Records::Unread,
        };
        let (mut since, mut condition) = (None, None);
        let read;
        if evidence.needs_records() {
            let same = settling.filter(|settling| settling.upstream_status == summary.status);
            let first_seen = same.map_or_else(|| self.clock.now(), |settling| settling.since);
            let end = summary.end_time.unwrap_or_else(|| self.client.json.engine.to_upstream(first_seen));
            let may_come = self.client.json.engine.upstream_now() - end < status::RECORDS_LAG;
            since = Some(first_seen);
            match self.read_records(call, test, execution, may_come).await {
                Ok(found) => {
                    read = found;
                    evidence.has_observation = read.has_observation;
                    evidence.records = &read.records;
                }
                Err(error) => condition = Some((error.kind.reason().to_owned(), error.message)),
            }
        }
        let (state, verdict, failure) = status::normalise(&evidence);
        let mut observation = Observation::new(execution, summary.status.clone(), state, verdict);
        observation.failure = failure;
        observation.counts = counts;
        self.add_times(&mut observation, &status, summary.start_time, summary.end_time);
        if state == State::Settling {
            let upstream_status = summary.status.clone();
            observation.settling = since.map(|since| Settling { since, upstream_status });
            observation.condition = condition;
        }
        observation
    }

    /// Connect has one time for accepted and running: it stands for both once the execution runs.
    fn add_times(
        &self,
        observation: &mut Observation,
        status: &Status,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    ) {
        observation.create_time = start;
        observation.start_time = start.filter(|_| *status != Status::Initiated);
        observation.end_time =
            end.filter(|_| observation.state.is_done() || observation.state == State::Settling);
    }

    fn listed(&self, row: ExecutionRow, test: Option<&TestId>) -> Result<Listed, BackendError> {
        let test = match (row.test_case_id, test) {
            (Some(id), _) => TestId::new(&id).map_err(|error| unusable(&error.0))?,
            (None, Some(test)) => test.clone(),
            (None, None) => return Err(unusable("an execution without a TestCaseId")),
        };
        let execution = ExecutionId::new(&row.test_case_execution_id).map_err(|error| unusable(&error.0))?;
        let status = Status::from(row.test_case_execution_status.as_str());
        let (state, verdict, failure) = status::normalise(&Evidence {
            status: &status,
            counts: None,
            has_observation: false,
            ran: ran(row.start_time, row.end_time),
            records: &Records::Unread,
        });
        let mut observation =
            Observation::new(execution.as_str(), row.test_case_execution_status, state, verdict);
        observation.failure = failure;
        observation.details = Some(self.details(test.as_str()));
        observation.upstream_labels = row.tags.map(|tags| tags.into_iter().collect());
        observation.test = Some(test.clone());
        self.add_times(&mut observation, &status, row.start_time, row.end_time);
        Ok(Listed { test, execution, observation, complete: false })
    }
}

#[async_trait]
impl Backend for Connect {
    fn info(&self) -> BackendInfo {
        self.info.clone()
    }

    fn polling(&self) -> Polling {
        self.client.polling()
    }

    async fn probe(&self, call: &Call) -> ProbeResult {
        self.client.tests(call, &PageRequest { size: 1, token: None }).await.map(|_| ())
    }

    async fn list_tests(&self, call: &Call, page: &PageRequest) -> Result<Page<Test>, BackendError> {
        let (rows, next) = self.client.tests(call, page).await?;
        let items = rows.into_iter().map(|(row, _)| test(row, None)).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    async fn find_tests(
        &self,
        call: &Call,
        hint: &TestHint,
        page: &PageRequest,
    ) -> Result<Page<Test>, BackendError> {
        if !hint.reads_labels {
            return self.list_tests(call, page).await;
        }
        let (rows, next) = self.client.search(call, &hint.labels, page).await?;
        let items = rows.into_iter().map(|(row, _)| test(row, None)).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    async fn get_test(&self, call: &Call, id: &TestId) -> Result<Test, BackendError> {
        let described = self.client.test(call, id.as_str()).await;
        let (row, raw) = described.map_err(|error| error.of_test(&self.info, id))?;
        test(row, Some(raw))
    }

    async fn plan_start(
        &self,
        call: &Call,
        id: &TestId,
        options: &StartOptions,
    ) -> Result<StartPlan, BackendError> {
        if options.lex.is_some() {
            let text = "lex options go with an Amazon Lex V2 backend only; this one is Amazon Connect";
            return Err(BackendError::new(ErrorKind::FieldInvalid("lex"), text));
        }
        let test = self.get_test(call, id).await?;
        if test.startable == Some(false) {
            let text = format!("the test case is {}: publish it first", test.not_startable_reason);
            return Err(BackendError::new(ErrorKind::TestNotStartable, text));
        }
        Ok(StartPlan {
            details: self.details(id.as_str()),
            upstream_labels: test.upstream_labels,
            test_display_name: test.display_name,
        })
    }

    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError> {
        let Found { execution, observation } = self.send_start(call, intent).await?;
        Ok(Started { execution: Some(execution), observation })
    }

    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError> {
        Ok(vec![self.send_start(call, intent).await?])
    }

    async fn stop(&self, call: &Call, target: &Target, token: &str) -> Result<(), BackendError> {
        let test = named_test(target)?;
        let stopped = self.client.stop(call, test.as_str(), id(target), token).await;
        stopped.map_err(|error| error.of_execution(&self.info, target))
    }

    async fn record(&self, _: &Call, _: &TestId, _: &super::Record) -> Result<Found, BackendError> {
        Err(unsupported("Amazon Connect takes no results made elsewhere"))
    }

    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError> {
        let test = named_test(target)?;
        let ids = (test.as_str(), id(target));
        let summary = self.client.summary(call, ids.0, ids.1).await;
        let summary = summary.map_err(|error| error.of_execution(&self.info, target))?;
        let mut observation = self.settle(call, ids, &summary, target.settling.as_ref()).await;
        observation.test = Some(test.clone());
        observation.details = Some(self.details(test.as_str()));
        Ok(observation)
    }

    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let mut filter = ExecutionFilter { test: test.map(TestId::as_str), ..ExecutionFilter::default() };
        let mut request = page.clone();
        let mut phase = None;
        if let Some(state) = hint.state {
            filter.status = Some(if state == State::Pending { UNFINISHED[0] } else { UNFINISHED[1] });
        } else if hint.unfinished_only {
            // What is queued may have no start yet, so this list goes by status alone, one after the other.
            let (at, token) = read_phase(page.token.as_deref());
            filter.status = UNFINISHED.get(at).copied();
            request.token = token;
            phase = Some(at);
        } else {
            filter.started_from = hint.created_from.and_then(|from| from.checked_sub(START_MARGIN));
        }
        let (rows, next) = self.client.executions(call, &filter, &request).await?;
        let items = rows.into_iter().map(|(row, _)| self.listed(row, test)).collect::<Result<_, _>>()?;
        let next = match (phase, next) {
            (None, next) => next,
            (Some(at), Some(next)) => Some(format!("{at}:{next}")),
            (Some(at), None) => (at + 1 < UNFINISHED.len()).then(|| format!("{}:", at + 1)),
        };
        Ok(Page { items, next })
    }

    async fn list_items(
        &self,
        call: &Call,
        target: &Target,
        _: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        let test = named_test(target)?;
        let records = self.client.records(call, test.as_str(), id(target), page).await;
        let (rows, next) = records.map_err(|error| error.of_execution(&self.info, target))?;
        let items = rows.into_iter().filter_map(|(row, raw)| item(row, raw)).collect();
        Ok(Page { items, next })
    }

    async fn list_artifacts(&self, _: &Call, _: &Target) -> Result<Vec<Artifact>, BackendError> {
        Err(unsupported("Amazon Connect executions have no artifacts"))
    }
}

fn test(row: TestCaseRow, raw: Option<Box<RawValue>>) -> Result<Test, BackendError> {
    let id = TestId::new(&row.id).map_err(|error| unusable(&error.0))?;
    let startable = row.status.as_deref().map(|status| status == "PUBLISHED");
    Ok(Test {
        display_name: row.name.unwrap_or_else(|| row.id.clone()),
        upstream_id: row.arn.unwrap_or(row.id),
        id,
        capabilities: CAPABILITIES,
        startable,
        not_startable_reason: row.status.filter(|_| startable == Some(false)).unwrap_or_default(),
        upstream_labels: row.tags.map(|tags| tags.into_iter().collect()).unwrap_or_default(),
        update_time: row.last_modified_time,
        description: row.description.unwrap_or_default(),
        payload: raw.map(Into::into),
    })
}

/// A record as a result item; the completion is none.
fn item(row: RecordRow, raw: Box<RawValue>) -> Option<ResultItem> {
    let record = inner(&row);
    if status::completion(&record).is_some() {
        return None;
    }
    let counts: Option<Counts> = None;
    let id =
        row.observation_id.filter(|id| !id.is_empty()).unwrap_or_else(|| super::aws::fingerprint(raw.get()));
    Some(ResultItem {
        display_name: record.identifier.or(record.kind).unwrap_or_else(|| id.clone()),
        id,
        kind: ItemKind::Observation,
        verdict: status::record_verdict(&row.status.unwrap_or_default()),
        event_time: row.timestamp,
        expected: String::new(),
        actual: String::new(),
        counts,
        failure: None,
        metrics: Vec::new(),
        payload: Some(raw.into()),
    })
}

/// The JSON within a record, as far as it can be read.
fn inner(row: &RecordRow) -> Record {
    row.record.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn ran(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Duration> {
    Duration::try_from(end? - start?).ok()
}

/// Upstream's id of the execution.
fn id(target: &Target) -> &str {
    target.upstream_id.as_deref().unwrap_or(target.execution.as_str())
}

fn named_test(target: &Target) -> Result<&TestId, BackendError> {
    target.test.as_ref().ok_or_else(|| {
        let text =
            "tests/- is accepted for Amazon Lex V2 only: Connect needs the test case to find an execution";
        BackendError::new(ErrorKind::FieldInvalid("name"), text)
    })
}

/// Splits the token of an unfinished-only page into the status it is at and upstream's token.
fn read_phase(token: Option<&str>) -> (usize, Option<String>) {
    let Some((at, rest)) = token.and_then(|token| token.split_once(':')) else { return (0, None) };
    let at = at.parse().unwrap_or(0).min(UNFINISHED.len() - 1);
    (at, Some(rest.to_owned()).filter(|rest| !rest.is_empty()))
}

fn unusable(text: &str) -> BackendError {
    BackendError::new(
        ErrorKind::UpstreamInvalidResponse,
        format!("connect gave what no name can carry: {text}"),
    )
}

fn unsupported(text: &str) -> BackendError {
    BackendError::new(ErrorKind::CapabilityNotSupported, text)
}
