//! The log line of a call.

use http::Request;
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Code;

/// Writes one log line when a call is over, if anyone reads such lines.
pub(super) struct Record {
    call: Option<(String, Instant)>,
    /// `None` until the status is known; a caller that leaves first never learns it.
    pub(super) code: Option<Code>,
}

impl Record {
    pub(super) fn start(request: &Request<Incoming>) -> Self {
        let call = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.uri().path().chars().take(200).collect(), Instant::now()));
        Self { call, code: None }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some((method, start)) = self.call.take() {
            let code = self.code.unwrap_or(Code::Cancelled);
            let duration_ms = start.elapsed().as_secs_f64() * 1e3;
            tracing::debug!(method, ?code, duration_ms, "call");
        }
    }
}
