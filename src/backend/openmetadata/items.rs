//! Result items: one for each case of a run, and the one of a result.

use futures_util::future::join_all;
use uuid::Uuid;

use super::OpenMetadata;
use super::list::{read_token, write_token};
use super::runs::{from_ms, result_key, runs_case, suite_of};
use super::status::{self, CaseStatus, Phase};
use super::wire::{CaseResult, Row, Run, TestCase};
use crate::backend::{BackendError, Call, Page, PageRequest, Target};
use crate::model::{ItemKind, Metric, ResultItem};

/// Cases of one page at most: each may take a call.
const MAX_PAGE: usize = 50;
/// Cases asked for at a time.
const PARALLEL: usize = 4;

impl OpenMetadata {
    /// The one item of a result: its case.
    pub(super) async fn result_items(
        &self,
        call: &Call,
        id: Uuid,
        target: &Target,
    ) -> Result<Page<ResultItem>, BackendError> {
        let timestamp = result_key(target)?;
        let case = self.case_ref(call, id).await?;
        let row = self.result_at(call, &case, timestamp).await?;
        Ok(Page { items: vec![item(id, &case.display_name, Some(&row), false)], next: None })
    }

    /// The cases that a run ran, each with the worst of its results in the run's time.
    pub(super) async fn run_items(
        &self,
        call: &Call,
        id: Uuid,
        target: &Target,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        let pipeline = self.pipeline_ref(call, id).await?;
        let Some(run) = self.find_run(call, &pipeline, target).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let after: Option<String> = read_token(page)?;
        let limit = page.size.clamp(1, MAX_PAGE);
        let (cases, next) = self.suite_cases(call, suite_of(&pipeline)?, limit, after.as_deref()).await?;
        let mine: Vec<_> =
            cases.iter().map(|row| &row.value).filter(|case| runs_case(&pipeline, case)).collect();
        let mut items = Vec::with_capacity(mine.len());
        for batch in mine.chunks(PARALLEL) {
            for read in join_all(batch.iter().map(|case| self.run_item(call, case, &run))).await {
                items.push(read?);
            }
        }
        Ok(Page { items, next: next.map(|next| write_token(&next)) })
    }

    async fn run_item(&self, call: &Call, case: &TestCase, run: &Run) -> Result<ResultItem, BackendError> {
        let ended = matches!(Phase::parse(&run.state), Phase::Ended(_));
        let rows = self.case_results(call, case, run).await?;
        // The first of equally bad ones is the newest.
        let worst = rows.iter().rev().max_by_key(|row| CaseStatus::parse(&row.value.status).rank());
        let name = super::names::shown(case.display_name.as_deref(), &case.name);
        Ok(item(case.id, &name, worst, ended))
    }
}

fn item(case: Uuid, display_name: &str, row: Option<&Row<CaseResult>>, run_ended: bool) -> ResultItem {
    let value = row.map(|row| &row.value);
    let message = value.map(|value| value.result.as_str()).unwrap_or_default();
    let (verdict, failure) = status::item(value.map(|value| value.status.as_str()), message, run_ended);
    ResultItem {
        id: case.to_string(),
        kind: ItemKind::TestCase,
        display_name: display_name.to_owned(),
        verdict,
        event_time: value.and_then(|value| from_ms(value.timestamp)),
        expected: String::new(),
        actual: message.to_owned(),
        counts: None,
        failure,
        metrics: value.map(metrics).unwrap_or_default(),
        payload: row.map(|row| row.raw.get().into()),
    }
}

fn metrics(row: &CaseResult) -> Vec<Metric> {
    let values = row.test_result_value.iter();
    values
        .map(|value| Metric {
            name: value.name.clone(),
            value: value.value.clone(),
            predicted_value: value.predicted_value.clone(),
        })
        .collect()
}
