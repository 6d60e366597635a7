//! How every upstream call is made: budget, preparation, one try within its time, classification, retry.
//!
//! What differs between upstreams is a [`Protocol`]; what differs between operations is an [`Operation`].

mod clean;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, Method, header};
use tokio::time::{Instant, timeout_at};

pub use clean::clean;

pub use super::http::Response;
use super::http::{HttpClient, HttpError, HttpErrorKind, Request};
use super::quota::QuotaGroup;
pub use super::retry::{Retry, Safety};
use super::retry::{Tries, retry_hint};
use super::{BackendError, Call, Effect, ErrorKind, UpstreamContext};
use crate::metrics;
use crate::model::{Clock, Timestamp};
use crate::trace;

/// Where upstreams say which of their requests it was.
static REQUEST_IDS: [HeaderName; 3] = [
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-amz-request-id"),
    HeaderName::from_static("x-request-id"),
];
/// No offset of upstream's clock is known yet.
const UNKNOWN_OFFSET: i64 = i64::MIN;
/// A reply that took longer says too little about upstream's clock.
const MAX_CLOCK_READING: Duration = Duration::from_secs(10);

/// An upstream operation, as its own documentation calls it.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name: in errors, logs and the budget.
    pub name: &'static str,
    /// Whether it may be sent twice.
    pub safety: Safety,
}

/// What is sent, before a protocol adds its host, credentials and signature.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// From the first `/` on, encoded by [`escape`] and never again.
    pub path_and_query: String,
    /// The body; empty sends none.
    pub body: Bytes,
    /// The body's type.
    pub content_type: &'static str,
}

/// An answer that is not the one hoped for, as a protocol reads it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Upstream's error code, or empty.
    pub code: String,
    /// Upstream's words; the engine cleans and cuts them.
    pub message: String,
    /// Whether upstream may have acted all the same.
    pub effect: Effect,
    /// Whether a second try may help.
    pub retry: Retry,
}

/// What one kind of upstream adds to a request and reads out of a reply.
#[async_trait]
pub trait Protocol: Send + Sync {
    /// Makes the request to send, anew for each try. `now` is the present on upstream's clock.
    ///
    /// # Errors
    /// What keeps it from being sent, as missing credentials; nothing is retried.
    async fn prepare(&self, outgoing: &Outgoing, now: Timestamp) -> Result<Request, BackendError>;

    /// Tells a good reply from a refusal. Redirects never get here.
    ///
    /// # Errors
    /// What the reply says is wrong.
    fn classify(&self, operation: &Operation, response: &Response) -> Result<(), Refusal>;

    /// Called before the one retry that follows [`Retry::Renewed`].
    async fn renew(&self) {}
}

/// Makes the calls of one backend.
#[derive(Debug)]
pub struct Engine {
    service: &'static str,
    http: HttpClient,
    quota: Arc<QuotaGroup>,
    request_timeout: Duration,
    max_response_size: usize,
    clock: Clock,
    metrics: metrics::Backend,
    /// Upstream's clock less ours, in milliseconds.
    offset_ms: AtomicI64,
}

/// A try that failed.
struct Failure {
    error: BackendError,
    retry: Retry,
}

impl Engine {
    /// An engine for one backend. `service` is `connect`, `lex` or `openmetadata`.
    pub fn new(
        service: &'static str,
        http: HttpClient,
        quota: Arc<QuotaGroup>,
        request_timeout: Duration,
        max_response_size: usize,
        clock: Clock,
        metrics: metrics::Backend,
    ) -> Self {
        let offset_ms = AtomicI64::new(UNKNOWN_OFFSET);
        Self { service, http, quota, request_timeout, max_response_size, clock, metrics, offset_ms }
    }

    /// The present on upstream's clock, as its last `Date` header has it; ours until there was one.
    pub fn upstream_now(&self) -> Timestamp {
        self.to_upstream(self.clock.now())
    }

    /// A moment on the gateway's clock, on upstream's.
    pub fn to_upstream(&self, moment: Timestamp) -> Timestamp {
        let offset = match self.offset_ms.load(Ordering::Relaxed) {
            UNKNOWN_OFFSET => 0,
            known => known,
        };
        moment.checked_add(time::Duration::milliseconds(offset)).unwrap_or(moment)
    }

    /// The budget that its calls draw on.
    pub fn quota(&self) -> &Arc<QuotaGroup> {
        &self.quota
    }

    /// Carries one operation out and reads its answer with `decode`, whose error is a sentence about the answer.
    ///
    /// Dropping the future cancels the try under way, and nothing is sent afterwards.
    ///
    /// # Errors
    /// What was left after all tries that were safe and in time.
    pub async fn call<T>(
        &self,
        protocol: &dyn Protocol,
        operation: &Operation,
        outgoing: &Outgoing,
        call: &Call,
        decode: impl Fn(&Response) -> Result<T, String> + Send + Sync,
    ) -> Result<T, BackendError> {
        let measured = self.metrics.operation(operation.name);
        let mut tries = Tries::default();
        let mut last: Option<BackendError> = None;
        loop {
            let asked = Instant::now();
            let granted = self.quota.acquire(operation.name, call).await;
            measured.waited(asked.elapsed());
            let permit = match granted {
                Ok(permit) => permit,
                Err(exhausted) => return Err(last.unwrap_or_else(|| self.in_context(exhausted, operation))),
            };
            let sent_at = Instant::now();
            let answer = self.attempt(protocol, operation, outgoing, call, &decode, &measured).await;
            drop(permit);
            let Failure { error, retry } = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if retry == Retry::Throttled {
                measured.throttled();
                self.quota.throttled(operation.name, sent_at, error.retry_after);
            }
            let certain = error.effect == Effect::None;
            let Some(wait) = tries.next(retry, operation.safety, certain, error.retry_after) else {
                return Err(error);
            };
            let resume = Instant::now() + wait;
            if resume >= call.deadline {
                return Err(error);
            }
            last = Some(error);
            if retry == Retry::Renewed {
                protocol.renew().await;
            }
            tokio::time::sleep_until(resume).await;
        }
    }

    async fn attempt<T>(
        &self,
        protocol: &dyn Protocol,
        operation: &Operation,
        outgoing: &Outgoing,
        call: &Call,
        decode: impl Fn(&Response) -> Result<T, String>,
        measured: &Arc<metrics::Operation>,
    ) -> Result<T, Failure> {
        let never = |error| Failure { error: self.in_context(error, operation), retry: Retry::Never };
        let mut request =
            match timeout_at(call.deadline, protocol.prepare(outgoing, self.upstream_now())).await {
                Ok(prepared) => prepared.map_err(never)?,
                Err(_) => return Err(never(deadline_passed("preparing the call"))),
            };
        let begun = Instant::now();
        let left = call.deadline.saturating_duration_since(begun);
        if left.is_zero() {
            return Err(never(deadline_passed("waiting for its turn")));
        }
        let (sent_at, timeout) = (self.clock.now(), left.min(self.request_timeout));
        let mut span = trace::outgoing(operation.name);
        if let Some(span) = &span {
            // After it was signed: what passes it on may change it.
            span.inject(request.headers_mut());
        }
        let measured = measured.attempt();
        let reply = self.http.send(request, timeout, self.max_response_size).await;
        match &reply {
            Ok(response) => measured.answered(response.status.as_u16()),
            Err(error) => measured.failed(word(error.kind)),
        }
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let context = self.context(operation, reply.as_ref().ok());
        if !context.request_id.is_empty() {
            trace::note(|notes| notes.upstream_request_id.clone_from(&context.request_id));
        }
        if let Some(span) = &mut span {
            let status = context.http_status;
            span.answered(status.is_none_or(|status| status >= 400), || attributes(&context));
        }
        drop(span);
        tracing::debug!(
            service = self.service,
            operation = operation.name,
            status = context.http_status,
            request_id = context.request_id,
            duration_ms,
            "upstream call"
        );
        match reply {
            Err(error) => {
                Err(self.transport_failure(error, operation, context, left <= self.request_timeout))
            }
            Ok(response) => {
                self.read_clock(&response, sent_at);
                self.judge(protocol, operation, &response, context, decode)
            }
        }
    }

    /// Reads a whole reply.
    fn judge<T>(
        &self,
        protocol: &dyn Protocol,
        operation: &Operation,
        response: &Response,
        mut context: UpstreamContext,
        decode: impl Fn(&Response) -> Result<T, String>,
    ) -> Result<T, Failure> {
        if response.status.is_redirection() {
            let text = format!("{} answered with a redirect, which is never followed", self.service);
            let error = BackendError::new(ErrorKind::UpstreamRedirected, text).with_upstream(context);
            return Err(Failure { error, retry: Retry::Never });
        }
        if let Err(refusal) = protocol.classify(operation, response) {
            let Refusal { kind, code, message, effect, retry } = refusal;
            context.code = crate::model::status::cut(code, 256);
            let hint = retry_hint(&response.headers, self.clock.now());
            let error = BackendError::new(outcome(kind, effect, operation), clean(&message))
                .with_upstream(context)
                .with_effect(effect)
                .with_retry_after(hint);
            return Err(Failure { error, retry });
        }
        decode(response).map_err(|text| {
            let effect = effect_if_sent(operation);
            let kind = outcome(ErrorKind::UpstreamInvalidResponse, effect, operation);
            let text = format!(
                "{} answered {} with something unreadable: {}",
                self.service,
                operation.name,
                clean(&text)
            );
            let error = BackendError::new(kind, text).with_upstream(context).with_effect(effect);
            Failure { error, retry: Retry::Invalid }
        })
    }

    fn transport_failure(
        &self,
        error: HttpError,
        operation: &Operation,
        context: UpstreamContext,
        until_deadline: bool,
    ) -> Failure {
        let (kind, retry) = match error.kind {
            HttpErrorKind::Timeout if until_deadline => (ErrorKind::DeadlineExceeded, Retry::Never),
            HttpErrorKind::Timeout => (ErrorKind::UpstreamTimeout, Retry::Backoff),
            HttpErrorKind::Connect | HttpErrorKind::Broken => {
                (ErrorKind::UpstreamUnreachable, Retry::Backoff)
            }
            HttpErrorKind::Tls | HttpErrorKind::Setup => (ErrorKind::UpstreamTlsFailed, Retry::Never),
            HttpErrorKind::Request => (ErrorKind::UpstreamTokenTooLong, Retry::Never),
            HttpErrorKind::TooLarge => (ErrorKind::UpstreamResponseTooLarge, Retry::Never),
        };
        let effect = if error.sent { effect_if_sent(operation) } else { Effect::None };
        let text = format!("{} {}: {}", self.service, operation.name, clean(&error.message));
        let error = BackendError::new(outcome(kind, effect, operation), text)
            .with_upstream(context)
            .with_effect(effect);
        Failure { error, retry }
    }

    /// Sets our idea of upstream's clock from a reply's `Date`, measured against the middle of the exchange.
    fn read_clock(&self, response: &Response, sent_at: Timestamp) {
        if response.elapsed > MAX_CLOCK_READING || response.headers.contains_key(header::AGE) {
            return;
        }
        let date = response.headers.get(header::DATE).and_then(|value| value.to_str().ok());
        let Some(date) = date.and_then(|text| httpdate::parse_http_date(text).ok()) else { return };
        // A date is cut to its second: half of one is the best guess of what was cut.
        let theirs = Timestamp::from(date) + time::Duration::milliseconds(500);
        let middle = sent_at + response.elapsed / 2;
        let offset = i64::try_from((theirs - middle).whole_milliseconds()).unwrap_or(0);
        self.offset_ms.store(offset, Ordering::Relaxed);
    }

    fn context(&self, operation: &Operation, response: Option<&Response>) -> UpstreamContext {
        let request_id = response.and_then(|response| {
            REQUEST_IDS.iter().find_map(|name| response.headers.get(name)?.to_str().ok())
        });
        UpstreamContext {
            service: self.service,
            operation: operation.name,
            code: String::new(),
            http_status: response.map(|response| response.status.as_u16()),
            request_id: request_id
                .map(|id| crate::model::status::cut(id.to_owned(), 128))
                .unwrap_or_default(),
        }
    }

    fn in_context(&self, mut error: BackendError, operation: &Operation) -> BackendError {
        if error.upstream.is_none() {
            error.upstream = Some(Box::new(self.context(operation, None)));
        }
        error
    }
}

/// What a try's span says.
fn attributes(context: &UpstreamContext) -> Vec<(&'static str, trace::Value)> {
    let mut attributes = vec![
        ("rpc.service", trace::Value::Text(context.service.to_owned())),
        ("rpc.method", trace::Value::Text(context.operation.to_owned())),
    ];
    if let Some(status) = context.http_status {
        attributes.push(("http.response.status_code", trace::Value::Number(status.into())));
    }
    if !context.request_id.is_empty() {
        attributes.push(("upstream.request_id", trace::Value::Text(context.request_id.clone())));
    }
    attributes
}

/// Why a try got no answer, as metrics spell it.
fn word(kind: HttpErrorKind) -> &'static str {
    match kind {
        HttpErrorKind::Connect => "connect",
        HttpErrorKind::Tls => "tls",
        HttpErrorKind::Timeout => "timeout",
        HttpErrorKind::Broken => "broken",
        HttpErrorKind::TooLarge => "too_large",
        HttpErrorKind::Setup | HttpErrorKind::Request => "unsendable",
    }
}

/// What is left of a failure's effect: a read never has one.
pub(crate) fn effect_if_sent(operation: &Operation) -> Effect {
    match operation.safety {
        Safety::Read => Effect::None,
        Safety::TokenedWrite | Safety::UntokenedWrite(_) => Effect::Possible,
    }
}

/// The kind of a failure, given that an untokened write's outcome may be what is really lost.
fn outcome(kind: ErrorKind, effect: Effect, operation: &Operation) -> ErrorKind {
    match (operation.safety, effect, kind) {
        (
            Safety::UntokenedWrite(unknown),
            Effect::Possible,
            ErrorKind::UpstreamInternal
            | ErrorKind::UpstreamTimeout
            | ErrorKind::UpstreamUnreachable
            | ErrorKind::UpstreamInvalidResponse
            | ErrorKind::UpstreamResponseTooLarge
            | ErrorKind::DeadlineExceeded,
        ) => unknown,
        _ => kind,
    }
}

fn deadline_passed(doing: &str) -> BackendError {
    BackendError::new(ErrorKind::DeadlineExceeded, format!("the deadline passed while {doing}"))
}

/// Escapes one path segment or query value: everything but `A-Za-z0-9-._~`, in upper-case hex.
pub fn escape(text: &str) -> impl std::fmt::Display + '_ {
    crate::model::id::encode(text)
}

/// The query of the pairs that have a value, with its `?`; empty where none has.
pub fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&format!("{}={}", escape(name), escape(value)));
        }
    }
    text
}

#[cfg(test)]
mod tests;
