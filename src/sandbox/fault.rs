//! Faults that are injected into an upstream's traffic, and the record of that traffic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How many calls are remembered one by one; the counts go on beyond it.
const CALLS_KEPT: usize = 10_000;

/// How many faults one upstream holds at a time.
const FAULTS_KEPT: usize = 1_000;

/// The operation of requests that no route matches.
pub const UNKNOWN_OPERATION: &str = "-";

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// 429 in the upstream's own format, with `Retry-After` where seconds are given.
    Throttle {
        /// Seconds for the `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// 402 in the upstream's own format.
    Quota,
    /// Any status in the upstream's own error format.
    Status {
        /// The status code, 200 to 599.
        status: u16,
    },
    /// A page of HTML as a proxy would send it.
    Html {
        /// The status code; 502 where left out.
        #[serde(default = "bad_gateway")]
        status: u16,
    },
    /// The effect takes place; the reply announces more bytes than come, then the connection closes.
    Truncate,
    /// The effect takes place; the reply is valid JSON of the wrong shape.
    WrongJson,
    /// The connection is reset and nothing happened.
    ResetBefore,
    /// The effect takes place, then the connection is reset instead of a reply.
    ResetAfter,
    /// The request is handled after this time; combines with other faults.
    Delay {
        /// Real milliseconds.
        ms: u64,
    },
    /// 307 to another address.
    Redirect {
        /// The `Location` header.
        #[serde(default = "elsewhere")]
        location: String,
    },
    /// Success is answered, and nothing happened.
    Swallow,
    /// Nothing is ever answered, and nothing happened.
    Silent,
    /// Exactly this reply, and nothing happened.
    Reply {
        /// The status code, 200 to 599.
        status: u16,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
}

fn bad_gateway() -> u16 {
    502
}

fn elsewhere() -> String {
    "http://127.0.0.1:9/elsewhere".into()
}

impl FaultKind {
    fn label(&self) -> &'static str {
        match self {
            Self::Throttle { .. } => "throttle",
            Self::Quota => "quota",
            Self::Status { .. } => "status",
            Self::Html { .. } => "html",
            Self::Truncate => "truncate",
            Self::WrongJson => "wrong_json",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::Delay { .. } => "delay",
            Self::Redirect { .. } => "redirect",
            Self::Swallow => "swallow",
            Self::Silent => "silent",
            Self::Reply { .. } => "reply",
        }
    }
}

/// A fault and where it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The operation, or `*` for all of them.
    #[serde(default = "every_operation")]
    pub operation: String,
    /// How many requests it strikes; until it is cleared where left out.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests it lets through first.
    #[serde(default)]
    pub skip: u32,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
}

fn every_operation() -> String {
    "*".into()
}

impl Fault {
    /// A fault on one operation (`*` for all) that lasts until it is cleared.
    pub fn new(operation: &str, kind: FaultKind) -> Self {
        Self { operation: operation.into(), times: None, skip: 0, kind }
    }

    /// The same fault, for that many requests only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The same fault, after that many requests went through.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn check(&self) -> Result<(), String> {
        let status = match &self.kind {
            FaultKind::Status { status } | FaultKind::Html { status } | FaultKind::Reply { status, .. } => {
                *status
            }
            _ => return Ok(()),
        };
        if (200..600).contains(&status) {
            Ok(())
        } else {
            Err(format!("status {status} is not within 200 to 599"))
        }
    }
}

/// A fault as the control endpoint lists it.
#[derive(Clone, Debug, Serialize)]
pub struct ActiveFault {
    /// Names it in `DELETE /faults?id=`.
    pub id: u64,
    /// How many requests it struck so far.
    pub struck: u64,
    /// The fault, with `times` counted down.
    #[serde(flatten)]
    pub fault: Fault,
}

/// One request that arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Its place among all requests to this upstream, from 0.
    pub sequence: u64,
    /// The operation; `-` where no route matches.
    pub operation: String,
    /// The path as it stood on the wire.
    pub path: String,
    /// Arrival, in real milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Arrival on the monotonic clock.
    #[serde(skip)]
    pub at: Instant,
    /// The status that was sent; none while it is under way and where the connection was cut instead.
    pub status: Option<u16>,
    /// The fault that struck it.
    pub fault: Option<&'static str>,
}

/// What the faults do to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Strike {
    pub(crate) delay: Duration,
    pub(crate) kind: Option<FaultKind>,
}

/// One upstream's faults and traffic.
#[derive(Debug, Default)]
pub struct Traffic {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_fault: u64,
    faults: Vec<ActiveFault>,
    next_call: u64,
    calls: VecDeque<Call>,
    counts: BTreeMap<String, u64>,
}

impl Traffic {
    /// Adds a fault and gives its id.
    pub fn inject(&self, fault: Fault) -> Result<u64, String> {
        fault.check()?;
        let mut inner = self.lock();
        if inner.faults.len() >= FAULTS_KEPT {
            return Err(format!("more than {FAULTS_KEPT} faults; clear some first"));
        }
        let id = inner.next_fault;
        inner.next_fault += 1;
        inner.faults.push(ActiveFault { id, struck: 0, fault });
        Ok(id)
    }

    /// Removes one fault, or all, and says how many.
    pub fn clear(&self, id: Option<u64>) -> usize {
        let mut inner = self.lock();
        let before = inner.faults.len();
        inner.faults.retain(|active| id.is_some_and(|id| id != active.id));
        before - inner.faults.len()
    }

    /// The faults that still strike.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.lock().faults.clone()
    }

    /// The calls remembered, oldest first; of one operation, or of all with `*`.
    pub fn calls(&self, operation: &str) -> Vec<Call> {
        let inner = self.lock();
        inner.calls.iter().filter(|call| operation == "*" || call.operation == operation).cloned().collect()
    }

    /// How many requests each operation got.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.clone()
    }

    /// Forgets calls and counts.
    pub fn forget_calls(&self) {
        let mut inner = self.lock();
        inner.calls.clear();
        inner.counts.clear();
    }

    /// Notes a request's arrival; the number goes to [`Traffic::finish`].
    pub(crate) fn arrive(&self, operation: Option<&str>, path: &str) -> u64 {
        let operation = operation.unwrap_or(UNKNOWN_OPERATION);
        let mut inner = self.lock();
        let sequence = inner.next_call;
        inner.next_call += 1;
        *inner.counts.entry(operation.into()).or_default() += 1;
        if inner.calls.len() >= CALLS_KEPT {
            inner.calls.pop_front();
        }
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        inner.calls.push_back(Call {
            sequence,
            operation: operation.into(),
            path: path.into(),
            at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
            at: Instant::now(),
            status: None,
            fault: None,
        });
        sequence
    }

    /// Takes what strikes a request: all delays, and the oldest other fault. Counts them down.
    pub(crate) fn strike(&self, sequence: u64, operation: Option<&str>) -> Strike {
        let operation = operation.unwrap_or(UNKNOWN_OPERATION);
        let mut inner = self.lock();
        let mut strike = Strike::default();
        for active in &mut inner.faults {
            if active.fault.operation != "*" && active.fault.operation != operation {
                continue;
            }
            let delay = match active.fault.kind {
                FaultKind::Delay { ms } => Some(Duration::from_millis(ms)),
                _ => None,
            };
            if delay.is_none() && strike.kind.is_some() {
                continue;
            }
            if active.fault.skip > 0 {
                active.fault.skip -= 1;
                continue;
            }
            match delay {
                Some(delay) => strike.delay = strike.delay.saturating_add(delay),
                None => strike.kind = Some(active.fault.kind.clone()),
            }
            active.struck += 1;
            active.fault.times = active.fault.times.map(|times| times.saturating_sub(1));
        }
        inner.faults.retain(|active| active.fault.times != Some(0));
        let label = strike.kind.as_ref().map(FaultKind::label);
        let label = label.or((!strike.delay.is_zero()).then_some("delay"));
        if let Some(call) = inner.calls.iter_mut().rev().find(|call| call.sequence == sequence) {
            call.fault = label;
        }
        strike
    }

    /// Notes the status that a request got.
    pub(crate) fn finish(&self, sequence: u64, status: u16) {
        if let Some(call) = self.lock().calls.iter_mut().rev().find(|call| call.sequence == sequence) {
            call.status = Some(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete by itself, so what a panic left behind is usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(traffic: &Traffic, operation: &str) -> Strike {
        let sequence = traffic.arrive(Some(operation), "/");
        traffic.strike(sequence, Some(operation))
    }

    #[test]
    fn a_fault_strikes_its_operation_as_often_as_it_says() {
        let traffic = Traffic::default();
        traffic.inject(Fault::new("Start", FaultKind::Quota).times(2)).unwrap();
        assert_eq!(strike(&traffic, "Get").kind, None);
        assert_eq!(strike(&traffic, "Start").kind, Some(FaultKind::Quota));
        assert_eq!(strike(&traffic, "Start").kind, Some(FaultKind::Quota));
        assert_eq!(strike(&traffic, "Start").kind, None);
        assert!(traffic.faults().is_empty());
    }

    #[test]
    fn delays_add_up_and_combine_with_the_oldest_fault() {
        let traffic = Traffic::default();
        traffic.inject(Fault::new("*", FaultKind::Delay { ms: 5 })).unwrap();
        traffic.inject(Fault::new("Get", FaultKind::Silent).times(1)).unwrap();
        traffic.inject(Fault::new("*", FaultKind::Quota).times(1)).unwrap();
        traffic.inject(Fault::new("Get", FaultKind::Delay { ms: 7 })).unwrap();
        let first = strike(&traffic, "Get");
        assert_eq!(first, Strike { delay: Duration::from_millis(12), kind: Some(FaultKind::Silent) });
        assert_eq!(strike(&traffic, "Get").kind, Some(FaultKind::Quota));
        assert_eq!(strike(&traffic, "Get").kind, None);
    }

    #[test]
    fn a_fault_can_let_requests_through_first() {
        let traffic = Traffic::default();
        traffic.inject(Fault::new("Get", FaultKind::ResetAfter).times(1).after(1)).unwrap();
        assert_eq!(strike(&traffic, "Get").kind, None);
        assert_eq!(strike(&traffic, "Get").kind, Some(FaultKind::ResetAfter));
        assert_eq!(strike(&traffic, "Get").kind, None);
    }

    #[test]
    fn calls_are_counted_with_status_and_fault() {
        let traffic = Traffic::default();
        traffic.inject(Fault::new("Get", FaultKind::Throttle { retry_after: None })).unwrap();
        let sequence = traffic.arrive(Some("Get"), "/x");
        traffic.strike(sequence, Some("Get"));
        traffic.finish(sequence, 429);
        traffic.arrive(None, "/nowhere");
        let calls = traffic.calls("Get");
        assert_eq!((calls[0].status, calls[0].fault), (Some(429), Some("throttle")));
        assert_eq!(traffic.calls("-")[0].status, None);
        assert_eq!(traffic.counts()["Get"], 1);
        traffic.forget_calls();
        assert!(traffic.calls("*").is_empty());
    }

    #[test]
    fn remembered_calls_are_bounded_and_counts_go_on() {
        let traffic = Traffic::default();
        for _ in 0..=CALLS_KEPT {
            traffic.arrive(Some("Get"), "/");
        }
        assert_eq!(traffic.calls("*").len(), CALLS_KEPT);
        assert_eq!(traffic.counts()["Get"], CALLS_KEPT as u64 + 1);
    }

    #[test]
    fn a_fault_reads_from_one_flat_object() {
        let fault: Fault =
            serde_json::from_str(r#"{"operation":"Get","kind":"throttle","retry_after":2,"times":3}"#)
                .unwrap();
        assert_eq!(fault, Fault::new("Get", FaultKind::Throttle { retry_after: Some(2) }).times(3));
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"gremlin"}"#).is_err());
        assert!(Traffic::default().inject(Fault::new("*", FaultKind::Status { status: 99 })).is_err());
    }
}
