//! Telling gRPC from other HTTP.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::reply::ReplyBody;

/// Answers what is not gRPC with protobuf in HTTP's own terms; tonic looks neither at the method nor at the type of
/// the content, and would take any bytes for a message.
#[derive(Clone, Debug)]
pub struct GrpcOnly<S>(S);

impl<S> GrpcOnly<S> {
    /// The service, which from now on gets gRPC only.
    pub fn new(service: S) -> Self {
        Self(service)
    }
}

impl<S, B> Service<Request<B>> for GrpcOnly<S>
where
    S: Service<Request<B>, Response = Response<ReplyBody>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<S::Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let status = if request.method() != Method::POST {
            StatusCode::METHOD_NOT_ALLOWED
        } else if !is_grpc(request.headers()) {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else {
            return Either::Right(self.0.call(request));
        };
        let mut response = Response::new(ReplyBody::default());
        *response.status_mut() = status;
        Either::Left(ready(Ok(response)))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = value.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_with_protobuf_is_told_from_everything_else() {
        let is = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            is_grpc(&headers)
        };
        for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert!(is(kind), "{kind}");
        }
        for kind in
            ["application/grpc+json", "application/grpc-web", "application/json", "", "application/grpcx"]
        {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
