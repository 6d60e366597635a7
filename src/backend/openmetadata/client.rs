//! One function an upstream call, and the choice between the two published ways to results.

use http::Method;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::api::{Api, Route};
use super::protocol::Bearer;
use super::wire::{
    self, CaseResult, Listing, NewResult, Pipeline, Row, Run, ServiceReply, Suite, TestCase, Version,
};
use crate::backend::engine::{Engine, Operation, Outgoing, Response, Safety, escape, query};
use crate::backend::{BackendError, Call, ErrorKind, Lists, Polling};

const GET_VERSION: Operation = Operation { name: "GetVersion", safety: Safety::Read };
const LIST_CASES: Operation = Operation { name: "ListTestCases", safety: Safety::Read };
const GET_CASE: Operation = Operation { name: "GetTestCase", safety: Safety::Read };
const GET_SUITE: Operation = Operation { name: "GetTestSuite", safety: Safety::Read };
const LIST_PIPELINES: Operation = Operation { name: "ListPipelines", safety: Safety::Read };
const GET_PIPELINE: Operation = Operation { name: "GetPipeline", safety: Safety::Read };
const LIST_RUNS: Operation = Operation { name: "ListPipelineStatus", safety: Safety::Read };
const GET_RUN: Operation = Operation { name: "GetPipelineStatus", safety: Safety::Read };
const LIST_RESULTS: Operation = Operation { name: "ListTestCaseResults", safety: Safety::Read };
const ADD_RESULT: Operation =
    Operation { name: "AddTestCaseResult", safety: Safety::UntokenedWrite(ErrorKind::RecordOutcomeUnknown) };
const TRIGGER: Operation =
    Operation { name: "TriggerPipeline", safety: Safety::UntokenedWrite(ErrorKind::StartOutcomeUnknown) };
const KILL: Operation =
    Operation { name: "KillPipeline", safety: Safety::UntokenedWrite(ErrorKind::StopOutcomeUnknown) };

const CASES: &str = "/v1/dataQuality/testCases";
const PIPELINES: &str = "/v1/services/ingestionPipelines";

/// Runs of a pipeline that one poll looks through.
const MAX_LISTED_RUNS: usize = 100;
/// Pages of one documented result list are followed this far within one call.
const MAX_RESULT_PAGES: usize = 50;

/// A span of time in milliseconds, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Rows, and whether upstream has older ones in the span.
pub(super) type Results = (Vec<Row<CaseResult>>, bool);
/// Rows, and the cursor of those that follow.
pub(super) type CursorPage<T> = (Vec<Row<T>>, Option<String>);

/// Makes the calls.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) engine: Engine,
    pub(super) bearer: Bearer,
    pub(super) api: Api,
}

impl Client {
    /// The calls of the polls.
    pub(super) fn polling(&self) -> Polling {
        let quota = self.engine.quota();
        Polling {
            lists: Lists::ByTest,
            page_size: MAX_LISTED_RUNS,
            reads_say_more: false,
            list: quota.allowance(LIST_RUNS.name),
            read: quota.allowance(GET_RUN.name),
            upstream_now: self.engine.upstream_now(),
        }
    }

    /// The server's version; needs no token.
    pub(super) async fn version(&self, call: &Call) -> Result<String, BackendError> {
        let version: Version = self.get(call, &GET_VERSION, "/v1/system/version".to_owned()).await?;
        self.api.note_version(&version.version);
        Ok(version.version)
    }

    /// A page of test cases, of one suite or all. A limit too large for the body limit is lowered.
    pub(super) async fn cases(
        &self,
        call: &Call,
        suite: Option<Uuid>,
        fields: &str,
        limit: usize,
        after: Option<&str>,
    ) -> Result<CursorPage<TestCase>, BackendError> {
        let suite = suite.map(|id| id.to_string());
        self.cursor_page(call, &LIST_CASES, limit, |limit| {
            let pairs = [
                ("fields", Some(fields).filter(|fields| !fields.is_empty())),
                ("testSuiteId", suite.as_deref()),
                ("limit", Some(limit)),
                ("after", after),
            ];
            format!("{CASES}{}", query(&pairs))
        })
        .await
    }

    /// One test case; `all` finds soft-deleted ones too.
    pub(super) async fn case(&self, call: &Call, id: Uuid, all: bool) -> Result<Row<TestCase>, BackendError> {
        let pairs = [("fields", Some("testSuite,testDefinition,tags")), ("include", all.then_some("all"))];
        self.get_row(call, &GET_CASE, format!("{CASES}/{id}{}", query(&pairs))).await
    }

    /// The pipelines of a suite.
    pub(super) async fn suite(&self, call: &Call, id: Uuid) -> Result<Suite, BackendError> {
        self.get(call, &GET_SUITE, format!("/v1/dataQuality/testSuites/{id}?fields=pipelines")).await
    }

    /// A page of the pipelines that run test suites.
    pub(super) async fn pipelines(
        &self,
        call: &Call,
        limit: usize,
        after: Option<&str>,
    ) -> Result<CursorPage<Pipeline>, BackendError> {
        self.cursor_page(call, &LIST_PIPELINES, limit, |limit| {
            let pairs = [("pipelineType", Some("TestSuite")), ("limit", Some(limit)), ("after", after)];
            format!("{PIPELINES}{}", query(&pairs))
        })
        .await
    }

    /// One pipeline, of any type.
    pub(super) async fn pipeline(&self, call: &Call, id: Uuid) -> Result<Row<Pipeline>, BackendError> {
        self.get_row(call, &GET_PIPELINE, format!("{PIPELINES}/{id}")).await
    }

    /// A pipeline's runs by their timestamps, newest first. Servers that know no `limit` answer with all of them.
    pub(super) async fn runs(
        &self,
        call: &Call,
        fqn: &str,
        span: Span,
        limit: usize,
    ) -> Result<Vec<Run>, BackendError> {
        let (from, to, limit) = (span.from.to_string(), span.to.to_string(), limit.to_string());
        let pairs = [("startTs", Some(&*from)), ("endTs", Some(&*to)), ("limit", Some(&*limit))];
        let path = format!("{PIPELINES}/{}/pipelineStatus{}", escape(fqn), query(&pairs));
        let mut runs = self.send(call, &LIST_RUNS, &get(path), read_rows::<Run>).await?;
        runs.sort_by_key(|row| std::cmp::Reverse(row.value.timestamp));
        Ok(runs.into_iter().map(|row| row.value).filter(|run| !run.run_id.is_empty()).collect())
    }

    /// One run; `None` where the pipeline has no such run.
    pub(super) async fn run(&self, call: &Call, fqn: &str, run: Uuid) -> Result<Option<Run>, BackendError> {
        let path = format!("{PIPELINES}/{}/pipelineStatus/{run}", escape(fqn));
        let decode = |response: &Response| {
            if response.body.is_empty() {
                return Ok(None);
            }
            match read::<Option<Run>>(response)? {
                Some(run) if run.run_id.is_empty() => Err("a run without its id".to_owned()),
                run => Ok(run),
            }
        };
        self.send(call, &GET_RUN, &get(path), decode).await
    }

    /// Starts a pipeline. Sent once.
    pub(super) async fn trigger(&self, call: &Call, id: Uuid) -> Result<ServiceReply, BackendError> {
        self.send(call, &TRIGGER, &post(format!("{PIPELINES}/trigger/{id}")), read_service).await
    }

    /// Stops every unfinished run of a pipeline. Sent once.
    pub(super) async fn kill(&self, call: &Call, id: Uuid) -> Result<ServiceReply, BackendError> {
        self.send(call, &KILL, &post(format!("{PIPELINES}/kill/{id}")), read_service).await
    }

    /// A case's results in a span, newest first: all of them, or at least `want` where upstream pages.
    pub(super) async fn results(
        &self,
        call: &Call,
        id: Uuid,
        fqn: &str,
        span: Span,
        want: usize,
    ) -> Result<Results, BackendError> {
        let route = self.route(call).await;
        let first = self.results_by(call, route, id, fqn, span, want).await;
        match self.api.fall_back(route, first.as_ref().err()) {
            None => {
                self.api.confirm(route, first.is_ok());
                first
            }
            Some(other) => {
                let second = self.results_by(call, other, id, fqn, span, want).await;
                self.api.choose(other, second.as_ref().err());
                second.or_else(|error| if Api::is_absent(&error) { first } else { Err(error) })
            }
        }
    }

    async fn results_by(
        &self,
        call: &Call,
        route: Route,
        id: Uuid,
        fqn: &str,
        span: Span,
        want: usize,
    ) -> Result<Results, BackendError> {
        let (from, to) = (span.from.to_string(), span.to.to_string());
        let bounds = [("startTs", Some(&*from)), ("endTs", Some(&*to))];
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        match route {
            Route::ByFqn => {
                let path = format!("{CASES}/testCaseResults/{}{}", escape(fqn), query(&bounds));
                rows = self.send(call, &LIST_RESULTS, &get(path), read_rows).await?;
            }
            Route::Documented => {
                let limit = want.saturating_add(1).clamp(1, 1000).to_string();
                for _ in 0..MAX_RESULT_PAGES {
                    let [start, end] = bounds;
                    let pairs = [start, end, ("limit", Some(&*limit)), ("after", after.as_deref())];
                    let path = format!("{CASES}/{id}/testCaseResult{}", query(&pairs));
                    let (page, next) = self.send(call, &LIST_RESULTS, &get(path), read_page).await?;
                    rows.extend(page);
                    after = next.filter(|next| Some(next) != after.as_ref());
                    if after.is_none() || rows.len() > want {
                        break;
                    }
                }
            }
        }
        // Both bounds are asked for; a server that knows neither must not leak results of other times.
        rows.retain(|row: &Row<CaseResult>| (span.from..=span.to).contains(&row.value.timestamp));
        rows.sort_by_key(|row| std::cmp::Reverse(row.value.timestamp));
        Ok((rows, after.is_some()))
    }

    /// Stores a result. Sent once on a route that exists. Returns its id, where the reply says.
    pub(super) async fn add_result(
        &self,
        call: &Call,
        id: Uuid,
        fqn: &str,
        result: &NewResult,
    ) -> Result<Option<String>, BackendError> {
        let route = self.route(call).await;
        let first = self.add_result_by(call, route, id, fqn, result).await;
        match self.api.fall_back(route, first.as_ref().err()) {
            None => first,
            Some(other) => {
                let second = self.add_result_by(call, other, id, fqn, result).await;
                self.api.choose(other, second.as_ref().err());
                second.or_else(|error| if Api::is_absent(&error) { first } else { Err(error) })
            }
        }
    }

    async fn add_result_by(
        &self,
        call: &Call,
        route: Route,
        id: Uuid,
        fqn: &str,
        result: &NewResult,
    ) -> Result<Option<String>, BackendError> {
        let (method, path_and_query) = match route {
            Route::ByFqn => (Method::POST, format!("{CASES}/testCaseResults/{}", escape(fqn))),
            Route::Documented => (Method::PUT, format!("{CASES}/{id}/testCaseResult")),
        };
        let body = serde_json::to_vec(result).map_err(|error| {
            BackendError::new(
                ErrorKind::UpstreamInvalidArgument,
                format!("the result can't be written: {error}"),
            )
        })?;
        let outgoing =
            Outgoing { method, path_and_query, body: body.into(), content_type: "application/json" };
        // Whatever the reply holds, the result is read back: an unreadable reply is no failure of the write.
        let decode = |response: &Response| {
            Ok(serde_json::from_slice::<CaseResult>(&response.body)
                .ok()
                .map(|row| row.id)
                .filter(|id| !id.is_empty()))
        };
        self.send(call, &ADD_RESULT, &outgoing, decode).await
    }

    /// Which way to results; the version is asked for once where it decides.
    async fn route(&self, call: &Call) -> Route {
        if let Some(route) = self.api.route() {
            return route;
        }
        // A server that can't say its version may still answer the call itself.
        drop(self.version(call).await);
        self.api.route().unwrap_or(Route::ByFqn)
    }

    async fn cursor_page<T: DeserializeOwned>(
        &self,
        call: &Call,
        operation: &Operation,
        limit: usize,
        path: impl Fn(&str) -> String,
    ) -> Result<CursorPage<T>, BackendError> {
        let mut limit = limit;
        loop {
            let outgoing = get(path(&limit.to_string()));
            match self.send(call, operation, &outgoing, read_page).await {
                Err(error) if error.kind == ErrorKind::UpstreamResponseTooLarge && limit > 1 => limit /= 4,
                answer => return answer,
            }
            limit = limit.max(1);
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        call: &Call,
        operation: &Operation,
        path: String,
    ) -> Result<T, BackendError> {
        self.send(call, operation, &get(path), read).await
    }

    async fn get_row<T: DeserializeOwned>(
        &self,
        call: &Call,
        operation: &Operation,
        path: String,
    ) -> Result<Row<T>, BackendError> {
        let decode = |response: &Response| wire::row(read(response)?).map_err(|error| error.to_string());
        self.send(call, operation, &get(path), decode).await
    }

    async fn send<T>(
        &self,
        call: &Call,
        operation: &Operation,
        outgoing: &Outgoing,
        decode: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<T, BackendError> {
        self.engine.call(&self.bearer, operation, outgoing, call, decode).await
    }
}

fn get(path_and_query: String) -> Outgoing {
    Outgoing {
        method: Method::GET,
        path_and_query,
        body: bytes::Bytes::new(),
        content_type: "application/json",
    }
}

fn post(path_and_query: String) -> Outgoing {
    Outgoing { method: Method::POST, ..get(path_and_query) }
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, String> {
    serde_json::from_slice(&response.body).map_err(|error| error.to_string())
}

/// A reply of the pipeline service always says its code; one that doesn't is no confirmation.
fn read_service(response: &Response) -> Result<ServiceReply, String> {
    let reply: ServiceReply = read(response)?;
    if reply.code.is_some() { Ok(reply) } else { Err("a reply without its code".to_owned()) }
}

fn read_rows<T: DeserializeOwned>(response: &Response) -> Result<Vec<Row<T>>, String> {
    read_page(response).map(|(rows, _)| rows)
}

fn read_page<T: DeserializeOwned>(response: &Response) -> Result<CursorPage<T>, String> {
    let listing: Listing = read(response)?;
    let rows = listing
        .data
        .into_iter()
        .map(|raw| wire::row(raw).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok((rows, listing.paging.after.filter(|after| !after.is_empty())))
}
