//! What stands around every call: admission, deadline, panics, the log line.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, Uri};
use tonic::{Code, Status};
use tower::ServiceExt as _;

use super::access::Record;
use super::body::GateBody;
use super::budget::Budgets;
use super::deadline::Deadline;
use super::ending::Ending;
use super::incoming::Metered;
use super::messages::RequestBody;
use super::{Records, Service, deadline, status};
use crate::auth::{Auth, Caller, Peer};
use crate::doors::{DoorBody, Refused};
use crate::tasks::{Lifecycle, Phase, panic_message};
use crate::trace;

/// The health service, which answers for the gateway as a whole to everybody.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// What a stream of tonic's own services may hold before anybody can count it, in bytes: buffers to decode and to encode
/// with, and of reflection a reply that has been made and one that has been encoded.
const FOREIGN_STREAM: usize = 128 * 1024;

/// The service inside, with the gate around it.
#[derive(Clone)]
pub(super) struct Gate<S> {
    service: S,
    lifecycle: Lifecycle,
    auth: Auth,
    /// Whose connection this is.
    peer: Arc<Peer>,
    /// Ends streams, and calls that wait for something to happen.
    ending: Ending,
    /// What this connection's requests and replies may hold.
    pub(super) budgets: Budgets,
    records: Records,
}

impl<S: Service> Gate<S> {
    pub(super) fn new(
        service: S,
        lifecycle: Lifecycle,
        auth: Auth,
        ending: Ending,
        budgets: Budgets,
        records: Records,
    ) -> Self {
        Self { service, lifecycle, auth, peer: Arc::default(), ending, budgets, records }
    }

    /// The gate of one connection, and what ends the streams of this connection alone.
    pub(super) fn for_connection(&self, peer: Peer) -> (Self, Ending) {
        let ending = self.ending.narrower();
        let gate = Self {
            peer: Arc::new(peer),
            ending: ending.clone(),
            budgets: self.budgets.anew(),
            ..self.clone()
        };
        (gate, ending)
    }

    /// Has it noted that a door turned a call away before it came here.
    pub(super) fn note_turned_away(&self, uri: Uri, code: Code) {
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        Record::start(&request, &self.records).code = Some(code);
    }
}

/// Answers a call, whichever way it came.
pub(super) async fn answer<S: Service>(
    gate: Arc<Gate<S>>,
    mut request: Request<DoorBody<Metered>>,
) -> Response<GateBody> {
    let mut record = Record::start(&request, &gate.records);
    if let Err(refusal) = admit(&gate.lifecycle, request.uri().path()) {
        return refuse(refusal, record);
    }
    // Shares the bytes of the request's own; only a panic needs it.
    let uri = request.uri().clone();
    let deadline = match deadline::take(request.headers_mut(), deadline::default_for(uri.path())) {
        Ok(deadline) => deadline,
        Err(rule) => return refuse(status::bad_timeout(rule), record),
    };
    if let Some(deadline) = deadline {
        request.extensions_mut().insert(deadline);
    }
    let identified = match gate.auth.recall(&gate.peer, request.headers()) {
        Some(caller) => Ok(caller),
        // Boxed, so that calls of those who are known need no room for it.
        None => Box::pin(identify(&gate, request.headers(), deadline)).await,
    };
    match identified {
        Ok(caller) => {
            record.scope().note(|notes| notes.caller = Some(Arc::clone(caller.subject())));
            if let Err(exceeded) = caller.admit() {
                return refuse(status::caller_limit(&exceeded), record);
            }
            request.extensions_mut().insert(caller);
        }
        // Whoever probes the gateway's health need not be anyone.
        Err(_) if uri.path().starts_with(HEALTH) => {}
        Err(refusal) => return refuse(refusal, record),
    }
    if let Some(Refused(refusal)) = request.extensions_mut().remove() {
        return refuse(refusal, record);
    }
    let mut stream = gate.budgets.replies.begin();
    if !deadline::is_ours(uri.path()) && stream.take(FOREIGN_STREAM).is_err() {
        return refuse(status::replies_full(), record);
    }
    // What it says is known by now, and is nobody else's business.
    request.headers_mut().remove(AUTHORIZATION);

    let method = Arc::clone(record.method());
    let request = request.map(|body| RequestBody::new(body, method));
    let call = trace::within(Arc::clone(record.scope()), gate.service.clone().oneshot(request));
    let mut call = pin!(AssertUnwindSafe(call).catch_unwind());
    let answered = tokio::select! {
        biased;
        answered = call.as_mut() => answered,
        () = deadline::passed(deadline) => return refuse(status::deadline_exceeded(), record),
        // A wait would hold up a connection that is due to go.
        () = gate.ending.wait(), if deadline::is_wait(uri.path()) => {
            return refuse(status::draining(), record);
        }
    };
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            tracing::error!(method = uri.path(), panic = panic_message(&*panic), "a call panicked");
            return refuse(status::internal(), record);
        }
    };
    record.code = status::complete(response.headers_mut());
    status::spare_the_wait(response.headers_mut(), deadline);
    response.map(|body| GateBody::new(body, deadline, gate.ending.clone(), stream, record))
}

/// Says who calls, within the call's deadline: to know a token may take a look at its issuer's keys.
async fn identify<S>(
    gate: &Gate<S>,
    headers: &HeaderMap,
    deadline: Option<Deadline>,
) -> Result<Caller, Status> {
    let identified = tokio::select! {
        biased;
        identified = gate.auth.identify(&gate.peer, headers) => identified,
        () = deadline::passed(deadline) => return Err(status::deadline_exceeded()),
    };
    identified.map_err(|refusal| status::unauthenticated(&refusal))
}

/// Health and reflection answer in every phase; the rest only where there is something to answer from.
fn admit(lifecycle: &Lifecycle, path: &str) -> Result<(), Status> {
    if path.starts_with("/grpc.") {
        return Ok(());
    }
    match lifecycle.phase() {
        Phase::Serving => Ok(()),
        Phase::Starting => Err(status::starting()),
        Phase::Draining => Err(status::draining()),
    }
}

fn refuse(refusal: Status, mut record: Record) -> Response<GateBody> {
    record.code = Some(refusal.code());
    refusal.into_http::<()>().map(|()| GateBody::empty(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_reflection_answer_in_every_phase_and_the_rest_only_while_serving() {
        let lifecycle = Lifecycle::new();
        let codes = |lifecycle: &Lifecycle| {
            ["/grpc.health.v1.Health/Check", "/testgate.v1.TestExecutionService/GetExecution"]
                .map(|path| admit(lifecycle, path).map_err(|status| status.code()))
        };
        assert_eq!(codes(&lifecycle), [Ok(()), Err(Code::Unavailable)]);
        lifecycle.serve();
        assert_eq!(codes(&lifecycle), [Ok(()), Ok(())]);
        lifecycle.drain();
        assert_eq!(codes(&lifecycle), [Ok(()), Err(Code::Unavailable)]);
    }
}
