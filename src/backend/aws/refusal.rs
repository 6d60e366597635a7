//! AWS error replies: code, words, and what they mean. Status and code decide together.

use serde::Deserialize;

use super::wire::lenient;
use crate::backend::engine::{Operation, Refusal, Response, Retry, Safety, effect_if_sent};
use crate::backend::{Effect, ErrorKind};

/// Codes that mean "fewer calls", with whatever status they come.
const THROTTLING: [&str; 13] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
];

/// How much of a body that is not JSON is worth quoting.
const QUOTED_BYTES: usize = 1024;

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "lenient")]
    code: Option<String>,
    #[serde(default, rename = "Code", deserialize_with = "lenient")]
    upper_code: Option<String>,
    #[serde(default, rename = "__type", deserialize_with = "lenient")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<String>,
    #[serde(default, rename = "Message", deserialize_with = "lenient")]
    upper_message: Option<String>,
    #[serde(default, rename = "errorMessage", deserialize_with = "lenient")]
    error_message: Option<String>,
}

pub(super) fn classify(operation: &Operation, response: &Response) -> Result<(), Refusal> {
    let status = response.status.as_u16();
    if response.status.is_success() {
        return Ok(());
    }
    let (code, message) = read(response);
    let (kind, retry) = meaning(operation, status, &code);
    let effect = match kind {
        ErrorKind::UpstreamInternal | ErrorKind::UpstreamTimeout => effect_if_sent(operation),
        _ => Effect::None,
    };
    let message = match (message.is_empty(), code.is_empty()) {
        (false, _) => message,
        (true, false) => code.clone(),
        (true, true) => format!("status {status} without a word"),
    };
    Err(Refusal { kind, code, message, effect, retry })
}

/// Codes of a signature that was refused, which is most often for its time.
pub(super) fn is_about_time(code: &str) -> bool {
    matches!(
        code,
        "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
    )
}

/// Code and words, from wherever they stand; empty where they don't.
fn read(response: &Response) -> (String, String) {
    let parsed: Option<Body> = serde_json::from_slice(&response.body).ok();
    let header =
        response.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(body) = parsed else {
        let start = response.body.get(..QUOTED_BYTES).unwrap_or(&response.body);
        return (short_code(&header.unwrap_or_default()), String::from_utf8_lossy(start).trim().to_owned());
    };
    let code = header.or(body.code).or(body.upper_code).or(body.kind).unwrap_or_default();
    let message = body.message.or(body.upper_message).or(body.error_message).unwrap_or_default();
    (short_code(&code), message)
}

/// `aws.x#FooException:http://…` is `FooException`.
fn short_code(code: &str) -> String {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().trim().to_owned()
}

fn meaning(operation: &Operation, status: u16, code: &str) -> (ErrorKind, Retry) {
    let is_write = operation.safety != Safety::Read;
    match (status, code) {
        (402, _) | (_, "ServiceQuotaExceededException") => (ErrorKind::UpstreamQuotaExceeded, Retry::Never),
        (429, _) => (ErrorKind::UpstreamThrottled, Retry::Throttled),
        (_, code) if THROTTLING.contains(&code) => (ErrorKind::UpstreamThrottled, Retry::Throttled),
        (500.., _) => (ErrorKind::UpstreamInternal, Retry::Backoff),
        (408, _) | (_, "RequestTimeout" | "RequestTimeoutException") => {
            (ErrorKind::UpstreamTimeout, Retry::Backoff)
        }
        // New credentials, or the time that this reply's Date taught us, may help.
        (
            _,
            "ExpiredToken" | "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidClientTokenId",
        ) => (ErrorKind::BackendCredentialsInvalid, Retry::Renewed),
        (_, code) if is_about_time(code) => (ErrorKind::BackendCredentialsInvalid, Retry::Renewed),
        (
            _,
            "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized",
        )
        | (401, _) => (ErrorKind::BackendCredentialsInvalid, Retry::Never),
        (403, _) | (_, "AccessDeniedException" | "AccessDenied" | "OptInRequired") => {
            (ErrorKind::BackendAccessDenied, Retry::Never)
        }
        (_, "InvalidToken" | "InvalidTokenException") => (ErrorKind::PageTokenInvalid, Retry::Never),
        (_, "InvalidRequestException") if is_write => (ErrorKind::UpstreamInvalidRequest, Retry::Never),
        (
            _,
            "InvalidRequestException"
            | "InvalidParameterException"
            | "ValidationException"
            | "ValidationError",
        ) => (ErrorKind::UpstreamInvalidArgument, Retry::Never),
        (_, "ResourceNotFoundException") => (ErrorKind::UpstreamNotFound, Retry::Never),
        (409, _) | (_, "ConflictException") => (ErrorKind::UpstreamConflict, Retry::Never),
        // Above all 404 without that code, or UnknownOperationException: a proxy or a wrong endpoint, no evidence.
        _ => (ErrorKind::UpstreamUnrecognized, Retry::Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;
    use std::time::Duration;

    const READ: Operation = Operation { name: "Get", safety: Safety::Read };
    const WRITE: Operation = Operation { name: "Put", safety: Safety::TokenedWrite };

    fn response(status: u16, header: Option<&'static str>, body: &[u8]) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(header));
        }
        let body = Bytes::copy_from_slice(body);
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body, elapsed: Duration::ZERO }
    }

    #[test]
    fn status_and_code_decide_together() {
        use ErrorKind as K;
        for (operation, status, code, kind) in [
            (READ, 429, "", K::UpstreamThrottled),
            (READ, 400, "ThrottlingException", K::UpstreamThrottled),
            (READ, 429, "TooManyRequestsException", K::UpstreamThrottled),
            (WRITE, 402, "ServiceQuotaExceededException", K::UpstreamQuotaExceeded),
            (READ, 404, "ResourceNotFoundException", K::UpstreamNotFound),
            (READ, 404, "UnknownOperationException", K::UpstreamUnrecognized),
            (READ, 404, "", K::UpstreamUnrecognized),
            (READ, 400, "InvalidRequestException", K::UpstreamInvalidArgument),
            (WRITE, 400, "InvalidRequestException", K::UpstreamInvalidRequest),
            (READ, 400, "InvalidParameterException", K::UpstreamInvalidArgument),
            (READ, 400, "ValidationException", K::UpstreamInvalidArgument),
            (READ, 400, "InvalidToken", K::PageTokenInvalid),
            (READ, 403, "AccessDeniedException", K::BackendAccessDenied),
            (READ, 403, "ExpiredTokenException", K::BackendCredentialsInvalid),
            (READ, 400, "UnrecognizedClientException", K::BackendCredentialsInvalid),
            (READ, 403, "InvalidSignatureException", K::BackendCredentialsInvalid),
            (READ, 403, "MissingAuthenticationTokenException", K::BackendCredentialsInvalid),
            (WRITE, 409, "ConflictException", K::UpstreamConflict),
            (READ, 500, "InternalServiceException", K::UpstreamInternal),
            (READ, 503, "", K::UpstreamInternal),
            (READ, 418, "", K::UpstreamUnrecognized),
        ] {
            assert_eq!(meaning(&operation, status, code).0, kind, "{status} {code}");
        }
    }

    #[test]
    fn code_and_words_are_found_wherever_they_stand() {
        let body = br#"{"Message":"no such","__type":"x#Other"}"#;
        let found = read(&response(404, Some("aws.x#FooException:http://internal/"), body));
        assert_eq!(found, ("FooException".into(), "no such".into()));
        let found = read(&response(400, None, br#"{"__type":"aws.x#BarException","message":"m"}"#));
        assert_eq!(found, ("BarException".into(), "m".into()));
        let found = read(&response(400, None, br#"{"code":7,"Code":"C","errorMessage":"e"}"#));
        assert_eq!(found, ("C".into(), "e".into()));
        assert_eq!(read(&response(502, None, b"<html>bad gateway</html>")).1, "<html>bad gateway</html>");
    }

    #[test]
    fn only_what_may_have_acted_says_so() {
        let refusal = classify(&WRITE, &response(500, None, b"")).unwrap_err();
        assert_eq!(refusal.effect, Effect::Possible);
        assert_eq!(classify(&WRITE, &response(429, None, b"")).unwrap_err().effect, Effect::None);
        assert_eq!(classify(&READ, &response(500, None, b"")).unwrap_err().effect, Effect::None);
    }

    proptest! {
        #[test]
        fn any_body_is_classified(status in 400u16..600, body in any::<Vec<u8>>()) {
            prop_assert!(classify(&READ, &response(status, None, &body)).is_err());
        }
    }
}
