use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use http_body_util::{Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::*;
use crate::config::ListenAddr;

mod rotation;

const FRAME: &[u8] = b"\0\0\0\0\x02hi";

/// A server on a port of its own, and what it needs to be stopped.
struct Served {
    address: SocketAddr,
    lifecycle: Lifecycle,
    tasks: Tasks,
    drained: oneshot::Receiver<Result<(), Unfinished>>,
}

impl Served {
    async fn start(options: Options, service: impl Service) -> Self {
        let bound = bind(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
        let ListenAddr::Tcp(address) = *bound.address() else { panic!("a TCP address") };
        let (tasks, lifecycle) = (Tasks::new(), Lifecycle::new());
        lifecycle.serve();
        let (done, drained) = oneshot::channel();
        let of_task = lifecycle.clone();
        tasks.spawn("server", async move {
            drop(done.send(serve(vec![bound], service, options, of_task).await));
        });
        Self { address, lifecycle, tasks, drained }
    }

    async fn connect(&self) -> SendRequest<Bytes> {
        self.connect_watched().await.0
    }

    /// A connection, and how it ends.
    async fn connect_watched(&self) -> (SendRequest<Bytes>, oneshot::Receiver<Result<(), h2::Error>>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let (ended, end) = oneshot::channel();
        self.tasks.spawn("client", async move { drop(ended.send(connection.await)) });
        (send, end)
    }

    /// Drains, and says what came of it and how long it took.
    async fn drain(self) -> (Result<(), Unfinished>, Duration) {
        let start = Instant::now();
        self.lifecycle.drain();
        (self.drained.await.unwrap(), start.elapsed())
    }
}

fn quick() -> Options {
    Options { drain_timeout: Duration::from_secs(4), ..Options::default() }
}

/// A service of tonic's.
fn tonics(routes: tonic::service::Routes) -> impl Service {
    tower::ServiceExt::<Request<RequestBody>>::map_response(routes, |response| response.map(ReplyBody::from))
}

/// One method for each way a service can behave.
fn scripted() -> impl Service {
    tower::service_fn(|request: Request<RequestBody>| async move {
        let body = match request.uri().path() {
            "/t.T/Hang" | "/testgate.v1.TestExecutionService/WaitExecution" => std::future::pending().await,
            "/t.T/Slow" => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                tonic::body::Body::new(Full::from(FRAME))
            }
            "/t.T/Panic" => panic!("on purpose"),
            "/t.T/Deadline" => {
                let deadline = request.extensions().get::<Deadline>().copied();
                assert!(deadline.is_some() && !request.headers().contains_key("grpc-timeout"));
                tonic::body::Body::new(Full::from(FRAME))
            }
            "/t.T/Endless" => {
                // Large, because h2 takes a flood of small frames for an attack.
                let frame = || Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(&[0; 16 * 1024])));
                tonic::body::Body::new(StreamBody::new(futures_util::stream::repeat_with(frame)))
            }
            path => {
                let panics = path == "/t.T/StreamPanic";
                let frame = Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(FRAME)));
                let rest = futures_util::stream::once(async move {
                    assert!(!panics, "on purpose");
                    std::future::pending().await
                });
                let frames = futures_util::StreamExt::chain(futures_util::stream::iter([frame]), rest);
                tonic::body::Body::new(StreamBody::new(frames))
            }
        };
        Ok(Response::new(body.into()))
    })
}

struct Answer {
    data: usize,
    status: Status,
    headers_only: bool,
}

impl Answer {
    #[track_caller]
    fn assert(&self, code: Code, reason: &str) {
        assert_eq!(self.status.code(), code, "{:?}", self.status);
        let details = self.status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "testgate.dev"));
    }
}

async fn call(client: &SendRequest<Bytes>, path: &str, timeout: Option<&str>) -> Result<Answer, h2::Error> {
    let mut request = Request::post(format!("http://test{path}")).header("content-type", "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let mut client = client.clone().ready().await?;
    let (response, _) = client.send_request(request.body(()).unwrap(), true)?;
    let (head, mut body) = response.await?.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Ok(Answer { data: 0, status, headers_only: true });
    }
    let mut data = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        data += chunk.len();
        body.flow_control().release_capacity(chunk.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| Status::ok(""));
    Ok(Answer { data, status, headers_only: false })
}

#[tokio::test]
async fn a_unary_call_ends_at_its_deadline_in_headers_alone() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    let answer = call(&client, "/t.T/Hang", Some("50m")).await.unwrap();
    answer.assert(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(answer.headers_only);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_in_trailers() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    let answer = call(&client, "/t.T/Stream", Some("50m")).await.unwrap();
    answer.assert(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!((answer.headers_only, answer.data), (false, FRAME.len()));
}

#[tokio::test]
async fn a_stream_that_never_waits_ends_at_its_deadline_too() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    let answer = call(&client, "/t.T/Endless", Some("50m")).await.unwrap();
    answer.assert(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn handlers_see_the_deadline_and_not_the_header() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    let answer = call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
    assert_eq!(answer.data, FRAME.len());
}

#[tokio::test]
async fn a_malformed_timeout_is_the_callers_mistake() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    for timeout in ["soon", "123456789S", "-1S"] {
        let answer = call(&client, "/t.T/Deadline", Some(timeout)).await.unwrap();
        answer.assert(Code::InvalidArgument, "FIELD_INVALID");
        let violations = answer.status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "grpc-timeout");
    }
}

#[tokio::test]
async fn a_panic_is_internal_and_the_connection_lives_on() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    call(&client, "/t.T/Panic", None).await.unwrap().assert(Code::Internal, "INTERNAL_ERROR");
    let answer = call(&client, "/t.T/StreamPanic", None).await.unwrap();
    answer.assert(Code::Internal, "INTERNAL_ERROR");
    assert_eq!(answer.data, FRAME.len());
    assert!(call(&client, "/t.T/Deadline", Some("5S")).await.is_ok());
}

#[tokio::test]
async fn calls_before_serving_are_told_to_come_back() {
    let bound = bind(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
    let ListenAddr::Tcp(address) = *bound.address() else { panic!("a TCP address") };
    let (tasks, lifecycle) = (Tasks::new(), Lifecycle::new());
    let server = serve(vec![bound], scripted(), quick(), lifecycle.clone());
    let (_done, drained) = oneshot::channel();
    let served = Served { address, lifecycle, tasks, drained };
    let client = async {
        let client = served.connect().await;
        call(&client, "/t.T/Deadline", Some("5S")).await.unwrap()
    };
    let answer = tokio::select! { answer = client => answer, _ = server => panic!("the server ended") };
    answer.assert(Code::Unavailable, "GATEWAY_STARTING");
    assert!(answer.status.get_details_retry_info().is_some());
    assert!(answer.status.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn row_02_a_drain_does_not_wait_for_a_mute_connection() {
    let served = Served::start(quick(), scripted()).await;
    let mut mute = TcpStream::connect(served.address).await.unwrap();
    // A call on a later connection proves that the mute one has been accepted.
    let client = served.connect().await;
    call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
    let (drained, took) = served.drain().await;
    assert_eq!(drained, Ok(()));
    assert!(took < Duration::from_secs(2), "{took:?}");
    // The server's settings may have come; what matters is that the connection is over.
    assert!(mute.read_to_end(&mut Vec::new()).await.is_ok());
}

#[tokio::test]
async fn a_mute_connection_is_closed_after_the_preface_timeout() {
    let options = Options { preface_timeout: Duration::from_millis(50), ..quick() };
    let served = Served::start(options, scripted()).await;
    for opening in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut mute = TcpStream::connect(served.address).await.unwrap();
        mute.write_all(opening).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(5), mute.read_to_end(&mut Vec::new())).await;
        // Closed or reset, but not left open.
        assert!(closed.is_ok(), "{opening:?}");
    }
}

#[tokio::test]
async fn a_drain_ends_streams_that_do_not_end_themselves() {
    let served = Served::start(quick(), scripted()).await;
    let client = served.connect().await;
    let stream = call(&client, "/t.T/Stream", None);
    let lifecycle = served.lifecycle.clone();
    let settled = async {
        // The second call proves that the first has reached the server.
        call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
        lifecycle.drain();
    };
    let (answer, ()) = tokio::join!(stream, settled);
    let answer = answer.unwrap();
    answer.assert(Code::Unavailable, "GATEWAY_DRAINING");
    assert!(answer.status.get_details_retry_info().is_some());
    let (drained, took) = served.drain().await;
    assert_eq!(drained, Ok(()));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_call_under_way_finishes_in_the_drain() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let (lifecycle, of_call) = (Lifecycle::new(), Arc::clone(&begun));
    let of_service = lifecycle.clone();
    let service = tower::service_fn(move |_request: Request<RequestBody>| {
        of_call.notify_one();
        let draining = of_service.draining();
        async move {
            draining.await;
            // Past the drain's first steps, so that the call ends after them and not before.
            tokio::task::yield_now().await;
            Ok(Response::new(tonic::body::Body::new(Full::from(FRAME)).into()))
        }
    });
    let bound = bind(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
    let ListenAddr::Tcp(address) = *bound.address() else { panic!("a TCP address") };
    lifecycle.serve();
    let server = serve(vec![bound], service, quick(), lifecycle.clone());
    let (_done, drained) = oneshot::channel();
    let served = Served { address, lifecycle, tasks: Tasks::new(), drained };
    let client = async {
        let client = served.connect().await;
        let settled = async {
            begun.notified().await;
            served.lifecycle.drain();
        };
        let (answer, ()) = tokio::join!(call(&client, "/t.T/Late", Some("5S")), settled);
        assert_eq!(answer.unwrap().data, FRAME.len());
    };
    let (drained, ()) = tokio::join!(server, client);
    assert_eq!(drained, Ok(()));
}

#[tokio::test]
async fn a_call_that_hangs_is_cut_before_the_drain_timeout() {
    let options = Options { drain_timeout: Duration::from_millis(500), ..quick() };
    let served = Served::start(options, scripted()).await;
    let client = served.connect().await;
    let hanging = call(&client, "/t.T/Hang", None);
    let lifecycle = served.lifecycle.clone();
    let settled = async {
        call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
        lifecycle.drain();
        Instant::now()
    };
    let (hung, start) = tokio::join!(hanging, settled);
    assert!(hung.is_err());
    let drained = served.drained.await.unwrap();
    assert_eq!(drained.unwrap_err().0.values().sum::<usize>(), 1);
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn row_17_the_connection_over_the_cap_is_closed_and_the_others_keep_working() {
    let options = Options { max_connections: 1, ..quick() };
    let served = Served::start(options, scripted()).await;
    let client = served.connect().await;
    call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
    let mut extra = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(extra.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    call(&client, "/t.T/Deadline", Some("5S")).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_a_health_watch_and_new_connections_are_refused() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let served = Served::start(quick(), tonics(tonic::service::Routes::new(health))).await;
    let endpoint = format!("http://{}", served.address).parse::<tonic::transport::Endpoint>().unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let address = served.address;
    let (drained, took) = served.drain().await;
    assert_eq!(drained, Ok(()));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_over_the_limit_is_told_apart() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(8);
    let served = Served::start(quick(), tonics(tonic::service::Routes::new(health))).await;
    let endpoint = format!("http://{}", served.address).parse::<tonic::transport::Endpoint>().unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let status = client.check(HealthCheckRequest { service: "x".repeat(100) }).await.unwrap_err();
    Answer { data: 0, status, headers_only: true }.assert(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = ListenAddr::Unix(path.clone());
    let bound = bind(&address).await.unwrap();
    let error = bind(&address).await.unwrap_err();
    assert!(error.to_string().contains("t.sock"), "{error}");
    drop(bound);
    assert!(!path.exists());
    std::fs::write(&path, "not a socket").unwrap();
    assert!(bind(&address).await.is_err());
    assert!(path.exists());
}

#[tokio::test]
async fn a_unix_socket_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.sock");
    let bound = bind(&ListenAddr::Unix(path.clone())).await.unwrap();
    let lifecycle = Lifecycle::new();
    lifecycle.serve();
    let server = serve(vec![bound], scripted(), quick(), lifecycle.clone());
    let client = async {
        let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let answer = tokio::select! {
            answer = call(&send, "/t.T/Deadline", Some("5S")) => answer.unwrap(),
            _ = connection => panic!("the connection ended"),
        };
        assert_eq!(answer.data, FRAME.len());
        lifecycle.drain();
    };
    let (drained, ()) = tokio::join!(server, client);
    assert_eq!(drained, Ok(()));
    assert!(!path.exists());
}

#[test]
fn only_too_large_among_out_of_range_is_renamed() {
    let mut headers = HeaderMap::new();
    status::write(&Status::out_of_range("a page past the end"), &mut headers);
    assert_eq!(status::complete(&mut headers), Some(Code::OutOfRange));
}
