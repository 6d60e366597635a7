//! The answers that the listener gives itself.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::deadline::{self, Deadline};
use crate::auth::{Exceeded, Refusal};
use crate::proto::detail::{self, DOMAIN};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

pub(super) fn deadline_exceeded() -> Status {
    with_reason(Code::DeadlineExceeded, "the deadline passed", "DEADLINE_EXCEEDED")
}

pub(super) fn internal() -> Status {
    with_reason(Code::Internal, "testgate failed inside; its log says more", "INTERNAL_ERROR")
}

pub(super) fn starting() -> Status {
    retry_later("the gateway does not serve yet", "GATEWAY_STARTING", Duration::from_millis(250))
}

pub(super) fn draining() -> Status {
    retry_later("the gateway is draining", "GATEWAY_DRAINING", Duration::from_millis(500))
}

pub(super) fn unauthenticated(refusal: &Refusal) -> Status {
    with_reason(Code::Unauthenticated, refusal.0, "CALLER_UNAUTHENTICATED")
}

pub(super) fn caller_limit(exceeded: &Exceeded) -> Status {
    let delay = exceeded.retry_after.unwrap_or(Duration::from_secs(1));
    retry_after(Code::ResourceExhausted, &exceeded.message, "CALLER_LIMIT_EXCEEDED", delay)
}

pub(super) fn requests_full() -> Status {
    full("the requests under way on this connection hold too many bytes")
}

pub(super) fn replies_full() -> Status {
    full("the streams of this connection hold too many bytes: its replies must be read")
}

fn full(message: &str) -> Status {
    retry_after(Code::ResourceExhausted, message, "CALLER_LIMIT_EXCEEDED", Duration::from_secs(1))
}

pub(super) fn bad_timeout(rule: &str) -> Status {
    let mut details = info("FIELD_INVALID");
    details.add_bad_request_violation("grpc-timeout", rule);
    Status::with_error_details(Code::InvalidArgument, format!("grpc-timeout {rule}"), details)
}

/// Gives the contract's code and details to what tonic says itself of a request, in headers or trailers.
/// Returns the code, where they hold one.
pub(super) fn complete(headers: &mut HeaderMap) -> Option<Code> {
    let code = Code::from_bytes(headers.get(&GRPC_STATUS)?.as_bytes());
    let lacks_details =
        matches!(code, Code::OutOfRange | Code::InvalidArgument) && !headers.contains_key(&DETAILS);
    if !lacks_details {
        return Some(code);
    }
    let said = Status::from_header_map(headers)?;
    let status = match code {
        Code::OutOfRange if said.message().contains("message length too large") => detail::too_large(),
        Code::InvalidArgument => with_reason(code, said.message(), "FIELD_INVALID"),
        _ => return Some(code),
    };
    write(&status, headers);
    Some(status.code())
}

/// Tells a library not to wait where the caller's deadline comes before the pause is over: the caller would learn nothing
/// but that, and late.
pub(super) fn spare_the_wait(headers: &mut HeaderMap, deadline: Option<Deadline>) {
    let pause = headers.get(&PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
    if pause.is_some_and(|millis| deadline::comes_before(deadline, Duration::from_millis(millis))) {
        headers.insert(&PUSHBACK, HeaderValue::from_static("-1"));
    }
}

/// Puts a status into headers or trailers, in place of the one they hold.
pub(super) fn write(status: &Status, headers: &mut HeaderMap) {
    if status.add_header(headers).is_err() {
        // Only for metadata that no header can carry, of which there is none here.
        headers.insert(&GRPC_STATUS, HeaderValue::from_static("13"));
    }
}

fn with_reason(code: Code, message: &str, reason: &str) -> Status {
    Status::with_error_details(code, message, info(reason))
}

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

/// UNAVAILABLE, to be tried again after a while that differs from caller to caller, so that they don't all
/// come back in the same moment.
fn retry_later(message: &str, reason: &str, least: Duration) -> Status {
    retry_after(Code::Unavailable, message, reason, least + super::jitter::up_to(Duration::from_secs(1)))
}

fn retry_after(code: Code, message: &str, reason: &str, delay: Duration) -> Status {
    let mut details = info(reason);
    details.set_retry_info(Some(delay));
    let mut status = Status::with_error_details(code, message, details);
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(PUSHBACK.as_str(), millis.into());
    status
}
