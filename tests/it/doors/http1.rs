//! HTTP/1.1, which the doors bring with them, and peers that misuse it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use testgate::config::DoorsConfig;
use testgate::doors::Doors;
use testgate::server::{Options, RequestBody, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use super::curl::curl;
use crate::listener::Listening;
use crate::support::PATIENCE;

const MOMENT: Duration = Duration::from_millis(200);
const PART: usize = 16 * 1024;

/// `/t/Endless` never ends and never waits, and counts what was taken of it; the rest reads its message, and says hi.
fn scripted(taken: Arc<AtomicUsize>) -> impl Service {
    tower::service_fn(move |request: Request<RequestBody>| {
        let taken = Arc::clone(&taken);
        async move {
            if request.uri().path() == "/t/Endless" {
                let frame = move || {
                    taken.fetch_add(PART, Ordering::SeqCst);
                    Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(&[0; PART])))
                };
                let body = StreamBody::new(futures_util::stream::repeat_with(frame));
                return Ok::<_, Infallible>(Response::new(tonic::body::Body::new(body).into()));
            }
            if let Err(status) = request.into_body().collect().await {
                return Ok(status.into_http());
            }
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]);
            let body = Full::from(&b"\0\0\0\0\x02hi"[..]).map_err(|never| match never {});
            let body = body.with_trailers(async { Some(Ok::<_, Status>(trailers)) });
            Ok(Response::new(tonic::body::Body::new(body).into()))
        }
    })
}

fn options() -> Options {
    let config = DoorsConfig { grpc_web: true, connect: true, ..DoorsConfig::default() };
    let doors = Doors::open(&config, &[], 1024).unwrap().map(Arc::new);
    Options { doors, preface_timeout: MOMENT, ..Options::default() }
}

async fn listening(options: Options) -> Listening {
    Listening::start(options, scripted(Arc::default())).await
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: {length}\r\n"
    )
}

async fn connect(listening: &Listening) -> TcpStream {
    TcpStream::connect(listening.address).await.unwrap()
}

/// All that comes until the connection is over. A reset is an end too.
async fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it stays open"));
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_that_comes_slowly_or_never_ends_the_connection() {
    let listening = listening(options()).await;
    for opening in
        ["", "P", "POST / HT", "POST /t/Call HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n"]
    {
        let mut slow = connect(&listening).await;
        slow.write_all(opening.as_bytes()).await.unwrap();
        let said = rest(slow).await;
        assert!(!said.contains("200"), "{opening:?}: {said:?}");
    }
    // A byte now and then does not help.
    let slow = connect(&listening).await;
    let (mut read, mut write) = slow.into_split();
    let dripping = async {
        let line = head("/t/Call", 0);
        for byte in line.bytes().cycle() {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(MOMENT / 20).await;
        }
    };
    let mut said = Vec::new();
    let ended = async { drop(read.read_to_end(&mut said).await) };
    let ended = async {
        tokio::select! { () = ended => {}, () = dripping => {} }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it stays open");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other_and_is_closed_when_it_idles() {
    let listening = listening(options()).await;
    let mut stream = connect(&listening).await;
    let request = head("/t/Call", 0) + "\r\n";
    stream.write_all((request.clone() + &request).as_bytes()).await.unwrap();
    let said = rest(stream).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said:?}");
    assert_eq!(said.matches("hi").count(), 2, "{said:?}");
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused() {
    let listening = listening(options()).await;
    let long = format!("{}x-long: {}\r\n\r\n", head("/t/Call", 0), "x".repeat(17 * 1024));
    let many = format!("{}{}\r\n", head("/t/Call", 0), "x-many: x\r\n".repeat(200));
    for request in [long, many] {
        let mut stream = connect(&listening).await;
        // It may be closed before all is written.
        drop(stream.write_all(request.as_bytes()).await);
        let said = rest(stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said:?}");
    }
}

#[tokio::test]
async fn a_head_of_two_meanings_is_refused() {
    let listening = listening(options()).await;
    for more in ["content-length: 3\r\n", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"] {
        let mut stream = connect(&listening).await;
        let request = format!("{}{more}\r\n0\r\n\r\nPOST /t/Call HTTP/1.1\r\n\r\n", head("/t/Call", 5));
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = rest(stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said:?}");
    }
}

#[tokio::test]
async fn an_early_answer_waits_for_the_rest_of_its_request() {
    let listening = listening(Options { preface_timeout: PATIENCE, ..options() }).await;
    let mut stream = connect(&listening).await;
    // Nobody reads the body of what is no call.
    let refused = head("/t/Call", 4).replace("application/proto", "text/plain") + "connection: close\r\n\r\n";
    stream.write_all(refused.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(MOMENT, stream.readable()).await;
    assert!(early.is_err(), "the connection may be over before the body has come, and the answer lost");
    stream.write_all(b"body").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 415 "));
    // Who never sends it is answered all the same.
    let mut stream = connect(&listening).await;
    stream.write_all(refused.as_bytes()).await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 415 "));
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_its_whole_request_says_that_the_connection_ends() {
    let listening = listening(Options { preface_timeout: PATIENCE, ..options() }).await;
    let refused = |length| head("/t/Call", length).replace("application/proto", "text/plain");
    let mut stream = connect(&listening).await;
    // As much as is waited for.
    let part = [refused(1 << 20).as_bytes(), b"\r\n", &[0; 64 * 1024]].concat();
    stream.write_all(&part).await.unwrap();
    let said = rest(stream).await;
    assert!(said.starts_with("HTTP/1.1 415 ") && said.contains("\r\nconnection: close\r\n"), "{said}");

    let mut stream = connect(&listening).await;
    let whole = refused(4) + "\r\nbody" + &refused(4) + "connection: close\r\n\r\nbody";
    stream.write_all(whole.as_bytes()).await.unwrap();
    let said = rest(stream).await;
    assert_eq!(said.matches("HTTP/1.1 415 ").count(), 2, "{said}");
    assert_eq!(said.matches("\r\nconnection: close\r\n").count(), 1, "{said}");
}

#[tokio::test]
async fn a_body_over_its_limits_is_refused() {
    let listening = listening(Options { max_uploads: 100, ..options() }).await;
    let url = format!("http://{}/t/Call", listening.address);
    let kind = "content-type: application/proto";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl([version, "--header", kind, url.as_str()], &[0; 100]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = curl([version, "--header", kind, url.as_str()], &[0; 101]).await;
        assert_eq!(answer.told(), (429, "resource_exhausted".into(), String::new()), "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("on this connection"), "{message}");
    }
    let listening = self::listening(options()).await;
    let url = format!("http://{}/t/Call", listening.address);
    let answer = curl(["--header", kind, url.as_str()], &[0; 2000]).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.json()["message"].as_str().unwrap().contains("size limit"), "{answer:?}");
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_and_holds_little_until_then() {
    let taken = Arc::new(AtomicUsize::new(0));
    let options = Options {
        max_connections: 1,
        ping_interval: MOMENT,
        ping_timeout: MOMENT,
        preface_timeout: PATIENCE,
        ..options()
    };
    let listening = Listening::start(options, scripted(Arc::clone(&taken))).await;
    let mut deaf = connect(&listening).await;
    let request = "POST /t/Endless HTTP/1.1\r\nhost: x\r\ncontent-type: application/connect+proto\r\n\
                   content-length: 5\r\n\r\n\0\0\0\0\0";
    deaf.write_all(request.as_bytes()).await.unwrap();
    // Its place is the only one, and is free once it is gone.
    let freed = async {
        loop {
            let mut next = connect(&listening).await;
            let request = head("/t/Call", 0) + "connection: close\r\n\r\n";
            let wrote = next.write_all(request.as_bytes()).await;
            if wrote.is_ok() && rest(next).await.contains("200 OK") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the reader keeps its place");
    // The sockets' own buffers take a few MiB, the gateway's a few parts.
    let taken = taken.load(Ordering::SeqCst);
    assert!((PART..32 << 20).contains(&taken), "{taken} bytes were made for nobody");
    drop(deaf);
}
