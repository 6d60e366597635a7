//! What is known of the call that a piece of work is for, and its place in a distributed trace.
//!
//! The gate opens a [`Scope`] for each call, and [`within`] it the call is answered: whoever works on it, however far
//! down, can note something for its log line, and upstream calls carry the caller's trace on. What the gateway does of
//! its own accord is the [root](Tracer::root) of another trace. Spans are kept only where there is a collector to send
//! them to.

mod context;
mod export;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use context::Context;
pub use export::{Exporter, Value};

use crate::metrics::Metrics;
use crate::model::{Clock, Timestamp};
use export::{Kind, Span};

// Made once: a name that is text is read anew for each header that it is looked for in.
static PARENT: HeaderName = HeaderName::from_static("traceparent");
static STATE: HeaderName = HeaderName::from_static("tracestate");

/// Spans that wait for the exporter; what comes on top is dropped and counted.
const MAX_WAITING: usize = 4096;
/// A tracestate that is longer is not carried on, as the standard allows.
const MAX_STATE_BYTES: usize = 512;

tokio::task_local! {
    static CURRENT: Arc<Scope>;
}

/// Makes scopes, and takes spans where there is a collector. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    ids: AtomicU64,
    clock: Clock,
    metrics: Metrics,
    spans: Option<mpsc::Sender<Span>>,
}

/// One call.
#[derive(Debug)]
pub struct Scope {
    tracer: Tracer,
    context: Context,
    parent: Option<[u8; 8]>,
    state: Option<HeaderValue>,
    kind: Kind,
    began: Timestamp,
    notes: Mutex<Notes>,
}

/// What is found out about a call while it is answered, for its log line.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Who calls.
    pub caller: Option<Arc<str>>,
    /// Upstream's id of its last request for this call.
    pub upstream_request_id: String,
    /// What a change is about, or made.
    pub resource: String,
    /// The caller's id of a change.
    pub request_id: String,
    /// Why the caller wants it.
    pub reason: String,
}

/// A request to an upstream that is under way.
#[derive(Debug)]
pub struct Outgoing {
    scope: Arc<Scope>,
    context: Context,
    name: &'static str,
    began: Timestamp,
    timer: Instant,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Default for Tracer {
    fn default() -> Self {
        Self::new(Clock::system(), Metrics::default())
    }
}

impl Tracer {
    /// A tracer whose spans go nowhere.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self::with(clock, metrics, None)
    }

    /// A tracer whose spans go to a collector, and what takes them there.
    pub fn exporting(clock: Clock, metrics: Metrics) -> (Self, Exporter) {
        let (sender, spans) = mpsc::channel(MAX_WAITING);
        (Self::with(clock, metrics.clone(), Some(sender)), Exporter::new(spans, metrics))
    }

    fn with(clock: Clock, metrics: Metrics, spans: Option<mpsc::Sender<Span>>) -> Self {
        let mut seed = [0; 8];
        if let Err(error) = getrandom::fill(&mut seed) {
            // The ids of two processes may then be the same, which makes traces odd and harms nobody.
            tracing::warn!(%error, "no randomness for trace ids");
        }
        let ids = AtomicU64::new(u64::from_le_bytes(seed));
        Self(Arc::new(Inner { ids, clock, metrics, spans }))
    }

    /// The scope of a call, as part of its caller's trace where that is told.
    pub fn scope(&self, headers: &HeaderMap) -> Arc<Scope> {
        Arc::new(self.open(headers, Kind::Server))
    }

    /// Runs something that is for no call, as a trace of its own where there is a collector.
    pub async fn root<T>(
        &self,
        name: &'static str,
        attributes: impl FnOnce() -> Vec<(&'static str, Value)>,
        work: impl Future<Output = T>,
    ) -> T {
        if self.0.spans.is_none() {
            return work.await;
        }
        let (scope, began) = (Arc::new(self.open(&HeaderMap::new(), Kind::Internal)), Instant::now());
        let done = within(Arc::clone(&scope), work).await;
        scope.end(name, began.elapsed(), false, attributes);
        done
    }

    fn open(&self, headers: &HeaderMap, kind: Kind) -> Scope {
        let told = headers.get(&PARENT).and_then(|value| Context::parse(value.as_bytes()));
        let state = told.and_then(|_| headers.get(&STATE));
        let span_id = self.id();
        let context = match told {
            Some(told) => Context { span_id, ..told },
            None => Context { trace_id: self.trace_id(), span_id, sampled: self.0.spans.is_some() },
        };
        Scope {
            tracer: self.clone(),
            context,
            parent: told.map(|told| told.span_id),
            state: state.filter(|state| state.len() <= MAX_STATE_BYTES).cloned(),
            kind,
            began: self.0.clock.now(),
            notes: Mutex::default(),
        }
    }

    fn trace_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.id());
        id[8..].copy_from_slice(&self.id());
        id
    }

    /// The next of a sequence that looks random (SplitMix64): ids must differ, not be secrets.
    fn id(&self) -> [u8; 8] {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut id = self.0.ids.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (id ^ (id >> 31)).max(1).to_be_bytes()
    }

    fn keep(&self, span: Span) {
        if let Some(spans) = &self.0.spans
            && span.context.sampled
            && spans.try_send(span).is_err()
        {
            self.0.metrics.spans_dropped(1);
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("exports", &self.0.spans.is_some()).finish_non_exhaustive()
    }
}

impl Scope {
    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> String {
        self.context.trace_id_text()
    }

    /// The present, RFC 3339.
    pub fn now(&self) -> String {
        let now = self.tracer.0.clock.now();
        now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
    }

    /// Adds to what is known of the call.
    pub fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is known of the call.
    pub fn notes(&self) -> Notes {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The call is over.
    pub fn end(
        &self,
        name: &'static str,
        took: Duration,
        failed: bool,
        attributes: impl FnOnce() -> Vec<(&'static str, Value)>,
    ) {
        if self.tracer.0.spans.is_none() || !self.context.sampled {
            return;
        }
        self.tracer.keep(Span {
            context: self.context,
            parent: self.parent,
            state: self.state.clone(),
            kind: self.kind,
            name,
            began: self.began,
            took,
            failed,
            attributes: attributes(),
        });
    }
}

/// Runs something that is for a call.
pub fn within<F: Future>(scope: Arc<Scope>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(scope, work)
}

/// Has something that goes on as a task of its own be for the call that it was begun for.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let scope = CURRENT.try_with(Arc::clone).ok();
    async move {
        match scope {
            Some(scope) => within(scope, work).await,
            None => work.await,
        }
    }
}

/// Adds to what is known of the call that this is for, if it is for one.
pub fn note(note: impl FnOnce(&mut Notes)) {
    if let Ok(scope) = CURRENT.try_with(Arc::clone) {
        scope.note(note);
    }
}

/// Begins a request to an upstream for the call that this is for; `None` where it is for none.
pub fn outgoing(name: &'static str) -> Option<Outgoing> {
    let scope = CURRENT.try_with(Arc::clone).ok()?;
    let context = Context { span_id: scope.tracer.id(), ..scope.context };
    let began = scope.tracer.0.clock.now();
    let timer = Instant::now();
    Some(Outgoing { scope, context, name, began, timer, attributes: Vec::new(), failed: true })
}

impl Outgoing {
    /// Tells upstream which trace it is part of.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(&PARENT, self.context.to_header());
        if let Some(state) = &self.scope.state {
            headers.insert(&STATE, state.clone());
        }
    }

    /// Upstream has answered. An end that is not told is a failure.
    pub fn answered(&mut self, failed: bool, attributes: impl FnOnce() -> Vec<(&'static str, Value)>) {
        self.failed = failed;
        if self.is_kept() {
            self.attributes = attributes();
        }
    }

    fn is_kept(&self) -> bool {
        self.scope.tracer.0.spans.is_some() && self.context.sampled
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.is_kept() {
            return;
        }
        self.scope.tracer.keep(Span {
            context: self.context,
            parent: Some(self.scope.context.span_id),
            state: self.scope.state.clone(),
            kind: Kind::Client,
            name: self.name,
            began: self.began,
            took: self.timer.elapsed(),
            failed: self.failed,
            attributes: std::mem::take(&mut self.attributes),
        });
    }
}
