//! Carries one simulated upstream over HTTP/1.1, and does to its replies what the faults say.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::fault::{FaultKind, Traffic};
use super::http::{Refusal, Reply, Request, Upstream};

/// Larger than any request that the three systems know.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Room for a request line with the longest page token.
const MAX_HEAD: usize = 256 * 1024;

const MAX_CONNECTIONS: usize = 2_048;

const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// One upstream with its traffic.
pub(crate) struct Mounted {
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) traffic: Traffic,
    pub(crate) clock: Arc<Clock>,
    pub(crate) latency: Duration,
}

/// Accepts until cancelled. Every connection is a task of the tracker and ends with the token.
pub(crate) async fn accept(
    listener: TcpListener,
    mounted: Arc<Mounted>,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Beyond the cap a connection is closed at once: a sandbox has no queue worth keeping.
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
                let (mounted, cancel) = (Arc::clone(&mounted), cancel.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = connection(stream, mounted) => {}
                    }
                    drop(slot);
                });
            }
            // Out of file descriptors, or the peer is already gone: wait instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(stream: TcpStream, mounted: Arc<Mounted>) {
    // Small replies are written whole, so waiting to merge them would only cost time.
    drop(stream.set_nodelay(true));
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (mounted, reset) = (Arc::clone(&mounted), Arc::clone(&reset));
        // Boxed because hyper gives the socket back only from a connection that may move.
        Box::pin(async move { answer(request, &mounted, &reset).await })
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Without lingering, dropping the socket sends RST instead of FIN.
        drop(stream.set_zero_linger());
    } else if ended.is_ok() {
        let mut stream = stream;
        drop(tokio::io::AsyncWriteExt::shutdown(&mut stream).await);
    }
}

/// Ends the connection without a reply.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by a fault")]
struct Cut;

async fn answer(
    request: http::Request<Incoming>,
    mounted: &Mounted,
    reset: &AtomicBool,
) -> Result<Response<ReplyBody>, Cut> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let reply = Reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
            return Ok(respond(reply, &mounted.clock, false));
        }
    };
    let request = Request {
        method: head.method,
        raw_path: head.uri.path().to_owned(),
        raw_query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let operation = mounted.upstream.operation(&request);
    let sequence = mounted.traffic.arrive(operation, &request.raw_path);
    let strike = mounted.traffic.strike(sequence, operation);
    let wait = strike.delay.saturating_add(mounted.latency);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let cut = || {
        reset.store(true, Ordering::Relaxed);
        Cut
    };
    let upstream = &mounted.upstream;
    let (reply, truncated) = match strike.kind {
        None | Some(FaultKind::Delay { .. }) => (upstream.handle(&request), false),
        Some(FaultKind::Throttle { retry_after }) => {
            let reply = upstream.refusal(Refusal::Throttled);
            let reply = match retry_after {
                Some(seconds) => reply.header("retry-after", &seconds.to_string()),
                None => reply,
            };
            (reply, false)
        }
        Some(FaultKind::Quota) => (upstream.refusal(Refusal::Quota), false),
        Some(FaultKind::Status { status }) => (upstream.refusal(Refusal::Status(code(status))), false),
        Some(FaultKind::Html { status }) => (html(code(status)), false),
        Some(FaultKind::Truncate) => (upstream.handle(&request), true),
        Some(FaultKind::WrongJson) => {
            let done = upstream.handle(&request);
            (
                Reply::with_type(done.status, "application/json", r#"[{"unexpected":[1,null,"shape"]},7]"#),
                false,
            )
        }
        Some(FaultKind::ResetBefore) => return Err(cut()),
        Some(FaultKind::ResetAfter) => {
            upstream.handle(&request);
            return Err(cut());
        }
        Some(FaultKind::Redirect { location }) => {
            let mut reply = Reply::empty(StatusCode::TEMPORARY_REDIRECT);
            if let Ok(location) = HeaderValue::from_str(&location) {
                reply.headers.insert(LOCATION, location);
            }
            (reply, false)
        }
        Some(FaultKind::Swallow) => (upstream.handle_swallowed(&request), false),
        Some(FaultKind::Silent) => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
        Some(FaultKind::Reply { status, headers, body }) => {
            let mut reply = Reply::empty(code(status));
            reply.body = body.into();
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
                {
                    reply.headers.insert(name, value);
                }
            }
            (reply, false)
        }
    };
    mounted.traffic.finish(sequence, reply.status.as_u16());
    Ok(respond(reply, &mounted.clock, truncated))
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn html(status: StatusCode) -> Reply {
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{status}</title></head>\n\
         <body><center><h1>{status}</h1></center><hr></body></html>\n"
    );
    Reply::with_type(status, "text/html; charset=utf-8", page)
}

fn respond(reply: Reply, clock: &Clock, truncated: bool) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(Some(reply.body.clone())));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    // The simulated clock, not the real one: a client that compares an upstream's times with its Date header
    // must find them on the same clock.
    let date = httpdate::fmt_http_date(UNIX_EPOCH + clock.now());
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(DATE, date);
    }
    if truncated {
        let announced = reply.body.len() + 64;
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(announced));
        let half = reply.body.slice(..reply.body.len() / 2);
        *response.body_mut() = ReplyBody::Cut { rest: Some(half), flushed: false, announced };
    }
    response
}

/// A reply's bytes, whole or cut short.
#[derive(Debug)]
enum ReplyBody {
    Whole(Option<Bytes>),
    Cut { rest: Option<Bytes>, flushed: bool, announced: usize },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Self::Cut { rest, flushed, .. } => {
                if let Some(bytes) = rest.take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                if !*flushed {
                    // Gives the connection one turn to write what it has before the error ends it.
                    *flushed = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Cut { announced, .. } => SizeHint::with_exact(*announced as u64),
        }
    }
}
