//! What everybody in a soak shares: where the gateway is, what was seen, and the count of what went wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testgate::model::{Clock, Timestamp};
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::ledger::Ledger;
use crate::process::Client;

/// How many of what should never be are printed.
const EXAMPLES: u32 = 30;

/// How far the soak is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Runs start, upstreams have faults, the gateway restarts.
    Busy,
    /// Nothing starts and nothing is broken any more; runs end.
    Ending,
    /// All that was started has ended, and whoever knows of each end may go.
    Over,
    /// Everybody has gone, or has had long enough: the gateway ends.
    Gone,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An update that somebody saw and another, told that it is up to date, did not.
    Lost,
    /// An update that takes back what was told before.
    Reverted,
    /// An answer that the contract does not have.
    Refused,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    life: u32,
    counts: BTreeMap<String, u64>,
    faults: BTreeMap<Fault, u64>,
    /// How many faults were printed.
    told: u32,
    delays: Vec<Duration>,
}

/// Shared by all tasks.
#[derive(Debug)]
pub(crate) struct World {
    port: u16,
    clock: Clock,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
}

impl World {
    pub(crate) fn new(port: u16) -> Self {
        let state = State {
            ledger: Ledger::default(),
            life: 0,
            counts: BTreeMap::new(),
            faults: BTreeMap::new(),
            told: 0,
            delays: Vec::new(),
        };
        Self {
            port,
            clock: Clock::system(),
            state: Mutex::new(state),
            phase: watch::Sender::new(Phase::Busy),
        }
    }

    /// A connection of its own, once there is a gateway. `window` bytes of a stream go out unread.
    pub(crate) async fn connect(&self, window: u32) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port));
        let endpoint = endpoint.expect("it is an address").initial_stream_window_size(window);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return TestExecutionServiceClient::new(channel),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Sleeps, but not into another phase.
    pub(crate) async fn sleep(&self, time: Duration, while_in: Phase) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase > while_in) => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Which process the gateway is by now.
    pub(crate) fn life(&self) -> u32 {
        self.lock().life
    }

    /// The gateway ended; what it told from now on comes from another one.
    pub(crate) fn next_life(&self, killed: bool) {
        let mut state = self.lock();
        state.life += 1;
        if killed {
            state.ledger.killed();
        }
    }

    /// Does something with the ledger.
    pub(crate) fn ledger<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.lock().ledger)
    }

    /// Counts something that may happen.
    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.lock().counts.entry(what.into()).or_default() += 1;
    }

    /// Counts a call or a stream that failed, by its code and reason.
    pub(crate) fn count_failure(&self, of: &str, status: &Status) {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        self.count(format!("{of}: {:?} {reason}", status.code()));
    }

    /// Counts something that must not happen.
    pub(crate) fn fault(&self, fault: Fault, what: String) {
        let mut state = self.lock();
        *state.faults.entry(fault).or_default() += 1;
        if state.told < EXAMPLES {
            state.told += 1;
            println!("       {fault:?}: {what}");
        }
    }

    /// How much later than the first somebody learned of an end.
    pub(crate) fn learned(&self, name: &str) {
        let now = self.now();
        let mut state = self.lock();
        if let Some(first) = state.ledger.done_since(name) {
            state.delays.push(Duration::try_from(now - first).unwrap_or_default());
        }
    }

    /// How often something happened that must not.
    pub(crate) fn faults(&self, fault: Fault) -> u64 {
        self.lock().faults.get(&fault).copied().unwrap_or_default()
    }

    /// What was counted, and how late ends were learned of.
    pub(crate) fn report(&self) -> (BTreeMap<String, u64>, Vec<Duration>) {
        let state = self.lock();
        (state.counts.clone(), state.delays.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a failure asks to wait before the next try.
pub(crate) fn pause(status: &Status) -> Duration {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    asked.unwrap_or(Duration::from_millis(500)).min(Duration::from_secs(10))
}

/// Whether a call may simply be made again.
pub(crate) fn passes(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Cancelled
    )
}

/// Numbers that look random, and are the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        from.get(usize::try_from(self.roll() % count).ok()?)
    }

    /// A time between two.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll() % (to - from).max(1))
    }
}
