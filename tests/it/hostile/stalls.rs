//! Peers that stop reading, or writing, or are gone without a word.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, StreamBody};
use testgate::proto::v1;
use testgate::server::{Options, RequestBody, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use super::Victim;
use super::frames::{END_HEADERS, END_STREAM, HEADERS, PREFACE, WINDOW_UPDATE, call, frame, opening};
use crate::guard::{Authority, Pair};
use crate::listener::Listening;
use crate::process::Serving;
use crate::support::{Client, PATIENCE, World};

const MOMENT: Duration = Duration::from_millis(100);

/// `/t/Endless` never ends and never waits, `/t/Idle` never says anything, the rest is answered at once.
fn scripted() -> impl Service {
    tower::service_fn(|request: Request<RequestBody>| async move {
        let body = match request.uri().path() {
            "/t/Endless" => {
                let frame = || Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(&[0; 16 * 1024])));
                tonic::body::Body::new(StreamBody::new(futures_util::stream::repeat_with(frame)))
            }
            "/t/Idle" => tonic::body::Body::new(StreamBody::new(futures_util::stream::pending::<
                Result<http_body::Frame<Bytes>, Status>,
            >())),
            _ => tonic::body::Body::new(Full::from(&b"\0\0\0\0\x02hi"[..])),
        };
        Ok::<_, Infallible>(Response::new(body.into()))
    })
}

/// Room for one connection, and little patience with it.
fn impatient() -> Options {
    Options { max_connections: 1, ping_interval: MOMENT, ping_timeout: MOMENT, ..Options::default() }
}

async fn answered(listening: &Listening) -> bool {
    let Ok(stream) = TcpStream::connect(listening.address).await else { return false };
    let Ok((send, connection)) = h2::client::handshake(stream).await else { return false };
    let connection = tokio::spawn(connection);
    let request = Request::post("http://test/t/Call").body(()).unwrap();
    let answered = async { send.ready().await?.send_request(request, true)?.0.await }.await.is_ok();
    connection.abort();
    answered
}

async fn until_the_slot_is_free(listening: &Listening) {
    let freed = async { while !answered(listening).await {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("the slot was not freed");
}

#[tokio::test]
async fn row_06_a_half_open_client_is_freed_within_the_keepalive_time() {
    let listening = Listening::start(impatient(), scripted()).await;
    // It opens a stream, and then nothing of it is ever heard again: not even that it is gone.
    let mut gone = TcpStream::connect(listening.address).await.unwrap();
    let bytes = [opening(65_535), frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("/t/Idle"))].concat();
    gone.write_all(&bytes).await.unwrap();
    until_the_slot_is_free(&listening).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_freed_though_no_ping_reaches_it() {
    let listening = Listening::start(impatient(), scripted()).await;
    let mut deaf = TcpStream::connect(listening.address).await.unwrap();
    // Windows so wide that the socket's own buffers are what fills up.
    let wide = i32::MAX as u32;
    let bytes = [
        opening(wide),
        frame(WINDOW_UPDATE, 0, 0, &(wide - 65_535).to_be_bytes()),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("/t/Endless")),
    ]
    .concat();
    deaf.write_all(&bytes).await.unwrap();
    until_the_slot_is_free(&listening).await;
}

#[tokio::test]
async fn a_client_that_stops_within_a_frame_is_freed() {
    let listening = Listening::start(impatient(), scripted()).await;
    let mut slow = TcpStream::connect(listening.address).await.unwrap();
    let call = frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("/t/Call"));
    slow.write_all(&[&opening(65_535)[..], &call[..call.len() / 2]].concat()).await.unwrap();
    until_the_slot_is_free(&listening).await;
}

#[tokio::test]
async fn a_stream_whose_reader_takes_nothing_is_reset_and_the_others_go_on() {
    let options = Options { stall_timeout: 2 * MOMENT, ..Options::default() };
    let listening = Listening::start(options, scripted()).await;
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let get = |path: &str| Request::post(format!("http://test{path}")).body(()).unwrap();
    let mut send = send.ready().await.unwrap();
    let mut body = send.send_request(get("/t/Endless"), true).unwrap().0.await.unwrap().into_body();
    let reset = async {
        loop {
            // What is taken is never acknowledged, so that the window fills up and stays full.
            if let Err(error) = body.data().await.expect("no end") {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, reset).await.expect("no reset came");
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    // Gives back the connection's window, which the call after it needs.
    drop(body);
    assert!(send.ready().await.unwrap().send_request(get("/t/Call"), true).unwrap().0.await.is_ok());
    connection.abort();
}

#[tokio::test]
async fn hundreds_that_dribble_their_first_bytes_are_closed_in_time() {
    let options = Options { preface_timeout: 5 * MOMENT, ..Options::default() };
    let listening = Listening::start(options, scripted()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        stream.write_all(&PREFACE[..1]).await.unwrap();
        slow.push(stream);
    }
    assert!(answered(&listening).await);
    for mut stream in slow {
        // More bytes buy no more time.
        drop(stream.write_all(&PREFACE[1..2]).await);
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "it is still open");
    }
}

#[tokio::test]
async fn hundreds_of_silent_connections_cost_little_and_harm_nobody() {
    let victim = Victim::start().await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(&victim.served.address).await.unwrap();
            let half =
                [&opening(65_535)[..], &frame(HEADERS, END_HEADERS, 1, &call("/t/Call"))[..20]].concat();
            stream.write_all(&half).await.unwrap();
            held.push(stream);
        }
        held
    };
    drop(victim.withstands(attack).await);
}

#[tokio::test]
async fn row_18_a_thousand_half_client_hellos_are_closed_in_time_and_harm_nobody() {
    const HALVES: usize = 1_000;
    let authority = Authority::new("ours");
    let Pair { certificate, key } = authority.issue("gateway.example");
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    std::fs::write(serving.folder().join("tls.crt"), certificate).unwrap();
    std::fs::write(serving.folder().join("tls.key"), key).unwrap();
    serving.append("[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n");
    let served = serving.start().await;
    let channel = authority.channel(&served.address, "gateway.example", None).await.unwrap();
    let victim = Victim { served, bystander: Client::new(channel), _world: world, backends: 3 };

    // A record that announces 512 bytes, the head of a ClientHello, and no more.
    let half = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 200]].concat();
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..HALVES {
            let mut stream = TcpStream::connect(&victim.served.address).await.unwrap();
            stream.write_all(&half).await.unwrap();
            held.push(stream);
        }
        // A newcomer is served beside them.
        let newcomer = authority.channel(&victim.served.address, "gateway.example", None).await.unwrap();
        assert!(Client::new(newcomer).list_backends(v1::ListBackendsRequest::default()).await.is_ok());
        for mut stream in held {
            // Closed or reset, but not left open.
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
    };
    victim.withstands(attack).await;
}
