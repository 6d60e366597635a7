//! What a simulated upstream is to the server that carries it: requests in, replies out, no I/O.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

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

/// A simulated upstream. State lives behind its own short lock.
pub trait Upstream: Send + Sync + 'static {
    /// `connect`, `lex` or `openmetadata`: how the control endpoint and the fault injector call it.
    fn name(&self) -> &'static str;
    /// The operation a request means, for faults and counters; `None` where no route matches.
    fn operation(&self, request: &Request) -> Option<&'static str>;
    /// Carries the request out: authentication, validation, effect and reply.
    fn handle(&self, request: &Request) -> Reply;
    /// Everything a person may look at or drive, as JSON (`testgate sandbox …` and the control endpoint).
    fn control(&self, command: &serde_json::Value) -> Result<serde_json::Value, String>;
}
