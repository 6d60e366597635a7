//! Reading results and runs: what upstream says of them, made into observations.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::OpenMetadata;
use super::client::Span;
use super::names::{CaseRef, PipelineRef, Subject};
use super::status::{self, CaseWord, Phase, Reading, Sight};
use super::wire::{CaseResult, Row, Run, TestCase};
use crate::backend::{BackendError, Call, ErrorKind, Target};
use crate::model::execution::presentable;
use crate::model::{Details, Observation, OpenMetadataDetails, Settling, Timestamp};

/// How far upstream's and the worker's clocks are trusted to agree with ours.
const TOLERANCE_MS: i64 = 5_000;
/// Later than any result: the last millisecond of the year 9999.
pub(super) const FAR_FUTURE_MS: i64 = 253_402_300_799_999;
/// A started run may not be listed for this long.
const APPEARS_WITHIN: Duration = Duration::from_secs(300);
/// Runs looked through for one of ours.
const MAX_CANDIDATES: usize = 1_000;
/// Cases asked for at a time.
const PARALLEL: usize = 4;
/// Cases listed at a time; each comes with its newest result.
const CASES_A_PAGE: usize = 200;
/// Suites beyond this are not judged.
const MAX_CASES: usize = 20_000;

/// A run's time on upstream's clock.
pub(super) fn window(run: &Run, now_ms: i64) -> Span {
    let from = run.start_date.or(run.timestamp).unwrap_or(now_ms);
    Span { from, to: run.end_date.unwrap_or(now_ms) }
}

impl OpenMetadata {
    /// A case by its id, remembered.
    pub(super) async fn case_ref(&self, call: &Call, id: Uuid) -> Result<Arc<CaseRef>, BackendError> {
        if let Some(known) = self.directory.case(id) {
            return Ok(known);
        }
        // A deleted case keeps its results.
        let case = self.client.case(call, id, true).await?.value;
        Ok(self.directory.note_case(&case))
    }

    /// A test-suite pipeline by its id, remembered. Other pipelines are no tests.
    pub(super) async fn pipeline_ref(&self, call: &Call, id: Uuid) -> Result<Arc<PipelineRef>, BackendError> {
        if let Some(known) = self.directory.pipeline(id) {
            return Ok(known);
        }
        let pipeline = self.suite_pipeline(call, id).await?.value;
        Ok(self.directory.note_pipeline(&pipeline))
    }

    /// Reads a result of a case.
    pub(super) async fn observe_result(
        &self,
        call: &Call,
        id: Uuid,
        target: &Target,
    ) -> Result<Observation, BackendError> {
        let timestamp = result_key(target)?;
        let case = self.case_ref(call, id).await?;
        let row = self.result_at(call, &case, timestamp).await?;
        Ok(result_observation(id, &row.value, Some(&case)))
    }

    /// The result with a key.
    pub(super) async fn result_at(
        &self,
        call: &Call,
        case: &CaseRef,
        timestamp: i64,
    ) -> Result<Row<CaseResult>, BackendError> {
        let span = Span { from: timestamp, to: timestamp };
        let (rows, _) = self.client.results(call, case.id, &case.fqn, span, 1).await?;
        rows.into_iter().next().ok_or_else(|| {
            let text = format!("the test case has no result at {timestamp}");
            BackendError::new(ErrorKind::UpstreamNotFound, text)
        })
    }

    /// Reads a run of a pipeline.
    pub(super) async fn observe_run(
        &self,
        call: &Call,
        id: Uuid,
        target: &Target,
    ) -> Result<Observation, BackendError> {
        let pipeline = self.pipeline_ref(call, id).await?;
        match self.find_run(call, &pipeline, target).await? {
            Some(run) => Ok(self.read_run(call, &pipeline, &run, target).await),
            None => Ok(pending(&pipeline, "")),
        }
    }

    /// The run that a target means; `None` while a start has not turned up.
    pub(super) async fn find_run(
        &self,
        call: &Call,
        pipeline: &PipelineRef,
        target: &Target,
    ) -> Result<Option<Run>, BackendError> {
        let known = match &target.upstream_id {
            Some(id) => Some(id.as_str()),
            None if target.execution.is_minted() => None,
            None => Some(target.execution.as_str()),
        };
        let found = match known {
            Some(run) => self.run_by_id(call, pipeline, run).await?,
            None => {
                let runs = self.runs_since(call, pipeline, target.create_time).await?;
                // Our trigger certainly came through, so the first run after it that nobody else has is ours.
                let unclaimed = |run: &Run| !target.claimed.contains(&run.run_id);
                return Ok(runs.into_iter().filter(unclaimed).min_by_key(started));
            }
        };
        if found.is_some() {
            self.seen.insert((pipeline.id, known.unwrap_or_default().to_owned()), ());
        }
        // A run that was there before and is not now is gone; one that never was may still turn up.
        let existed = target.upstream_id.is_some()
            || target.settling.is_some()
            || self.seen.has(&(pipeline.id, known.unwrap_or_default().to_owned()));
        let young =
            !existed && target.create_time.is_some_and(|created| self.clock.since(created) < APPEARS_WITHIN);
        match found {
            Some(run) => Ok(Some(run)),
            None if young => Ok(None),
            None => Err(BackendError::new(ErrorKind::UpstreamNotFound, "the pipeline has no such run")),
        }
    }

    async fn run_by_id(
        &self,
        call: &Call,
        pipeline: &PipelineRef,
        run: &str,
    ) -> Result<Option<Run>, BackendError> {
        match Uuid::try_parse(run) {
            Ok(id) => Ok(self.client.run(call, &pipeline.fqn, id).await?.filter(|found| found.run_id == run)),
            // Upstream takes UUIDs only in this place, though a runner may have given another id.
            Err(_) => {
                let span = Span { from: 0, to: FAR_FUTURE_MS };
                let runs = self.client.runs(call, &pipeline.fqn, span, MAX_CANDIDATES).await?;
                Ok(runs.into_iter().find(|found| found.run_id == run))
            }
        }
    }

    /// Runs that began after a moment on the gateway's clock, judged on upstream's.
    pub(super) async fn runs_since(
        &self,
        call: &Call,
        pipeline: &PipelineRef,
        moment: Option<Timestamp>,
    ) -> Result<Vec<Run>, BackendError> {
        let moment = moment.unwrap_or_else(|| self.clock.now());
        // The first call of a process tells upstream's clock.
        let guess = to_ms(self.client.engine.to_upstream(moment)) - TOLERANCE_MS;
        let span = Span { from: guess.saturating_sub(3_600_000).max(0), to: FAR_FUTURE_MS };
        let mut runs = self.client.runs(call, &pipeline.fqn, span, MAX_CANDIDATES).await?;
        let earliest = to_ms(self.client.engine.to_upstream(moment)) - TOLERANCE_MS;
        runs.retain(|run| started(run) >= earliest);
        Ok(runs)
    }

    /// An observation of a run. Where its end is believed but the results can't be read it stays SETTLING, with why.
    async fn read_run(&self, call: &Call, pipeline: &PipelineRef, run: &Run, target: &Target) -> Observation {
        let phase = Phase::parse(&run.state);
        let Phase::Ended(end) = phase else {
            return run_observation(pipeline, run, status::unfinished(phase));
        };
        if let Err(settling) = self.settle(run, Some(target)) {
            let mut observation = run_observation(pipeline, run, status::unfinished(phase));
            observation.settling = Some(settling);
            return observation;
        }
        let cases =
            if status::needs_results(end) { self.words(call, pipeline, run).await } else { Ok(Vec::new()) };
        match cases {
            Ok(cases) => run_observation(pipeline, run, status::ended(end, target.stop_requested, &cases)),
            Err(error) => {
                let mut observation = run_observation(pipeline, run, status::unfinished(phase));
                observation.settling.clone_from(&target.settling);
                observation.condition = Some((error.kind.reason().to_owned(), error.message));
                observation
            }
        }
    }

    /// A row of a list: what can be said without another call.
    pub(super) fn listed_run(&self, pipeline: &PipelineRef, run: &Run) -> Observation {
        let phase = Phase::parse(&run.state);
        let Phase::Ended(end) = phase else {
            return run_observation(pipeline, run, status::unfinished(phase));
        };
        match self.settle(run, None) {
            Ok(()) if !status::needs_results(end) => {
                run_observation(pipeline, run, status::ended(end, false, &[]))
            }
            Ok(()) => run_observation(pipeline, run, status::unfinished(phase)),
            Err(settling) => {
                let mut observation = run_observation(pipeline, run, status::unfinished(phase));
                observation.settling = Some(settling);
                observation
            }
        }
    }

    fn settle(&self, run: &Run, target: Option<&Target>) -> Result<(), Settling> {
        let sight = Sight {
            status: &run.state,
            known: target.and_then(|target| target.settling.as_ref()),
            now: self.clock.now(),
            ended_ago: self.ended_before_first_sight(run, target),
            settle_time: self.settle_time,
        };
        status::settle(&sight)
    }

    /// How long ago a run ended, where the gateway can't have seen it before its end.
    fn ended_before_first_sight(&self, run: &Run, target: Option<&Target>) -> Option<Duration> {
        let end = run.end_date?;
        let upstream = |moment| to_ms(self.client.engine.to_upstream(moment));
        let seen_before =
            target.and_then(|target| target.first_seen).is_some_and(|first_seen| upstream(first_seen) < end);
        // An end before its start is a worker's clock gone wrong: no age can be told from it.
        let started_here =
            target.filter(|target| target.execution.is_minted()).and_then(|target| target.create_time);
        let impossible =
            end < started(run) || started_here.is_some_and(|created| end < upstream(created) - TOLERANCE_MS);
        if seen_before || impossible {
            return None;
        }
        let age = to_ms(self.client.engine.upstream_now()).saturating_sub(end);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// What the results within a run's time say of each case that it ran.
    async fn words(
        &self,
        call: &Call,
        pipeline: &PipelineRef,
        run: &Run,
    ) -> Result<Vec<CaseWord>, BackendError> {
        let suite = suite_of(pipeline)?;
        let mut words = Vec::new();
        let mut unseen: Vec<&str> = pipeline.subset.iter().flatten().map(String::as_str).collect();
        let mut after: Option<String> = None;
        loop {
            let (cases, next) = self.suite_cases(call, suite, CASES_A_PAGE, after.as_deref()).await?;
            let mine: Vec<_> =
                cases.iter().map(|row| &row.value).filter(|case| runs_case(pipeline, case)).collect();
            unseen.retain(|name| mine.iter().all(|case| case.name != *name));
            for batch in mine.chunks(PARALLEL) {
                let results = join_all(batch.iter().map(|case| self.case_word(call, case, run))).await;
                for word in results {
                    words.push(word?);
                }
            }
            if words.len() > MAX_CASES {
                let text = format!("the suite has more than {MAX_CASES} test cases");
                return Err(BackendError::new(ErrorKind::UpstreamResponseTooLarge, text));
            }
            after = next.filter(|next| Some(next) != after.as_ref());
            if after.is_none() {
                break;
            }
        }
        words.extend(unseen.into_iter().map(|name| CaseWord::of(name, [])));
        Ok(words)
    }

    /// A page of a suite's cases, each with its newest result.
    pub(super) async fn suite_cases(
        &self,
        call: &Call,
        suite: Uuid,
        limit: usize,
        after: Option<&str>,
    ) -> Result<(Vec<Row<TestCase>>, Option<String>), BackendError> {
        self.client.cases(call, Some(suite), "testCaseResult", limit, after).await
    }

    /// One case's word. Kept, so that a suite too large for one call is read over several.
    async fn case_word(&self, call: &Call, case: &TestCase, run: &Run) -> Result<CaseWord, BackendError> {
        let key = (case.id, run.run_id.clone());
        if let Some(known) = self.words.get(&key) {
            return Ok(known);
        }
        let rows = self.case_results(call, case, run).await?;
        let word = CaseWord::of(&case.name, rows.iter().map(|row| &row.value));
        self.words.insert(key, word.clone());
        Ok(word)
    }

    /// A case's results within a run's time, newest first, without those that were recorded through the gateway.
    pub(super) async fn case_results(
        &self,
        call: &Call,
        case: &TestCase,
        run: &Run,
    ) -> Result<Vec<Row<CaseResult>>, BackendError> {
        let span = window(run, to_ms(self.client.engine.upstream_now()));
        let newest = case.test_case_result.as_deref().and_then(newest);
        if newest.is_some_and(|newest| newest < span.from) {
            return Ok(Vec::new());
        }
        let (mut rows, _) =
            self.client.results(call, case.id, &case.fully_qualified_name, span, MAX_CANDIDATES).await?;
        rows.retain(|row| !self.recorded.has(&(case.id, row.value.timestamp)));
        Ok(rows)
    }
}

/// The suite that a pipeline runs.
pub(super) fn suite_of(pipeline: &PipelineRef) -> Result<Uuid, BackendError> {
    pipeline.suite.ok_or_else(|| {
        BackendError::new(ErrorKind::UpstreamInvalidResponse, "the pipeline does not say which suite it runs")
    })
}

/// Whether a pipeline runs a case of its suite.
pub(super) fn runs_case(pipeline: &PipelineRef, case: &TestCase) -> bool {
    pipeline.subset.as_ref().is_none_or(|names| names.contains(&case.name))
}

/// The timestamp of a case's newest result.
pub(super) fn newest(raw: &RawValue) -> Option<i64> {
    serde_json::from_str::<CaseResult>(raw.get()).ok().map(|row| row.timestamp)
}

/// The key of the result that a target means.
pub(super) fn result_key(target: &Target) -> Result<i64, BackendError> {
    let text = target.execution.as_str();
    text.parse::<i64>().ok().filter(|key| *key >= 0 && key.to_string() == text).ok_or_else(|| {
        BackendError::new(
            ErrorKind::ResourceNotFound,
            "a result of an OpenMetadata test case is named by its time in milliseconds since 1970",
        )
    })
}

/// When a run began.
pub(super) fn started(run: &Run) -> i64 {
    run.start_date.or(run.timestamp).unwrap_or(0)
}

/// A run that was asked for and has not turned up.
pub(super) fn pending(pipeline: &PipelineRef, run_id: &str) -> Observation {
    let run = Run { run_id: run_id.to_owned(), ..Run::default() };
    run_observation(pipeline, &run, status::unfinished(Phase::Queued))
}

pub(super) fn run_observation(pipeline: &PipelineRef, run: &Run, reading: Reading) -> Observation {
    let Reading { state, verdict, counts, failure } = reading;
    let mut observation = Observation::new(run.run_id.clone(), run.state.clone(), state, verdict);
    observation.test = Some(Subject::Pipeline(pipeline.id).test_id());
    observation.counts = counts;
    observation.failure = failure;
    observation.create_time = run.timestamp.or(run.start_date).and_then(from_ms);
    if Phase::parse(&run.state) != Phase::Queued {
        observation.start_time = run.start_date.and_then(from_ms);
    }
    if matches!(Phase::parse(&run.state), Phase::Ended(_)) {
        observation.end_time = run.end_date.and_then(from_ms);
    }
    observation.details = Some(Details::OpenMetadata(OpenMetadataDetails {
        fully_qualified_name: pipeline.fqn.clone(),
        run_id: run.run_id.clone(),
        ..OpenMetadataDetails::default()
    }));
    observation.upstream_labels = Some(pipeline.tags.clone());
    observation.test_display_name.clone_from(&pipeline.display_name);
    observation
}

pub(super) fn result_observation(id: Uuid, row: &CaseResult, case: Option<&CaseRef>) -> Observation {
    let Reading { state, verdict, counts, failure } = status::result(&row.status, &row.result);
    let mut observation = Observation::new(row.timestamp.to_string(), row.status.clone(), state, verdict);
    let time = from_ms(row.timestamp);
    observation.test = Some(Subject::Case(id).test_id());
    observation.counts = counts;
    observation.failure = failure;
    observation.create_time = time;
    observation.end_time = time.filter(|_| state.is_done());
    let fqn = if row.fqn.is_empty() {
        case.map(|case| case.fqn.clone()).unwrap_or_default()
    } else {
        row.fqn.clone()
    };
    observation.details = Some(Details::OpenMetadata(OpenMetadataDetails {
        fully_qualified_name: fqn,
        result_id: row.id.clone(),
        run_id: String::new(),
        incident_id: row.incident_id.clone(),
        passed_rows: row.passed_rows,
        failed_rows: row.failed_rows,
        min_bound: row.min_bound,
        max_bound: row.max_bound,
    }));
    if let Some(case) = case {
        observation.upstream_labels = Some(case.tags.clone());
        observation.test_display_name.clone_from(&case.display_name);
    }
    observation
}

/// Milliseconds since 1970 as a moment; `None` beyond the calendar.
pub(super) fn from_ms(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok().and_then(presentable)
}

/// A moment in whole milliseconds since 1970.
pub(super) fn to_ms(moment: Timestamp) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(FAR_FUTURE_MS)
}
