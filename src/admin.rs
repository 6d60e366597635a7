//! The admin port: plain HTTP for probes, scrapers and operators.
//!
//! | Path | What it answers |
//! |---|---|
//! | `GET /livez` | 200 while the process runs; depends on no backend |
//! | `GET /readyz` | 200 while calls are answered, else 503; `?verbose` adds a line for each backend |
//! | `GET /metrics` | Prometheus text |
//! | `GET /config` | the configuration as JSON, without secrets |
//! | `GET /loglevel`, `PUT /loglevel` | the log level; the body is the new one |
//! | `POST /drain` | begins the drain, as SIGTERM does |

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::CONTENT_TYPE;
use crate::tasks::{Lifecycle, Phase, Tasks};
use crate::telemetry::LogHandle;

/// Connections at a time; probes and scrapers need few.
const MAX_CONNECTIONS: usize = 64;
/// The longest body that is read, in bytes.
const MAX_BODY: usize = 8 * 1024;
/// How long a request may take to come.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live, so that idle ones don't use the slots up.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// How one part of the gateway is doing, for `/readyz?verbose`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Readiness {
    /// `store`, or `backends/{backend}`.
    pub name: String,
    /// Whether it is usable.
    pub ready: bool,
    /// Whether the gateway is unready without it. No backend is.
    pub required: bool,
    /// Why it is not, in words.
    pub detail: String,
}

/// What the admin port shows and does.
pub struct Admin {
    /// The process's phase; `/drain` changes it.
    pub lifecycle: Lifecycle,
    /// The log level; `None` where the process does not log.
    pub log: Option<Arc<LogHandle>>,
    /// The configuration that holds, without secrets.
    pub config: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// How each part is doing now.
    pub readiness: Box<dyn Fn() -> Vec<Readiness> + Send + Sync>,
    /// All metrics as Prometheus text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// The admin port, bound.
#[derive(Debug)]
pub struct BoundAdmin {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the admin port.
///
/// # Errors
/// The address cannot be bound; the message names it.
pub async fn bind(address: SocketAddr) -> io::Result<BoundAdmin> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    let address = listener.local_addr()?;
    Ok(BoundAdmin { listener, address })
}

impl BoundAdmin {
    /// The address with the port that the system picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until `tasks` are asked to end. It goes on through a drain, so that probes see the drain.
pub async fn serve(bound: BoundAdmin, admin: Arc<Admin>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = tasks.token();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = bound.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Without a free slot the connection is closed as it is dropped.
                if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                    let (admin, stop) = (Arc::clone(&admin), stop.clone());
                    tasks.spawn("admin connection", async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = connection(stream, admin) => {}
                        }
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept connections");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, admin: Arc<Admin>) {
    let service = hyper::service::service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(answer(&admin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_LIFETIME) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin port ended with an error");
    }
}

type Reply = Response<Full<Bytes>>;

async fn answer(admin: &Admin, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let method = match request.method() {
        // hyper leaves out the body of a reply to HEAD by itself.
        &Method::HEAD => Method::GET,
        method => method.clone(),
    };
    match (method, path.as_str()) {
        (Method::GET, "/livez") => text(StatusCode::OK, "ok\n"),
        (Method::GET, "/readyz") => {
            let verbose = request.uri().query().is_some_and(|query| query.split('&').any(is_verbose));
            readyz(admin, verbose)
        }
        (Method::GET, "/metrics") => reply(StatusCode::OK, CONTENT_TYPE, (admin.metrics)()),
        (Method::GET, "/config") => config(admin),
        (Method::GET, "/loglevel") => match &admin.log {
            Some(log) => text(StatusCode::OK, format!("{}\n", log.level())),
            None => text(StatusCode::NOT_FOUND, "this process does not log\n"),
        },
        (Method::PUT, "/loglevel") => set_log_level(admin, request).await,
        (Method::POST, "/drain") => {
            if admin.lifecycle.drain() {
                tracing::info!("asked to drain by the admin port");
            }
            text(StatusCode::ACCEPTED, "draining\n")
        }
        (_, "/livez" | "/readyz" | "/metrics" | "/config") => not_allowed("GET"),
        (_, "/loglevel") => not_allowed("GET, PUT"),
        (_, "/drain") => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "there are /livez /readyz /metrics /config /loglevel /drain\n"),
    }
}

fn is_verbose(part: &str) -> bool {
    matches!(part, "verbose" | "verbose=" | "verbose=1" | "verbose=true")
}

/// A backend that is down is shown, and leaves the gateway ready: the others still answer.
fn readyz(admin: &Admin, verbose: bool) -> Reply {
    let phase = admin.lifecycle.phase();
    let parts = (admin.readiness)();
    let ready = phase == Phase::Serving && parts.iter().all(|part| part.ready || !part.required);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = String::new();
    if verbose {
        let phase = match phase {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        };
        body.push_str(&format!("gateway {phase}\n"));
        for Readiness { name, ready, required: _, detail } in parts {
            let word = if ready { "ready" } else { "unready" };
            let gap = if detail.is_empty() { "" } else { ": " };
            // One line each, whatever an upstream put into the words.
            body.push_str(&format!("{name} {word}{gap}{}\n", detail.replace(['\n', '\r'], " ")));
        }
    }
    body.push_str(if ready { "ready\n" } else { "not ready\n" });
    text(status, body)
}

fn config(admin: &Admin) -> Reply {
    reply(StatusCode::OK, "application/json", format!("{:#}\n", (admin.config)()))
}

async fn set_log_level(admin: &Admin, request: Request<Incoming>) -> Reply {
    let Some(log) = &admin.log else { return text(StatusCode::NOT_FOUND, "this process does not log\n") };
    let body = tokio::time::timeout(READ_TIMEOUT, Limited::new(request.into_body(), MAX_BODY).collect());
    let body = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long or was cut short\n"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
    };
    let set =
        str::from_utf8(&body).map_err(|_| "is not UTF-8".to_owned()).and_then(|level| log.set_level(level));
    match set {
        Ok(()) => {
            let level = log.level();
            tracing::info!(level, "the log level was set by the admin port");
            text(StatusCode::OK, format!("{level}\n"))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("the level {error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    reply
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    reply
}

#[cfg(test)]
mod tests;
