//! The caller's deadline.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

/// When the caller stops waiting; in the extensions of every request that has a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline(pub Instant);

static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What a unary call without a deadline gets.
const UNARY: Duration = Duration::from_secs(60);

/// The contract's service.
const SERVICE: &str = "/testgate.v1.TestExecutionService/";

/// Takes the deadline out of the headers, so that tonic does not apply it a second time with another code;
/// without one, the default counts from now.
///
/// # Errors
/// The header is malformed; the text says what is right.
pub(super) fn take(
    headers: &mut HeaderMap,
    default: Option<Duration>,
) -> Result<Option<Deadline>, &'static str> {
    let timeout = match headers.remove(&TIMEOUT) {
        Some(value) => Some(value.to_str().ok().and_then(parse).ok_or(MALFORMED)?),
        None => default,
    };
    // A deadline beyond what a clock can show is none.
    Ok(timeout.and_then(|timeout| Instant::now().checked_add(timeout)).map(Deadline))
}

const MALFORMED: &str = "must be at most eight digits and one of the units H, M, S, m, u, n";

/// Ends at the deadline; never without one.
pub(super) async fn passed(deadline: Option<Deadline>) {
    match deadline {
        Some(Deadline(at)) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether the deadline comes before so long a pause is over.
pub(super) fn comes_before(deadline: Option<Deadline>, pause: Duration) -> bool {
    let end = Instant::now().checked_add(pause);
    deadline.zip(end).is_some_and(|(Deadline(at), end)| at <= end)
}

/// Whether a path is of the contract's service.
pub(super) fn is_ours(path: &str) -> bool {
    path.starts_with(SERVICE)
}

/// Whether a unary call may take minutes by its nature.
pub(super) fn is_wait(path: &str) -> bool {
    path.strip_prefix(SERVICE) == Some("WaitExecution")
}

/// Streams live as long as they like; WaitExecution has a timeout of its own.
pub(super) fn default_for(path: &str) -> Option<Duration> {
    match path.strip_prefix(SERVICE)? {
        "WatchExecutions" | "WaitExecution" => None,
        _ => Some(UNARY),
    }
}

/// Reads `100m` and the like.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse("0n"), Some(Duration::ZERO));
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in ["", "S", "1", "123456789S", "-1S", "+1S", "1s", "1 S", "1é", "é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_unary_calls_of_the_service_have_a_default() {
        let has = |path| take(&mut HeaderMap::new(), default_for(path)).unwrap().is_some();
        assert!(has("/testgate.v1.TestExecutionService/GetExecution"));
        assert!(!has("/testgate.v1.TestExecutionService/WaitExecution"));
        assert!(!has("/testgate.v1.TestExecutionService/WatchExecutions"));
        assert!(!has("/grpc.health.v1.Health/Watch"));
    }

    #[test]
    fn the_longest_timeout_is_no_panic_and_the_header_is_gone() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", "99999999H".parse().unwrap());
        assert!(take(&mut headers, None).is_ok());
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let longest = Duration::from_secs(99_999_999 * 3600);
            prop_assert!(parse(&text).is_none_or(|timeout| timeout <= longest));
        }
    }
}
