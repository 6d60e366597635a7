//! A Lex account that costs next to nothing: its executions run for ever and change when they are told to.
//!
//! The sandbox is true to the wire and to the quotas; this is for load that no quota would let through.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The test of all executions.
pub(crate) const TEST: &str = "SET0000001";
/// 2026-11-29, in seconds since 1970. What changes is the last update's distance from it.
const CREATED: u64 = 1_795_900_000;

/// The account. It serves from a thread of its own, as long as the process lives.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// How often each execution has changed.
    versions: Arc<[AtomicU64]>,
}

impl Upstream {
    /// An account with so many executions.
    pub(crate) fn start(executions: usize) -> anyhow::Result<Self> {
        let versions: Arc<[AtomicU64]> = (0..executions).map(|_| AtomicU64::new(0)).collect();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let served = Arc::clone(&versions);
        std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(serve(listener, served)))
        })?;
        Ok(Self { address, versions })
    }

    /// Changes an execution.
    pub(crate) fn change(&self, execution: usize) {
        if let Some(version) = self.versions.get(execution) {
            version.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes them all.
    pub(crate) fn change_all(&self) {
        (0..self.versions.len()).for_each(|execution| self.change(execution));
    }
}

/// An execution's id at upstream.
pub(crate) fn id(execution: usize) -> String {
    format!("E{execution:09}")
}

/// Which execution an id, or a name that ends in one, belongs to.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.rsplit_once('E')?.1.parse().ok()
}

async fn serve(listener: std::net::TcpListener, versions: Arc<[AtomicU64]>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let versions = Arc::clone(&versions);
        let service = service_fn(move |request| answer(request, Arc::clone(&versions)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    versions: Arc<[AtomicU64]>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let parts: Vec<_> = head.uri.path().split('/').skip(1).collect();
    let answered = match (&head.method, parts.as_slice()) {
        (&Method::GET, ["testexecutions", id]) => described(id, &versions),
        (&Method::POST, ["testexecutions"]) => listed(body, &versions).await,
        (&Method::GET, ["testsets", _]) => Ok(test_set().to_string()),
        (&Method::POST, ["testsets"]) => Ok(json!({ "testSets": [test_set()] }).to_string()),
        _ => Err(anyhow::anyhow!("no such call")),
    };
    let (status, text) = match answered {
        Ok(text) => (200, text),
        Err(error) => (400, json!({ "message": error.to_string() }).to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn described(id: &str, versions: &[AtomicU64]) -> anyhow::Result<String> {
    let execution = number(id).context("an id of another kind")?;
    let version = versions.get(execution).context("no such execution")?;
    Ok(row(execution, version))
}

/// A page; the token is the number of its first row.
async fn listed(body: Incoming, versions: &[AtomicU64]) -> anyhow::Result<String> {
    let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let from: usize = body["nextToken"].as_str().map(str::parse).transpose()?.unwrap_or(0);
    let size = body["maxResults"].as_u64().unwrap_or(1000).try_into()?;
    let rows: Vec<_> = versions.iter().enumerate().skip(from).take(size).map(|(n, v)| row(n, v)).collect();
    let next = from + rows.len();
    let token = if next < versions.len() { format!(r#","nextToken":"{next}""#) } else { String::new() };
    Ok(format!(r#"{{"testExecutions":[{}]{token}}}"#, rows.join(",")))
}

fn row(execution: usize, version: &AtomicU64) -> String {
    let (id, updated) = (id(execution), CREATED + version.load(Ordering::Relaxed));
    format!(
        r#"{{"testExecutionId":"{id}","creationDateTime":{CREATED},"lastUpdatedDateTime":{updated},"testExecutionStatus":"InProgress","testSetId":"{TEST}","testSetName":"greeting","target":{{"botAliasTarget":{{"botId":"BOT0000001","botAliasId":"ALIAS00001","localeId":"en_US"}}}},"apiMode":"Streaming","testExecutionModality":"Text"}}"#
    )
}

fn test_set() -> Value {
    json!({ "testSetId": TEST, "testSetName": "greeting", "status": "Ready", "modality": "Text", "numTurns": 1 })
}
