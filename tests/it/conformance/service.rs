//! The suite's service: it answers as each request wants to be answered, and tells what it saw of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use prost::Message;
use prost_types::Any;
use testgate::proto::codec::Codec;
use testgate::server::{Deadline, GrpcOnly, ReplyBody, RequestBody, Service};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};

use super::messages::{
    Error, Header, Payload, RequestInfo, Response as Reply, ServerStreamRequest, UnaryOutcome, UnaryRequest,
};

const PACKAGE: &str = "connectrpc.conformance.v1";

/// The service; messages over the limit are refused.
pub(super) fn service(receive_limit: u32) -> impl Service {
    GrpcOnly::new(tower::service_fn(move |request: http::Request<RequestBody>| async move {
        let limit = (receive_limit > 0).then_some(receive_limit as usize);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let reply = match method.as_str() {
            "Unary" | "IdempotentUnary" => {
                let mut grpc = Grpc::new(Codec::default()).apply_max_message_size_config(limit, None);
                let kind = format!("{method}Request");
                let handler = tower::service_fn(move |request| unary(kind.clone(), request));
                grpc.unary(handler, request).await
            }
            "ServerStream" => {
                let mut grpc = Grpc::new(Codec::default()).apply_max_message_size_config(limit, None);
                grpc.server_streaming(tower::service_fn(server_stream), request).await
            }
            _ => Status::unimplemented("not a method of this service").into_http(),
        };
        Ok::<_, Infallible>(with_trailers(reply).map(ReplyBody::from))
    }))
}

/// Trailers that go with OK, which tonic has no place for.
#[derive(Clone)]
struct Trailers(HeaderMap);

fn with_trailers(mut reply: http::Response<tonic::body::Body>) -> http::Response<tonic::body::Body> {
    let Some(Trailers(more)) = reply.extensions_mut().remove() else { return reply };
    reply.map(|body| {
        tonic::body::Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.extend(more.clone());
            }
            frame
        }))
    })
}

async fn unary(kind: String, request: Request<UnaryRequest>) -> Result<Response<Reply>, Status> {
    let info = info(&kind, &request);
    let definition = request.into_inner().response_definition.unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(definition.response_delay_ms.into())).await;
    let (headers, trailers) = (map(&definition.response_headers), map(&definition.response_trailers));
    let data = match definition.response {
        Some(UnaryOutcome::Error(error)) => {
            let mut metadata = headers;
            metadata.extend(trailers);
            return Err(status(error, Some(info), metadata));
        }
        Some(UnaryOutcome::Data(data)) => data,
        None => Vec::new(),
    };
    Ok(reply(Reply { payload: Some(Payload { data, request_info: Some(info) }) }, headers, trailers))
}

type Replies = Pin<Box<dyn Stream<Item = Result<Reply, Status>> + Send>>;

async fn server_stream(request: Request<ServerStreamRequest>) -> Result<Response<Replies>, Status> {
    let mut info = Some(info("ServerStreamRequest", &request));
    let definition = request.into_inner().response_definition.unwrap_or_default();
    let (headers, trailers) = (map(&definition.response_headers), map(&definition.response_trailers));
    let delay = Duration::from_millis(definition.response_delay_ms.into());
    let error_info = if definition.response_data.is_empty() { info.clone() } else { None };
    let failed = definition.error.map(|error| Err(status(error, error_info, trailers.clone())));
    let sent = definition
        .response_data
        .into_iter()
        .map(move |data| Ok(Reply { payload: Some(Payload { data, request_info: info.take() }) }));
    let sent = stream::iter(sent).then(move |reply| async move {
        tokio::time::sleep(delay).await;
        reply
    });
    let replies: Replies = Box::pin(sent.chain(stream::iter(failed)));
    Ok(reply(replies, headers, trailers))
}

fn reply<T>(message: T, headers: HeaderMap, trailers: HeaderMap) -> Response<T> {
    let mut reply =
        Response::from_parts(MetadataMap::from_headers(headers), message, http::Extensions::new());
    reply.extensions_mut().insert(Trailers(trailers));
    reply
}

/// What is seen of a request.
fn info<T: Message>(kind: &str, request: &Request<T>) -> RequestInfo {
    let headers = request.metadata().clone().into_headers();
    let request_headers = headers
        .keys()
        .map(|name| Header {
            name: name.to_string(),
            value: headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect(),
        })
        .collect();
    let left = request.extensions().get::<Deadline>().map(|deadline| deadline.0 - Instant::now());
    RequestInfo {
        request_headers,
        timeout_ms: left.map(|left| i64::try_from(left.as_millis()).unwrap()),
        requests: vec![any(kind, request.get_ref())],
    }
}

fn any(kind: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{PACKAGE}.{kind}"), value: message.encode_to_vec() }
}

fn map(headers: &[Header]) -> HeaderMap {
    let pairs = headers.iter().flat_map(|header| header.value.iter().map(move |value| (&header.name, value)));
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(name.as_str()).unwrap(), value.parse().unwrap());
    }
    map
}

fn status(error: Error, info: Option<RequestInfo>, metadata: HeaderMap) -> Status {
    let message = error.message.unwrap_or_default();
    let mut details = error.details;
    details.extend(info.map(|info| any("ConformancePayload.RequestInfo", &info)));
    let rich = tonic_types::Status { code: error.code, message: message.clone(), details };
    Status::with_details_and_metadata(
        Code::from_i32(error.code),
        message,
        rich.encode_to_vec().into(),
        MetadataMap::from_headers(metadata),
    )
}
