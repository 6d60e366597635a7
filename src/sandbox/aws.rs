//! What the two simulated AWS services share: the front door, error replies, page tokens and limits.

pub(crate) mod account;
pub(crate) mod service;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock::{Clock, wall};
use super::http::{Refusal, Reply, Request, decode_percent};
use super::sigv4::{self, KeyRing};

/// Page tokens are valid for a day of simulated time, as Connect's are.
const TOKEN_LIFETIME_MS: i64 = 24 * 3600 * 1000;

/// The longest padding that a page token takes.
const MAX_PADDING: usize = 200_000;

/// The member that holds an error's text: the two services spell it differently.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Connect,
    Lex,
}

/// An error as the services send it.
#[derive(Clone, Debug)]
pub(crate) struct AwsError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u32>,
}

impl AwsError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFoundException", what)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::new(404, "UnknownOperationException", "")
    }

    pub(crate) fn reply(&self, dialect: Dialect) -> Reply {
        if self.code == "UnknownOperationException" {
            return Reply::with_type(self.status, "application/xml", "<UnknownOperationException/>\n")
                .header("x-amzn-errortype", self.code);
        }
        // Connect names the type with a suffix that clients must cut off.
        let (member, kind) = match dialect {
            Dialect::Connect => {
                ("Message", format!("{}:http://internal.amazon.com/coral/com.amazonaws.connect/", self.code))
            }
            Dialect::Lex => ("message", self.code.to_owned()),
        };
        let reply =
            Reply::json(self.status, &json!({member: self.message})).header("x-amzn-errortype", &kind);
        match self.retry_after {
            Some(seconds) => reply.header("retry-after", &seconds.to_string()),
            None => reply,
        }
    }
}

/// An injected fault in the services' format.
pub(crate) fn refusal(refusal: Refusal, dialect: Dialect) -> Reply {
    let message = "Injected by the sandbox";
    let error = match refusal {
        Refusal::Throttled => AwsError::new(429, "ThrottlingException", "Rate exceeded"),
        Refusal::Quota => AwsError::new(402, "ServiceQuotaExceededException", "Service quota exceeded"),
        Refusal::Status(status) => {
            let code = match (status.as_u16(), dialect) {
                (400, Dialect::Connect) => "InvalidRequestException",
                (400, Dialect::Lex) => "ValidationException",
                (402, _) => "ServiceQuotaExceededException",
                (403, _) => "AccessDeniedException",
                (404, _) => "ResourceNotFoundException",
                (409, _) => "ConflictException",
                (429, _) => "ThrottlingException",
                (500, Dialect::Connect) => "InternalServiceException",
                (500, Dialect::Lex) => "InternalServerException",
                (503, _) => "ServiceUnavailable",
                _ => "InternalFailure",
            };
            AwsError::new(status.as_u16(), code, message)
        }
    };
    request_id(error.reply(dialect))
}

/// Adds the header that every reply of AWS has.
pub(crate) fn request_id(reply: Reply) -> Reply {
    reply.header("x-amzn-requestid", &uuid::Uuid::new_v4().to_string())
}

/// The path's labels, decoded after dot segments and double slashes are resolved as AWS does it: `a/../b` calls `b`.
pub(crate) fn labels(raw_path: &str) -> Option<Vec<String>> {
    sigv4::normalized(raw_path).split('/').skip(1).map(decode_percent).collect()
}

/// The query with `+` taken literally, as AWS takes it.
pub(crate) fn parameters(raw_query: &str) -> Option<BTreeMap<String, String>> {
    raw_query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_percent(name)?, decode_percent(value)?))
        })
        .collect()
}

/// A JSON object as body; an empty body is an empty object. Other content types are not routed, as the Lex manual says.
pub(crate) fn body(request: &Request) -> Result<Value, AwsError> {
    if request.body.is_empty() {
        return Ok(json!({}));
    }
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !matches!(kind, "application/json" | "application/x-amz-json-1.1") {
        return Err(AwsError::unknown_operation());
    }
    let body = request.json().ok().filter(Value::is_object);
    body.ok_or_else(|| AwsError::new(400, "SerializationException", "The body is not a JSON object"))
}

/// Checks signature and rate, in the order in which AWS does.
pub(crate) fn front_door(
    request: &Request,
    operation: &'static str,
    keys: &KeyRing,
    region: &str,
    service: &str,
    limiter: &mut RateLimit,
    clock: &Clock,
) -> Result<(), AwsError> {
    sigv4::verify(request, keys, region, service, signing_time(request, clock))
        .map_err(|refused| AwsError::new(403, refused.code(), refused.to_string()))?;
    if limiter.admit(operation, Instant::now()) {
        return Ok(());
    }
    let mut error = AwsError::new(429, "ThrottlingException", "Rate exceeded");
    error.retry_after = limiter.retry_after;
    Err(error)
}

/// The time that a signature is judged by. Clients sign by the real time, and once they have learnt from the Date header
/// that it is off, by the simulated one as it was then: all that lies between the two is right.
fn signing_time(request: &Request, clock: &Clock) -> SystemTime {
    let (real, simulated) = (wall(), UNIX_EPOCH + clock.now());
    let signed = sigv4::signed_at(request).unwrap_or(real);
    signed.clamp(real.min(simulated), real.max(simulated))
}

/// A bucket for each operation. It counts real time: a gateway's own pace does, whatever the simulated clock says.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    pub(crate) enabled: bool,
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
    pub(crate) retry_after: Option<u32>,
    buckets: BTreeMap<&'static str, (f64, Instant)>,
}

impl RateLimit {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, per_second: 2.0, burst: 5.0, retry_after: None, buckets: BTreeMap::new() }
    }

    pub(crate) fn admit(&mut self, operation: &'static str, now: Instant) -> bool {
        if !self.enabled {
            return true;
        }
        let (tokens, last) = self.buckets.entry(operation).or_insert((self.burst, now));
        let refill = now.saturating_duration_since(*last).as_secs_f64() * self.per_second;
        *tokens = (*tokens + refill).min(self.burst);
        *last = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }

    /// The control command `rate_limit`.
    pub(crate) fn command(&mut self, command: &Value) -> Result<Value, String> {
        if let Some(enabled) = command.get("enabled") {
            self.enabled = enabled.as_bool().ok_or("`enabled` is true or false")?;
        }
        for (name, field) in [("per_second", &mut self.per_second), ("burst", &mut self.burst)] {
            if let Some(value) = command.get(name) {
                let value = value.as_f64().filter(|value| *value > 0.0 && *value <= 1e6);
                *field = value.ok_or_else(|| format!("`{name}` is a number above 0"))?;
            }
        }
        if let Some(seconds) = command.get("retry_after") {
            self.retry_after = seconds.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        }
        self.buckets.clear();
        Ok(self.state())
    }

    pub(crate) fn state(&self) -> Value {
        json!({
            "enabled": self.enabled, "per_second": self.per_second,
            "burst": self.burst, "retry_after": self.retry_after,
        })
    }
}

/// How the service's page tokens behave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paging {
    /// Tokens issued before this moment have expired.
    pub(crate) expired_before_ms: i64,
    /// Every page's token leads to the same page again.
    pub(crate) looping: bool,
    /// How many characters longer tokens get.
    pub(crate) padding: usize,
}

#[derive(Serialize, Deserialize)]
struct Token {
    arguments: String,
    next: u64,
    issued_ms: i64,
    #[serde(default)]
    padding: String,
}

/// One page's cut: where it starts, how many it holds, and the token of the next one.
pub(crate) struct Cut<'a> {
    paging: Paging,
    arguments: String,
    now_ms: i64,
    pub(crate) start: u64,
    pub(crate) size: usize,
    token: Option<&'a str>,
}

impl<'a> Cut<'a> {
    /// Reads the token; `arguments` are the request's others, which must stay the same from page to page.
    /// `None` stands for a token that is no good.
    pub(crate) fn new(
        paging: Paging,
        arguments: &Value,
        token: Option<&'a str>,
        size: usize,
        now_ms: i64,
    ) -> Option<Self> {
        let hash = digest(&SHA256, arguments.to_string().as_bytes());
        let arguments: String = URL_SAFE_NO_PAD.encode(hash.as_ref()).chars().take(16).collect();
        let token = token.filter(|token| !token.is_empty());
        let mut start = 0;
        if let Some(token) = token {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let read: Token = serde_json::from_slice(&bytes).ok()?;
            let alive =
                read.issued_ms >= paging.expired_before_ms && now_ms - read.issued_ms <= TOKEN_LIFETIME_MS;
            if read.arguments != arguments || !alive {
                return None;
            }
            start = read.next;
        }
        Some(Self { paging, arguments, now_ms, start, size, token })
    }

    /// The token of the page that starts at `next`.
    pub(crate) fn token(&self, next: u64) -> String {
        let next = if self.paging.looping && self.token.is_some() { self.start } else { next };
        let padding = "p".repeat(self.paging.padding);
        let token = Token { arguments: self.arguments.clone(), next, issued_ms: self.now_ms, padding };
        // A struct of strings and numbers always serialises.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// The page out of a whole list, by position.
    pub(crate) fn page<T>(&self, all: impl ExactSizeIterator<Item = T>) -> (Vec<T>, Option<String>) {
        let total = all.len() as u64;
        let start = usize::try_from(self.start).unwrap_or(usize::MAX);
        let page: Vec<T> = all.skip(start).take(self.size).collect();
        let end = self.start.saturating_add(page.len() as u64);
        let more = end < total || (self.paging.looping && self.token.is_some());
        (page, more.then(|| self.token(end)))
    }
}

impl Paging {
    /// The control command `tokens`.
    pub(crate) fn command(&mut self, command: &Value, now_ms: i64) -> Result<Value, String> {
        if command.get("expire").is_some_and(|expire| expire == &json!(true)) {
            self.expired_before_ms = now_ms.saturating_add(1);
        }
        if let Some(looping) = command.get("loop") {
            self.looping = looping.as_bool().ok_or("`loop` is true or false")?;
        }
        if let Some(padding) = command.get("padding") {
            let padding = padding.as_u64().and_then(|padding| usize::try_from(padding).ok());
            let padding = padding.filter(|padding| *padding <= MAX_PADDING);
            self.padding = padding.ok_or_else(|| format!("`padding` is at most {MAX_PADDING} characters"))?;
        }
        Ok(json!({"loop": self.looping, "padding": self.padding}))
    }
}

/// Takes a page size within its range out of a text or a JSON number.
pub(crate) fn page_size(given: Option<&Value>, default: usize, max: u64) -> Option<usize> {
    let Some(given) = given.filter(|given| !given.is_null()) else { return Some(default) };
    let size = match given {
        Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    (1..=max).contains(&size).then(|| usize::try_from(size).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_for_each_operation() {
        let mut limit = RateLimit::new(true);
        let now = Instant::now();
        let admitted = (0..10).filter(|_| limit.admit("A", now)).count();
        assert_eq!(admitted, 5);
        assert!(limit.admit("B", now));
        assert!(!limit.admit("A", now + Duration::from_millis(400)));
        assert!(limit.admit("A", now + Duration::from_millis(900)));
    }

    #[test]
    fn pages_chain_by_their_tokens() {
        let all: Vec<u32> = (0..5).collect();
        let arguments = json!({"a": 1});
        let (mut token, mut seen, mut pages) = (None::<String>, Vec::new(), 0);
        loop {
            let cut = Cut::new(Paging::default(), &arguments, token.as_deref(), 2, 1_000).unwrap();
            let (page, next) = cut.page(all.iter().copied());
            seen.extend(page);
            pages += 1;
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((seen, pages), (all, 3));
    }

    #[test]
    fn tokens_expire_and_are_bound_to_the_arguments() {
        let paging = Paging::default();
        let first = Cut::new(paging, &json!(1), None, 1, 0).unwrap();
        let token = first.token(1);
        assert!(Cut::new(paging, &json!(1), Some(&token), 1, TOKEN_LIFETIME_MS).is_some());
        assert!(Cut::new(paging, &json!(1), Some(&token), 1, TOKEN_LIFETIME_MS + 1).is_none());
        assert!(Cut::new(paging, &json!(2), Some(&token), 1, 0).is_none());
        assert!(Cut::new(paging, &json!(1), Some("%%%"), 1, 0).is_none());
        let expired = Paging { expired_before_ms: 1, ..paging };
        assert!(Cut::new(expired, &json!(1), Some(&token), 1, 0).is_none());
    }

    #[test]
    fn looping_tokens_lead_to_the_same_page() {
        let paging = Paging { looping: true, ..Paging::default() };
        let first = Cut::new(paging, &json!(1), None, 1, 0).unwrap();
        let (_, token) = first.page([1, 2].into_iter());
        let token = token.unwrap();
        let second = Cut::new(paging, &json!(1), Some(&token), 1, 0).unwrap();
        let (page, next) = second.page([1, 2].into_iter());
        assert_eq!(page, [2]);
        let next = next.unwrap();
        let third = Cut::new(paging, &json!(1), Some(&next), 1, 0).unwrap();
        assert_eq!(third.page([1, 2].into_iter()).0, [2]);
    }

    #[test]
    fn page_sizes_outside_their_range_are_refused() {
        assert_eq!(page_size(None, 10, 100), Some(10));
        assert_eq!(page_size(Some(&json!("100")), 10, 100), Some(100));
        for bad in [json!(0), json!(101), json!(-1), json!("x"), json!(1.5)] {
            assert_eq!(page_size(Some(&bad), 10, 100), None, "{bad}");
        }
    }

    #[test]
    fn dot_segments_call_another_operation() {
        assert_eq!(labels("/test-cases/I/tc/../summary").unwrap(), ["test-cases", "I", "summary"]);
        assert_eq!(labels("/a/..b%2F..").unwrap(), ["a", "..b/.."]);
    }
}
