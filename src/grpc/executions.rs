//! Reading executions and what they leave behind.

use bytes::Bytes;
use prost::Message as _;

use super::backends::{hide, parse_filter};
use super::error::Failure;
use super::page::{PartPosition, binding, fitting};
use super::validate::Violations;
use super::{Context, Inner};
use crate::auth::Right;
use crate::backend::{PageRequest, Priority};
use crate::model::filter::Schema;
use crate::model::id::LooseExecutionName;
use crate::model::{ExecutionName, Scope};
use crate::proto::{convert, encoded, v1};
use crate::tracker::ExecutionsQuery;

/// The largest page of executions: at 7,000 bytes each they then fit into one reply.
const MAX_EXECUTIONS: usize = 500;

impl Inner {
    pub(super) async fn get_execution(
        &self,
        context: &Context,
        request: v1::GetExecutionRequest,
    ) -> Result<encoded::GetExecutionResponse, Failure> {
        let mut violations = Violations::new();
        let name = violations.name("name", LooseExecutionName::parse(&request.name));
        let max_staleness = violations.duration("max_staleness", request.max_staleness.as_ref());
        let name = violations.finish_with(name)?;
        context.permit(Right::Read, &name.backend)?;
        let execution = self.tracker.execution(&name, max_staleness, &context.call(Priority::Read)).await?;
        Ok(encoded::GetExecutionResponse { execution: execution.encoded() })
    }

    pub(super) async fn batch_get_executions(
        &self,
        context: &Context,
        request: v1::BatchGetExecutionsRequest,
    ) -> Result<encoded::BatchGetExecutionsResponse, Failure> {
        let mut violations = Violations::new();
        let names = violations.names("names", &request.names, ExecutionName::parse);
        let max_staleness = violations.duration("max_staleness", request.max_staleness.as_ref());
        violations.finish()?;
        for name in &names {
            context.permit(Right::Read, &name.backend)?;
        }
        let executions =
            self.tracker.executions(&names, max_staleness, &context.call(Priority::Read)).await?;
        let executions: Vec<_> = executions.iter().map(|execution| execution.encoded()).collect();
        if fitting(executions.iter().map(Bytes::len)) < executions.len() {
            return Err(Failure::reply_too_large(super::page::MAX_REPLY_BYTES));
        }
        Ok(encoded::BatchGetExecutionsResponse { executions })
    }

    pub(super) async fn list_executions(
        &self,
        context: &Context,
        request: v1::ListExecutionsRequest,
    ) -> Result<encoded::ListExecutionsResponse, Failure> {
        let mut violations = Violations::new();
        let scope = violations.name("parent", Scope::parse(&request.parent));
        let page_size = violations.page_size(request.page_size);
        let scope = context.permit_scope(self, violations.finish_with(scope)?)?;
        let filter = parse_filter(&request.filter, Schema::Executions)?;
        let bound = binding(context, "ListExecutions", &[&request.parent, &request.filter]);
        let position = self.open_position(&bound, &request.page_token)?;
        let query = ExecutionsQuery { scope, filter, page_size: page_size.min(MAX_EXECUTIONS), position };
        let page = self.tracker.list_executions(&query, &context.call(Priority::Read)).await?;
        Ok(encoded::ListExecutionsResponse {
            executions: page.executions.iter().map(|execution| execution.encoded()).collect(),
            next_page_token: self.seal_position(&bound, page.next)?,
            unreachable: page.unreachable.iter().map(|id| format!("backends/{id}")).collect(),
        })
    }

    pub(super) async fn list_result_items(
        &self,
        context: &Context,
        request: v1::ListResultItemsRequest,
    ) -> Result<v1::ListResultItemsResponse, Failure> {
        let mut violations = Violations::new();
        let name = violations.name("parent", ExecutionName::parse(&request.parent));
        let page_size = violations.page_size(request.page_size);
        let kind =
            violations.check("kind", convert::item_kind(request.kind).map_err(|error| error.to_string()));
        let (name, kind) = violations.finish_with(name.zip(kind))?;
        context.permit(Right::Read, &name.backend)?;
        let shows_payloads = context.caller.may(Right::Transcripts, &name.backend);
        let filter = parse_filter(&request.filter, Schema::Items)?;
        let kind_text = request.kind.to_string();
        let bound = binding(context, "ListResultItems", &[&request.parent, &kind_text, &request.filter]);
        let PartPosition { upstream, sent } = self.open(&bound, &request.page_token)?.unwrap_or_default();

        let page = PageRequest { size: page_size, token: upstream.clone() };
        let page = self.tracker.items(&name, kind, &page, &context.call(Priority::Read)).await?;
        let rows: Vec<_> = page
            .items
            .iter()
            .skip(sent)
            .map(|item| {
                let matches = filter.as_ref().is_none_or(|filter| filter.matches(item));
                let mut item = convert::result_item(&name, item);
                if !shows_payloads {
                    hide(&mut item.payload_json, &mut item.payload_omitted);
                }
                (matches, item)
            })
            .collect();
        let fits = fitting_rows(&rows);
        let next = if fits < rows.len() {
            Some(PartPosition { upstream, sent: sent + fits })
        } else {
            page.next.map(|next| PartPosition { upstream: Some(next), sent: 0 })
        };
        let result_items =
            rows.into_iter().take(fits).filter_map(|(matches, item)| matches.then_some(item)).collect();
        Ok(v1::ListResultItemsResponse { result_items, next_page_token: self.seal(&bound, next.as_ref())? })
    }

    pub(super) async fn list_artifacts(
        &self,
        context: &Context,
        request: v1::ListArtifactsRequest,
    ) -> Result<v1::ListArtifactsResponse, Failure> {
        let mut violations = Violations::new();
        let name = violations.name("parent", ExecutionName::parse(&request.parent));
        let page_size = violations.page_size(request.page_size);
        let name = violations.finish_with(name)?;
        context.permit(Right::Read, &name.backend)?;
        context.permit(Right::Transcripts, &name.backend)?;
        let bound = binding(context, "ListArtifacts", &[&request.parent]);
        let from: usize = self.open(&bound, &request.page_token)?.unwrap_or_default();
        let all = self.tracker.artifacts(&name, &context.call(Priority::Read)).await?;
        let artifacts: Vec<_> = all
            .iter()
            .skip(from)
            .take(page_size)
            .map(|artifact| convert::artifact(&name, artifact))
            .collect();
        let next = from + artifacts.len();
        let next_page_token = self.seal(&bound, (next < all.len()).then_some(&next))?;
        Ok(v1::ListArtifactsResponse { artifacts, next_page_token })
    }
}

/// How many rows fit, those that the filter drops included: they cost nothing.
fn fitting_rows(rows: &[(bool, v1::ResultItem)]) -> usize {
    let kept: Vec<_> =
        rows.iter().filter(|(matches, _)| *matches).map(|(_, item)| item.encoded_len()).collect();
    let fits = fitting(kept.iter().copied());
    if fits == kept.len() {
        return rows.len();
    }
    let first_left_out =
        rows.iter().enumerate().filter(|(_, (matches, _))| *matches).map(|(at, _)| at).nth(fits);
    first_left_out.unwrap_or(rows.len())
}
