use std::collections::BTreeSet;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

/// What happens to a bucket.
#[derive(Clone, Copy, Debug)]
enum Event {
    Passes(u64),
    Comes(Priority, usize),
    /// The oldest that waits gives up.
    Leaves,
    Throttled(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let priority = prop::sample::select(&[Priority::Write, Priority::Followed, Priority::Read][..]);
    let event = prop_oneof![
        5 => (0u64..3_000).prop_map(Event::Passes),
        8 => (priority, 0usize..4).prop_map(|(priority, caller)| Event::Comes(priority, caller)),
        1 => Just(Event::Leaves),
        1 => (0u64..5_000).prop_map(Event::Throttled),
    ];
    proptest::collection::vec(event, 1..150)
}

/// A bucket whose every grant is on record.
struct Watched {
    bucket: Bucket,
    rate: f64,
    now: Instant,
    waiting: Vec<(Priority, Arc<str>, u64, oneshot::Receiver<Instant>)>,
    grants: Vec<(Instant, Priority)>,
}

impl Watched {
    fn new(rate: f64) -> Self {
        let now = Instant::now();
        Self { bucket: Bucket::full(rate, now), rate, now, waiting: Vec::new(), grants: Vec::new() }
    }

    fn comes(&mut self, priority: Priority, caller: usize) {
        let (grant, turn) = oneshot::channel();
        let caller: Arc<str> = Arc::from(format!("caller {caller}"));
        let id = self.bucket.enqueue(priority, &caller, grant);
        self.waiting.push((priority, caller, id, turn));
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.bucket.refill(self.rate, self.now);
    }

    /// Hands out, and returns what was granted.
    fn hand_out(&mut self) -> Vec<Priority> {
        self.bucket.hand_out(self.now);
        let (bucket, mut granted) = (&mut self.bucket, Vec::new());
        self.waiting.retain_mut(|(priority, _, _, turn)| {
            let Ok(since) = turn.try_recv() else { return true };
            bucket.arrived(since);
            granted.push(*priority);
            false
        });
        self.grants.extend(granted.iter().map(|priority| (self.now, *priority)));
        granted
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Passes(millis) => self.advance(Duration::from_millis(millis)),
            Event::Comes(priority, caller) => self.comes(priority, caller),
            Event::Leaves if self.waiting.is_empty() => {}
            Event::Leaves => {
                let (priority, caller, id, _) = self.waiting.remove(0);
                self.bucket.leave(priority, &caller, id);
            }
            Event::Throttled(millis) => {
                let pause = Duration::from_millis(millis);
                self.bucket.pause(self.now, pause);
                self.bucket.share.fall(self.now, self.now, pause);
            }
        }
    }

    /// The most that any stretch of time let through, beyond `rate` times its length.
    fn excess(&self, rate: f64, counts: impl Fn(Priority) -> bool) -> f64 {
        let times: Vec<_> = self.grants.iter().filter(|(_, priority)| counts(*priority)).collect();
        let mut excess: f64 = 0.0;
        for (first, (begin, _)) in times.iter().enumerate() {
            for (count, (end, _)) in (1u32..).zip(&times[first..]) {
                excess = excess.max(f64::from(count) - rate * (*end - *begin).as_secs_f64());
            }
        }
        excess
    }
}

proptest! {
    #[test]
    fn no_stretch_of_time_lets_more_through_than_burst_and_rate(events in events(), rate in 0.2f64..20.0) {
        let mut watched = Watched::new(rate);
        for event in events {
            watched.apply(event);
            watched.hand_out();
        }
        prop_assert!(watched.excess(rate, |_| true) <= burst(rate) + 1e-3);
        let reads = watched.excess(rate / 2.0, |priority| priority == Priority::Read);
        prop_assert!(reads <= burst(rate) / 2.0 + 1e-3);
    }

    #[test]
    fn whoever_waits_gets_a_token_when_the_next_one_is_due(events in events(), rate in 0.2f64..20.0) {
        let mut watched = Watched::new(rate);
        for event in events {
            watched.apply(event);
            watched.hand_out();
            prop_assert_eq!(watched.bucket.waiting(), watched.waiting.len());
        }
        while !watched.waiting.is_empty() {
            let wake = watched.bucket.next_wake(watched.rate, watched.now);
            let by = wake - watched.now;
            // The share rises meanwhile, so that it may be sooner, but never later.
            prop_assert!(by < Duration::from_secs(200), "{by:?}");
            watched.advance(by);
            prop_assert!(!watched.hand_out().is_empty());
        }
    }

    #[test]
    fn a_wait_is_told_about_right(events in events(), rate in 0.5f64..20.0, priority in 0usize..3) {
        let priority = [Priority::Write, Priority::Followed, Priority::Read][priority];
        let mut watched = Watched::new(rate);
        for event in events {
            watched.apply(event);
            watched.hand_out();
        }
        let told = watched.bucket.wait(rate, watched.now, priority, "new");
        let (grant, mut turn) = oneshot::channel();
        watched.bucket.enqueue(priority, &Arc::from("new"), grant);
        let begin = watched.now;
        loop {
            watched.hand_out();
            if turn.try_recv().is_ok() {
                break;
            }
            let wake = watched.bucket.next_wake(rate, watched.now);
            watched.advance(wake - watched.now);
        }
        let took = watched.now - begin;
        // Whoever goes first is worked out in closed form: a few places off, whatever the length of the queues.
        let place = Duration::from_secs_f64(2.0 / rate);
        let rounding = Duration::from_millis(200);
        prop_assert!(took <= told * 2 + 4 * place + rounding, "told {told:?}, took {took:?}");
        // The share may rise to the whole meanwhile.
        prop_assert!(told <= took * 20 + 40 * place + rounding, "told {told:?}, took {took:?}");
    }
}

/// Upstream's bucket, which counts a call when it arrives.
struct Upstream {
    rate: f64,
    tokens: f64,
    updated: Instant,
}

impl Upstream {
    fn takes(&mut self, now: Instant) -> bool {
        let due = (now - self.updated).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + due).min(burst(self.rate));
        self.updated = now;
        let takes = self.tokens >= 1.0 - 1e-3;
        self.tokens -= 1.0;
        takes
    }
}

proptest! {
    /// However long calls are on their way, and their answers on the way back.
    #[test]
    fn upstream_never_throttles_what_its_own_bucket_would_let_through(
        calls in proptest::collection::vec((0u64..3_000, 0u64..900, 0u64..90), 1..150),
        rate in 0.2f64..20.0,
    ) {
        let now = Instant::now();
        let mut bucket = Bucket::full(rate, now);
        let mut upstream = Upstream { rate, tokens: burst(rate), updated: now };
        // By their times: arrivals, and answers to what was let through then.
        let mut arrivals: BTreeSet<(Instant, usize)> = BTreeSet::new();
        let mut answers: BTreeSet<(Instant, Instant, usize)> = BTreeSet::new();
        for (number, (pause, there, back)) in calls.into_iter().enumerate() {
            // Most come as soon as there is a token, some after a rest.
            let idle = if pause < 300 { pause * 10 } else { 0 };
            let mut now = bucket.updated + Duration::from_millis(idle);
            loop {
                while let Some((at, since, _)) = answers.first().copied().filter(|(at, ..)| *at <= now) {
                    bucket.refill(rate, at);
                    bucket.arrived(since);
                    answers.pop_first();
                }
                bucket.refill(rate, now);
                if bucket.try_take(Priority::Write, now) {
                    break;
                }
                now += Duration::from_millis(1);
            }
            let arrival = now + Duration::from_millis(there);
            arrivals.insert((arrival, number));
            answers.insert((arrival + Duration::from_millis(back), now, number));
            while let Some((at, _)) = arrivals.first().copied().filter(|(at, _)| *at <= now) {
                prop_assert!(upstream.takes(at), "throttled");
                arrivals.pop_first();
            }
        }
        for (at, _) in arrivals {
            prop_assert!(upstream.takes(at), "throttled");
        }
    }
}

/// A bucket without tokens, at one a second.
fn empty() -> Watched {
    let mut watched = Watched::new(1.0);
    watched.bucket.pause(watched.now, Duration::ZERO);
    watched
}

/// Who gets the next tokens.
fn served(watched: &mut Watched, tokens: usize) -> Vec<Priority> {
    (0..tokens)
        .flat_map(|_| {
            watched.advance(Duration::from_secs(1));
            watched.hand_out()
        })
        .collect()
}

#[test]
fn a_write_gets_the_next_token_however_many_polls_wait() {
    let mut watched = empty();
    for _ in 0..50 {
        watched.comes(Priority::Followed, 0);
        watched.comes(Priority::Read, 1);
    }
    served(&mut watched, 10);
    watched.comes(Priority::Write, 2);
    assert_eq!(served(&mut watched, 1), [Priority::Write]);
}

#[test]
fn writes_leave_every_fourth_token_to_others_that_wait() {
    let mut watched = empty();
    for _ in 0..50 {
        watched.comes(Priority::Write, 0);
        watched.comes(Priority::Followed, 0);
        watched.comes(Priority::Read, 1);
    }
    let served = served(&mut watched, 40);
    let count = |wanted| served.iter().filter(|priority| **priority == wanted).count();
    assert_eq!([Priority::Write, Priority::Followed, Priority::Read].map(count), [30, 5, 5]);
}

#[test]
fn what_is_followed_and_callers_reads_take_turns() {
    let mut watched = empty();
    for _ in 0..50 {
        watched.comes(Priority::Followed, 0);
        watched.comes(Priority::Read, 1);
    }
    let served = served(&mut watched, 40);
    let reads = served.iter().filter(|priority| **priority == Priority::Read).count();
    assert!((19..=20).contains(&reads), "{reads} reads of 40");
}

#[test]
fn one_caller_can_not_fill_the_queue() {
    let mut watched = empty();
    for _ in 0..MAX_WAITING_EACH {
        assert!(watched.bucket.has_room("caller 0"));
        watched.comes(Priority::Read, 0);
    }
    assert!(!watched.bucket.has_room("caller 0"));
    assert!(watched.bucket.has_room("caller 1"));
}
