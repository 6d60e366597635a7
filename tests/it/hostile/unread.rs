//! Peers that ask for much and take nothing of it.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use prost::Message as _;
use testgate::server::{Options, RequestBody};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use super::Victim;
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, call, frame, opening};
use crate::listener::{Listening, framed};
use crate::metrics::Scrape;
use crate::process::eventually;
use crate::support::{admin_at, told};

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const GET_BACKEND: &str = "/testgate.v1.TestExecutionService/GetBackend";
/// A window beyond all that is sent here.
const WIDE: u32 = 1 << 30;
/// About as many as one connection may have at a time.
const STREAMS: u32 = 4_000;

/// Asks for the contract's file: a reply of tens of kilobytes that the gateway has at hand.
fn question() -> Bytes {
    let symbol = MessageRequest::FileContainingSymbol("testgate.v1.TestExecutionService".to_owned());
    let request = ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
    let message = request.encode_to_vec();
    framed(0, message.len(), &message)
}

/// A connection whose streams each take so many bytes unasked.
async fn narrow(address: &str, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(WIDE);
    let (send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    (send, tokio::spawn(async move { drop(connection.await) }))
}

/// A call, up to the first bytes of its reply or else the headers or trailers that refuse it.
async fn begun(
    send: &mut SendRequest<Bytes>,
    path: &str,
    message: Bytes,
) -> impl Future<Output = Result<RecvStream, HeaderMap>> + use<> {
    let request = Request::post(format!("http://test{path}")).header("content-type", "application/grpc");
    *send = send.clone().ready().await.unwrap();
    let (answer, mut upload) = send.send_request(request.body(()).unwrap(), false).unwrap();
    upload.send_data(message, true).unwrap();
    async move {
        let (head, mut body) = answer.await.unwrap().into_parts();
        if head.headers.contains_key("grpc-status") {
            return Err(head.headers);
        }
        match body.data().await {
            Some(first) => {
                first.unwrap();
                Ok(body)
            }
            None => Err(body.trailers().await.unwrap().expect("a status")),
        }
    }
}

#[track_caller]
fn assert_refused(trailers: &HeaderMap) {
    let refused = Status::from_header_map(trailers).unwrap();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "CALLER_LIMIT_EXCEEDED".into()), "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
}

#[tokio::test]
async fn what_is_read_makes_room_for_the_next_reply() {
    const REPLY: usize = 60_000;
    let options = Options { max_unread: REPLY + REPLY / 2, ..Options::default() };
    let service = tower::service_fn(|_: Request<RequestBody>| async {
        let body = tonic::body::Body::new(Full::from(framed(0, REPLY - 5, &[7; REPLY - 5])));
        Ok::<_, Infallible>(Response::new(body.into()))
    });
    let listening = Listening::start(options, service).await;
    let (mut send, connection) = narrow(&listening.address.to_string(), 1_000).await;
    let mut first = begun(&mut send, GET_BACKEND, Bytes::new()).await.await.expect("there is room");
    let second = begun(&mut send, GET_BACKEND, Bytes::new()).await.await;
    assert_refused(&second.expect_err("there is no room for two"));
    let mut read = 1_000;
    first.flow_control().release_capacity(read).unwrap();
    while let Some(data) = first.data().await {
        let length = data.unwrap().len();
        first.flow_control().release_capacity(length).unwrap();
        read += length;
    }
    assert_eq!(read, REPLY);
    assert!(begun(&mut send, GET_BACKEND, Bytes::new()).await.await.is_ok());
    connection.abort();
}

#[tokio::test]
async fn replies_of_which_a_byte_is_taken_hold_a_bounded_amount() {
    // h2 takes it for an attack when more streams than this are reset because they are refused.
    const ASKED: usize = 1_000;
    let victim = Victim::start().await;
    let (mut send, connection) = narrow(&victim.served.address, 1).await;
    let attack = async {
        let answers = FuturesUnordered::new();
        for _ in 0..ASKED {
            answers.push(begun(&mut send, REFLECTION, question()).await);
        }
        let answers: Vec<_> = answers.collect().await;
        answers
    };
    let answers = victim.withstands(attack).await;
    let held = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().find_map(|answer| answer.as_ref().err());
    assert_refused(refused.unwrap_or_else(|| panic!("all {held} are held")));
    assert!(held > 0);
    connection.abort();
}

#[tokio::test]
async fn a_peer_that_reads_nothing_at_all_holds_a_bounded_amount() {
    let ask = |path: &str, message: Bytes| {
        let block = call(path);
        move |stream| {
            [frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, END_STREAM, stream, &message)].concat()
        }
    };
    // Large replies, and refusals, which no window holds back.
    let large = ask(REFLECTION, question());
    let refusal = ask(GET_BACKEND, framed(0, 0, b""));
    for (method, one) in [("ServerReflectionInfo", large), ("GetBackend", refusal)] {
        let victim = Victim::start().await;
        let attack = async {
            let mut stream = TcpStream::connect(&victim.served.address).await.unwrap();
            let window = frame(WINDOW_UPDATE, 0, 0, &WIDE.to_be_bytes());
            stream.write_all(&[opening(WIDE), window].concat()).await.unwrap();
            for number in 0..STREAMS {
                stream.write_all(&one(number * 2 + 1)).await.unwrap();
            }
            eventually("all of them were answered", async || {
                let (_, text) = admin_at(victim.served.admin, "GET", "/metrics", "").await;
                let label = format!("grpc_method=\"{method}\"");
                Scrape::parse(&text).sum("grpc_server_started_total", &[&label]) >= f64::from(STREAMS)
            })
            .await;
            stream
        };
        drop(victim.withstands(attack).await);
    }
}
