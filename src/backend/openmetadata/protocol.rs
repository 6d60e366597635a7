//! The bearer token, and what OpenMetadata's answers mean when they are not the ones hoped for.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};

use super::wire::{ErrorBody, ServiceReply};
use crate::backend::engine::{Operation, Outgoing, Protocol, Refusal, Response, Retry, effect_if_sent};
use crate::backend::http::{Request, with_parsed_url};
use crate::backend::{BackendError, Effect, ErrorKind};
use crate::config::backend::SecretSource;
use crate::model::Timestamp;

/// A 401 or 404 that took this long comes from a server that has lost its database.
const OUTAGE_IN_DISGUISE: Duration = Duration::from_secs(10);
/// How the framework words a route that is not there; a missing entity has other words.
const ABSENT_ROUTE: &str = "HTTP 404 Not Found";
/// What the words of a missing entity have in common; a proxy's own 404 has none of it.
const ENTITY: &str = " instance for ";
/// What trigger and kill say, with status 200, where no runner is configured.
const RUNNER_DISABLED: &str = "Pipeline Client Disabled";
/// Airflow refused a trigger; whether it ran is lost on the way.
const TRIGGER_REFUSED: &str = "[Failed to trigger IngestionPipeline]";
/// How a 400 begins that is the pipeline service's fault, not the caller's.
const PIPELINE_ERRORS: [&str; 4] = [
    "Pipeline Exception",
    "Failed to deploy pipeline",
    "Failed to trigger pipeline",
    "Failed to kill running workflows",
];
/// Operations whose 200 can hold a refusal.
pub(super) const SERVICE_OPERATIONS: [&str; 2] = ["TriggerPipeline", "KillPipeline"];
/// No token is longer.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Adds the server's address and the token, and reads refusals.
#[derive(Debug)]
pub(super) struct Bearer {
    base_url: String,
    token: Option<Token>,
}

/// The token's source, and what a file held when it was last read.
struct Token {
    source: SecretSource,
    cached: Mutex<Option<Cached>>,
}

#[derive(Clone)]
struct Cached {
    modified: Option<SystemTime>,
    header: HeaderValue,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Bearer {
    pub(super) fn new(base_url: &str, token: Option<SecretSource>) -> Self {
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            token: token.map(|source| Token { source, cached: Mutex::new(None) }),
        }
    }
}

#[async_trait]
impl Protocol for Bearer {
    async fn prepare(&self, outgoing: &Outgoing, _now: Timestamp) -> Result<Request, BackendError> {
        let mut request = http::Request::builder()
            .method(&outgoing.method)
            .uri(format!("{}{}", self.base_url, outgoing.path_and_query))
            .header(ACCEPT, "application/json");
        if !outgoing.body.is_empty() {
            request = request.header(CONTENT_TYPE, outgoing.content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header().await?);
        }
        let request = request.body(outgoing.body.clone()).map_err(|error| inexpressible(&error))?;
        with_parsed_url(request).map_err(|error| inexpressible(&error))
    }

    fn classify(&self, operation: &Operation, response: &Response) -> Result<(), Refusal> {
        let answer = Answer {
            status: response.status,
            challenged: response.headers.contains_key(WWW_AUTHENTICATE),
            body: &response.body,
            elapsed: response.elapsed,
        };
        let renewable = matches!(&self.token, Some(Token { source: SecretSource::File(_), .. }));
        match refusal(operation, &answer) {
            Some(mut refused) => {
                if refused.kind == ErrorKind::BackendCredentialsInvalid
                    && answer.status == StatusCode::UNAUTHORIZED
                    && renewable
                {
                    refused.retry = Retry::Renewed;
                }
                Err(refused)
            }
            None => Ok(()),
        }
    }

    async fn renew(&self) {
        if let Some(token) = &self.token {
            *token.lock() = None;
        }
    }
}

impl Token {
    /// The header for the next request. A file is read again when its modification time has changed.
    async fn header(&self) -> Result<HeaderValue, BackendError> {
        match &self.source {
            SecretSource::Fixed(value) => header(value, "the fixed token"),
            SecretSource::Env(name) => match std::env::var(name) {
                Ok(value) => header(&value, &format!("the environment variable {name}")),
                Err(_) => Err(no_token(&format!("the environment variable {name} is not set"))),
            },
            SecretSource::File(path) => self.read_file(path).await,
        }
    }

    async fn read_file(&self, path: &Path) -> Result<HeaderValue, BackendError> {
        let shown = path.display();
        let unreadable =
            |error: std::io::Error| no_token(&format!("token_file {shown} can't be read: {error}"));
        let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
        let modified = metadata.modified().ok();
        let cached = self.lock().clone();
        if let Some(cached) = cached
            && modified.is_some()
            && cached.modified == modified
        {
            return Ok(cached.header);
        }
        if metadata.len() > MAX_TOKEN_BYTES {
            return Err(no_token(&format!("token_file {shown} is too large for a token")));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
        let header = header(&text, &format!("token_file {}", PathBuf::from(path).display()))?;
        *self.lock() = Some(Cached { modified, header: header.clone() });
        Ok(header)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Cached>> {
        // Nothing panics while it is held.
        self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn header(token: &str, source: &str) -> Result<HeaderValue, BackendError> {
    let token = token.trim();
    if token.is_empty() {
        return Err(no_token(&format!("{source} is empty")));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| no_token(&format!("{source} holds characters that no token has")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn no_token(why: &str) -> BackendError {
    BackendError::new(ErrorKind::BackendCredentialsInvalid, format!("no OpenMetadata token: {why}"))
}

/// What of a reply decides.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    /// Whether it came with `WWW-Authenticate`, which the server puts on refusals of its own making.
    pub(super) challenged: bool,
    pub(super) body: &'a [u8],
    pub(super) elapsed: Duration,
}

/// What a reply refuses; `None` for a good one.
pub(super) fn refusal(operation: &Operation, answer: &Answer<'_>) -> Option<Refusal> {
    if !answer.status.is_success() {
        let parsed: Option<ErrorBody> = serde_json::from_slice(answer.body).ok();
        let is_json = parsed.as_ref().is_some_and(|body| body.code.is_some() || body.message.is_some());
        let message =
            parsed.and_then(|body| body.message).unwrap_or_else(|| plain(answer.body, answer.status));
        return Some(judge(operation, answer.status, is_json, &message, answer));
    }
    if !SERVICE_OPERATIONS.contains(&operation.name) {
        return None;
    }
    let reply: ServiceReply = serde_json::from_slice(answer.body).ok()?;
    if reply.reason.trim() == RUNNER_DISABLED {
        return Some(Refusal {
            kind: ErrorKind::PipelineClientDisabled,
            code: String::new(),
            message: "this OpenMetadata server runs without a pipeline client".to_owned(),
            effect: Effect::None,
            retry: Retry::Never,
        });
    }
    let inner = reply.code.filter(|code| *code >= 400)?;
    let status = u16::try_from(inner).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let mut refused =
        judge(operation, status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), true, &reply.reason, answer);
    refused.code = inner.to_string();
    Some(refused)
}

fn judge(
    operation: &Operation,
    status: StatusCode,
    is_json: bool,
    message: &str,
    answer: &Answer<'_>,
) -> Refusal {
    let possible = effect_if_sent(operation);
    let slow = answer.elapsed >= OUTAGE_IN_DISGUISE;
    let pipeline = PIPELINE_ERRORS.iter().any(|begin| message.starts_with(begin));
    let (kind, effect, retry) = match status.as_u16() {
        401 | 404 if slow => (ErrorKind::UpstreamUnreachable, Effect::None, Retry::Backoff),
        400 if pipeline && message.contains(TRIGGER_REFUSED) => {
            (ErrorKind::UpstreamInternal, possible, Retry::Never)
        }
        400 if pipeline => (ErrorKind::PipelineServiceUnavailable, possible, Retry::Backoff),
        400 => (ErrorKind::UpstreamInvalidArgument, Effect::None, Retry::Never),
        401 => (ErrorKind::BackendCredentialsInvalid, Effect::None, Retry::Never),
        403 => (ErrorKind::BackendAccessDenied, Effect::None, Retry::Never),
        404 if message.starts_with("user instance for") => {
            (ErrorKind::BackendCredentialsInvalid, Effect::None, Retry::Never)
        }
        404 if is_json && message != ABSENT_ROUTE && (answer.challenged || message.contains(ENTITY)) => {
            (ErrorKind::UpstreamNotFound, Effect::None, Retry::Never)
        }
        409 | 412 => (ErrorKind::UpstreamConflict, Effect::None, Retry::Never),
        429 => (ErrorKind::UpstreamThrottled, Effect::None, Retry::Throttled),
        500..=599 => (ErrorKind::UpstreamInternal, possible, Retry::Backoff),
        _ => (ErrorKind::UpstreamUnrecognized, Effect::None, Retry::Never),
    };
    let message = if slow && kind == ErrorKind::UpstreamUnreachable {
        format!(
            "OpenMetadata took {} s to say {status}: its database is away ({message})",
            answer.elapsed.as_secs()
        )
    } else {
        message.to_owned()
    };
    Refusal { kind, code: status.as_u16().to_string(), message, effect, retry }
}

/// The words of a body that is not the error object, as a proxy's page.
fn plain(body: &[u8], status: StatusCode) -> String {
    let text = String::from_utf8_lossy(body.get(..body.len().min(512)).unwrap_or_default()).into_owned();
    if text.trim().is_empty() || text.trim_start().starts_with('<') {
        format!("answered {status}")
    } else {
        text
    }
}

fn inexpressible(error: &dyn std::error::Error) -> BackendError {
    BackendError::new(ErrorKind::UpstreamTokenTooLong, format!("the request can't be expressed: {error}"))
}

#[cfg(test)]
mod tests;
