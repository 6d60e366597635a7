//! The only place where a failure becomes a gRPC status, with the details that the contract's error table promises.

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt};

use crate::backend::{BackendError, ErrorKind};
use crate::model::status::cut;
use crate::model::{BackendId, resource};
use crate::proto::detail::{self, DOMAIN, FIELD_INVALID, MAX_MESSAGE_BYTES};

pub use crate::proto::detail::Violation;

mod retry;

/// The longest value of ErrorInfo's metadata, in bytes.
const MAX_METADATA_BYTES: usize = 128;
/// The longest name in a ResourceInfo, in bytes: with everything else it stays within the bound of all details.
const MAX_RESOURCE_BYTES: usize = 640;

/// The metadata entry by which gRPC libraries learn when to retry.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A failure on its way to the caller: a code, a reason, and the details that belong to them.
#[derive(Clone, Debug)]
pub struct Failure {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<Violation>,
    resource: Option<(String, String)>,
    quota_subject: Option<String>,
    retry_delay: Option<Duration>,
}

impl Failure {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: cut(message.into(), MAX_MESSAGE_BYTES),
            metadata: HashMap::new(),
            violations: Vec::new(),
            resource: None,
            quota_subject: None,
            retry_delay: None,
        }
    }

    /// What a failed call on a backend is to the caller.
    pub fn from_backend(error: &BackendError, backend: Option<&BackendId>) -> Self {
        let mut failure = Self::new(code_of(error.kind), error.kind.reason(), error.message.as_str());
        if let Some(backend) = backend {
            failure = failure.with_backend(backend);
        }
        if let Some(upstream) = &error.upstream {
            failure.describe("upstreamService", upstream.service);
            failure.describe("upstreamOperation", upstream.operation);
            failure.describe("upstreamCode", &upstream.code);
            failure.describe("upstreamRequestId", &upstream.request_id);
            if let Some(status) = upstream.http_status {
                failure.describe("upstreamHttpStatus", &status.to_string());
            }
        }
        match error.kind {
            ErrorKind::FieldInvalid(field) => failure.violate(field),
            ErrorKind::PageTokenInvalid => failure.violate("page_token"),
            ErrorKind::ResourceNotFound | ErrorKind::UpstreamNotFound => {
                failure.resource = Some(match (&error.resource, backend) {
                    (Some(resource), _) => (**resource).clone(),
                    (None, Some(backend)) => (resource::BACKEND.to_owned(), format!("backends/{backend}")),
                    (None, None) => Default::default(),
                });
            }
            ErrorKind::UpstreamQuotaExceeded => {
                failure.quota_subject =
                    Some(backend.map_or_else(String::new, |backend| format!("backends/{backend}")));
            }
            _ => {}
        }
        failure.retry_delay = retry::base_delay(error.kind).map(|base| retry::delay(base, error.retry_after));
        failure
    }

    /// Fields that break a rule, all of a request's at once.
    pub fn fields_invalid(violations: Vec<Violation>) -> Self {
        let mut failure = Self::new(Code::InvalidArgument, FIELD_INVALID, detail::summary(&violations));
        failure.violations = violations;
        failure
    }

    /// One field that breaks a rule.
    pub fn field_invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::fields_invalid(vec![Violation::new(field, rule)])
    }

    /// Something that does not exist, as the gateway itself knows.
    pub fn resource_not_found(resource_type: &str, name: &str) -> Self {
        Self::new(Code::NotFound, "RESOURCE_NOT_FOUND", format!("{name} does not exist"))
            .with_resource(resource_type, name)
    }

    /// Several things that do not exist: the first as the resource, all of them as violations of their fields.
    pub fn resources_not_found(resource_type: &str, first: &str, missing: Vec<Violation>) -> Self {
        let mut failure = Self::resource_not_found(resource_type, first);
        if missing.len() > 1 {
            failure.message =
                cut(format!("{first} does not exist (and {} more)", missing.len() - 1), MAX_MESSAGE_BYTES);
        }
        failure.violations = missing;
        failure
    }

    /// A request id that came before, with other parameters.
    pub fn request_id_reused(request_id: &str) -> Self {
        let message =
            "this request_id was used for a start with other parameters: a new start needs a new id";
        let mut failure = Self::new(Code::InvalidArgument, "REQUEST_ID_REUSED", message);
        failure.violate("request_id");
        failure.with_request_id(request_id)
    }

    /// A start that never appeared upstream.
    pub fn start_not_confirmed(request_id: &str) -> Self {
        let message = "no execution of this start appeared upstream: start again with a new request_id";
        Self::new(Code::Aborted, "START_NOT_CONFIRMED", message).with_request_id(request_id)
    }

    /// A start whose reply was lost.
    pub fn start_outcome_unknown(request_id: &str, message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, "START_OUTCOME_UNKNOWN", message).with_request_id(request_id)
    }

    /// A resume token that is not one, is forged, or belongs to another selection or caller.
    pub fn resume_token_invalid() -> Self {
        let message = "not a resume token of this selection and caller: watch without it";
        let mut failure = Self::new(Code::InvalidArgument, "RESUME_TOKEN_INVALID", message);
        failure.violate("resume_token");
        failure
    }

    /// A page token that is not one, or belongs to other arguments or another caller.
    pub fn page_token_invalid() -> Self {
        let message = "not a page token of these arguments and this caller: list again without it";
        let mut failure = Self::new(Code::InvalidArgument, "PAGE_TOKEN_INVALID", message);
        failure.violate("page_token");
        failure
    }

    /// A filter that can't be read, with the byte where reading stopped.
    pub fn filter_invalid(at: usize, message: &str) -> Self {
        let message = format!("filter, at byte {at}: {message}");
        let mut failure = Self::new(Code::InvalidArgument, "FILTER_INVALID", message);
        failure.violate("filter");
        failure.metadata.insert("at".to_owned(), at.to_string());
        failure
    }

    /// A watch that selects more than a stream may hold.
    pub fn selection_too_large(limit: usize) -> Self {
        let message = format!("the watch selects more than {limit} executions: narrow its parent or filter");
        Self::new(Code::ResourceExhausted, "SELECTION_TOO_LARGE", message)
    }

    /// A batch whose reply would be over the limit.
    pub fn reply_too_large(limit_bytes: usize) -> Self {
        let message = format!("the reply would be over {limit_bytes} bytes: ask for fewer names");
        Self::new(Code::ResourceExhausted, "REPLY_TOO_LARGE", message)
    }

    /// A request over the limit.
    pub fn request_too_large(limit_bytes: usize) -> Self {
        let message = format!("the request is over {limit_bytes} bytes");
        Self::new(Code::ResourceExhausted, "REQUEST_TOO_LARGE", message)
    }

    /// A call that arrives or waits while the gateway drains.
    pub fn draining() -> Self {
        Self::new(Code::Unavailable, "GATEWAY_DRAINING", "this gateway is shutting down: connect again")
            .with_retry(retry::DRAINING)
    }

    /// A call that arrives before the gateway serves.
    pub fn starting() -> Self {
        Self::new(Code::Unavailable, "GATEWAY_STARTING", "this gateway is not ready yet")
            .with_retry(retry::STARTING)
    }

    /// A write while the store can't be written.
    pub fn store_unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, "STORE_UNAVAILABLE", message).with_retry(retry::STORE)
    }

    /// A bug here. What it was is for the log, not for the caller.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "INTERNAL_ERROR", "an error inside the gateway; its log has more")
    }

    /// The caller's deadline passed.
    pub fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline of the call passed")
    }

    /// Artifacts of a run that has not ended.
    pub fn execution_not_done(name: &str) -> Self {
        let message = format!("{name} is not done: wait for it first");
        Self::new(Code::FailedPrecondition, "EXECUTION_NOT_DONE", message)
    }

    /// A stop that would stop more than one execution, without consent.
    pub fn stop_scope_not_allowed(test: &str) -> Self {
        let message = format!(
            "stopping this execution stops every unfinished one of {test}: set allow_test_scope to agree"
        );
        Self::new(Code::FailedPrecondition, "STOP_SCOPE_NOT_ALLOWED", message)
    }

    /// A watch that was not read for too long.
    pub fn watch_consumer_too_slow(max_lag: Duration) -> Self {
        let message =
            format!("an update went unread for {} s: resume with the last token", max_lag.as_secs());
        Self::new(Code::ResourceExhausted, "WATCH_CONSUMER_TOO_SLOW", message).with_retry(retry::SLOW_READER)
    }

    /// A caller's own limit.
    pub fn caller_limit(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let mut failure = Self::new(Code::ResourceExhausted, "CALLER_LIMIT_EXCEEDED", message);
        failure.retry_delay = Some(retry::delay(retry::CALLER_LIMIT, retry_after));
        failure
    }

    /// No identity, or one that does not hold.
    pub fn caller_unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, "CALLER_UNAUTHENTICATED", message)
    }

    /// An identity without the right.
    pub fn caller_not_permitted(message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, "CALLER_NOT_PERMITTED", message)
    }

    /// Names the backend that is concerned.
    #[must_use]
    pub fn with_backend(mut self, backend: &BackendId) -> Self {
        self.describe("backend", &format!("backends/{backend}"));
        self
    }

    /// Names the request id that a start goes by.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str) -> Self {
        self.describe("requestId", request_id);
        self
    }

    /// Names what is missing, over what is named already.
    #[must_use]
    pub fn with_resource(mut self, resource_type: &str, name: &str) -> Self {
        self.resource = Some((resource_type.to_owned(), name.to_owned()));
        self
    }

    /// The `ErrorInfo` reason.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The status code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// In words.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn with_retry(mut self, base: Duration) -> Self {
        self.retry_delay = Some(retry::delay(base, None));
        self
    }

    /// Blames a field with the failure's own message.
    fn violate(&mut self, field: &str) {
        self.violations.push(Violation::new(field, self.message.clone()));
    }

    fn describe(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.metadata.insert(key.to_owned(), cut(value.to_owned(), MAX_METADATA_BYTES));
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details = ErrorDetails::with_error_info(failure.reason, DOMAIN, failure.metadata);
        if !failure.violations.is_empty() {
            details.set_bad_request(detail::bad_request(&failure.violations));
        }
        if let Some((resource_type, name)) = failure.resource {
            details.set_resource_info(cut(resource_type, 64), cut(name, MAX_RESOURCE_BYTES), "", "");
        }
        if let Some(subject) = failure.quota_subject {
            details.set_quota_failure([QuotaViolation::new(subject, cut(failure.message.clone(), 256))]);
        }
        let mut metadata = MetadataMap::new();
        if let Some(delay) = failure.retry_delay {
            details.set_retry_info(Some(delay));
            // Milliseconds of a bounded delay: see `retry::delay`.
            metadata.insert(PUSHBACK, u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).into());
        }
        Self::with_error_details_and_metadata(failure.code, failure.message, details, metadata)
    }
}

/// What a failed call on a backend is to the caller, as a status.
pub fn from_backend(error: &BackendError, backend: Option<&BackendId>) -> Status {
    Failure::from_backend(error, backend).into()
}

/// The contract's error table, its column of codes.
fn code_of(kind: ErrorKind) -> Code {
    use ErrorKind as K;
    match kind {
        K::FieldInvalid(_) | K::UpstreamInvalidArgument | K::PageTokenInvalid => Code::InvalidArgument,
        K::ResourceNotFound | K::UpstreamNotFound => Code::NotFound,
        K::BackendBudgetExhausted
        | K::UpstreamThrottled
        | K::UpstreamQuotaExceeded
        | K::UpstreamResponseTooLarge => Code::ResourceExhausted,
        K::UpstreamInvalidRequest
        | K::BackendAccessDenied
        | K::BackendCredentialsInvalid
        | K::UpstreamTlsFailed
        | K::UpstreamRedirected
        | K::UpstreamTokenTooLong
        | K::PipelineClientDisabled
        | K::StopScopeNotAllowed
        | K::TestNotStartable => Code::FailedPrecondition,
        K::UpstreamConflict => Code::Aborted,
        K::UpstreamUnreachable
        | K::PipelineServiceUnavailable
        | K::UpstreamInternal
        | K::UpstreamTimeout
        | K::ResultNotStored => Code::Unavailable,
        K::StartOutcomeUnknown
        | K::StopOutcomeUnknown
        | K::RecordOutcomeUnknown
        | K::UpstreamUnrecognized => Code::Unknown,
        K::UpstreamInvalidResponse => Code::Internal,
        K::CapabilityNotSupported => Code::Unimplemented,
        K::ResultExists => Code::AlreadyExists,
        K::DeadlineExceeded => Code::DeadlineExceeded,
    }
}

#[cfg(test)]
mod tests;
