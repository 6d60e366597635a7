//! Metrics: what is counted and measured, and its Prometheus text.
//!
//! Whoever counts holds handles that were made before, so that a call costs a few atomic additions: no lock, no
//! lookup by labels, no text. What can be counted when somebody asks is not kept up all the time; it comes as
//! [`Levels`] with the scrape. Labels come from the program and the configuration only, so that no caller and no
//! upstream can make a series, and none holds an execution's name.

mod histogram;
mod rpc;
mod upstream;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

pub use histogram::Histogram;
pub use rpc::{Method, Rpc};
pub use upstream::{Attempt, Backend, Operation};
pub use watch::{OpenStream, Watch};

/// The type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// All metrics of a gateway. Cheap to clone; all clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    rpc: Rpc,
    upstream: upstream::Families,
    watch: Watch,
    reloads: [Counter; 2],
    spans_dropped: Counter,
    audit_lines_lost: Counter,
    log_lines_dropped: Counter,
    tracked: Family<Tracked, Gauge>,
    store_bytes: Gauge,
    certificate: Family<[(&'static str, &'static str); 0], Gauge>,
    start_time: Gauge<f64, std::sync::atomic::AtomicU64>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Tracked {
    backend: String,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Build {
    version: &'static str,
}

/// What is looked up for a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels {
    /// The size of the store's file.
    pub store_bytes: u64,
    /// How many executions each backend has in each state.
    pub tracked: Vec<(String, &'static str, u64)>,
    /// How long the server's certificate is still good for, below zero after its end; `None` without one.
    pub certificate_seconds: Option<i64>,
    /// How many lines of the log were dropped so far.
    pub log_lines_dropped: u64,
}

/// Gives a metric its name and its words.
struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics at zero. Names end as they are exposed, but for the `_total` of counters, which the encoder adds.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let mut registrar = Registrar(&mut registry);
        let build: Family<Build, Gauge> =
            registrar.add("testgate_build_info", "The version that runs", Family::default());
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let start_time = registrar.add(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            Gauge::default(),
        );
        let rpc = Rpc::new(&mut registrar);
        let upstream = upstream::Families::new(&mut registrar);
        let watch = Watch::new(&mut registrar);
        let reloads: Family<Outcome, Counter> = registrar.add(
            "testgate_config_reloads",
            "How often the configuration was read again, and whether it was taken",
            Family::default(),
        );
        let reloads = ["ok", "failed"].map(|result| reloads.get_or_create_owned(&Outcome { result }));
        let spans_dropped =
            registrar.add("testgate_trace_spans_dropped", "Spans that no collector took", Counter::default());
        let audit_lines_lost = registrar.add(
            "testgate_audit_lines_lost",
            "Lines of the audit log that could not be written",
            Counter::default(),
        );
        let log_lines_dropped = registrar.add(
            "testgate_log_lines_dropped",
            "Lines of the log that nobody took",
            Counter::default(),
        );
        let tracked = registrar.add(
            "testgate_tracked_executions",
            "Executions that are followed now",
            Family::default(),
        );
        let store_bytes =
            registrar.add("testgate_store_bytes", "The size of the store's file", Gauge::default());
        let certificate = registrar.add(
            "testgate_certificate_expiry_seconds",
            "How long the server's certificate is still good for",
            Family::default(),
        );
        let registry = Mutex::new(registry);
        Self(Arc::new(Inner {
            registry,
            rpc,
            upstream,
            watch,
            reloads,
            spans_dropped,
            audit_lines_lost,
            log_lines_dropped,
            tracked,
            store_bytes,
            certificate,
            start_time,
        }))
    }

    /// What the gRPC server counts.
    pub fn rpc(&self) -> &Rpc {
        &self.0.rpc
    }

    /// What is counted of one backend.
    pub fn backend(&self, id: &str) -> Backend {
        self.0.upstream.backend(id)
    }

    /// What is counted of streams.
    pub fn watch(&self) -> &Watch {
        &self.0.watch
    }

    /// Counts a reading of the configuration while the process runs.
    pub fn config_reloaded(&self, taken: bool) {
        let [ok, failed] = &self.0.reloads;
        if taken {
            ok.inc()
        } else {
            failed.inc()
        };
    }

    /// Counts spans that no collector took.
    pub fn spans_dropped(&self, count: u64) {
        self.0.spans_dropped.inc_by(count);
    }

    /// Counts lines of the audit log that could not be written.
    pub fn audit_lines_lost(&self, count: u64) {
        self.0.audit_lines_lost.inc_by(count);
    }

    /// Says when the process started.
    pub fn started_at(&self, seconds_since_1970: f64) {
        self.0.start_time.set(seconds_since_1970);
    }

    /// All metrics as Prometheus text.
    pub fn render(&self, levels: Levels) -> String {
        let Inner { registry, tracked, store_bytes, certificate, log_lines_dropped, .. } = &*self.0;
        // Held to the end, so that two scrapes at a time don't mix their levels.
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        tracked.clear();
        for (backend, state, count) in levels.tracked {
            tracked.get_or_create(&Tracked { backend, state }).set(whole(count));
        }
        store_bytes.set(whole(levels.store_bytes));
        certificate.clear();
        if let Some(left) = levels.certificate_seconds {
            certificate.get_or_create(&[]).set(left);
        }
        log_lines_dropped.inc_by(levels.log_lines_dropped.saturating_sub(log_lines_dropped.get()));
        let mut text = String::new();
        if prometheus_text::encode(&mut text, &registry).is_err() {
            tracing::error!("metrics could not be written as text");
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
