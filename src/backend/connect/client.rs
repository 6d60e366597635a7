//! One function for each Connect call.

use http::Method;
use serde_json::value::RawValue;

use super::wire::{
    DescribedTestCase, ExecutionRow, Executions, FoundTestCases, RecordRow, Records, SearchBody,
    SearchFilter, Started, Summary, TagCondition, TagFilter, TestCaseRow, TestCases, TokenBody,
};
use crate::backend::aws::client::{JsonClient, NOTHING, RawPage};
use crate::backend::aws::wire::{body, rows};
use crate::backend::engine::{Operation, Response, Safety, escape, query};
use crate::backend::{BackendError, Call, Lists, PageRequest, Polling};
use crate::model::Timestamp;

const START: Operation = Operation { name: "StartTestCaseExecution", safety: Safety::TokenedWrite };
const STOP: Operation = Operation { name: "StopTestCaseExecution", safety: Safety::TokenedWrite };
const SUMMARY: Operation = Operation { name: "GetTestCaseExecutionSummary", safety: Safety::Read };
const EXECUTIONS: Operation = Operation { name: "ListTestCaseExecutions", safety: Safety::Read };
const RECORDS: Operation = Operation { name: "ListTestCaseExecutionRecords", safety: Safety::Read };
const TESTS: Operation = Operation { name: "ListTestCases", safety: Safety::Read };
const TEST: Operation = Operation { name: "DescribeTestCase", safety: Safety::Read };
const SEARCH: Operation = Operation { name: "SearchTestCases", safety: Safety::Read };

/// The service takes no larger pages, but for ListTestCases.
const MAX_PAGE: usize = 100;
const MAX_TESTS_PAGE: usize = 1000;

/// The calls of one Connect instance.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) json: JsonClient,
    pub(crate) instance: String,
}

/// What ListTestCaseExecutions can filter by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExecutionFilter<'a> {
    pub(crate) test: Option<&'a str>,
    pub(crate) status: Option<&'static str>,
    pub(crate) started_from: Option<Timestamp>,
}

impl Client {
    /// The calls of the polls.
    pub(crate) fn polling(&self) -> Polling {
        let quota = self.json.engine.quota();
        Polling {
            lists: Lists::ByState,
            page_size: MAX_PAGE,
            reads_say_more: true,
            list: quota.allowance(EXECUTIONS.name),
            read: quota.allowance(SUMMARY.name),
            upstream_now: self.json.engine.upstream_now(),
        }
    }

    pub(crate) async fn start(&self, call: &Call, test: &str, token: &str) -> Result<Started, BackendError> {
        let path = format!("{}/start-execution", self.test_path(test));
        self.json.send(call, &START, Method::PUT, path, Some(&TokenBody { client_token: token }), body).await
    }

    pub(crate) async fn stop(
        &self,
        call: &Call,
        test: &str,
        execution: &str,
        token: &str,
    ) -> Result<(), BackendError> {
        let path = format!("{}/{}/stop-execution", self.test_path(test), escape(execution));
        // It answers with nothing, in more than one way.
        self.json
            .send(call, &STOP, Method::POST, path, Some(&TokenBody { client_token: token }), |_| Ok(()))
            .await
    }

    pub(crate) async fn summary(
        &self,
        call: &Call,
        test: &str,
        execution: &str,
    ) -> Result<Summary, BackendError> {
        let path = format!("{}/{}/summary", self.test_path(test), escape(execution));
        self.json.send(call, &SUMMARY, Method::GET, path, NOTHING, body).await
    }

    pub(crate) async fn executions(
        &self,
        call: &Call,
        filter: &ExecutionFilter<'_>,
        page: &PageRequest,
    ) -> Result<RawPage<ExecutionRow>, BackendError> {
        let started_from =
            filter.started_from.map(|time| (time.unix_timestamp_nanos() / 1_000_000).max(0).to_string());
        let size = page.size.clamp(1, MAX_PAGE).to_string();
        let query = query(&[
            ("testCaseId", filter.test),
            ("startTime", started_from.as_deref()),
            ("status", filter.status),
            ("nextToken", page.token.as_deref()),
            ("maxResults", Some(&size)),
        ]);
        let path = format!("/test-case-executions/{}{query}", escape(&self.instance));
        let decode = |response: &Response| {
            let page: Executions = body(response)?;
            Ok((rows(page.test_case_executions)?, page.next_token))
        };
        self.json.send(call, &EXECUTIONS, Method::GET, path, NOTHING, decode).await
    }

    pub(crate) async fn records(
        &self,
        call: &Call,
        test: &str,
        execution: &str,
        page: &PageRequest,
    ) -> Result<RawPage<RecordRow>, BackendError> {
        let size = page.size.clamp(1, MAX_PAGE).to_string();
        let query = query(&[("nextToken", page.token.as_deref()), ("maxResults", Some(&size))]);
        let path = format!("{}/{}/records{query}", self.test_path(test), escape(execution));
        let decode = |response: &Response| {
            let page: Records = body(response)?;
            Ok((rows(page.execution_records)?, page.next_token))
        };
        self.json.send(call, &RECORDS, Method::GET, path, NOTHING, decode).await
    }

    pub(crate) async fn tests(
        &self,
        call: &Call,
        page: &PageRequest,
    ) -> Result<RawPage<TestCaseRow>, BackendError> {
        let size = page.size.clamp(1, MAX_TESTS_PAGE).to_string();
        let query = query(&[("nextToken", page.token.as_deref()), ("maxResults", Some(&size))]);
        let path = format!("/test-cases-summary/{}{query}", escape(&self.instance));
        let decode = |response: &Response| {
            let page: TestCases = body(response)?;
            Ok((rows(page.test_case_summary_list)?, page.next_token))
        };
        self.json.send(call, &TESTS, Method::GET, path, NOTHING, decode).await
    }

    /// Test cases with all of the tags, whole: lists show no tags.
    pub(crate) async fn search(
        &self,
        call: &Call,
        tags: &[(String, String)],
        page: &PageRequest,
    ) -> Result<RawPage<TestCaseRow>, BackendError> {
        let conditions: Vec<_> =
            tags.iter().map(|(key, value)| TagCondition { tag_key: key, tag_value: value }).collect();
        let filter = SearchFilter { tag_filter: TagFilter { and_conditions: conditions } };
        let request = SearchBody {
            instance_id: &self.instance,
            max_results: page.size.clamp(1, MAX_PAGE),
            next_token: page.token.as_deref(),
            search_filter: (!tags.is_empty()).then_some(filter),
        };
        let decode = |response: &Response| {
            let page: FoundTestCases = body(response)?;
            Ok((rows(page.test_cases)?, page.next_token))
        };
        self.json
            .send(call, &SEARCH, Method::POST, "/search-test-cases".to_owned(), Some(&request), decode)
            .await
    }

    pub(crate) async fn test(
        &self,
        call: &Call,
        test: &str,
    ) -> Result<(TestCaseRow, Box<RawValue>), BackendError> {
        let decode = |response: &Response| {
            let raw = body::<DescribedTestCase>(response)?.test_case;
            let row = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
            Ok((row, raw))
        };
        self.json.send(call, &TEST, Method::GET, self.test_path(test), NOTHING, decode).await
    }

    fn test_path(&self, test: &str) -> String {
        format!("/test-cases/{}/{}", escape(&self.instance), escape(test))
    }
}
