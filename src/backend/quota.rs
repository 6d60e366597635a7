//! The budget: how often each upstream operation may be called, and who goes first.
//!
//! Backends that share an upstream quota share a [`QuotaGroup`], which has one token bucket for each operation. Callers'
//! calls and the gateway's own polls draw on the same bucket. Writes go first, yet never for ever; half of the tokens
//! are kept for writes and for what is followed, and what is left is shared among callers by turns. Where upstream
//! throttles all the same, the operation uses a smaller share of its rate for a while.

mod bucket;
mod queue;
mod share;
mod under_way;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::{Allowance, BackendError, Call, ErrorKind, Priority};
use bucket::Bucket;

/// What upstream may ask for at most with `Retry-After`.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// All groups of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct QuotaRegistry(Arc<Mutex<HashMap<String, Arc<QuotaGroup>>>>);

/// Backends that share one upstream quota.
#[derive(Debug)]
pub struct QuotaGroup {
    name: String,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    rate: f64,
    buckets: BTreeMap<&'static str, Bucket>,
}

/// What the budget of one operation is like at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Upstream's operation.
    pub operation: &'static str,
    /// Calls a second, as configured.
    pub rate: f64,
    /// Calls a second that are let through now: less than `rate` for a while after upstream throttled.
    pub effective_rate: f64,
    /// How long upstream wants no call at all.
    pub paused: Duration,
    /// Calls that wait.
    pub waiting: usize,
    /// Throttling answers so far.
    pub throttled: u64,
}

impl QuotaRegistry {
    /// The group of that name. Where several backends name a rate, the smallest holds.
    pub fn bucket(&self, group: &str, rate: f64) -> Arc<QuotaGroup> {
        let mut groups = lock(&self.0);
        let found = groups.entry(group.to_owned()).or_insert_with(|| Arc::new(QuotaGroup::new(group, rate)));
        found.lower(rate);
        Arc::clone(found)
    }

    /// Forgets what rates were named, for a new configuration to name them; what is left of each budget stays.
    pub fn forget_rates(&self) {
        for group in lock(&self.0).values() {
            lock(&group.shared).rate = f64::INFINITY;
        }
    }
}

impl QuotaGroup {
    /// A group on its own, with `rate` calls a second for each operation. Its name is for logs.
    pub fn new(name: &str, rate: f64) -> Self {
        let shared = Shared { rate: sane(rate), buckets: BTreeMap::new() };
        Self { name: name.to_owned(), shared: Mutex::new(shared) }
    }

    /// Which group it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The budgets of all operations that were called so far, by name.
    pub fn budgets(&self) -> Vec<Budget> {
        let operations: Vec<_> = lock(&self.shared).buckets.keys().copied().collect();
        operations.into_iter().map(|operation| self.budget(operation)).collect()
    }

    /// The budget of one operation.
    pub fn budget(&self, operation: &'static str) -> Budget {
        self.with(operation, |bucket, rate, now| Budget {
            operation,
            rate,
            effective_rate: rate * bucket.share.at(now),
            paused: bucket.paused(now),
            waiting: bucket.waiting(),
            throttled: bucket.throttled,
        })
    }

    /// How long a call of this priority would wait now.
    pub fn wait(&self, operation: &'static str, priority: Priority) -> Duration {
        self.with(operation, |bucket, rate, now| bucket.wait(rate, now, priority, ""))
    }

    /// What it leaves the polls of an operation now.
    pub fn allowance(&self, operation: &'static str) -> Allowance {
        self.with(operation, |bucket, rate, now| Allowance {
            rate: rate * bucket.share.at(now),
            spare: bucket.tokens(),
            burst: bucket.most(rate, now),
            wait: bucket.wait(rate, now, Priority::Followed, ""),
        })
    }

    /// Waits for a token and takes it. A wait that is given up costs none. What it returns is to be kept until upstream
    /// has answered.
    ///
    /// # Errors
    /// `BackendBudgetExhausted`, at once where the wait would pass the call's deadline.
    pub async fn acquire(&self, operation: &'static str, call: &Call) -> Result<Permit<'_>, BackendError> {
        let mut place = match self.join(operation, call)? {
            Joined::Granted(since) => return Ok(Permit { group: self, operation, since }),
            Joined::Waits(place) => place,
        };
        tokio::select! {
            biased;
            granted = &mut place.turn => place.granted = granted.ok(),
            () = sleep_until(call.deadline) => {}
            never = self.keep_time(operation) => match never {},
        }
        match place.granted.or_else(|| place.try_take()) {
            Some(since) => Ok(Permit { group: self, operation, since }),
            None => Err(self.exhausted(operation, call)),
        }
    }

    /// Takes upstream's word that it was called too often: the share falls, nobody gets a token for as long as upstream
    /// asks, and what was saved up is gone. `sent_at` is when the call was sent that was answered so.
    pub fn throttled(&self, operation: &'static str, sent_at: Instant, pause: Option<Duration>) {
        let pause = pause.unwrap_or_default().min(MAX_PAUSE);
        let lowered = self.with(operation, |bucket, rate, now| {
            bucket.throttled += 1;
            bucket.pause(now, pause);
            bucket.share.fall(sent_at, now, pause).then(|| rate * bucket.share.at(now))
        });
        if let Some(rate) = lowered {
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                group = self.name,
                operation,
                requests_per_second = rate,
                pause_ms,
                "upstream throttles: it is called less often for a while"
            );
        }
    }

    /// Takes a token at once, or a place in the queue.
    fn join<'a>(&'a self, operation: &'static str, call: &'a Call) -> Result<Joined<'a>, BackendError> {
        let joined = self.with(operation, |bucket, rate, now| {
            if bucket.try_take(call.priority, now) {
                return Some(Joined::Granted(now));
            }
            let in_time = now + bucket.wait(rate, now, call.priority, &call.caller) < call.deadline;
            if !in_time || !bucket.has_room(&call.caller) {
                return None;
            }
            let (grant, turn) = oneshot::channel();
            let id = bucket.enqueue(call.priority, &call.caller, grant);
            bucket.clockwork.changed.notify_one();
            Some(Joined::Waits(Place { group: self, operation, call, id, turn, granted: None }))
        });
        joined.ok_or_else(|| self.exhausted(operation, call))
    }

    /// Hands tokens out as they come due, for as long as nobody else does.
    async fn keep_time(&self, operation: &'static str) -> Infallible {
        let clockwork = self.with(operation, |bucket, _, _| Arc::clone(&bucket.clockwork));
        let _chair = clockwork.chair.lock().await;
        loop {
            let wake = self.with(operation, |bucket, rate, now| {
                bucket.hand_out(now);
                bucket.next_wake(rate, now)
            });
            tokio::select! {
                () = sleep_until(wake) => {}
                () = clockwork.changed.notified() => {}
            }
        }
    }

    /// Does something with an operation's bucket as it is now.
    fn with<T>(&self, operation: &'static str, then: impl FnOnce(&mut Bucket, f64, Instant) -> T) -> T {
        let mut shared = lock(&self.shared);
        let (now, rate) = (Instant::now(), shared.rate);
        let bucket = shared.buckets.entry(operation).or_insert_with(|| Bucket::full(rate, now));
        bucket.refill(rate, now);
        let recovered = bucket.share.recover(now);
        let result = then(bucket, rate, now);
        drop(shared);
        if recovered {
            let group = &self.name;
            tracing::info!(
                group,
                operation,
                requests_per_second = rate,
                "upstream is called as often as before"
            );
        }
        result
    }

    fn exhausted(&self, operation: &'static str, call: &Call) -> BackendError {
        let (wait, rate, effective) = self.with(operation, |bucket, rate, now| {
            let wait = bucket.wait(rate, now, call.priority, &call.caller);
            (wait, rate, rate * bucket.share.at(now))
        });
        let throttled = if effective < rate {
            format!(", {} while upstream throttles,", rounded(effective))
        } else {
            String::new()
        };
        let text = format!(
            "the backend's budget for {operation} ({} requests a second{throttled} for all callers) has room in {} ms, after the deadline",
            rounded(rate),
            wait.as_millis()
        );
        BackendError::new(ErrorKind::BackendBudgetExhausted, text).with_retry_after(Some(wait))
    }

    fn lower(&self, rate: f64) {
        let mut shared = lock(&self.shared);
        shared.rate = shared.rate.min(sane(rate));
    }
}

/// A call that was let through, until it is dropped. Upstream may not have counted it yet: that a token came due there
/// meanwhile is certain only once it has answered.
#[derive(Debug)]
pub struct Permit<'a> {
    group: &'a QuotaGroup,
    operation: &'static str,
    since: Instant,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.group.with(self.operation, |bucket, _, _| bucket.arrived(self.since));
    }
}

enum Joined<'a> {
    /// Let through at that time.
    Granted(Instant),
    Waits(Place<'a>),
}

/// A call's place in the queue. Dropping it leaves the queue, or gives back a token that was granted meanwhile.
struct Place<'a> {
    group: &'a QuotaGroup,
    operation: &'static str,
    call: &'a Call,
    id: u64,
    turn: oneshot::Receiver<Instant>,
    /// When it was let through.
    granted: Option<Instant>,
}

impl Place<'_> {
    /// Takes a token that is due and was not handed out yet.
    fn try_take(&mut self) -> Option<Instant> {
        self.group.with(self.operation, |bucket, _, now| bucket.hand_out(now));
        self.granted = self.turn.try_recv().ok();
        self.granted
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.granted.is_some() {
            return;
        }
        let Self { operation, call, id, turn, .. } = self;
        self.group.with(operation, |bucket, _, now| {
            // Grants are sent under the lock, so this is the last word.
            if let Ok(since) = turn.try_recv() {
                bucket.give_back(call.priority, since);
            } else {
                bucket.leave(call.priority, &call.caller, *id);
            }
            bucket.hand_out(now);
            bucket.clockwork.changed.notify_one();
        });
    }
}

/// Guards the arithmetic against a rate that the configuration should have refused.
fn sane(rate: f64) -> f64 {
    if rate.is_finite() { rate.clamp(0.001, 1e6) } else { 1.0 }
}

/// As people write it.
fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held, so a poisoned lock still guards a whole state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
