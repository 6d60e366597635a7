//! What is noted of a call: its log line, its metrics, its span, and its place in the audit log.

use std::sync::Arc;

use http::Request;
use tokio::time::Instant;
use tonic::Code;

use super::Records;
use crate::audit::{Audit, Entry};
use crate::metrics::Method;
use crate::telemetry;
use crate::trace::{Notes, Scope, Value};

const SERVICE: &str = "/testgate.v1.TestExecutionService/";

/// Writes one log line when a call is over, and whatever else is kept of it.
pub(super) struct Record {
    method: Arc<Method>,
    scope: Arc<Scope>,
    audit: Option<Audit>,
    began: Instant,
    /// `None` until the status is known; a caller that leaves first never learns it.
    pub(super) code: Option<Code>,
}

impl Record {
    pub(super) fn start<B>(request: &Request<B>, records: &Records) -> Self {
        let method = records.metrics.rpc().method(request.uri().path());
        method.started();
        let scope = records.tracer.scope(request.headers());
        Self { method, scope, audit: records.audit.clone(), began: Instant::now(), code: None }
    }

    /// Where the call is counted.
    pub(super) fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// What is known of the call.
    pub(super) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = self.began.elapsed();
        self.method.handled(code.into(), took);
        let path = self.method.path();
        let Some(name) = path.strip_prefix(SERVICE) else {
            // Probes come every few seconds; who wants to see them says so.
            tracing::debug!(target: "access", method = path, code = ?code, "request");
            return;
        };
        let notes = self.scope.notes();
        let Notes { caller, upstream_request_id, .. } = &notes;
        telemetry::call(|| telemetry::Call {
            caller: caller.as_deref().unwrap_or_default(),
            method: path,
            code,
            took,
            upstream_request_id: (!upstream_request_id.is_empty()).then_some(upstream_request_id),
            trace_id: self.scope.trace_id(),
        });
        if let Some(audit) = &self.audit
            && let Some(event) = event(name, code)
        {
            audit.write(entry(event, name, code, &self.scope, notes.clone()));
        }
        let attributes = || {
            vec![
                ("rpc.system", Value::Text("grpc".to_owned())),
                ("rpc.method", Value::Text(name.to_owned())),
                ("rpc.grpc.status_code", Value::Number(i32::from(code).into())),
                ("enduser.id", Value::Text(caller.as_deref().unwrap_or_default().to_owned())),
            ]
        };
        self.scope.end(path.get(1..).unwrap_or(path), took, is_fault(code), attributes);
    }
}

/// What of a call the audit log keeps: changes, and refusals of anything.
fn event(method: &str, code: Code) -> Option<&'static str> {
    if matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
        return Some("refused");
    }
    let done = match method {
        "StartExecution" => "started",
        "StopExecution" => "stopped",
        "RecordExecution" => "recorded",
        _ => return None,
    };
    Some(if code == Code::Ok { done } else { "failed" })
}

fn entry(event: &'static str, method: &'static str, code: Code, scope: &Scope, notes: Notes) -> Entry {
    let Notes { caller, upstream_request_id, resource, request_id, reason } = notes;
    Entry {
        time: scope.now(),
        event,
        method,
        caller: caller.as_deref().unwrap_or_default().to_owned(),
        resource,
        request_id,
        reason,
        code: format!("{code:?}"),
        upstream_request_id,
        trace_id: scope.trace_id(),
    }
}

/// Whether a call failed through a fault of the gateway or of what is behind it.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss
    )
}
