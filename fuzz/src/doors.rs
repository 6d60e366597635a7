//! Requests of gRPC-Web and Connect, through the doors to a service that says what it heard.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use testgate::config::DoorsConfig;
use testgate::doors::{DoorBody, Doors, Refused};
use testgate::proto::DESCRIPTOR_SET;
use tokio::runtime::Runtime;
use tonic::Status;

use super::calls::METHODS;

/// The second byte of an input picks how it comes.
const KINDS: [&str; 6] = [
    "application/json",
    "application/proto",
    "application/connect+json",
    "application/connect+proto",
    "application/grpc-web",
    "application/grpc-web-text",
];
const LARGEST: usize = 1 << 16;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Status>;

thread_local! {
    static DOORS: Option<(Runtime, Doors)> = open();
}

fn open() -> Option<(Runtime, Doors)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let config = DoorsConfig { grpc_web: true, connect: true, ..DoorsConfig::default() };
    Some((runtime, Doors::open(&config, &[DESCRIPTOR_SET], LARGEST).ok()??))
}

/// What comes through is framed as gRPC is, and what goes back is whole: JSON where an error or JSON is due, and a stream
/// with one end.
pub(crate) fn request(input: &[u8]) {
    let [method, kind, body @ ..] = input else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let never = |never: Infallible| -> Status { match never {} };
    let request = Request::post(format!("/testgate.v1.TestExecutionService/{method}"))
        .header(CONTENT_TYPE, kind)
        .body(Full::from(Bytes::copy_from_slice(body)).map_err(never))
        .expect("a request");
    DOORS.with(|doors| {
        let (runtime, doors) = doors.as_ref().expect("doors open");
        runtime.block_on(async {
            let response = doors.call(request, echo).await;
            if response.status() == 415 {
                return;
            }
            let (head, body) = response.into_parts();
            let DoorBody::Translated(body) = body else { panic!("{kind} is not translated") };
            let body = body.collect().await.expect("a whole reply").to_bytes();
            match kind {
                "application/connect+json" | "application/connect+proto" => {
                    ends_once(&body, kind.ends_with("json"))
                }
                "application/json" => is_json(&body),
                "application/proto" if head.status != 200 => is_json(&body),
                _ => {}
            }
        });
    });
}

/// Answers with the bytes that came, twice where they are a stream's.
async fn echo<B>(request: Request<DoorBody<B>>) -> Response<Body>
where
    DoorBody<B>: http_body::Body<Data = Bytes, Error = Status>,
{
    let (head, body) = request.into_parts();
    assert_eq!(head.headers.get(CONTENT_TYPE), Some(&HeaderValue::from_static("application/grpc")));
    let empty = |()| Full::default().map_err(|never: Infallible| match never {}).boxed_unsync();
    if let Some(Refused(status)) = head.extensions.get() {
        return status.clone().into_http().map(empty);
    }
    let heard = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(status) => return status.into_http().map(empty),
    };
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::from(heard).map_err(|never: Infallible| match never {});
    Response::new(body.with_trailers(async { Some(Ok::<_, Status>(trailers)) }).boxed_unsync())
}

fn is_json(body: &[u8]) {
    serde_json::from_slice::<serde_json::Value>(body).expect("a reply of JSON");
}

fn ends_once(mut body: &[u8], json: bool) {
    loop {
        let [flags, a, b, c, d, rest @ ..] = body else { panic!("an envelope is cut short: {body:?}") };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (message, rest) = rest.split_at(length);
        if *flags == 2 || json {
            is_json(message);
        }
        if *flags == 2 {
            assert!(rest.is_empty(), "more came after the end: {rest:?}");
            return;
        }
        assert_eq!(*flags, 0);
        body = rest;
    }
}
