//! Hours of a full Connect instance in a moment: what is called, and how old news is when it comes.

use super::*;

/// The longest that a run takes, and so what one of five ends after.
const RUN_MS: u64 = 6_500;
/// How long upstream takes to answer.
const LATENCY_MS: u64 = 10;
const RUNNING: usize = 5;
const QUEUED: usize = 95;

/// A bucket as the backend's budget and upstream's own throttle have it.
struct Bucket {
    rate: f64,
    tokens: f64,
    at: u64,
    taken: usize,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        Self { rate, tokens: 5.0, at: 0, taken: 0 }
    }

    fn share(&mut self, now: u64) -> Allowance {
        self.tokens = (self.tokens + (now - self.at) as f64 / 1000.0 * self.rate).min(5.0);
        self.at = now;
        let missing = (1.0 - 1e-6 - self.tokens).max(0.0);
        let wait = Duration::from_secs_f64(missing / self.rate);
        Allowance { rate: self.rate, spare: self.tokens, burst: 5.0, wait }
    }

    fn take(&mut self, now: u64) {
        assert!(self.share(now).wait.is_zero(), "upstream would throttle at {now} ms");
        self.tokens -= 1.0;
        self.taken += 1;
    }
}

/// One execution as upstream has it.
struct Run {
    began: u64,
    ends: u64,
}

/// An instance that is always full: five run, one ends every so often, and another is queued.
struct Instance {
    runs: Vec<Run>,
}

impl Instance {
    fn new(hours: u64) -> Self {
        let gap = RUN_MS / RUNNING as u64;
        let total = (hours * 3_600_000 / gap) as usize + RUNNING + QUEUED;
        let begins = |at: usize| (at as u64 + 1).saturating_sub(RUNNING as u64) * gap;
        let ends = |at: usize| (at as u64 + 1) * gap;
        // The place in the queue says when a run begins: whenever the one five before it ends.
        Self { runs: (0..total).map(|at| Run { began: begins(at), ends: ends(at) }).collect() }
    }

    fn state(&self, at: usize, now: u64) -> State {
        let run = &self.runs[at];
        match now {
            now if now >= run.ends => State::Completed,
            now if now >= run.began => State::Running,
            _ => State::Pending,
        }
    }

    /// Those that are accepted and not ended.
    fn unfinished(&self, now: u64) -> std::ops::Range<usize> {
        let ended = self.runs.partition_point(|run| run.ends <= now);
        ended..(ended + RUNNING + QUEUED).min(self.runs.len())
    }
}

#[derive(Default)]
struct Outcome {
    /// How old each change was when it was learnt, in milliseconds.
    ages: Vec<u64>,
    /// Runs that were never seen to run.
    missed: usize,
    lists: usize,
    reads: usize,
}

impl Outcome {
    fn percentile(&mut self, share: f64) -> u64 {
        self.ages.sort_unstable();
        self.ages[((self.ages.len() - 1) as f64 * share) as usize]
    }

    fn learn(&mut self, run: &Run, known: &mut Option<State>, seen: State, now: u64) {
        match (known.replace(seen), seen) {
            (Some(before), after) if before == after => {}
            (before, State::Completed) => {
                self.missed += usize::from(before == Some(State::Pending));
                self.ages.push(now - run.ends);
            }
            (_, State::Running) => self.ages.push(now - run.began),
            _ => {}
        }
    }
}

/// Follows everything for so many hours.
fn simulate(hours: u64, rate: f64) -> Outcome {
    let (instance, start) = (Instance::new(hours), Instant::now());
    let (mut lists, mut reads) = (Bucket::new(rate), Bucket::new(rate));
    let mut polling = polling(Lists::ByState, rate);
    let mut agenda = Agenda::new(&polling, FLOOR);
    let mut known: Vec<Option<State>> = vec![None; instance.runs.len()];
    let mut outcome = Outcome::default();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let id = |index: usize| name(&index.to_string());
    let facts = |index: usize, state: State, now: u64| {
        let began = instance.runs[index].began;
        Facts { age: Duration::from_millis(now.saturating_sub(began)), ..super::facts(state) }
    };
    let (mut now, mut accepted) = (0, 0);
    while now < hours * 3_600_000 {
        // Whoever starts a run follows it from then on.
        while accepted < instance.unfinished(now).end {
            let state = instance.state(accepted, now);
            known[accepted] = Some(state);
            agenda.follow(&id(accepted), facts(accepted, state, now), FLOOR, at(now));
            accepted += 1;
        }
        (polling.list, polling.read) = (lists.share(now), reads.share(now));
        match agenda.next(at(now), &polling, true) {
            Next::Walk(view, _) => {
                lists.take(now);
                let shown = match view {
                    View::Waiting => State::Pending,
                    View::Running => State::Running,
                    other => panic!("{other:?}"),
                };
                let rows = instance.unfinished(now).filter(|index| instance.state(*index, now) == shown);
                let (began, rows) = (now, rows.collect::<Vec<_>>());
                now += LATENCY_MS;
                for index in rows {
                    if index < accepted && known[index] != Some(State::Completed) {
                        outcome.learn(&instance.runs[index], &mut known[index], shown, now);
                        agenda.seen(&id(index), facts(index, shown, now), at(began), at(now));
                    }
                }
                let walk = Walk { began: at(began), pages: 1, failed: None, complete: true };
                agenda.walked(&view, &walk, &polling, at(now));
            }
            Next::Read(read) => {
                reads.take(now);
                let index: usize = read.execution.as_str().parse().unwrap();
                let state = instance.state(index, now);
                now += LATENCY_MS;
                outcome.learn(&instance.runs[index], &mut known[index], state, now);
                agenda.read(&read, facts(index, state, now), at(now));
            }
            Next::At(moment) => now = ((moment - start).as_micros() as u64).div_ceil(1000).max(now + 1),
            Next::Nothing => panic!("a full instance needs somebody to look"),
        }
    }
    (outcome.lists, outcome.reads) = (lists.taken, reads.taken);
    outcome
}

#[test]
fn a_full_connect_instance_is_followed_within_half_a_second_for_hours() {
    let hours = 2;
    for (rate, scale) in [(2.0, 1), (1.0, 2)] {
        let mut outcome = simulate(hours, rate);
        let ends = (hours * 3_600_000 / (RUN_MS / RUNNING as u64)) as usize;
        assert!(outcome.ages.len() > 2 * ends - 20, "{} changes seen", outcome.ages.len());
        assert_eq!(outcome.missed, 0, "a run was never seen to run");
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| outcome.percentile(share));
        let figures = format!("p50 {half}, p99 {most}, max {all} ms at {rate}/s");
        assert!(half <= 300 * scale && most <= 550 * scale && all <= 700 * scale, "{figures}");
        let allowed = rate * (hours * 3_600) as f64 + 5.0;
        assert!(outcome.lists as f64 <= allowed, "{} lists", outcome.lists);
        // One for each end; counts take of the rest what the burst can spare.
        assert!(outcome.reads >= ends - 10 && outcome.reads as f64 <= allowed, "{} reads", outcome.reads);
    }
}
