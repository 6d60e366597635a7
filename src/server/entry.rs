//! Where a connection's requests come in: through a door where one is open, then to the gate.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;

use super::Service;
use super::body::GateBody;
use super::gate::{self, Gate};
use super::incoming::Metered;
use super::parts::Parts;
use crate::doors::{DoorBody, Doors, TurnedAway};

/// The gate of one connection, with the doors in front of it.
pub(super) struct Entry<S> {
    gate: Arc<Gate<S>>,
    doors: Option<Arc<Doors>>,
}

/// A reply's body.
pub(crate) type Reply = DoorBody<GateBody, Parts>;

impl<S> Entry<S> {
    pub(super) fn new(gate: Gate<S>, doors: Option<Arc<Doors>>) -> Self {
        Self { gate: Arc::new(gate), doors }
    }
}

impl<S: Service> hyper::service::Service<Request<Incoming>> for Entry<S> {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        let mut request = request.map(|body| Metered::new(body, gate.budgets.requests.begin()));
        let Some(doors) = self.doors.clone() else {
            let answer = gate::answer(gate, request.map(DoorBody::Plain));
            return Box::pin(answer.map(|response| Ok(response.map(Reply::Plain))));
        };
        // Whoever expects to be told to go on has not sent any of it yet.
        let may_come = !request.headers().contains_key(EXPECT);
        let unread = (request.version() < Version::HTTP_2).then(|| request.body_mut().unread());
        Box::pin(async move {
            let budget = gate.budgets.replies.clone();
            let service = |request| gate::answer(Arc::clone(&gate), request);
            let uri = request.uri().clone();
            let mut response = doors.call(request, service).await;
            if let Some(TurnedAway(code)) = response.extensions_mut().remove() {
                gate.note_turned_away(uri, code);
            }
            if let Some(unread) = unread
                && !unread.linger(may_come).await
            {
                // Or the client, which may have sent all of it, sends its next request on a connection that closes.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| match body {
                DoorBody::Plain(body) => Reply::Plain(body),
                DoorBody::Translated(body) => Reply::Translated(Parts::new(body, budget)),
            }))
        })
    }
}
