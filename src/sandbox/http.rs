//! What a simulated upstream is to the server that carries it: requests in, replies out, no I/O.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it stood on the wire, still percent-encoded.
    pub raw_path: String,
    /// The query as it stood on the wire, without the `?`; empty where there was none.
    pub raw_query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// One reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beyond `date` and `content-length`, which the server adds.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What an injected fault makes an upstream answer, in that upstream's own error format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many requests.
    Throttled,
    /// A quota is used up.
    Quota,
    /// Any other error status.
    Status(StatusCode),
}

/// A simulated upstream. State lives behind its own short lock.
pub trait Upstream: Send + Sync + 'static {
    /// `connect`, `lex` or `openmetadata`: how the control endpoint and the fault injector call it.
    fn name(&self) -> &'static str;
    /// The operation a request means, for faults and counters; `None` where no route matches.
    fn operation(&self, request: &Request) -> Option<&'static str>;
    /// Carries the request out: authentication, validation, effect and reply.
    fn handle(&self, request: &Request) -> Reply;
    /// Everything a person may look at or drive, as JSON (`testgate sandbox …` and the control endpoint).
    fn control(&self, command: &Value) -> Result<Value, String>;

    /// Answers as [`handle`](Self::handle) would, and leaves the effect out. Upstreams whose operations have no
    /// such failure answer as always.
    fn handle_swallowed(&self, request: &Request) -> Reply {
        self.handle(request)
    }

    /// The upstream's own error format for a fault that was asked for.
    fn refusal(&self, refusal: Refusal) -> Reply {
        let (status, message) = match refusal {
            Refusal::Throttled => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Refusal::Quota => (StatusCode::PAYMENT_REQUIRED, "Quota exceeded"),
            Refusal::Status(status) => (status, "Injected by the sandbox"),
        };
        Reply::json(status, &json!({"code": status.as_u16(), "message": message}))
    }

    /// What to offer someone who wants to try this upstream: ids, credentials, anything worth pasting.
    fn banner(&self) -> Value {
        Value::Null
    }
}

impl Request {
    /// A header's text; `None` where it is absent or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The path's segments, each decoded on its own, so an encoded slash stays inside its segment; `None` where
    /// an escape is broken or is not UTF-8. `/a/b` has two segments, `/a//b` three.
    pub fn segments(&self) -> Option<Vec<String>> {
        let path = self.raw_path.strip_prefix('/').unwrap_or(&self.raw_path);
        path.split('/').map(decode_percent).collect()
    }

    /// The query's pairs in their order, decoded as a form (`+` is a space); `None` where an escape is broken.
    pub fn query(&self) -> Option<Vec<(String, String)>> {
        self.raw_query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode_form(name)?, decode_form(value)?))
            })
            .collect()
    }

    /// The first value of one query parameter.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query()?.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| error.to_string())
    }
}

impl Reply {
    /// A reply without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A JSON reply with `content-type: application/json`.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self::with_type(status, "application/json", body.to_string())
    }

    /// A reply of any content type.
    pub fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut reply = Self { status, headers: HeaderMap::new(), body: body.into() };
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        reply
    }

    /// The same reply with one header more; a value that no header may hold is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

/// Decodes `%XX` escapes, strictly: a `%` without two hex digits, or bytes that are not UTF-8, are `None`.
pub fn decode_percent(text: &str) -> Option<String> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (rest.next()?, rest.next()?);
            if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
                return None;
            }
        }
    }
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// Decodes a form value: [`decode_percent`] after `+` became a space.
pub fn decode_form(text: &str) -> Option<String> {
    decode_percent(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(raw_path: &str, raw_query: &str) -> Request {
        Request {
            method: Method::GET,
            raw_path: raw_path.into(),
            raw_query: raw_query.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        let segments = request("/a%2Fb//c%20d/", "").segments().unwrap();
        assert_eq!(segments, ["a/b", "", "c d", ""]);
    }

    #[test]
    fn broken_escapes_are_refused() {
        for path in ["/%", "/%4", "/%zz", "/%ff", "/a%2"] {
            assert_eq!(request(path, "").segments(), None, "{path}");
        }
    }

    #[test]
    fn the_query_is_read_as_a_form() {
        let query = request("/", "a=1+2&b&&c=%2B=").query().unwrap();
        let pairs: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a", "1 2"), ("b", ""), ("c", "+=")]);
        assert_eq!(request("/", "a=x&a=y").query_value("a").as_deref(), Some("x"));
    }

    #[test]
    fn a_header_value_with_a_line_break_is_left_out() {
        assert!(Reply::empty(StatusCode::OK).header("x-a", "a\r\nb").headers.is_empty());
    }
}
