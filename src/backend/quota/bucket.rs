//! One operation's tokens, and to whom they go. Knows no clock: every change is told the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::{FairQueue, Waiter};
use super::share::Share;
use super::under_way::UnderWay;
use crate::backend::Priority;

/// A bucket holds at least this many tokens when full.
const MIN_BURST: f64 = 5.0;
/// How many writes in a row go before others that wait.
const WRITES_IN_A_ROW: usize = 3;
/// Bounds on memory, far beyond what any deadline lets through: of all calls, and of one caller's.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_EACH: usize = 1_000;

#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    /// The part of the tokens that reads may take: refilled half as fast.
    read_tokens: f64,
    updated: Instant,
    under_way: UnderWay,
    paused_until: Option<Instant>,
    pub(super) share: Share,
    /// Throttling answers so far.
    pub(super) throttled: u64,
    queues: Queues,
    /// Who goes next where several wait.
    writes_in_a_row: usize,
    read_goes_next: bool,
    last_id: u64,
    pub(super) clockwork: Arc<Clockwork>,
}

#[derive(Debug, Default)]
struct Queues {
    writes: FairQueue,
    followed: FairQueue,
    reads: FairQueue,
}

/// Nothing runs in the background: of those who wait, the one who holds the chair hands tokens out when they come due.
#[derive(Debug, Default)]
pub(super) struct Clockwork {
    pub(super) chair: tokio::sync::Mutex<()>,
    /// Somebody joined or left, so that the next token may be due at another time.
    pub(super) changed: Notify,
}

impl Queues {
    fn of(&self, priority: Priority) -> &FairQueue {
        match priority {
            Priority::Write => &self.writes,
            Priority::Followed => &self.followed,
            Priority::Read => &self.reads,
        }
    }

    fn of_mut(&mut self, priority: Priority) -> &mut FairQueue {
        match priority {
            Priority::Write => &mut self.writes,
            Priority::Followed => &mut self.followed,
            Priority::Read => &mut self.reads,
        }
    }

    fn len(&self) -> usize {
        self.writes.len() + self.followed.len() + self.reads.len()
    }
}

impl Bucket {
    pub(super) fn full(rate: f64, now: Instant) -> Self {
        Self {
            tokens: burst(rate),
            read_tokens: burst(rate) / 2.0,
            updated: now,
            under_way: UnderWay::default(),
            paused_until: None,
            share: Share::whole(now),
            throttled: 0,
            queues: Queues::default(),
            writes_in_a_row: 0,
            read_goes_next: false,
            last_id: 0,
            clockwork: Arc::default(),
        }
    }

    /// Adds the tokens that came due. A pause adds none.
    pub(super) fn refill(&mut self, rate: f64, now: Instant) {
        while let Some(arrival) = self.under_way.next_arrival().filter(|arrival| *arrival <= now) {
            self.add(rate, arrival);
            self.under_way.arrive();
        }
        self.add(rate, now);
    }

    fn add(&mut self, rate: f64, now: Instant) {
        let from = self.paused_until.map_or(self.updated, |until| until.max(self.updated));
        let share = self.share.at(now);
        let elapsed = now.saturating_duration_since(from).as_secs_f64();
        // The share rises evenly, so its mean is that of its ends.
        let due = elapsed * rate * f64::midpoint(self.share.at(from), share);
        let most = burst(rate) * share;
        // Upstream's bucket stays full until a call arrives: what came due here meanwhile does not come due there.
        let room = (self.most(rate, now) - self.under_way.count()).max(0.0);
        self.tokens = (self.tokens + due).min(room);
        self.read_tokens = (self.read_tokens + due / 2.0).min((most / 2.0).max(1.0));
        self.updated = now.max(self.updated);
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    /// The tokens that are there.
    pub(super) fn tokens(&self) -> f64 {
        self.tokens
    }

    /// The most tokens that there can be.
    pub(super) fn most(&self, rate: f64, now: Instant) -> f64 {
        (burst(rate) * self.share.at(now)).max(1.0)
    }

    /// Takes a token at once, if one is there and nobody waits for it.
    pub(super) fn try_take(&mut self, priority: Priority, now: Instant) -> bool {
        let may = self.queues.len() == 0
            && self.paused_until.is_none_or(|until| until <= now)
            && whole(self.tokens)
            && (priority != Priority::Read || whole(self.read_tokens));
        if may {
            self.take(priority, now);
        }
        may
    }

    fn take(&mut self, priority: Priority, now: Instant) {
        self.tokens -= 1.0;
        self.under_way.add(now);
        if priority == Priority::Read {
            self.read_tokens -= 1.0;
        }
    }

    /// Learns that a call has arrived that was let through then.
    pub(super) fn arrived(&mut self, since: Instant) {
        self.under_way.remove(since);
    }

    /// Takes back a token that was granted then and not used.
    pub(super) fn give_back(&mut self, priority: Priority, since: Instant) {
        self.under_way.remove(since);
        self.tokens += 1.0;
        if priority == Priority::Read {
            self.read_tokens += 1.0;
        }
    }

    /// Whether one more call of that caller may wait.
    pub(super) fn has_room(&self, caller: &str) -> bool {
        let mine = [&self.queues.writes, &self.queues.followed, &self.queues.reads];
        self.queues.len() < MAX_WAITING
            && mine.into_iter().map(|queue| queue.len_of(caller)).sum::<usize>() < MAX_WAITING_EACH
    }

    /// Lets a call wait; the answer is for [`Self::leave`].
    pub(super) fn enqueue(
        &mut self,
        priority: Priority,
        caller: &Arc<str>,
        grant: tokio::sync::oneshot::Sender<Instant>,
    ) -> u64 {
        self.last_id += 1;
        self.queues.of_mut(priority).push(caller, Waiter { id: self.last_id, grant });
        self.last_id
    }

    /// Takes out a call that no longer waits.
    pub(super) fn leave(&mut self, priority: Priority, caller: &str, id: u64) {
        self.queues.of_mut(priority).remove(caller, id);
    }

    /// Gives every token that is there to whoever goes next.
    pub(super) fn hand_out(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        while whole(self.tokens)
            && let Some(priority) = self.next()
            && let Some(waiter) = self.queues.of_mut(priority).pop()
        {
            if waiter.grant.send(now).is_ok() {
                self.take(priority, now);
                self.note_turn(priority);
            }
        }
    }

    /// Writes first, but not for ever; what is followed and callers' reads by turns, and reads only within their part.
    fn next(&self) -> Option<Priority> {
        let others = match (!self.queues.followed.is_empty(), self.reads_may()) {
            (true, true) if self.read_goes_next => Some(Priority::Read),
            (true, _) => Some(Priority::Followed),
            (false, true) => Some(Priority::Read),
            (false, false) => None,
        };
        let write = (!self.queues.writes.is_empty()).then_some(Priority::Write);
        if self.writes_in_a_row < WRITES_IN_A_ROW { write.or(others) } else { others.or(write) }
    }

    fn reads_may(&self) -> bool {
        !self.queues.reads.is_empty() && whole(self.read_tokens)
    }

    fn note_turn(&mut self, priority: Priority) {
        let others_wait = !self.queues.followed.is_empty() || !self.queues.reads.is_empty();
        match priority {
            Priority::Write if others_wait => self.writes_in_a_row += 1,
            Priority::Write => self.writes_in_a_row = 0,
            Priority::Followed => (self.writes_in_a_row, self.read_goes_next) = (0, true),
            Priority::Read => (self.writes_in_a_row, self.read_goes_next) = (0, false),
        }
    }

    /// How long one more call would wait behind those that go before it, as far as can be seen now.
    pub(super) fn wait(&self, rate: f64, now: Instant, priority: Priority, caller: &str) -> Duration {
        let Queues { writes, followed, reads } = &self.queues;
        let rate = rate * self.share.at(now);
        let same = self.queues.of(priority).before(caller);
        let (before, same_reads) = match priority {
            Priority::Write => (same + (same / WRITES_IN_A_ROW).min(followed.len() + reads.len()), None),
            Priority::Followed => (same + reads.len().min(same + 1), None),
            Priority::Read => (same + followed.len().min(same + 1), Some(same)),
        };
        let before = match priority {
            Priority::Write => before,
            Priority::Followed | Priority::Read => {
                before + writes.len().min(WRITES_IN_A_ROW.saturating_mul(before + 1))
            }
        };
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let all = due(self.tokens, before + 1, rate);
        let part = same_reads.map_or(Duration::ZERO, |reads| due(self.read_tokens, reads + 1, rate / 2.0));
        pause + all.max(part)
    }

    /// When the next token can be handed out to anybody who waits.
    pub(super) fn next_wake(&self, rate: f64, now: Instant) -> Instant {
        let rate = rate * self.share.at(now);
        let only_reads = self.queues.writes.is_empty() && self.queues.followed.is_empty();
        let part = if only_reads { due(self.read_tokens, 1, rate / 2.0) } else { Duration::ZERO };
        let from = self.paused_until.map_or(now, |until| until.max(now));
        from + due(self.tokens, 1, rate).max(part).max(Duration::from_millis(1))
    }

    /// Nobody gets a token for so long, and those that were saved up are gone: upstream counted otherwise.
    pub(super) fn pause(&mut self, now: Instant, pause: Duration) {
        self.tokens = self.tokens.min(0.0);
        self.read_tokens = self.read_tokens.min(0.0);
        if !pause.is_zero() {
            self.paused_until = self.paused_until.max(Some(now + pause));
        }
    }

    pub(super) fn paused(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    pub(super) fn waiting(&self) -> usize {
        self.queues.len()
    }
}

/// How many tokens a full bucket holds.
pub(super) fn burst(rate: f64) -> f64 {
    rate.max(MIN_BURST)
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

#[cfg(test)]
mod tests;
