//! One function for each Lex call.

use http::Method;
use serde_json::value::RawValue;

use super::wire::{
    ArtifactsUrl, Execution, Executions, ListBody, ResultFilter, Results, ResultsBody, ResultsPage, SortBy,
    StartBody, TestSet, TestSets,
};
use crate::backend::aws::client::{JsonClient, NOTHING, RawPage};
use crate::backend::aws::wire::{body, rows};
use crate::backend::engine::{Operation, Response, Safety, escape};
use crate::backend::{BackendError, Call, ErrorKind, Lists, PageRequest, Polling};
use crate::model::{ExecutionId, ItemKind};

const START: Operation = Operation {
    name: "StartTestExecution",
    // There is no token: what arrives twice runs twice.
    safety: Safety::UntokenedWrite(ErrorKind::StartOutcomeUnknown),
};
const EXECUTION: Operation = Operation { name: "DescribeTestExecution", safety: Safety::Read };
const EXECUTIONS: Operation = Operation { name: "ListTestExecutions", safety: Safety::Read };
const RESULTS: Operation = Operation { name: "ListTestExecutionResultItems", safety: Safety::Read };
const ARTIFACTS: Operation = Operation { name: "GetTestExecutionArtifactsUrl", safety: Safety::Read };
const TESTS: Operation = Operation { name: "ListTestSets", safety: Safety::Read };
const TEST: Operation = Operation { name: "DescribeTestSet", safety: Safety::Read };

const MAX_PAGE: usize = 1000;

/// The calls of one Lex account and region.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) json: JsonClient,
}

impl Client {
    /// The calls of the polls.
    pub(crate) fn polling(&self) -> Polling {
        let quota = self.json.engine.quota();
        Polling {
            lists: Lists::Newest,
            page_size: MAX_PAGE,
            reads_say_more: false,
            list: quota.allowance(EXECUTIONS.name),
            // Lists say that executions have completed; what is read by itself then is how.
            read: quota.allowance(EXECUTION.name).and(quota.allowance(RESULTS.name)),
            upstream_now: self.json.engine.upstream_now(),
        }
    }

    pub(crate) async fn start(
        &self,
        call: &Call,
        test: &str,
        request: &StartBody,
    ) -> Result<(ExecutionId, Execution), BackendError> {
        let path = format!("/testsets/{}/testexecutions", escape(test));
        // An id that nobody can name is as good as a lost reply, so it is judged here.
        let decode = |response: &Response| {
            let started: Execution = body(response)?;
            let id = ExecutionId::new(&started.test_execution_id).map_err(|error| error.0)?;
            Ok((id, started))
        };
        self.json.send(call, &START, Method::POST, path, Some(request), decode).await
    }

    pub(crate) async fn execution(&self, call: &Call, execution: &str) -> Result<Execution, BackendError> {
        let path = format!("/testexecutions/{}", escape(execution));
        self.json.send(call, &EXECUTION, Method::GET, path, NOTHING, body).await
    }

    /// Newest first.
    pub(crate) async fn executions(
        &self,
        call: &Call,
        page: &PageRequest,
    ) -> Result<(Vec<Execution>, Option<String>), BackendError> {
        let request = ListBody {
            sort_by: Some(SortBy { attribute: "CreationDateTime", order: "Descending" }),
            max_results: page.size.clamp(1, MAX_PAGE),
            next_token: page.token.as_deref(),
        };
        let decode = |response: &Response| {
            let page: Executions = body(response)?;
            Ok((page.test_executions, page.next_token))
        };
        self.json
            .send(call, &EXECUTIONS, Method::POST, "/testexecutions".into(), Some(&request), decode)
            .await
    }

    /// The raw items of one level; none where there are no results yet.
    pub(crate) async fn results(
        &self,
        call: &Call,
        execution: &str,
        level: Level,
        page: &PageRequest,
    ) -> Result<(Vec<Box<RawValue>>, Option<String>), BackendError> {
        let path = format!("/testexecutions/{}/results", escape(execution));
        let request = ResultsBody {
            result_filter_by: ResultFilter { result_type_filter: level.filter() },
            max_results: page.size.clamp(1, MAX_PAGE),
            next_token: page.token.as_deref(),
        };
        let decode = |response: &Response| {
            let page: ResultsPage = body(response)?;
            Ok((level.items(page.test_execution_results.unwrap_or_default()), page.next_token))
        };
        self.json.send(call, &RESULTS, Method::POST, path, Some(&request), decode).await
    }

    pub(crate) async fn artifacts(&self, call: &Call, execution: &str) -> Result<ArtifactsUrl, BackendError> {
        let path = format!("/testexecutions/{}/artifacturl", escape(execution));
        self.json.send(call, &ARTIFACTS, Method::GET, path, NOTHING, body).await
    }

    pub(crate) async fn tests(
        &self,
        call: &Call,
        page: &PageRequest,
    ) -> Result<RawPage<TestSet>, BackendError> {
        let request = ListBody {
            sort_by: None,
            max_results: page.size.clamp(1, MAX_PAGE),
            next_token: page.token.as_deref(),
        };
        let decode = |response: &Response| {
            let page: TestSets = body(response)?;
            Ok((rows(page.test_sets)?, page.next_token))
        };
        self.json.send(call, &TESTS, Method::POST, "/testsets".into(), Some(&request), decode).await
    }

    pub(crate) async fn test(
        &self,
        call: &Call,
        test: &str,
    ) -> Result<(TestSet, Box<RawValue>), BackendError> {
        let decode = |response: &Response| {
            let raw: Box<RawValue> = body(response)?;
            let row = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
            Ok((row, raw))
        };
        self.json.send(call, &TEST, Method::GET, format!("/testsets/{}", escape(test)), NOTHING, decode).await
    }
}

/// A level of results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    Overall,
    Conversation,
    Intent,
    Slot,
    Utterance,
}

impl Level {
    /// The level of a kind of item; `None` for kinds that Lex does not have.
    pub(crate) fn of(kind: ItemKind) -> Option<Self> {
        match kind {
            ItemKind::Overall => Some(Self::Overall),
            ItemKind::Conversation => Some(Self::Conversation),
            ItemKind::Intent => Some(Self::Intent),
            ItemKind::Slot => Some(Self::Slot),
            ItemKind::Utterance => Some(Self::Utterance),
            ItemKind::Observation | ItemKind::TestCase => None,
        }
    }

    fn filter(self) -> &'static str {
        match self {
            Self::Overall => "OverallTestResults",
            Self::Conversation => "ConversationLevelTestResults",
            Self::Intent => "IntentClassificationTestResults",
            Self::Slot => "SlotResolutionTestResults",
            Self::Utterance => "UtteranceLevelResults",
        }
    }

    fn items(self, results: Results) -> Vec<Box<RawValue>> {
        let items = match self {
            Self::Overall => results.overall_test_results,
            Self::Conversation => results.conversation_level_test_results,
            Self::Intent => results.intent_classification_test_results,
            Self::Slot => results.intent_level_slot_resolution_test_results,
            Self::Utterance => results.utterance_level_test_results,
        };
        items.map(|items| items.items).unwrap_or_default()
    }
}
