//! What is noted of a call: its log line and its metrics.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Code;

use crate::metrics::{Method, Rpc};

/// Counts a call, and writes one log line when it is over, if anyone reads such lines.
pub(super) struct Record {
    method: Arc<Method>,
    began: Instant,
    /// `None` until the status is known; a caller that leaves first never learns it.
    pub(super) code: Option<Code>,
}

impl Record {
    pub(super) fn start(request: &Request<Incoming>, rpc: &Rpc) -> Self {
        let method = rpc.method(request.uri().path());
        method.started();
        Self { method, began: Instant::now(), code: None }
    }

    /// Where the call is counted.
    pub(super) fn method(&self) -> &Arc<Method> {
        &self.method
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = self.began.elapsed();
        self.method.handled(code.into(), took);
        let duration_ms = took.as_secs_f64() * 1e3;
        tracing::debug!(method = self.method.path(), ?code, duration_ms, "call");
    }
}
