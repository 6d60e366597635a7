//! The one factory of HTTP clients: every upstream call of every adapter leaves through here.
//!
//! Building a TLS client reads the system's roots, which takes milliseconds and megabytes, so it is put off to the
//! first call and shared by all backends with the same trust roots.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
pub use reqwest::{Request, Url};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// DNS, TCP and TLS together. Shorter than any sensible try, so that a connection that never came is told apart
/// from an answer that never came.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// As many as there are ever calls at a time: whoever finds no idle connection dials, which costs more than the call.
const POOL_IDLE_PER_HOST: usize = 512;

/// The clients, one for each set of trust roots and proxy rule. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HttpClients(Arc<Mutex<HashMap<Key, HttpClient>>>);

type Key = (Option<PathBuf>, Proxy);

/// Whether the environment's proxies are used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are honoured.
    Environment,
    /// Never: for the link-local addresses that hand out a machine's own credentials.
    Never,
}

/// A client that is built at its first call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Lazy>);

#[derive(Debug)]
struct Lazy {
    ca_file: Option<PathBuf>,
    proxy: Proxy,
    built: OnceCell<reqwest::Client>,
}

/// A reply, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the start of the try to the end of the body.
    pub elapsed: Duration,
}

/// A call without a whole reply.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What broke.
    pub kind: HttpErrorKind,
    /// Whether a byte of the request may have reached upstream.
    pub sent: bool,
    /// In words; may hold a URL, so clean it before it is shown.
    pub message: String,
}

/// What broke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpErrorKind {
    /// The client itself can't be built: a CA file that is missing or not PEM.
    Setup,
    /// The request can't be expressed, as a URL that is too long.
    Request,
    /// Name resolution, connection refused, connection timed out.
    Connect,
    /// The TLS handshake, most often the certificate.
    Tls,
    /// The try took too long.
    Timeout,
    /// The connection broke after it stood, or the body was cut short.
    Broken,
    /// The body is over the limit.
    TooLarge,
}

impl HttpClients {
    /// The client for a set of extra trust roots.
    pub fn get(&self, ca_file: Option<&Path>, proxy: Proxy) -> HttpClient {
        let key = (ca_file.map(Path::to_owned), proxy);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .entry(key)
            .or_insert_with_key(|(ca_file, proxy)| HttpClient::new(ca_file.clone(), *proxy))
            .clone()
    }
}

impl HttpClient {
    fn new(ca_file: Option<PathBuf>, proxy: Proxy) -> Self {
        Self(Arc::new(Lazy { ca_file, proxy, built: OnceCell::new() }))
    }

    /// Sends one request and reads the reply, both within `timeout`, keeping at most `max_body` bytes.
    ///
    /// # Errors
    /// Whatever kept the reply from being whole, and whether the request may have had an effect all the same.
    pub async fn send(
        &self,
        request: Request,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Response, HttpError> {
        let client = self.client().await?;
        let begun = Instant::now();
        let exchange = async {
            let mut reply = client.execute(request).await.map_err(|error| classify(&error))?;
            let (status, headers) = (reply.status(), std::mem::take(reply.headers_mut()));
            let body = read(reply, max_body).await?;
            Ok(Response { status, headers, body, elapsed: begun.elapsed() })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
            let text = format!("no whole reply within {} ms", timeout.as_millis());
            Err(HttpError::new(HttpErrorKind::Timeout, true, text))
        })
    }

    async fn client(&self) -> Result<&reqwest::Client, HttpError> {
        match self.0.built.get() {
            Some(client) => Ok(client),
            None => self.0.build().await,
        }
    }
}

impl Lazy {
    async fn build(&self) -> Result<&reqwest::Client, HttpError> {
        self.built
            .get_or_try_init(|| async {
                let (ca_file, proxy) = (self.ca_file.clone(), self.proxy);
                // Reads files and parses some hundred certificates.
                tokio::task::spawn_blocking(move || build(ca_file.as_deref(), proxy))
                    .await
                    .unwrap_or_else(|error| Err(error.to_string()))
                    .map_err(|text| HttpError::new(HttpErrorKind::Setup, false, text))
            })
            .await
    }
}

/// A request to send, from one whose URL is text.
///
/// # Errors
/// The URL is none.
pub fn with_parsed_url(request: http::Request<Bytes>) -> Result<Request, HttpError> {
    Request::try_from(request).map_err(|error| HttpError::new(HttpErrorKind::Request, false, chain(&error)))
}

impl HttpError {
    fn new(kind: HttpErrorKind, sent: bool, message: impl Into<String>) -> Self {
        Self { kind, sent, message: message.into() }
    }
}

/// Whether a file holds trust roots.
///
/// # Errors
/// What is wrong with it.
pub fn check_roots(ca_file: &Path) -> Result<(), String> {
    roots(ca_file).map(drop)
}

/// The trust roots of a file; at least one.
fn roots(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} can't be read: {error}"))?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("{shown} is not PEM: {}", chain(&error)))?;
    if roots.is_empty() { Err(format!("{shown} holds no certificate")) } else { Ok(roots) }
}

#[expect(clippy::disallowed_methods, reason = "the one place that builds clients")]
fn build(ca_file: Option<&Path>, proxy: Proxy) -> Result<reqwest::Client, String> {
    // The first random number that AWS-LC gives takes it tens of milliseconds, which the first handshake would
    // spend on the thread that serves. Should it fail, that handshake says so.
    aws_lc_rs::rand::fill(&mut [0]).ok();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("testgate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .tcp_keepalive(Duration::from_secs(30));
    if proxy == Proxy::Never {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        let roots = roots(path).map_err(|rule| format!("ca_file {rule}"))?;
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(|error| chain(&error))
}

/// Reads a body chunk by chunk and lets go of it as soon as it passes the limit.
async fn read(mut reply: reqwest::Response, max_body: usize) -> Result<Bytes, HttpError> {
    let too_large = || {
        HttpError::new(HttpErrorKind::TooLarge, true, format!("the reply is longer than {max_body} bytes"))
    };
    let announced = reply.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > max_body) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = reply.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > max_body {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn classify(error: &reqwest::Error) -> HttpError {
    let text = chain(error);
    let (kind, sent) = if error.is_builder() {
        (HttpErrorKind::Request, false)
    } else if error.is_connect() {
        (if speaks_of_tls(&text) { HttpErrorKind::Tls } else { HttpErrorKind::Connect }, false)
    } else if error.is_timeout() {
        (HttpErrorKind::Timeout, true)
    } else {
        (HttpErrorKind::Broken, true)
    };
    HttpError::new(kind, sent, text)
}

/// The TLS library's own error type is three crates away, so its wording has to do. A handshake that the peer
/// merely cut off is left as a broken connection.
fn speaks_of_tls(text: &str) -> bool {
    ["certificate", "fatal alert", "corrupt message", "InvalidContentType", "incompatible"]
        .iter()
        .any(|word| text.contains(word))
}

/// An error and its causes in one line, without the URL that reqwest adds.
fn chain(error: &reqwest::Error) -> String {
    let mut text = match error.source() {
        None => error.to_string(),
        Some(_) if error.is_connect() => "could not connect".to_owned(),
        Some(_) => "the exchange failed".to_owned(),
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
