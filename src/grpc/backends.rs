//! Discovery: backends and tests.

use prost::Message as _;

use super::error::Failure;
use super::page::{binding, fitting};
use super::validate::Violations;
use super::{Context, Inner};
use crate::auth::Right;
use crate::backend::Priority;
use crate::model::filter::{Filter, Schema};
use crate::model::status::cut;
use crate::model::{Scope, TestName, id};
use crate::proto::{convert, v1};
use crate::tracker::TestsQuery;

/// The largest page of tests: with their texts cut they then fit into one reply.
const MAX_TESTS: usize = 500;
/// A description in a list is cut here; GetTest has all of it.
const MAX_LISTED_DESCRIPTION: usize = 2048;

impl Inner {
    pub(super) fn list_backends(
        &self,
        context: &Context,
        request: v1::ListBackendsRequest,
    ) -> Result<v1::ListBackendsResponse, Failure> {
        let mut violations = Violations::new();
        let page_size = violations.page_size(request.page_size);
        violations.finish()?;
        let bound = binding(context, "ListBackends", &[]);
        let from: usize = self.open(&bound, &request.page_token)?.unwrap_or_default();
        let mut all = self.tracker.backends();
        all.retain(|(info, _)| context.caller.may(Right::Read, &info.id));
        let mut backends: Vec<_> = all
            .iter()
            .skip(from)
            .take(page_size)
            .map(|(info, health)| convert::backend(info, health.condition.as_ref(), health.probe_time))
            .collect();
        backends.truncate(fitting(backends.iter().map(|backend| backend.encoded_len())));
        let next = from + backends.len();
        let next_page_token = self.seal(&bound, (next < all.len()).then_some(&next))?;
        Ok(v1::ListBackendsResponse { backends, next_page_token })
    }

    pub(super) fn get_backend(
        &self,
        context: &Context,
        request: &v1::GetBackendRequest,
    ) -> Result<v1::GetBackendResponse, Failure> {
        let mut violations = Violations::new();
        let id = violations.name("name", id::parse_backend(&request.name));
        let id = violations.finish_with(id)?;
        context.permit(Right::Read, &id)?;
        let (info, health) = self.tracker.backend(&id)?;
        let backend = convert::backend(&info, health.condition.as_ref(), health.probe_time);
        Ok(v1::GetBackendResponse { backend: Some(backend) })
    }

    pub(super) async fn list_tests(
        &self,
        context: &Context,
        request: v1::ListTestsRequest,
    ) -> Result<v1::ListTestsResponse, Failure> {
        let mut violations = Violations::new();
        let backend = violations.name("parent", id::parse_backend_parent(&request.parent));
        let page_size = violations.page_size(request.page_size);
        let scope = context.permit_scope(self, Scope::of_backend(violations.finish_with(backend)?))?;
        let filter = parse_filter(&request.filter, Schema::Tests)?;
        let bound = binding(context, "ListTests", &[&request.parent, &request.filter]);
        let position = self.open_position(&bound, &request.page_token)?;
        let query = TestsQuery { scope, filter, page_size: page_size.min(MAX_TESTS), position };
        let page = self.tracker.list_tests(&query, &context.call(Priority::Read)).await?;
        let tests = page
            .tests
            .iter()
            .map(|(backend, test)| {
                let name = TestName { backend: backend.clone(), test: test.id.clone() };
                let mut test = convert::test(&name, test);
                test.description = cut(test.description, MAX_LISTED_DESCRIPTION);
                // A list shows no payloads; GetTest does.
                test.payload_json.clear();
                test.payload_omitted = false;
                test
            })
            .collect();
        Ok(v1::ListTestsResponse {
            tests,
            next_page_token: self.seal_position(&bound, page.next)?,
            unreachable: page.unreachable.iter().map(|id| format!("backends/{id}")).collect(),
        })
    }

    pub(super) async fn get_test(
        &self,
        context: &Context,
        request: v1::GetTestRequest,
    ) -> Result<v1::GetTestResponse, Failure> {
        let mut violations = Violations::new();
        let name = violations.name("name", TestName::parse(&request.name));
        let name = violations.finish_with(name)?;
        context.permit(Right::Read, &name.backend)?;
        let test = self.tracker.test(&name, &context.call(Priority::Read)).await?;
        let mut test = convert::test(&name, &test);
        if !context.caller.may(Right::Transcripts, &name.backend) {
            hide(&mut test.payload_json, &mut test.payload_omitted);
        }
        Ok(v1::GetTestResponse { test: Some(test) })
    }
}

/// Leaves out a payload that the caller may not see, and says so.
pub(super) fn hide(payload: &mut String, omitted: &mut bool) {
    *omitted |= !payload.is_empty();
    payload.clear();
}

/// Parses a filter; an empty one selects all.
pub(super) fn parse_filter(text: &str, schema: Schema) -> Result<Option<Filter>, Failure> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    Filter::parse(text, schema).map(Some).map_err(|error| Failure::filter_invalid(error.at, &error.message))
}
