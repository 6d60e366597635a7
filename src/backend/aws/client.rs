//! JSON calls of one AWS service.

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Aws, AwsService, quota_group};
use crate::backend::engine::{Engine, Operation, Outgoing, Response};
use crate::backend::{BackendError, Call, Shared};
use crate::config::backend::{AwsConfig, BackendConfig};

/// Rows with their raw text, and where the next page begins.
pub(crate) type RawPage<T> = (Vec<(T, Box<RawValue>)>, Option<String>);

/// A GET's body.
pub(crate) const NOTHING: Option<&()> = None;

/// What the SDKs send; Lex's own prose says otherwise in one place.
const CONTENT_TYPE: &str = "application/json";

/// Sends one service's calls.
#[derive(Debug)]
pub(crate) struct JsonClient {
    pub(crate) engine: Engine,
    aws: Aws,
}

impl JsonClient {
    /// Makes no call and loads no credentials yet. `name` is what metrics and errors call the service.
    pub(crate) fn new(
        name: &'static str,
        service: &'static AwsService,
        aws: &AwsConfig,
        config: &BackendConfig,
        shared: &Shared,
    ) -> Self {
        let group = quota_group(service, aws, config.quota_group.as_deref());
        let (http, ca_file) = (shared.http.clone(), config.ca_file.clone());
        Self {
            engine: shared.engine(name, config, &group),
            aws: Aws::new(service, aws.clone(), http, ca_file, shared.clock.clone()),
        }
    }

    /// Carries one operation out; `decode`'s error is a sentence about the answer.
    pub(crate) async fn send<T, B: Serialize + Sync>(
        &self,
        call: &Call,
        operation: &Operation,
        method: Method,
        path_and_query: String,
        request: Option<&B>,
        decode: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<T, BackendError> {
        // Bodies are structs of strings and numbers, which always serialise.
        let body = request.map(serde_json::to_vec).transpose().unwrap_or_default().map(Bytes::from);
        let outgoing =
            Outgoing { method, path_and_query, body: body.unwrap_or_default(), content_type: CONTENT_TYPE };
        self.engine.call(&self.aws, operation, &outgoing, call, decode).await
    }
}
