//! Which service answers a call: those of the contract without a detour, any other by tonic's routes.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::{BoxFuture, Either, MapOk};
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

/// An answer as it is being made, with such a body.
type Answer<B> = BoxFuture<'static, Result<Response<B>, Infallible>>;

/// One that tonic makes.
type Mapped = MapOk<Answer<tonic::body::Body>, fn(Response<tonic::body::Body>) -> Response<ReplyBody>>;

impl<B> tower_service::Service<Request<B>> for Services
where
    B: Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Either<Mapped, Answer<ReplyBody>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer: Answer<tonic::body::Body> = match request.uri().path().strip_prefix(CONTRACT) {
            Some("WatchExecutions") => {
                let answer = watch::answer(self.service.clone(), self.max_request, request);
                return Either::Right(Box::pin(async { Ok(answer.await) }));
            }
            Some(_) => self.unary.call(request),
            None => Box::pin(self.others.call(request)),
        };
        Either::Left(answer.map_ok(|response| response.map(ReplyBody::from)))
    }
}
