//! Lists: of tests, of executions of one test or all, of a run's items. Tokens hold where upstream's lists go on.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::OpenMetadata;
use super::client::Span;
use super::names::{CaseRef, PipelineRef, Subject};
use super::runs::{self, FAR_FUTURE_MS, to_ms};
use super::status::CaseStatus;
use super::wire::{CaseResult, TestCase};
use crate::backend::{BackendError, Call, ErrorKind, ListHint, Listed, Page, PageRequest};
use crate::model::{ExecutionId, Test};

/// Tests looked at for one page of all executions.
const WALK: usize = 50;
/// Upstream calls for one page of all executions, about.
const MAX_STEPS: usize = 16;
/// Halvings of a span whose results don't fit the body limit.
const MAX_HALVINGS: usize = 24;

/// Where the list of tests goes on: first pipelines, then cases, each with upstream's cursor.
#[derive(Clone, Debug, Deserialize, Serialize)]
enum TestsAt {
    Pipelines(Option<String>),
    Cases(Option<String>),
}

/// Where a case's results go on: the newest time that is still wanted, and how far back to ask at once.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct ResultsAt {
    to: i64,
    reach: i64,
}

/// Where the list of all executions goes on.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct WalkAt {
    tests: TestsAt,
    /// The last test of that page which is done with.
    done: Option<String>,
    /// Within the test after it.
    inner: Option<String>,
}

/// A test on the walk over all of them.
enum Stop {
    Pipeline(Arc<PipelineRef>),
    /// With its newest result.
    Case(Arc<CaseRef>, Option<CaseResult>),
}

impl Stop {
    fn subject(&self) -> Subject {
        match self {
            Self::Pipeline(pipeline) => Subject::Pipeline(pipeline.id),
            Self::Case(case, _) => Subject::Case(case.id),
        }
    }
}

impl OpenMetadata {
    pub(super) async fn tests(&self, call: &Call, page: &PageRequest) -> Result<Page<Test>, BackendError> {
        let mut at = read_token(page)?.unwrap_or(TestsAt::Pipelines(None));
        let mut items = Vec::new();
        loop {
            let room = page.size.max(1).saturating_sub(items.len());
            let next = match &at {
                TestsAt::Pipelines(after) => {
                    let (rows, next) = self.client.pipelines(call, room, after.as_deref()).await?;
                    for row in rows {
                        self.directory.note_pipeline(&row.value);
                        items.push(super::pipeline_test(&row.value));
                    }
                    Some(next.map_or(TestsAt::Cases(None), |next| TestsAt::Pipelines(Some(next))))
                }
                TestsAt::Cases(after) => {
                    let (rows, next) = self.client.cases(call, None, "tags", room, after.as_deref()).await?;
                    for row in rows {
                        self.directory.note_case(&row.value);
                        items.push(super::case_test(&row.value));
                    }
                    next.map(|next| TestsAt::Cases(Some(next)))
                }
            };
            match next {
                None => return Ok(Page { items, next: None }),
                // Only the end of the pipelines is worth a second call.
                Some(next @ TestsAt::Cases(None)) if items.len() < page.size => at = next,
                Some(next) => return Ok(Page { items, next: Some(write_token(&next)) }),
            }
        }
    }

    /// A page of one case's results, newest first. Upstream has no limit, so the span asked for is narrowed to what
    /// a page needs, as soon as the first page tells how dense the results are.
    pub(super) async fn results_page(
        &self,
        call: &Call,
        case: &CaseRef,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let floor = hint.created_from.max(hint.ended_from).map_or(0, to_ms).max(0);
        let ResultsAt { to, mut reach } =
            read_token(page)?.unwrap_or(ResultsAt { to: FAR_FUTURE_MS, reach: FAR_FUTURE_MS });
        let size = page.size.max(1);
        for _ in 0..MAX_HALVINGS {
            let from = to.saturating_sub(reach).max(floor);
            let answer = self.client.results(call, case.id, &case.fqn, Span { from, to }, size).await;
            let (mut rows, more) = match answer {
                Err(error) if error.kind == ErrorKind::UpstreamResponseTooLarge && reach > 1 => {
                    // Few results are of the future, so the half to leave out is that of the past.
                    let present = to.min(to_ms(self.client.engine.upstream_now()));
                    reach = (to - present)
                        .saturating_add((present - from).max(2) / 2)
                        .min(reach / 2 + (to - present));
                    continue;
                }
                answer => answer?,
            };
            let more = more || rows.len() > size;
            rows.truncate(size);
            let oldest = rows.last().map(|row| row.value.timestamp);
            let next = match oldest {
                Some(oldest) if more => {
                    let newest = rows.first().map_or(oldest, |row| row.value.timestamp);
                    // Twice the time that this page spans, so that the next fills too.
                    let reach = (newest - oldest).saturating_mul(2).max(60_000);
                    (oldest > floor).then(|| ResultsAt { to: oldest - 1, reach })
                }
                _ => (from > floor).then(|| ResultsAt { to: from - 1, reach: reach.saturating_mul(8) }),
            };
            let items = rows.iter().filter_map(|row| listed_result(case, &row.value)).collect();
            return Ok(Page { items, next: next.map(|next| write_token(&next)) });
        }
        Err(BackendError::new(
            ErrorKind::UpstreamResponseTooLarge,
            "no span of the results fits the body limit",
        ))
    }

    /// A page of one pipeline's runs, newest first.
    pub(super) async fn runs_page(
        &self,
        call: &Call,
        pipeline: &PipelineRef,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let to = read_token(page)?.unwrap_or(FAR_FUTURE_MS);
        let lifetime = i64::try_from(self.tracking_deadline.as_millis()).unwrap_or(FAR_FUTURE_MS);
        let now = to_ms(self.client.engine.upstream_now());
        let floors = [
            hint.created_from.map(to_ms),
            // What has not ended within its lifetime is given up.
            hint.ended_from.map(|ended| to_ms(ended).saturating_sub(lifetime)),
            hint.unfinished_only.then(|| now.saturating_sub(lifetime.saturating_mul(2))),
        ];
        let from = floors.into_iter().flatten().max().unwrap_or(0).max(0);
        if from > to {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let size = page.size.max(1);
        let mut found = self.client.runs(call, &pipeline.fqn, Span { from, to }, size + 1).await?;
        let more = found.len() > size;
        found.truncate(size);
        let oldest = found.last().and_then(|run| run.timestamp);
        let next = oldest
            .filter(|oldest| more && *oldest > from && *oldest <= to)
            .map(|oldest| write_token(&(oldest - 1)));
        let items = found
            .iter()
            .filter_map(|run| {
                Some(Listed {
                    test: Subject::Pipeline(pipeline.id).test_id(),
                    execution: ExecutionId::new(&run.run_id).ok()?,
                    observation: self.listed_run(pipeline, run),
                    complete: false,
                })
            })
            .collect();
        Ok(Page { items, next })
    }

    /// A page of the executions of all tests, test by test. Cases without a result cost no call; where only the
    /// unfinished are wanted, a case's newest result speaks for it.
    pub(super) async fn all_executions(
        &self,
        call: &Call,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        let mut at =
            read_token(page)?.unwrap_or(WalkAt { tests: TestsAt::Pipelines(None), done: None, inner: None });
        let size = page.size.max(1);
        let mut items: Vec<Listed> = Vec::new();
        for _ in 0..MAX_STEPS {
            let (stops, next_tests) = self.stops(call, &at.tests).await?;
            let begin = at.done.as_deref().and_then(|done| {
                stops.iter().position(|stop| stop.subject().test_id().as_str() == done).map(|index| index + 1)
            });
            let mut steps = 0;
            for stop in stops.iter().skip(begin.unwrap_or(0)) {
                let within = PageRequest { size: size - items.len(), token: at.inner.take() };
                let (found, asked) = match self.stop_page(call, stop, &within, hint).await {
                    Ok(found) => found,
                    // Deleted while we walked.
                    Err(error) if error.is_gone() => (Page { items: Vec::new(), next: None }, true),
                    Err(_) if !items.is_empty() => {
                        at.inner = within.token;
                        return Ok(Page { items, next: Some(write_token(&at)) });
                    }
                    Err(error) => return Err(error),
                };
                items.extend(found.items);
                if found.next.is_some() {
                    at.inner = found.next;
                    return Ok(Page { items, next: Some(write_token(&at)) });
                }
                at.done = Some(stop.subject().test_id().as_str().to_owned());
                steps += usize::from(asked);
                if items.len() >= size || steps >= MAX_STEPS {
                    return Ok(Page { items, next: Some(write_token(&at)) });
                }
            }
            match next_tests {
                None => return Ok(Page { items, next: None }),
                Some(tests) => at = WalkAt { tests, done: None, inner: None },
            }
        }
        Ok(Page { items, next: Some(write_token(&at)) })
    }

    /// A page of one test's executions on the walk, and whether it took a call.
    async fn stop_page(
        &self,
        call: &Call,
        stop: &Stop,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<(Page<Listed>, bool), BackendError> {
        let nothing = || (Page { items: Vec::new(), next: None }, false);
        match stop {
            Stop::Pipeline(pipeline) => Ok((self.runs_page(call, pipeline, page, hint).await?, true)),
            Stop::Case(_, None) => Ok(nothing()),
            Stop::Case(case, Some(newest)) => {
                let floor = hint.created_from.max(hint.ended_from).map(to_ms);
                if floor.is_some_and(|floor| newest.timestamp < floor) {
                    return Ok(nothing());
                }
                if hint.unfinished_only {
                    let open =
                        matches!(CaseStatus::parse(&newest.status), CaseStatus::Queued | CaseStatus::Unknown);
                    let items = listed_result(case, newest).filter(|_| open).into_iter().collect();
                    return Ok((Page { items, next: None }, false));
                }
                Ok((self.results_page(call, case, page, hint).await?, true))
            }
        }
    }

    async fn stops(&self, call: &Call, at: &TestsAt) -> Result<(Vec<Stop>, Option<TestsAt>), BackendError> {
        let mut stops = Vec::new();
        match at {
            TestsAt::Pipelines(after) => {
                let (rows, next) = self.client.pipelines(call, WALK, after.as_deref()).await?;
                for row in rows {
                    stops.push(Stop::Pipeline(self.directory.note_pipeline(&row.value)));
                }
                Ok((stops, Some(next.map_or(TestsAt::Cases(None), |next| TestsAt::Pipelines(Some(next))))))
            }
            TestsAt::Cases(after) => {
                let fields = "tags,testCaseResult";
                let (rows, next) = self.client.cases(call, None, fields, WALK, after.as_deref()).await?;
                for row in rows {
                    let newest = newest(&row.value);
                    stops.push(Stop::Case(self.directory.note_case(&row.value), newest));
                }
                Ok((stops, next.map(|next| TestsAt::Cases(Some(next)))))
            }
        }
    }
}

fn newest(case: &TestCase) -> Option<CaseResult> {
    serde_json::from_str(case.test_case_result.as_deref()?.get()).ok()
}

fn listed_result(case: &CaseRef, row: &CaseResult) -> Option<Listed> {
    Some(Listed {
        test: Subject::Case(case.id).test_id(),
        execution: ExecutionId::new(&row.timestamp.to_string()).ok()?,
        observation: runs::result_observation(case.id, row, Some(case)),
        complete: true,
    })
}

/// Reads the token of a page, if it has one.
pub(super) fn read_token<T: DeserializeOwned>(page: &PageRequest) -> Result<Option<T>, BackendError> {
    page.token
        .as_deref()
        .map(|token| {
            serde_json::from_str(token).map_err(|_| {
                BackendError::new(ErrorKind::PageTokenInvalid, "the page token is not one of this list")
            })
        })
        .transpose()
}

/// Writes a token. The gateway seals it before a caller sees it.
pub(super) fn write_token<T: Serialize>(at: &T) -> String {
    serde_json::to_string(at).expect("a plain struct of strings and numbers is always JSON")
}
