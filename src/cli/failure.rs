//! Why a command gave up, told in one line.

use std::fmt;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::exit::Exit;
use super::render::clean;

/// The domain of every error that a gateway gives by itself.
const DOMAIN: &str = "testgate.dev";

/// Why a command gave up.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that can't be.
    Usage(String),
    /// A call to the gateway failed.
    Call {
        /// What was tried, as `start NAME`.
        what: String,
        /// The answer.
        status: Box<Status>,
    },
    /// Anything else that went wrong.
    Trouble(String),
    /// Nobody reads stdout any more; the end of `| head`, not an error.
    Closed,
}

impl Failure {
    /// A failed call; `what` completes "can't ...".
    pub(crate) fn call(what: impl Into<String>, status: Status) -> Self {
        Self::Call { what: what.into(), status: Box::new(status) }
    }

    /// Whether what was asked for may have happened all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Call { status, .. } => {
                is_lost(status) || reason(status).as_deref() == Some("START_OUTCOME_UNKNOWN")
            }
            Self::Usage(_) | Self::Trouble(_) | Self::Closed => false,
        }
    }

    /// The exit code this deserves.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Call { .. } | Self::Trouble(_) => Exit::Trouble,
            Self::Closed => Exit::Passed,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Trouble(format!("can't write to stdout: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Trouble(text) => f.write_str(&clean(text)),
            Self::Call { what, status } => f.write_str(&clean(&describe(what, status))),
            Self::Closed => f.write_str("stdout is closed"),
        }
    }
}

fn describe(what: &str, status: &Status) -> String {
    let mut line = format!("can't {what}: {}", code_name(status.code()));
    let reason = reason(status);
    if let Some(reason) = &reason {
        line.push(' ');
        line.push_str(reason);
    }
    // What tonic says of a broken transport is that it is broken.
    let cause = std::error::Error::source(status).map(root_cause);
    let message = cause.as_deref().unwrap_or(status.message());
    if !message.is_empty() {
        line.push_str(": ");
        line.push_str(message);
    }
    let details = status.get_error_details();
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            line.push_str(&format!("; {}: {}", violation.field, violation.description));
        }
    }
    if let Some(info) = details.error_info() {
        let upstream = ["upstreamService", "upstreamOperation", "upstreamCode", "upstreamRequestId"];
        let known: Vec<&str> =
            upstream.iter().filter_map(|key| info.metadata.get(*key)).map(String::as_str).collect();
        if !known.is_empty() {
            line.push_str(&format!(" (upstream: {})", known.join(" ")));
        }
    }
    let advice = || cause.as_deref().and_then(trust_advice);
    if let Some(hint) = reason.as_deref().and_then(hint).or_else(advice) {
        line.push_str("; hint: ");
        line.push_str(hint);
    } else if speaks_otherwise(status) {
        line.push_str("; hint: it does not speak gRPC in the clear there; https:// is for one with TLS");
    } else if let Some(wait) = retry_delay(status) {
        line.push_str(&format!("; it may be tried again in {}", humantime::format_duration(whole_ms(wait))));
    } else if reason.is_none() && was_cut(status) {
        // A port with TLS may end the connection before its alert is read.
        line.push_str("; hint: the connection was cut: is a gateway there? https:// is for one with TLS");
    } else if reason.is_none() && is_lost(status) {
        line.push_str(
            "; hint: is the gateway up? `testgate serve --sandbox` starts one, --server names another",
        );
    }
    line
}

/// The innermost of an error's causes.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What to do where two ends did not agree on whom to trust.
pub(crate) fn trust_advice(cause: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 7] = [
        ("not valid for name", "its certificate is for another name than the one in --server"),
        ("certificate expired", "its certificate has to be renewed"),
        ("InvalidContentType", "it does not speak TLS there; http:// talks to it in the clear"),
        ("CertificateRequired", "it wants to see --cert-file and --key-file"),
        ("UnknownCA", "it does not know who vouches for --cert-file"),
        ("DecryptError", "it does not know who vouches for --cert-file"),
        ("invalid peer certificate", "--ca-file names the authority that vouches for it"),
    ];
    KNOWN.iter().find(|(part, _)| cause.contains(part)).map(|(_, advice)| *advice)
}

/// Whether what answers speaks no HTTP/2, as a port with TLS or a web server.
fn speaks_otherwise(status: &Status) -> bool {
    causes(status).any(|error| {
        let reason =
            error.downcast_ref::<h2::Error>().filter(|error| !error.is_io()).and_then(h2::Error::reason);
        matches!(reason, Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR))
    })
}

/// Whether a connection that was there broke.
fn was_cut(status: &Status) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    causes(status).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        let io = io.or_else(|| error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
        let kind = io.map(io::Error::kind);
        matches!(kind, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
    })
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

fn whole_ms(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "STOP_SCOPE_NOT_ALLOWED" => "--allow-test-scope stops every unfinished run of this pipeline",
        "START_OUTCOME_UNKNOWN" => "it may have started; ask again with the same --request-id",
        "START_NOT_CONFIRMED" => "it did not start; a new start needs a new request id",
        "REQUEST_ID_REUSED" => "this request id began another start; use a new one",
        "RESULT_EXISTS" => "another result is stored under this --end-time",
        "BACKEND_CREDENTIALS_INVALID" | "BACKEND_ACCESS_DENIED" => {
            "the gateway's own credentials for this backend are refused, not yours"
        }
        "RESOURCE_NOT_FOUND" => "`testgate backends` and `testgate tests BACKEND` list what there is",
        "EXECUTION_NOT_DONE" => "`testgate watch NAME` ends when it is done",
        "CALLER_UNAUTHENTICATED" => {
            "--token-file or --cert-file says who calls; is it the right one, and not expired?"
        }
        "CALLER_NOT_PERMITTED" => "who runs the gateway grants what callers may do",
        "TEST_NOT_STARTABLE" => "`testgate get TEST` shows why",
        "RECORD_OUTCOME_UNKNOWN" | "STOP_OUTCOME_UNKNOWN" => "send the very same request again",
        _ => return None,
    })
}

/// The gateway's own reason for an error, if it was the gateway that gave it.
pub(crate) fn reason(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    details.error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason.clone())
}

/// When the gateway says a call may be made again.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

/// Whether the connection or the gateway process went away, as opposed to an answer that was given.
pub(crate) fn is_lost(status: &Status) -> bool {
    match reason(status) {
        Some(reason) => matches!(reason.as_str(), "GATEWAY_DRAINING" | "GATEWAY_STARTING"),
        // What tonic makes of a broken transport has various codes, but only such a status has a source.
        None if speaks_otherwise(status) => false,
        None => status.code() == Code::Unavailable || std::error::Error::source(status).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    fn answer(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        Status::with_error_details(code, "the message", details)
    }

    #[test]
    fn a_call_failure_is_one_line_with_reason_fields_and_hint() {
        let mut details = ErrorDetails::with_error_info("STOP_SCOPE_NOT_ALLOWED", DOMAIN, HashMap::new());
        details.add_bad_request_violation("allow_test_scope", "must be true\nhere");
        let status = Status::with_error_details(Code::FailedPrecondition, "no", details);
        let line = Failure::call("stop a/b/c", status).to_string();
        assert_eq!(
            line,
            "can't stop a/b/c: FAILED_PRECONDITION STOP_SCOPE_NOT_ALLOWED: no; allow_test_scope: must be true here; \
             hint: --allow-test-scope stops every unfinished run of this pipeline"
        );
    }

    #[test]
    fn exit_codes_of_failures() {
        assert_eq!(Failure::Usage(String::new()).exit().code(), 2);
        assert_eq!(Failure::call("x", Status::not_found("y")).exit().code(), 3);
        assert_eq!(Failure::Trouble(String::new()).exit().code(), 3);
    }

    #[test]
    fn a_broken_pipe_is_not_an_error() {
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::Closed));
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)), Failure::Trouble(_)));
    }

    #[test]
    fn only_a_gateway_that_went_away_counts_as_lost() {
        assert!(is_lost(&Status::unavailable("connect")));
        assert!(is_lost(&answer(Code::Unavailable, "GATEWAY_DRAINING")));
        assert!(!is_lost(&answer(Code::Unavailable, "UPSTREAM_UNREACHABLE")));
        assert!(!is_lost(&Status::not_found("x")));
        let broken: Box<dyn std::error::Error + Send + Sync> = Box::from("connection reset");
        assert!(is_lost(&Status::from_error(broken)));
    }

    #[test]
    fn a_cut_connection_is_told_from_one_that_was_refused() {
        let told = |kind: io::ErrorKind| {
            Failure::call("x", Status::from_error(Box::new(io::Error::from(kind)))).to_string()
        };
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset] {
            assert!(told(kind).ends_with("https:// is for one with TLS"), "{}", told(kind));
        }
        assert!(told(io::ErrorKind::ConnectionRefused).contains("is the gateway up?"));
    }

    #[test]
    fn a_reason_of_another_domain_is_not_ours() {
        let details = ErrorDetails::with_error_info("X", "elsewhere.dev", HashMap::new());
        assert_eq!(reason(&Status::with_error_details(Code::Unknown, "", details)), None);
    }
}
