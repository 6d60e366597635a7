//! How a call on a backend fails, told apart as finely as the contract's error table.

use std::time::Duration;

use super::Target;
use crate::model::status::cut;
use crate::model::{BackendInfo, TestId, TestName, resource};

/// What went wrong, one variant a row of the contract's table (`docs/semantics.md`, Errors).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// The request itself is wrong, found here before any upstream call; names the field.
    FieldInvalid(&'static str),
    /// No such test or execution, found here before any upstream call.
    ResourceNotFound,
    /// Upstream refused an argument of a read.
    UpstreamInvalidArgument,
    /// Connect refused a start or stop as invalid.
    UpstreamInvalidRequest,
    /// Upstream knows no such thing.
    UpstreamNotFound,
    /// Upstream throttled the call.
    UpstreamThrottled,
    /// An upstream quota is used up.
    UpstreamQuotaExceeded,
    /// The gateway's credentials may not do this.
    BackendAccessDenied,
    /// The gateway's credentials are missing, expired or wrong.
    BackendCredentialsInvalid,
    /// Upstream is in a state that conflicts.
    UpstreamConflict,
    /// Upstream could not be reached, or broke off.
    UpstreamUnreachable,
    /// OpenMetadata's pipeline service is away or refused.
    PipelineServiceUnavailable,
    /// Upstream failed inside (5xx).
    UpstreamInternal,
    /// A try took longer than `request_timeout`.
    UpstreamTimeout,
    /// Upstream's certificate was not accepted.
    UpstreamTlsFailed,
    /// Upstream answered with a redirect, which is never followed.
    UpstreamRedirected,
    /// Upstream's answer is not what its API promises.
    UpstreamInvalidResponse,
    /// A page token that ended upstream.
    PageTokenInvalid,
    /// A page token too long for a URL.
    UpstreamTokenTooLong,
    /// Upstream's answer is over `max_response_size`.
    UpstreamResponseTooLarge,
    /// OpenMetadata runs without a pipeline runner.
    PipelineClientDisabled,
    /// Any other 4xx.
    UpstreamUnrecognized,
    /// This kind of test can never do that.
    CapabilityNotSupported,
    /// It can be started, but not now.
    TestNotStartable,
    /// Stopping this one would stop others, without consent.
    StopScopeNotAllowed,
    /// A start whose outcome is not known.
    StartOutcomeUnknown,
    /// A stop whose outcome is not known.
    StopOutcomeUnknown,
    /// A record whose outcome is not known.
    RecordOutcomeUnknown,
    /// A result with other content is there already.
    ResultExists,
    /// Upstream accepted a result and does not have it.
    ResultNotStored,
    /// The backend's budget does not let the call through in time.
    BackendBudgetExhausted,
    /// The caller's deadline passed.
    DeadlineExceeded,
}

impl ErrorKind {
    /// The `reason` of `google.rpc.ErrorInfo` and of conditions.
    pub fn reason(self) -> &'static str {
        match self {
            Self::FieldInvalid(_) => "FIELD_INVALID",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Self::UpstreamInvalidArgument => "UPSTREAM_INVALID_ARGUMENT",
            Self::UpstreamInvalidRequest => "UPSTREAM_INVALID_REQUEST",
            Self::UpstreamNotFound => "UPSTREAM_NOT_FOUND",
            Self::UpstreamThrottled => "UPSTREAM_THROTTLED",
            Self::UpstreamQuotaExceeded => "UPSTREAM_QUOTA_EXCEEDED",
            Self::BackendAccessDenied => "BACKEND_ACCESS_DENIED",
            Self::BackendCredentialsInvalid => "BACKEND_CREDENTIALS_INVALID",
            Self::UpstreamConflict => "UPSTREAM_CONFLICT",
            Self::UpstreamUnreachable => "UPSTREAM_UNREACHABLE",
            Self::PipelineServiceUnavailable => "PIPELINE_SERVICE_UNAVAILABLE",
            Self::UpstreamInternal => "UPSTREAM_INTERNAL",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::UpstreamTlsFailed => "UPSTREAM_TLS_FAILED",
            Self::UpstreamRedirected => "UPSTREAM_REDIRECTED",
            Self::UpstreamInvalidResponse => "UPSTREAM_INVALID_RESPONSE",
            Self::PageTokenInvalid => "PAGE_TOKEN_INVALID",
            Self::UpstreamTokenTooLong => "UPSTREAM_TOKEN_TOO_LONG",
            Self::UpstreamResponseTooLarge => "UPSTREAM_RESPONSE_TOO_LARGE",
            Self::PipelineClientDisabled => "PIPELINE_CLIENT_DISABLED",
            Self::UpstreamUnrecognized => "UPSTREAM_UNRECOGNIZED",
            Self::CapabilityNotSupported => "CAPABILITY_NOT_SUPPORTED",
            Self::TestNotStartable => "TEST_NOT_STARTABLE",
            Self::StopScopeNotAllowed => "STOP_SCOPE_NOT_ALLOWED",
            Self::StartOutcomeUnknown => "START_OUTCOME_UNKNOWN",
            Self::StopOutcomeUnknown => "STOP_OUTCOME_UNKNOWN",
            Self::RecordOutcomeUnknown => "RECORD_OUTCOME_UNKNOWN",
            Self::ResultExists => "RESULT_EXISTS",
            Self::ResultNotStored => "RESULT_NOT_STORED",
            Self::BackendBudgetExhausted => "BACKEND_BUDGET_EXHAUSTED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
        }
    }
}

impl ErrorKind {
    /// Whether it comes from one call's own deadline, so that another call may fare better.
    pub fn is_of_one_call(self) -> bool {
        matches!(self, Self::DeadlineExceeded | Self::BackendBudgetExhausted)
    }

    /// Whether it says something of the backend's health, rather than of one request.
    pub fn is_about_the_backend(self) -> bool {
        matches!(
            self,
            Self::UpstreamThrottled
                | Self::BackendAccessDenied
                | Self::BackendCredentialsInvalid
                | Self::UpstreamUnreachable
                | Self::PipelineServiceUnavailable
                | Self::UpstreamInternal
                | Self::UpstreamTimeout
                | Self::UpstreamTlsFailed
                | Self::UpstreamRedirected
                | Self::UpstreamInvalidResponse
        )
    }
}

/// Whether upstream may have acted on a call that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Certainly not: the call never left, or upstream refused it.
    None,
    /// It may have.
    Possible,
}

/// What is known of the upstream call behind an error.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpstreamContext {
    /// `connect`, `lex` or `openmetadata`.
    pub service: &'static str,
    /// The upstream operation, as its own documentation calls it.
    pub operation: &'static str,
    /// Upstream's error code, or empty.
    pub code: String,
    /// The HTTP status, where there was one.
    pub http_status: Option<u16>,
    /// Upstream's id of the request, or empty.
    pub request_id: String,
}

/// A call on a backend that failed. Cheap to move; `Display` is fit for callers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// In words, bounded, without credentials, pre-signed links or SQL.
    pub message: String,
    /// Whether upstream may have acted.
    pub effect: Effect,
    /// Upstream's hint, or the budget's, when to try again.
    pub retry_after: Option<Duration>,
    /// The upstream call behind it, where there was one.
    pub upstream: Option<Box<UpstreamContext>>,
    /// Type and name of what is missing, for NOT_FOUND.
    pub resource: Option<Box<(String, String)>>,
}

impl BackendError {
    /// The longest message, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 1024;

    /// An error without an upstream call behind it, and so without effect.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: cut(message.into(), Self::MAX_MESSAGE_BYTES),
            effect: Effect::None,
            retry_after: None,
            upstream: None,
            resource: None,
        }
    }

    /// Adds the upstream call behind it.
    #[must_use]
    pub fn with_upstream(mut self, upstream: UpstreamContext) -> Self {
        self.upstream = Some(Box::new(upstream));
        self
    }

    /// Says that upstream may have acted.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Adds a hint when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Names what is missing.
    #[must_use]
    pub fn with_resource(mut self, resource_type: &str, name: &str) -> Self {
        self.resource = Some(Box::new((resource_type.to_owned(), cut(name.to_owned(), 512))));
        self
    }

    /// Names the test where the error says that something is missing.
    #[must_use]
    pub fn of_test(self, info: &BackendInfo, test: &TestId) -> Self {
        if !self.says_missing() {
            return self;
        }
        let name = TestName { backend: info.id.clone(), test: test.clone() };
        self.with_resource(resource::TEST, &name.to_string())
    }

    /// Names the execution where the error says that something is missing.
    #[must_use]
    pub fn of_execution(self, info: &BackendInfo, target: &Target) -> Self {
        let (true, Some(test)) = (self.says_missing(), &target.test) else { return self };
        let test = TestName { backend: info.id.clone(), test: test.clone() };
        self.with_resource(resource::EXECUTION, &test.execution(target.execution.clone()).to_string())
    }

    fn says_missing(&self) -> bool {
        matches!(self.kind, ErrorKind::UpstreamNotFound | ErrorKind::ResourceNotFound)
    }

    /// Whether upstream certainly says that the thing is gone.
    pub fn is_gone(&self) -> bool {
        self.kind == ErrorKind::UpstreamNotFound
    }
}
