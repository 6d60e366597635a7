//! Amazon Lex V2's test workbench.

mod client;
mod items;
mod start;
mod status;
mod wire;

use async_trait::async_trait;
use serde_json::value::RawValue;

use self::client::{Client, Level};
use self::status::{Results, Status, Tally};
use self::wire::{Execution, OverallItem, TestSet};
use super::aws::LEX;
use super::aws::client::JsonClient;
use super::{
    Backend, BackendError, Call, ErrorKind, Found, ListHint, Listed, Page, PageRequest, Polling, ProbeResult,
    Shared, StartIntent, StartOptions, StartPlan, Started, Target,
};
use crate::config::backend::{BackendConfig, LexConfig};
use crate::model::{
    Artifact, BackendInfo, Capabilities, Clock, Details, ExecutionId, ItemKind, Kind, Labels, LexDetails,
    LexStartOptions, LexTarget, Observation, ResultItem, Settling, StartMode, State, StopScope, Test, TestId,
    Timestamp,
};

/// The newest executions that are searched for a lost start: ten full pages.
const MAX_SEARCHED_PAGES: usize = 10;
/// How far upstream's clock, as its replies show it, may be off.
const CLOCK_TOLERANCE: time::Duration = time::Duration::seconds(5);
/// The overall level has two rows.
const MAX_OVERALL_PAGES: usize = 5;

const CAPABILITIES: Capabilities = Capabilities {
    start_mode: StartMode::GatewayDedup,
    stop_scope: StopScope::None,
    list_executions: true,
    record_execution: false,
    artifacts: true,
    result_kinds: &[
        ItemKind::Overall,
        ItemKind::Conversation,
        ItemKind::Intent,
        ItemKind::Slot,
        ItemKind::Utterance,
    ],
    filter_pushdown: &["create_time"],
};

/// One Lex account and region.
#[derive(Debug)]
pub struct Lex {
    info: BackendInfo,
    client: Client,
    defaults: LexStartOptions,
    clock: Clock,
}

impl Lex {
    /// Makes no call and loads no credentials yet.
    pub fn new(config: &BackendConfig, lex: &LexConfig, shared: &Shared) -> Self {
        let location = lex.aws.region.clone().map(|region| ("region".to_owned(), region));
        Self {
            info: Shared::info(config, Kind::AmazonLexV2, location.into_iter().collect(), CAPABILITIES),
            client: Client { json: JsonClient::new("lex", &LEX, &lex.aws, config, shared) },
            defaults: lex.start_defaults.clone(),
            clock: shared.clock.clone(),
        }
    }

    /// Reads and sums the overall results; `None` where there are none.
    async fn tally(&self, call: &Call, execution: &str) -> Result<Option<Tally>, BackendError> {
        let mut page = PageRequest { size: 100, token: None };
        let mut tally: Option<Tally> = None;
        for _ in 0..MAX_OVERALL_PAGES {
            let (rows, next) = self.client.results(call, execution, Level::Overall, &page).await?;
            for raw in rows {
                let row: OverallItem =
                    serde_json::from_str(raw.get()).map_err(|error| invalid(&error.to_string()))?;
                tally.get_or_insert_default().add(row.total_result_count, &row.end_to_end_result_counts);
            }
            match next {
                None => break,
                next => page.token = next,
            }
        }
        Ok(tally)
    }

    /// What to make of the answer about the results of an execution that was first seen completed then.
    fn judge(
        &self,
        answer: Result<Option<Tally>, BackendError>,
        end: Option<Timestamp>,
        since: Timestamp,
    ) -> (Results, Option<(String, String)>) {
        match answer {
            Ok(Some(tally)) => (Results::Read(tally), None),
            Ok(None) => {
                let engine = &self.client.json.engine;
                let end = end.unwrap_or_else(|| engine.to_upstream(since));
                let believed = engine.upstream_now() - end >= status::RESULTS_LAG;
                (if believed { Results::Read(Tally::default()) } else { Results::Awaited }, None)
            }
            Err(error) => {
                // Our own budget and the caller's hurry say nothing about the results.
                let ours =
                    matches!(error.kind, ErrorKind::BackendBudgetExhausted | ErrorKind::DeadlineExceeded);
                if !ours && self.clock.since(since) >= status::UNREADABLE_LIMIT {
                    return (Results::GivenUp, None);
                }
                (Results::Awaited, Some((error.kind.reason().to_owned(), error.message)))
            }
        }
    }

    /// Describes an execution. `results` is the answer about its results where that was asked for before.
    async fn describe(
        &self,
        call: &Call,
        target: &Target,
        results: Option<Result<Option<Tally>, BackendError>>,
    ) -> Result<Observation, BackendError> {
        let id = id(target);
        let described = self.client.execution(call, id).await;
        let row = described.map_err(|error| error.of_execution(&self.info, target))?;
        let raw = row.test_execution_status.as_deref();
        let raw = raw.ok_or_else(|| invalid("an execution without testExecutionStatus"))?.to_owned();
        if Status::from(raw.as_str()) != Status::Completed {
            return Ok(observed(&row, &Results::Awaited));
        }
        let results = match results {
            Some(results) => results,
            None => self.tally(call, id).await,
        };
        let since = completed(target).map_or_else(|| self.clock.now(), |settling| settling.since);
        let (results, condition) = self.judge(results, row.last_updated_date_time, since);
        Ok(settled(observed(&row, &results), condition, since))
    }
}

#[async_trait]
impl Backend for Lex {
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
        let mut details = start::merge(options.lex.as_ref(), &self.defaults)?;
        let test = self.get_test(call, id).await?;
        if test.startable != Some(true) {
            let text = format!("the test set is {}, not Ready", test.not_startable_reason);
            return Err(BackendError::new(ErrorKind::TestNotStartable, text));
        }
        id.as_str().clone_into(&mut details.test_set_id);
        details.test_set_name.clone_from(&test.display_name);
        Ok(StartPlan {
            details: Details::Lex(details),
            upstream_labels: test.upstream_labels,
            test_display_name: test.display_name,
        })
    }

    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError> {
        let request = start::body(&intent.plan)?;
        let sent = self.client.start(call, intent.test.as_str(), &request).await;
        let (execution, row) = sent.map_err(|error| error.of_test(&self.info, &intent.test))?;
        let mut observation = observed(&row, &Results::Awaited);
        if row.test_execution_status.is_none() {
            // The reply of a start has no status: it was accepted, and that is all.
            (observation.state, observation.verdict) = (State::Pending, crate::model::Verdict::Pending);
        }
        observation.test = Some(intent.test.clone());
        observation.details = Some(intent.plan.details.clone());
        observation.test_display_name.clone_from(&intent.plan.test_display_name);
        Ok(Started { execution: Some(execution), observation })
    }

    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError> {
        let wanted = start::details(&intent.plan)?;
        let mut page = PageRequest { size: 1000, token: None };
        let mut found = Vec::new();
        for _ in 0..MAX_SEARCHED_PAGES {
            let (rows, next) = self.client.executions(call, &page).await?;
            // Only now: a reply, maybe the first since a restart, has told upstream's clock.
            let from = self.client.json.engine.to_upstream(intent.time) - CLOCK_TOLERANCE;
            for row in rows {
                let Some(created) = row.creation_date_time else { continue };
                if created < from {
                    return Ok(found);
                }
                if start::is_same(&row, &intent.test, wanted) {
                    let execution =
                        ExecutionId::new(&row.test_execution_id).map_err(|error| invalid(&error.0))?;
                    found.push(Found { execution, observation: observed(&row, &Results::Awaited) });
                }
            }
            match next {
                None => break,
                next => page.token = next,
            }
        }
        Ok(found)
    }

    async fn stop(&self, _: &Call, _: &Target, _: &str) -> Result<(), BackendError> {
        Err(unsupported("Amazon Lex V2 has no call that stops a test execution"))
    }

    async fn record(&self, _: &Call, _: &TestId, _: &super::Record) -> Result<Found, BackendError> {
        Err(unsupported("Amazon Lex V2 takes no results made elsewhere"))
    }

    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError> {
        let Some(settling) = completed(target) else { return self.describe(call, target, None).await };
        // What has completed stays so, and only its results are missing; whether upstream still knows it is for its own
        // call to say.
        let results = self.tally(call, id(target)).await;
        if results.as_ref().is_err_and(|error| error.kind == ErrorKind::ResourceNotFound) {
            return self.describe(call, target, Some(results)).await;
        }
        let (results, condition) = self.judge(results, target.end_time, settling.since);
        let observation = Observation {
            test: target.test.clone(),
            end_time: target.end_time,
            ..interpreted(id(target), &settling.upstream_status, &results, &[])
        };
        Ok(settled(observation, condition, settling.since))
    }

    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let (rows, mut next) = self.client.executions(call, page).await?;
        let oldest = rows.iter().filter_map(|row| row.creation_date_time).min();
        if hint.created_from.is_some_and(|from| oldest.is_some_and(|oldest| oldest < from)) {
            // Newest first: all that follows is older still.
            next = None;
        }
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let execution = ExecutionId::new(&row.test_execution_id).map_err(|error| invalid(&error.0))?;
            let observation = settled(observed(&row, &Results::Awaited), None, self.clock.now());
            let Some(of) = observation.test.clone() else {
                return Err(invalid("an execution without a usable testSetId"));
            };
            if test.is_none_or(|test| *test == of) {
                items.push(Listed { test: of, execution, observation, complete: false });
            }
        }
        Ok(Page { items, next })
    }

    async fn list_items(
        &self,
        call: &Call,
        target: &Target,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        let level = Level::of(kind.unwrap_or(ItemKind::Conversation)).ok_or_else(|| {
            BackendError::new(
                ErrorKind::FieldInvalid("kind"),
                "Amazon Lex V2 has no result items of this kind",
            )
        })?;
        // A row of the slot level holds any number of items, so a page may end within an upstream page.
        let (skip, token) = read_offset(page.token.as_deref());
        let request = PageRequest { size: page.size, token: token.clone() };
        let results = self.client.results(call, id(target), level, &request).await;
        let (rows, next) = results.map_err(|error| error.of_execution(&self.info, target))?;
        let all = items::items(level, rows).map_err(|text| invalid(&text))?;
        let (size, count) = (page.size.max(1), all.len());
        let items = all.into_iter().skip(skip).take(size).collect();
        let next = if skip + size < count {
            Some(format!("{}:{}", skip + size, token.unwrap_or_default()))
        } else {
            next.map(|next| format!("0:{next}"))
        };
        Ok(Page { items, next })
    }

    async fn list_artifacts(&self, call: &Call, target: &Target) -> Result<Vec<Artifact>, BackendError> {
        let url = self.client.artifacts(call, id(target)).await;
        let uri = url.map_err(|error| error.of_execution(&self.info, target))?.download_artifacts_url;
        Ok(vec![Artifact { id: "results".to_owned(), expire_time: expiry(&uri), uri }])
    }
}

/// Since when an execution is known to have completed, if its results are all that is missing.
fn completed(target: &Target) -> Option<&Settling> {
    target.settling.as_ref().filter(|known| Status::from(known.upstream_status.as_str()) == Status::Completed)
}

/// An observation with what the next reading has to know where results are missing, and why they are.
fn settled(observation: Observation, condition: Option<(String, String)>, since: Timestamp) -> Observation {
    if observation.state != State::Settling {
        return observation;
    }
    let settling = Settling { since, upstream_status: observation.upstream_status.clone() };
    Observation { settling: Some(settling), condition, ..observation }
}

/// What a status means with the results.
fn interpreted(id: &str, raw: &str, results: &Results, reasons: &[String]) -> Observation {
    let (state, verdict, failure) = status::normalise(&Status::from(raw), results, reasons);
    let counts = match results {
        Results::Read(tally) => Some(tally.counts()),
        Results::Awaited | Results::GivenUp => None,
    };
    Observation { failure, counts, ..Observation::new(id.to_owned(), raw.to_owned(), state, verdict) }
}

/// What a row says, by itself and with the results where they are known.
fn observed(row: &Execution, results: &Results) -> Observation {
    let raw = row.test_execution_status.as_deref().unwrap_or_default();
    let reasons = row.failure_reasons.as_deref().unwrap_or_default();
    let mut observation = interpreted(&row.test_execution_id, raw, results, reasons);
    let state = observation.state;
    observation.test = row.test_set_id.as_deref().and_then(|id| TestId::new(id).ok());
    observation.create_time = row.creation_date_time;
    observation.end_time = row.last_updated_date_time.filter(|_| state.is_done() || state == State::Settling);
    observation.test_display_name = row.test_set_name.clone().unwrap_or_default();
    observation.details = Some(Details::Lex(LexDetails {
        test_set_id: row.test_set_id.clone().unwrap_or_default(),
        test_set_name: row.test_set_name.clone().unwrap_or_default(),
        target: row.target.as_ref().map(|target| LexTarget {
            bot_id: target.bot_alias_target.bot_id.clone(),
            bot_alias_id: target.bot_alias_target.bot_alias_id.clone(),
            locale_id: target.bot_alias_target.locale_id.clone(),
        }),
        api_mode: row.api_mode.as_deref().and_then(start::read_api_mode),
        modality: row.test_execution_modality.as_deref().and_then(start::read_modality),
        update_time: row.last_updated_date_time,
    }));
    observation
}

fn test(row: TestSet, raw: Option<Box<RawValue>>) -> Result<Test, BackendError> {
    let id = TestId::new(&row.test_set_id).map_err(|error| invalid(&error.0))?;
    let startable = row.status.as_deref().map(|status| status == "Ready");
    Ok(Test {
        display_name: row.test_set_name.unwrap_or_else(|| row.test_set_id.clone()),
        upstream_id: row.test_set_id,
        id,
        capabilities: CAPABILITIES,
        startable,
        not_startable_reason: row.status.filter(|_| startable == Some(false)).unwrap_or_default(),
        upstream_labels: Labels::new(),
        update_time: row.last_updated_date_time,
        description: row.description.unwrap_or_default(),
        payload: raw.map(Into::into),
    })
}

/// Upstream's id of the execution.
fn id(target: &Target) -> &str {
    target.upstream_id.as_deref().unwrap_or(target.execution.as_str())
}

/// Splits a token into the items of its upstream page that were shown already and upstream's token.
fn read_offset(token: Option<&str>) -> (usize, Option<String>) {
    let Some((skip, rest)) = token.and_then(|token| token.split_once(':')) else { return (0, None) };
    (skip.parse().unwrap_or(0), Some(rest.to_owned()).filter(|rest| !rest.is_empty()))
}

/// When a pre-signed link ends, as it says itself.
fn expiry(link: &str) -> Option<Timestamp> {
    let url = reqwest::Url::parse(link).ok()?;
    let value =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed = time::PrimitiveDateTime::parse(&value("X-Amz-Date")?, format).ok()?.assume_utc();
    signed.checked_add(time::Duration::seconds(value("X-Amz-Expires")?.parse().ok()?))
}

fn invalid(text: &str) -> BackendError {
    BackendError::new(
        ErrorKind::UpstreamInvalidResponse,
        format!("lex answered with something unusable: {text}"),
    )
}

fn unsupported(text: &str) -> BackendError {
    BackendError::new(ErrorKind::CapabilityNotSupported, text)
}
