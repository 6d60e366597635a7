//! Other doors to the same service, for those who can't speak gRPC: gRPC-Web and the Connect protocol.
//!
//! A door translates and does nothing else. It stands in front of the gate, so whoever comes through it is named,
//! admitted, limited and noted as everybody is, and what the gate refuses is translated too. All are closed unless the
//! configuration opens them.

use std::convert::Infallible;
use std::future::Future;

use bytes::{Buf, Bytes};
use http::header::{ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::DescriptorError;
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _};

use crate::config::DoorsConfig;
use schema::Schema;

pub use body::DoorBody;

mod body;
mod connect;
mod cors;
mod grpc_web;
mod schema;

/// The doors that are open.
#[derive(Debug)]
pub struct Doors {
    grpc_web: bool,
    connect: Option<connect::Door>,
    cors: cors::Cors,
}

/// A request that its door found wrong. The gate answers with this once it knows who calls, and in the place of the
/// service, so that it is noted like any other refusal.
#[derive(Clone, Debug)]
pub struct Refused(pub Status);

/// With what a door answered in HTTP's own terms, so that no call came of it. Goes with the response to whoever keeps
/// account of calls.
#[derive(Clone, Copy, Debug)]
pub struct TurnedAway(pub Code);

/// One request's door.
enum Way {
    GrpcWeb(HeaderValue),
    Connect(connect::Shape),
}

impl Doors {
    /// Opens the doors that the configuration names, if it names any. `descriptors` are the sets that describe the
    /// services and what stands in the details of errors. Requests of more than `max_request` bytes are refused.
    ///
    /// # Errors
    /// One of the sets can't be read, or contradicts another.
    pub fn open(
        config: &DoorsConfig,
        descriptors: &[&[u8]],
        max_request: usize,
    ) -> Result<Option<Self>, DescriptorError> {
        if !config.any_open() {
            return Ok(None);
        }
        let connect = || Ok(connect::Door::new(Schema::new(descriptors)?, max_request));
        Ok(Some(Self {
            grpc_web: config.grpc_web,
            connect: config.connect.then(connect).transpose()?,
            cors: cors::Cors::new(config.origins.clone()),
        }))
    }

    /// Answers a request by a service that speaks gRPC.
    pub async fn call<B, R, S, F>(&self, request: Request<B>, service: S) -> Response<DoorBody<R>>
    where
        B: Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
        R: Body<Data: Buf, Error = Status> + Send + Unpin + 'static,
        S: Fn(Request<DoorBody<B>>) -> F + Clone,
        F: Future<Output = Response<R>>,
    {
        let Some(origin) = request.headers().get(ORIGIN) else { return self.answer(request, service).await };
        if !self.cors.allows(origin) {
            let refusal =
                refuse(StatusCode::FORBIDDEN, "server.cors_origins does not have this page's origin");
            return refusal.map(DoorBody::Translated);
        }
        let answer = tower::service_fn(|request| async {
            Ok::<_, Infallible>(self.answer(request, service.clone()).await)
        });
        match self.cors.layer().layer(answer).oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn answer<B, R, S, F>(&self, request: Request<B>, service: S) -> Response<DoorBody<R>>
    where
        B: Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
        R: Body<Data: Buf, Error = Status> + Send + Unpin + 'static,
        S: Fn(Request<DoorBody<B>>) -> F,
        F: Future<Output = Response<R>>,
    {
        let whole = |request| async { service(request).await.map(|body| body.map_frame(in_one_piece)) };
        match (self.way(request.headers()), &self.connect) {
            (Some(Way::GrpcWeb(kind)), _) => {
                grpc_web::call(request, kind, whole).await.map(DoorBody::Translated)
            }
            (Some(Way::Connect(shape)), Some(connect)) => {
                connect.call(shape, request, whole).await.map(DoorBody::Translated)
            }
            // gRPC, and what the gate has an answer for.
            _ if request.version() >= Version::HTTP_2 => {
                service(request.map(DoorBody::Plain)).await.map(DoorBody::Plain)
            }
            _ => self.nothing_behind(&request).map(DoorBody::Translated),
        }
    }

    fn way(&self, headers: &HeaderMap) -> Option<Way> {
        let kind = media_type(headers)?;
        let of_connect = || self.connect.is_some().then(|| connect::Shape::of(&kind)).flatten();
        self.grpc_web
            .then(|| grpc_web::canonical(&kind))
            .flatten()
            .map(Way::GrpcWeb)
            .or_else(|| of_connect().map(Way::Connect))
    }

    /// The answer to what came over HTTP/1 and is for no door.
    fn nothing_behind<B>(&self, request: &Request<B>) -> Response<tonic::body::Body> {
        if media_type(request.headers()).is_some_and(|kind| kind.starts_with("application/grpc")) {
            return refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2");
        }
        if request.method() != Method::POST {
            return not_post();
        }
        let offered = match (&self.connect, self.grpc_web) {
            (Some(_), true) => "application/json, application/proto, application/grpc-web",
            (Some(_), false) => "application/json, application/proto",
            (None, _) => "application/grpc-web",
        };
        unsupported(offered, "this Content-Type is not spoken here; Accept-Post has those that are")
    }
}

fn in_one_piece(frame: Frame<impl Buf>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// The content's type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// An answer in HTTP's own terms.
fn refuse(status: StatusCode, line: &'static str) -> Response<tonic::body::Body> {
    let text = Full::from(Bytes::from_static(line.as_bytes()));
    let mut response = Response::new(tonic::body::Body::new(text));
    *response.status_mut() = status;
    let code = if status == StatusCode::FORBIDDEN { Code::PermissionDenied } else { Code::Unimplemented };
    response.extensions_mut().insert(TurnedAway(code));
    with(response, CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn not_post() -> Response<tonic::body::Body> {
    with(refuse(StatusCode::METHOD_NOT_ALLOWED, "calls are POSTs"), ALLOW, "POST")
}

/// Says which types of content would do.
fn unsupported(offered: &'static str, line: &'static str) -> Response<tonic::body::Body> {
    let refusal = refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, line);
    with(refusal, HeaderName::from_static("accept-post"), offered)
}

fn with<R>(mut response: Response<R>, name: HeaderName, value: &'static str) -> Response<R> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
