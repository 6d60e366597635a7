//! What is counted of upstream calls.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Histogram, Registrar};

/// What a call can end with: an HTTP status that means something to somebody, the class of any other, or why there
/// was none. Upstream can send what it likes without making a series.
const CODES: [&str; 32] = [
    "200",
    "201",
    "202",
    "204",
    "302",
    "400",
    "401",
    "402",
    "403",
    "404",
    "405",
    "408",
    "409",
    "412",
    "413",
    "415",
    "429",
    "500",
    "502",
    "503",
    "504",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "connect",
    "tls",
    "timeout",
    "broken",
    "too_large",
    "unsendable",
    "cancelled",
];
const OTHER: &str = "other";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    backend: Arc<str>,
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Called {
    backend: Arc<str>,
    operation: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    backend: Arc<str>,
}

#[derive(Clone, Debug)]
pub(super) struct Families {
    requests: Family<Ended, Counter>,
    seconds: Family<Called, Histogram>,
    throttled: Family<Called, Counter>,
    waits: Family<Called, Histogram>,
    lags: Family<Of, Histogram>,
}

/// The handles of one backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Arc<str>,
    families: Families,
    lag: Histogram,
    /// Grows by an operation when it is first called, and is read without a lock.
    operations: ArcSwap<HashMap<&'static str, Arc<Operation>>>,
}

/// The handles of one operation of a backend.
#[derive(Debug)]
pub struct Operation {
    called: Called,
    families: Families,
    seconds: Histogram,
    throttled: Counter,
    waits: Histogram,
    /// Made when first needed: most codes never come.
    codes: [OnceLock<Counter>; CODES.len() + 1],
}

/// One try under way. It counts as cancelled unless its end is told.
#[derive(Debug)]
pub struct Attempt {
    operation: Arc<Operation>,
    begun: Instant,
    told: bool,
}

impl Families {
    pub(super) fn new(registrar: &mut Registrar<'_>) -> Self {
        Self {
            requests: registrar.add(
                "testgate_upstream_requests",
                "Requests to upstreams, each try by itself, by HTTP status or what kept it from one",
                Family::default(),
            ),
            seconds: registrar.add(
                "testgate_upstream_request_seconds",
                "How long requests to upstreams took, each try by itself",
                Family::default(),
            ),
            throttled: registrar.add(
                "testgate_upstream_throttled",
                "Requests that upstreams refused because there were too many",
                Family::default(),
            ),
            waits: registrar.add(
                "testgate_budget_wait_seconds",
                "How long requests waited for the backend's budget",
                Family::default(),
            ),
            lags: registrar.add(
                "testgate_poll_lag_seconds",
                "How long after it was due a poll had its answer",
                Family::default(),
            ),
        }
    }

    pub(super) fn backend(&self, id: &str) -> Backend {
        let id: Arc<str> = id.into();
        let lag = self.lags.get_or_create_owned(&Of { backend: Arc::clone(&id) });
        Backend(Arc::new(Inner { id, families: self.clone(), lag, operations: ArcSwap::default() }))
    }
}

impl Backend {
    /// The handles of an operation, as upstream's documentation calls it.
    pub fn operation(&self, name: &'static str) -> Arc<Operation> {
        let Inner { id, families, operations, .. } = &*self.0;
        if let Some(known) = operations.load().get(name) {
            return Arc::clone(known);
        }
        let made = Arc::new(Operation::new(Arc::clone(id), name, families));
        operations.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(name).or_insert_with(|| Arc::clone(&made));
            known
        });
        made
    }

    /// Counts a poll that had its answer so long after it was due.
    pub fn polled(&self, lag: Duration) {
        self.0.lag.observe(lag);
    }
}

impl Operation {
    fn new(backend: Arc<str>, operation: &'static str, families: &Families) -> Self {
        let called = Called { backend, operation };
        Self {
            seconds: families.seconds.get_or_create_owned(&called),
            throttled: families.throttled.get_or_create_owned(&called),
            waits: families.waits.get_or_create_owned(&called),
            codes: std::array::from_fn(|_| OnceLock::new()),
            families: families.clone(),
            called,
        }
    }

    /// Counts a wait for the budget.
    pub fn waited(&self, wait: Duration) {
        self.waits.observe(wait);
    }

    /// Counts an answer that asked for fewer calls.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// Begins to measure a try.
    pub fn attempt(self: &Arc<Self>) -> Attempt {
        Attempt { operation: Arc::clone(self), begun: Instant::now(), told: false }
    }

    fn ended(&self, code: &str, took: Duration) {
        let at = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len());
        let Some(slot) = self.codes.get(at) else { return };
        let counter = slot.get_or_init(|| {
            let Called { backend, operation } = self.called.clone();
            let code = CODES.get(at).copied().unwrap_or(OTHER);
            self.families.requests.get_or_create_owned(&Ended { backend, operation, code })
        });
        counter.inc();
        self.seconds.observe(took);
    }
}

impl Attempt {
    /// The try got a whole answer.
    pub fn answered(self, status: u16) {
        let mut digits = [b'0'; 3];
        for (digit, unit) in digits.iter_mut().zip([100, 10, 1]) {
            *digit += u8::try_from(status / unit % 10).unwrap_or(0);
        }
        let exact = str::from_utf8(&digits).unwrap_or(OTHER);
        let class = match status {
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500..600 => "5xx",
            _ => OTHER,
        };
        self.end(if CODES.contains(&exact) { exact } else { class });
    }

    /// The try got none, and why in one word.
    pub fn failed(self, why: &'static str) {
        self.end(why);
    }

    fn end(mut self, code: &str) {
        self.told = true;
        self.operation.ended(code, self.begun.elapsed());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.told {
            self.operation.ended("cancelled", self.begun.elapsed());
        }
    }
}
