//! Which service answers a call: those of the contract without a detour, any other by tonic's routes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tonic::service::Routes;

use super::{Service, watch};
use crate::proto::v1::test_execution_service_server::TestExecutionServiceServer;
use crate::server::ReplyBody;

/// The contract's service.
const CONTRACT: &str = "/testgate.v1.TestExecutionService/";

/// All services that are served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    service: Service,
    unary: TestExecutionServiceServer<Service>,
    max_request: usize,
    others: Routes,
}

impl Services {
    /// The contract's service, whose requests have at most so many bytes, and those that come with gRPC.
    pub fn new(service: Service, max_request: usize, others: Routes) -> Self {
        let unary = TestExecutionServiceServer::new(service.clone()).max_decoding_message_size(max_request);
        Self { service, unary, max_request, others }
    }
}

impl<B> tower_service::Service<Request<B>> for Services
where
    B: Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.uri().path().strip_prefix(CONTRACT) {
            Some("WatchExecutions") => {
                let answer = watch::answer(self.service.clone(), self.max_request, request);
                Answer::Stream(Box::pin(async { Ok(answer.await) }))
            }
            Some(_) => Answer::Tonic(self.unary.call(request)),
            None => Answer::Tonic(Box::pin(self.others.call(request))),
        }
    }
}

type Answered<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

/// The answer to a call, as it is being made.
pub enum Answer {
    /// By what tonic generated.
    Tonic(Answered<tonic::body::Body>),
    /// By a stream of ours.
    Stream(Answered<ReplyBody>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Tonic(_)) { "Tonic" } else { "Stream" })
    }
}

impl Future for Answer {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Tonic(answer) => answer.as_mut().poll(cx).map_ok(|response| response.map(ReplyBody::from)),
            Self::Stream(answer) => answer.as_mut().poll(cx),
        }
    }
}
