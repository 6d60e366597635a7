//! The contract's error table, row by row.

use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::backend::UpstreamContext;

/// The details beside ErrorInfo that a row promises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum With {
    Nothing,
    BadRequest,
    Resource,
    Quota,
    Retry,
}
use With::*;

/// One row: what the caller gets.
type Row = (Status, Code, &'static str, With);

fn backend() -> BackendId {
    BackendId::new("cc-prod").unwrap()
}

fn upstream(kind: ErrorKind) -> Status {
    let error = BackendError::new(kind, "upstream said no")
        .with_resource(resource::EXECUTION, "backends/cc-prod/tests/t/executions/e")
        .with_upstream(UpstreamContext {
            service: "connect",
            operation: "GetTestCaseExecutionSummary",
            code: "SomeException".into(),
            http_status: Some(418),
            request_id: "req-1".into(),
        });
    from_backend(&error, Some(&backend()))
}

/// What only the gateway itself finds.
#[rustfmt::skip]
fn own_rows() -> Vec<Row> {
    use Code::*;
    let all = |failure: Failure| Status::from(failure);
    vec![
        (all(Failure::field_invalid("parent", "is required")), InvalidArgument, "FIELD_INVALID", BadRequest),
        (all(Failure::request_id_reused("r-1")), InvalidArgument, "REQUEST_ID_REUSED", BadRequest),
        (all(Failure::resume_token_invalid()), InvalidArgument, "RESUME_TOKEN_INVALID", BadRequest),
        (all(Failure::page_token_invalid()), InvalidArgument, "PAGE_TOKEN_INVALID", BadRequest),
        (all(Failure::filter_invalid(7, "?")), InvalidArgument, "FILTER_INVALID", BadRequest),
        (all(Failure::resource_not_found("backend", "backends/x")), NotFound, "RESOURCE_NOT_FOUND", Resource),
        (all(Failure::caller_unauthenticated("who?")), Unauthenticated, "CALLER_UNAUTHENTICATED", Nothing),
        (all(Failure::caller_not_permitted("no")), PermissionDenied, "CALLER_NOT_PERMITTED", Nothing),
        (all(Failure::caller_limit("slow down", None)), ResourceExhausted, "CALLER_LIMIT_EXCEEDED", Retry),
        (all(Failure::request_too_large(1)), ResourceExhausted, "REQUEST_TOO_LARGE", Nothing),
        (all(Failure::reply_too_large(1)), ResourceExhausted, "REPLY_TOO_LARGE", Nothing),
        (all(Failure::selection_too_large(1)), ResourceExhausted, "SELECTION_TOO_LARGE", Nothing),
        (all(Failure::watch_consumer_too_slow(Duration::from_secs(30))), ResourceExhausted, "WATCH_CONSUMER_TOO_SLOW", Retry),
        (all(Failure::draining()), Unavailable, "GATEWAY_DRAINING", Retry),
        (all(Failure::starting()), Unavailable, "GATEWAY_STARTING", Retry),
        (all(Failure::store_unavailable("full")), Unavailable, "STORE_UNAVAILABLE", Retry),
        (all(Failure::internal()), Internal, "INTERNAL_ERROR", Nothing),
        (all(Failure::deadline_exceeded()), DeadlineExceeded, "DEADLINE_EXCEEDED", Nothing),
        (all(Failure::start_outcome_unknown("r-1", "lost")), Unknown, "START_OUTCOME_UNKNOWN", Nothing),
        (all(Failure::start_not_confirmed("r-1")), Aborted, "START_NOT_CONFIRMED", Nothing),
        (all(Failure::execution_not_done("x")), FailedPrecondition, "EXECUTION_NOT_DONE", Nothing),
        (all(Failure::stop_scope_not_allowed("x")), FailedPrecondition, "STOP_SCOPE_NOT_ALLOWED", Nothing),
    ]
}

/// What a backend's call ends with.
#[rustfmt::skip]
const BACKEND_ROWS: &[(ErrorKind, Code, &str, With)] = &[
    (ErrorKind::FieldInvalid("lex"), Code::InvalidArgument, "FIELD_INVALID", BadRequest),
    (ErrorKind::ResourceNotFound, Code::NotFound, "RESOURCE_NOT_FOUND", Resource),
    (ErrorKind::BackendBudgetExhausted, Code::ResourceExhausted, "BACKEND_BUDGET_EXHAUSTED", Retry),
    (ErrorKind::ResultNotStored, Code::Unavailable, "RESULT_NOT_STORED", Retry),
    (ErrorKind::UpstreamInvalidArgument, Code::InvalidArgument, "UPSTREAM_INVALID_ARGUMENT", Nothing),
    (ErrorKind::UpstreamInvalidRequest, Code::FailedPrecondition, "UPSTREAM_INVALID_REQUEST", Nothing),
    (ErrorKind::UpstreamNotFound, Code::NotFound, "UPSTREAM_NOT_FOUND", Resource),
    (ErrorKind::UpstreamThrottled, Code::ResourceExhausted, "UPSTREAM_THROTTLED", Retry),
    (ErrorKind::UpstreamQuotaExceeded, Code::ResourceExhausted, "UPSTREAM_QUOTA_EXCEEDED", Quota),
    (ErrorKind::BackendAccessDenied, Code::FailedPrecondition, "BACKEND_ACCESS_DENIED", Nothing),
    (ErrorKind::BackendCredentialsInvalid, Code::FailedPrecondition, "BACKEND_CREDENTIALS_INVALID", Nothing),
    (ErrorKind::UpstreamConflict, Code::Aborted, "UPSTREAM_CONFLICT", Nothing),
    (ErrorKind::UpstreamUnreachable, Code::Unavailable, "UPSTREAM_UNREACHABLE", Retry),
    (ErrorKind::PipelineServiceUnavailable, Code::Unavailable, "PIPELINE_SERVICE_UNAVAILABLE", Retry),
    (ErrorKind::UpstreamInternal, Code::Unavailable, "UPSTREAM_INTERNAL", Retry),
    (ErrorKind::StartOutcomeUnknown, Code::Unknown, "START_OUTCOME_UNKNOWN", Nothing),
    (ErrorKind::StopOutcomeUnknown, Code::Unknown, "STOP_OUTCOME_UNKNOWN", Nothing),
    (ErrorKind::RecordOutcomeUnknown, Code::Unknown, "RECORD_OUTCOME_UNKNOWN", Nothing),
    (ErrorKind::UpstreamTimeout, Code::Unavailable, "UPSTREAM_TIMEOUT", Retry),
    (ErrorKind::DeadlineExceeded, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", Nothing),
    (ErrorKind::UpstreamTlsFailed, Code::FailedPrecondition, "UPSTREAM_TLS_FAILED", Nothing),
    (ErrorKind::UpstreamRedirected, Code::FailedPrecondition, "UPSTREAM_REDIRECTED", Nothing),
    (ErrorKind::UpstreamInvalidResponse, Code::Internal, "UPSTREAM_INVALID_RESPONSE", Nothing),
    (ErrorKind::PageTokenInvalid, Code::InvalidArgument, "PAGE_TOKEN_INVALID", BadRequest),
    (ErrorKind::UpstreamTokenTooLong, Code::FailedPrecondition, "UPSTREAM_TOKEN_TOO_LONG", Nothing),
    (ErrorKind::UpstreamResponseTooLarge, Code::ResourceExhausted, "UPSTREAM_RESPONSE_TOO_LARGE", Nothing),
    (ErrorKind::PipelineClientDisabled, Code::FailedPrecondition, "PIPELINE_CLIENT_DISABLED", Nothing),
    (ErrorKind::UpstreamUnrecognized, Code::Unknown, "UPSTREAM_UNRECOGNIZED", Nothing),
    (ErrorKind::CapabilityNotSupported, Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED", Nothing),
    (ErrorKind::TestNotStartable, Code::FailedPrecondition, "TEST_NOT_STARTABLE", Nothing),
    (ErrorKind::StopScopeNotAllowed, Code::FailedPrecondition, "STOP_SCOPE_NOT_ALLOWED", Nothing),
    (ErrorKind::ResultExists, Code::AlreadyExists, "RESULT_EXISTS", Nothing),
];

fn check((status, code, reason, with): &Row) {
    assert_eq!(status.code(), *code, "{reason}");
    let details = status.check_error_details().unwrap();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (*reason, "testgate.dev"));
    assert_eq!(details.bad_request().is_some(), *with == BadRequest, "{reason}");
    assert_eq!(details.resource_info().is_some(), *with == Resource, "{reason}");
    assert_eq!(details.quota_failure().is_some(), *with == Quota, "{reason}");
    assert_eq!(details.retry_info().is_some(), *with == Retry, "{reason}");
    let pushback = status.metadata().get(PUSHBACK).map(|value| value.to_str().unwrap().parse().unwrap());
    let delay = details.retry_info().map(|info| info.retry_delay.unwrap().as_millis());
    assert_eq!(pushback, delay, "{reason}: the metadata and RetryInfo must agree");
    assert!(!status.message().is_empty());
}

#[test]
fn the_gateways_own_failures_answer_as_the_table_says() {
    own_rows().iter().for_each(check);
}

#[test]
fn failed_backend_calls_answer_as_the_table_says() {
    for (kind, code, reason, with) in BACKEND_ROWS {
        let status = upstream(*kind);
        check(&(status.clone(), *code, *reason, *with));
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        let expected = [
            ("backend", "backends/cc-prod"),
            ("upstreamService", "connect"),
            ("upstreamOperation", "GetTestCaseExecutionSummary"),
            ("upstreamCode", "SomeException"),
            ("upstreamHttpStatus", "418"),
            ("upstreamRequestId", "req-1"),
        ];
        for (key, value) in expected {
            assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{reason}");
        }
    }
}

#[test]
fn a_start_names_its_request_id() {
    for failure in [
        Failure::start_not_confirmed("r-1"),
        Failure::start_outcome_unknown("r-1", "lost"),
        Failure::from_backend(&BackendError::new(ErrorKind::StartOutcomeUnknown, "lost"), Some(&backend()))
            .with_request_id("r-1"),
    ] {
        let details = Status::from(failure).get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["requestId"], "r-1");
    }
}

#[test]
fn every_violation_of_a_request_is_listed() {
    let violations =
        vec![Violation::new("parent", "is required"), Violation::new("page_size", "is negative")];
    let status = Status::from(Failure::fields_invalid(violations));
    assert_eq!(status.message(), "parent: is required (and 1 more)");
    let fields: Vec<_> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["parent", "page_size"]);
}

#[test]
fn upstreams_hint_is_the_floor_of_the_delay() {
    let error = BackendError::new(ErrorKind::UpstreamThrottled, "slow down")
        .with_retry_after(Some(Duration::from_secs(7)));
    let delay = from_backend(&error, None).get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((Duration::from_secs(7)..=Duration::from_millis(10_500)).contains(&delay));
}

#[test]
fn a_hint_makes_nothing_retryable_that_is_not() {
    let error = BackendError::new(ErrorKind::UpstreamQuotaExceeded, "full")
        .with_retry_after(Some(Duration::from_secs(7)));
    assert!(from_backend(&error, None).get_details_retry_info().is_none());
}

#[test]
fn details_stay_within_bounds_whatever_goes_in() {
    let long = "é".repeat(10_000);
    let violations = (0..1000).map(|_| Violation::new(long.clone(), long.clone())).collect();
    let error = BackendError::new(ErrorKind::UpstreamNotFound, long.clone()).with_resource(&long, &long);
    let error = error.with_upstream(UpstreamContext {
        service: "openmetadata",
        operation: "GetTestCaseExecutionSummary",
        code: long.clone(),
        http_status: Some(404),
        request_id: long.clone(),
    });
    for failure in [
        Failure::from_backend(&error, Some(&backend())).with_request_id(&long),
        Failure::resources_not_found(&long, &long, violations),
        Failure::filter_invalid(usize::MAX, &long).with_request_id(&long),
        Failure::caller_limit(long.clone(), Some(Duration::MAX)).with_request_id(&long),
    ] {
        let status = Status::from(failure);
        assert!(status.message().len() <= 1024);
        // In base64, as the header carries them, still under 4 KiB.
        assert!(status.details().len() <= 3072, "{} bytes", status.details().len());
    }
}
