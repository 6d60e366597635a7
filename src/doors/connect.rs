//! The Connect protocol, version 1: protobuf or its JSON form over HTTP POST. What a unary call says is the whole body;
//! a stream's messages come in envelopes, which are gRPC's own, and its end is one more message.
//!
//! There is no GET here, although the protocol has one for calls without side effects: browsers send a GET of any page
//! without asking, and without saying whose page it is.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use prost_reflect::MethodDescriptor;
use tonic::Status;

use super::schema::Schema;
use super::{DoorBody, Refused, not_post, unsupported};
use crate::proto::detail::{Violation, field_invalid};

mod reply;
mod request;
mod status;

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const STREAM_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const STREAM_ACCEPT: HeaderName = HeaderName::from_static("connect-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Other headers that say something about Connect, gRPC or the hop, and nothing to the service.
const MEANINGLESS: [HeaderName; 9] = [
    STREAM_ENCODING,
    STREAM_ACCEPT,
    GRPC_TIMEOUT,
    HeaderName::from_static("grpc-encoding"),
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONNECTION,
    TRANSFER_ENCODING,
];

/// The door that speaks Connect.
#[derive(Debug)]
pub(super) struct Door {
    schema: Arc<Schema>,
    max_request: usize,
}

/// What a type of content says of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    stream: bool,
    json: bool,
}

impl Shape {
    /// What this type of content means, if anything.
    pub(super) fn of(kind: &str) -> Option<Self> {
        let (stream, json) = match kind {
            "application/json" => (false, true),
            "application/proto" => (false, false),
            "application/connect+json" => (true, true),
            "application/connect+proto" => (true, false),
            _ => return None,
        };
        Some(Self { stream, json })
    }

    /// The type of what is answered, errors of unary calls aside.
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.stream, self.json) {
            (false, true) => "application/json",
            (false, false) => "application/proto",
            (true, true) => "application/connect+json",
            (true, false) => "application/connect+proto",
        })
    }
}

impl Door {
    pub(super) fn new(schema: Schema, max_request: usize) -> Self {
        Self { schema: Arc::new(schema), max_request }
    }

    /// Answers a request of Connect by a service that speaks gRPC.
    pub(super) async fn call<B, R, S, F>(
        &self,
        shape: Shape,
        request: Request<B>,
        service: S,
    ) -> Response<tonic::body::Body>
    where
        B: Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
        R: Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
        S: Fn(Request<DoorBody<B>>) -> F,
        F: Future<Output = Response<R>>,
    {
        if request.method() != Method::POST {
            return not_post();
        }
        let method = self.schema.method(request.uri().path());
        match method.as_ref().map(MethodDescriptor::is_server_streaming) {
            Some(true) if !shape.stream => {
                let offered = "application/connect+json, application/connect+proto";
                return unsupported(offered, "this method answers with a stream");
            }
            Some(false) if shape.stream => {
                return unsupported("application/json, application/proto", "this method is unary");
            }
            _ => {}
        }

        let (mut head, body) = request.into_parts();
        let wrong = translate(&mut head.headers, shape).and_then(|()| callable(method.as_ref(), shape));
        if let Err(status) = wrong {
            head.extensions.insert(Refused(status));
        }
        let form = |message: fn(&MethodDescriptor) -> _| method.as_ref().filter(|_| shape.json).map(message);
        let json = form(MethodDescriptor::input);
        let body =
            request::Message::new(body, request::Form { enveloped: shape.stream, json }, self.max_request);
        let body = DoorBody::Translated(tonic::body::Body::new(body));
        let response = service(Request::from_parts(head, body)).await;

        let json = form(MethodDescriptor::output);
        let mut response = if shape.stream {
            reply::stream(response, json, &self.schema)
        } else {
            reply::unary(response, json, &self.schema).await
        };
        if method.is_none() && response.status() == StatusCode::NOT_IMPLEMENTED {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response.headers_mut().entry(CONTENT_TYPE).or_insert_with(|| shape.content_type());
        response
    }
}

/// Whether there is something to call.
fn callable(method: Option<&MethodDescriptor>, shape: Shape) -> Result<(), Status> {
    match method {
        Some(method) if method.is_client_streaming() => {
            Err(Status::unimplemented("this method takes a stream, which needs gRPC"))
        }
        // tonic says the same of what is asked for in protobuf.
        None if shape.json => Err(Status::unimplemented("there is no such method")),
        _ => Ok(()),
    }
}

/// Makes gRPC's headers of Connect's.
fn translate(headers: &mut HeaderMap, shape: Shape) -> Result<(), Status> {
    let [version, timeout] = [VERSION, TIMEOUT].map(|name| headers.remove(name));
    let encoding = headers.remove(if shape.stream { STREAM_ENCODING } else { CONTENT_ENCODING });
    for name in MEANINGLESS {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));

    let invalid = |header: &HeaderName, rule: &str| field_invalid(&[Violation::new(header.as_str(), rule)]);
    if version.is_some_and(|version| version != "1") {
        return Err(invalid(&VERSION, "must be 1"));
    }
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("requests are not decompressed here: send them as they are"));
    }
    if let Some(timeout) = timeout {
        let timeout = timeout.to_str().ok().and_then(grpc_timeout);
        let timeout =
            timeout.ok_or_else(|| invalid(&TIMEOUT, "must be milliseconds, in at most ten digits"))?;
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    Ok(())
}

/// A timeout in milliseconds as gRPC writes it, which has room for eight digits. What is longer loses its milliseconds.
fn grpc_timeout(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || text.len() > 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: u64 = text.parse().ok()?;
    let spelled = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1000) };
    HeaderValue::try_from(spelled).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_keeps_its_milliseconds_where_grpc_has_room_for_them() {
        let spelled = |text| grpc_timeout(text).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(spelled("0").as_deref(), Some("0m"));
        assert_eq!(spelled("99999999").as_deref(), Some("99999999m"));
        assert_eq!(spelled("100000999").as_deref(), Some("100000S"));
        assert_eq!(spelled("9999999999").as_deref(), Some("9999999S"));
        for wrong in ["", "12345678901", "-1", "+1", "1s", " 1", "1.5", "é"] {
            assert_eq!(spelled(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_caller_of_connect_sets_no_header_of_grpc_and_its_own_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("connect-timeout-ms", "1500"),
            ("connect-protocol-version", "1"),
            ("grpc-timeout", "1H"),
            ("grpc-encoding", "gzip"),
            ("authorization", "Bearer x"),
            ("traceparent", "00-1-2-00"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        translate(&mut headers, Shape::of("application/json").unwrap()).unwrap();
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                ("authorization", "Bearer x"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", "1500m"),
                ("te", "trailers"),
                ("traceparent", "00-1-2-00"),
            ]
        );
    }

    #[test]
    fn what_a_header_says_wrong_is_named() {
        let refused = |name: &'static str, value: &'static str, kind| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            translate(&mut headers, Shape::of(kind).unwrap()).unwrap_err()
        };
        let version = refused("connect-protocol-version", "2", "application/json");
        assert!(version.message().starts_with("connect-protocol-version: "), "{version:?}");
        let timeout = refused("connect-timeout-ms", "soon", "application/json");
        assert!(timeout.message().starts_with("connect-timeout-ms: "), "{timeout:?}");
        for (name, kind) in [
            ("content-encoding", "application/json"),
            ("connect-content-encoding", "application/connect+json"),
        ] {
            assert_eq!(refused(name, "gzip", kind).code(), tonic::Code::Unimplemented);
        }
    }
}
