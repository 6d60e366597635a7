//! gRPC-Web, by tonic-web: gRPC's own messages, with what would be trailers at the end of the body.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};

use super::DoorBody;
use crate::proto::detail::{Violation, field_invalid};

/// The types of content, as tonic-web spells them.
const KINDS: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// The type of content, if it is one of gRPC-Web with protobuf.
pub(super) fn canonical(kind: &str) -> Option<HeaderValue> {
    KINDS.into_iter().find(|known| *known == kind).map(HeaderValue::from_static)
}

/// Answers a request of gRPC-Web by a service that speaks gRPC.
pub(super) async fn call<B, R, S, F>(
    mut request: Request<B>,
    kind: HeaderValue,
    service: S,
) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes, Error = Status> + Send + 'static,
    R: Body<Data = Bytes, Error = Status> + Send + 'static,
    S: Fn(Request<DoorBody<B>>) -> F,
    F: Future<Output = Response<R>>,
{
    request.headers_mut().insert(CONTENT_TYPE, kind);
    // tonic-web makes an INTERNAL of whatever is wrong with a body. If it was the body's own status, that is what the
    // caller hears; else the caller's bytes are wrong.
    let failure = Arc::new(OnceLock::new());
    let failed = Arc::clone(&failure);
    let request = request.map(|body| body.map_err(move |status| failed.get_or_init(|| status).clone()));
    let inner = tower::service_fn(|request: Request<tonic::body::Body>| {
        let failure = Arc::clone(&failure);
        let said = move |_| failure.get().cloned().unwrap_or_else(malformed);
        let answered =
            service(request.map(|body| DoorBody::Translated(tonic::body::Body::new(body.map_err(said)))));
        async { Ok::<_, Infallible>(answered.await) }
    });
    match GrpcWebLayer::new().layer(inner).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn malformed() -> Status {
    field_invalid(&[Violation::new("request", "is not base64, which grpc-web-text wants")])
}
