//! The budget: how often each upstream operation may be called, and who goes first.
//!
//! One token bucket for each operation of a group. Nothing runs in the background: whoever waits also hands out
//! tokens that have come due, to itself or to whoever goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::{BackendError, Call, ErrorKind, Priority};

/// A bucket holds at least this many tokens when full.
const MIN_BURST: f64 = 5.0;
/// What upstream may ask for at most with `Retry-After`.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A bound on memory; far beyond what any deadline lets through.
const MAX_WAITING: usize = 10_000;

/// All groups of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct QuotaRegistry(Arc<Mutex<HashMap<String, Arc<QuotaGroup>>>>);

/// Backends that share one upstream quota.
#[derive(Debug)]
pub struct QuotaGroup {
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    rate: f64,
    buckets: HashMap<&'static str, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// The part of the tokens that reads may take: refilled half as fast.
    read_tokens: f64,
    updated: Instant,
    paused_until: Option<Instant>,
    writes: VecDeque<Waiter>,
    followed: VecDeque<Waiter>,
    /// Callers in turn, each with its own queue; none is empty.
    reads: VecDeque<(Arc<str>, VecDeque<Waiter>)>,
}

/// Dropped receivers are skipped, so a cancelled wait costs nothing.
type Waiter = oneshot::Sender<()>;

impl QuotaRegistry {
    /// The group of that name. Where several backends name a rate, the smallest holds.
    pub fn bucket(&self, group: &str, rate: f64) -> Arc<QuotaGroup> {
        let mut groups = lock(&self.0);
        let found = groups.entry(group.to_owned()).or_insert_with(|| Arc::new(QuotaGroup::new(rate)));
        found.lower(rate);
        Arc::clone(found)
    }
}

impl QuotaGroup {
    /// A group on its own, with `rate` calls a second for each operation.
    pub fn new(rate: f64) -> Self {
        Self { shared: Mutex::new(Shared { rate: sane(rate), buckets: HashMap::new() }) }
    }

    /// Calls a second for each operation.
    pub fn rate(&self) -> f64 {
        lock(&self.shared).rate
    }

    /// How long a call of this priority would wait now.
    pub fn wait(&self, operation: &'static str, priority: Priority) -> Duration {
        let now = Instant::now();
        let mut shared = lock(&self.shared);
        let (rate, bucket) = shared.bucket(operation, now);
        bucket.wait(rate, now, priority, "")
    }

    /// Waits for a token and takes it.
    ///
    /// # Errors
    /// `BackendBudgetExhausted`, at once where the wait would pass the call's deadline.
    pub async fn acquire(&self, operation: &'static str, call: &Call) -> Result<(), BackendError> {
        let (mut turn, mut wake) = match self.join(operation, call)? {
            None => return Ok(()),
            Some(joined) => joined,
        };
        loop {
            tokio::select! {
                biased;
                // The sender is dropped only unsent when the bucket is; there is no such moment while self lives.
                granted = &mut turn => return granted.map_err(|_| exhausted(operation, Duration::ZERO)),
                () = sleep_until(wake.min(call.deadline)) => {
                    let now = Instant::now();
                    let mut shared = lock(&self.shared);
                    let (rate, bucket) = shared.bucket(operation, now);
                    bucket.hand_out(now);
                    wake = bucket.next_wake(rate, now);
                    if turn.try_recv().is_ok() {
                        return Ok(());
                    }
                    if now >= call.deadline {
                        return Err(exhausted(operation, bucket.wait(rate, now, call.priority, &call.caller)));
                    }
                }
            }
        }
    }

    /// Obeys upstream's wish to be left alone: nobody gets a token of this operation for so long.
    pub fn pause(&self, operation: &'static str, pause: Duration) {
        let now = Instant::now();
        let until = now + pause.min(MAX_PAUSE);
        let mut shared = lock(&self.shared);
        let (_, bucket) = shared.bucket(operation, now);
        bucket.paused_until = bucket.paused_until.max(Some(until));
    }

    /// Takes a token at once (`None`), or a place in the queue.
    fn join(
        &self,
        operation: &'static str,
        call: &Call,
    ) -> Result<Option<(oneshot::Receiver<()>, Instant)>, BackendError> {
        let now = Instant::now();
        let mut shared = lock(&self.shared);
        let (rate, bucket) = shared.bucket(operation, now);
        bucket.forget_cancelled();
        let wait = bucket.wait(rate, now, call.priority, &call.caller);
        // A wait of nothing fits any deadline: whether the call itself still does is not the budget's question.
        if (!wait.is_zero() && now + wait >= call.deadline) || bucket.waiting() >= MAX_WAITING {
            return Err(exhausted(operation, wait));
        }
        let (grant, mut turn) = oneshot::channel();
        bucket.enqueue(call, grant);
        bucket.hand_out(now);
        if turn.try_recv().is_ok() {
            return Ok(None);
        }
        Ok(Some((turn, bucket.next_wake(rate, now))))
    }

    fn lower(&self, rate: f64) {
        let mut shared = lock(&self.shared);
        shared.rate = shared.rate.min(sane(rate));
    }
}

impl Shared {
    fn bucket(&mut self, operation: &'static str, now: Instant) -> (f64, &mut Bucket) {
        let rate = self.rate;
        let bucket = self.buckets.entry(operation).or_insert_with(|| Bucket::full(rate, now));
        bucket.refill(rate, now);
        (rate, bucket)
    }
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self {
            tokens: burst(rate),
            read_tokens: burst(rate) / 2.0,
            updated: now,
            paused_until: None,
            writes: VecDeque::new(),
            followed: VecDeque::new(),
            reads: VecDeque::new(),
        }
    }

    fn refill(&mut self, rate: f64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(burst(rate));
        self.read_tokens = (self.read_tokens + elapsed * rate / 2.0).min(burst(rate) / 2.0);
        self.updated = now;
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    fn enqueue(&mut self, call: &Call, waiter: Waiter) {
        match call.priority {
            Priority::Write => self.writes.push_back(waiter),
            Priority::Followed => self.followed.push_back(waiter),
            Priority::Read => match self.reads.iter_mut().find(|(caller, _)| *caller == call.caller) {
                Some((_, queue)) => queue.push_back(waiter),
                None => self.reads.push_back((Arc::clone(&call.caller), VecDeque::from([waiter]))),
            },
        }
    }

    /// Gives every token that is there to whoever goes first.
    fn hand_out(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        while whole(self.tokens) {
            if let Some(waiter) = self.writes.pop_front().or_else(|| self.followed.pop_front()) {
                if waiter.send(()).is_ok() {
                    self.tokens -= 1.0;
                }
            } else if whole(self.read_tokens)
                && let Some((caller, mut queue)) = self.reads.pop_front()
            {
                if let Some(waiter) = queue.pop_front()
                    && waiter.send(()).is_ok()
                {
                    self.tokens -= 1.0;
                    self.read_tokens -= 1.0;
                }
                if !queue.is_empty() {
                    self.reads.push_back((caller, queue));
                }
            } else {
                return;
            }
        }
    }

    /// How long one more call would wait behind those that go before it.
    fn wait(&self, rate: f64, now: Instant, priority: Priority, caller: &str) -> Duration {
        let reads_before = || {
            let mine =
                self.reads.iter().find(|(name, _)| **name == *caller).map_or(0, |(_, queue)| queue.len());
            // Callers take turns: nobody else gets more than one place for each of ours.
            let others = self.reads.iter().filter(|(name, _)| **name != *caller);
            mine + others.map(|(_, queue)| queue.len().min(mine + 1)).sum::<usize>()
        };
        let (before, reads) = match priority {
            Priority::Write => (self.writes.len(), None),
            Priority::Followed => (self.writes.len() + self.followed.len(), None),
            Priority::Read => {
                let reads = reads_before();
                (self.writes.len() + self.followed.len() + reads, Some(reads))
            }
        };
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let all = due(self.tokens, before + 1, rate);
        let share = reads.map_or(Duration::ZERO, |reads| due(self.read_tokens, reads + 1, rate / 2.0));
        pause.max(all).max(share)
    }

    /// When the next token can be handed out, if somebody waits for it.
    fn next_wake(&self, rate: f64, now: Instant) -> Instant {
        let first_is_read = self.writes.is_empty() && self.followed.is_empty();
        let share = if first_is_read { due(self.read_tokens, 1, rate / 2.0) } else { Duration::ZERO };
        let refilled = now + due(self.tokens, 1, rate).max(share).max(Duration::from_millis(1));
        self.paused_until.map_or(refilled, |until| until.max(refilled))
    }

    fn waiting(&self) -> usize {
        self.writes.len()
            + self.followed.len()
            + self.reads.iter().map(|(_, queue)| queue.len()).sum::<usize>()
    }

    fn forget_cancelled(&mut self) {
        self.writes.retain(|waiter| !waiter.is_closed());
        self.followed.retain(|waiter| !waiter.is_closed());
        for (_, queue) in &mut self.reads {
            queue.retain(|waiter| !waiter.is_closed());
        }
        self.reads.retain(|(_, queue)| !queue.is_empty());
    }
}

fn burst(rate: f64) -> f64 {
    rate.max(MIN_BURST)
}

/// Guards the arithmetic against a rate that the configuration should have refused.
fn sane(rate: f64) -> f64 {
    if rate.is_finite() { rate.clamp(0.001, 1e6) } else { 1.0 }
}

/// Whether a token is there, forgiving what repeated refills lose to rounding.
fn whole(tokens: f64) -> bool {
    tokens >= 1.0 - 1e-6
}

/// How long until `count` tokens are there.
fn due(tokens: f64, count: usize, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "queues are far shorter than 2^52")]
    let missing = count as f64 - tokens;
    if missing <= 1e-6 { Duration::ZERO } else { Duration::from_secs_f64((missing / rate).min(86_400.0)) }
}

fn exhausted(operation: &'static str, wait: Duration) -> BackendError {
    let text = format!(
        "the backend's budget lets {operation} through in {} ms, after the deadline",
        wait.as_millis()
    );
    BackendError::new(ErrorKind::BackendBudgetExhausted, text).with_retry_after(Some(wait))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held, so a poisoned lock still guards a whole state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
