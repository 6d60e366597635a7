//! The sandbox's time: wall time, run faster or slower by a settable scale.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Shared by all three upstreams. A scale of 10 lets ten simulated seconds pass in one real second.
///
/// Runs last as long as their script says in simulated time; what goes out on the wire is wall time at scale 1,
/// and runs ahead of it at others.
#[derive(Debug)]
pub struct Clock {
    anchor: Mutex<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    real: Instant,
    simulated: Duration,
    scale: f64,
}

impl Clock {
    /// A clock that starts at the wall clock's present.
    pub fn new(scale: f64) -> Self {
        let simulated = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Mutex::new(Anchor { real: Instant::now(), simulated, scale }) }
    }

    /// Simulated time since the Unix epoch.
    pub fn now(&self) -> Duration {
        let anchor = *self.lock();
        anchor.simulated + anchor.real.elapsed().mul_f64(anchor.scale)
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// Changes the pace from now on; time never jumps.
    pub fn set_scale(&self, scale: f64) {
        let now = self.now();
        *self.lock() = Anchor { real: Instant::now(), simulated: now, scale };
    }

    /// The pace: simulated seconds in a real one.
    pub fn scale(&self) -> f64 {
        self.lock().scale
    }

    /// Lets time pass at once, whatever the scale: with a scale of zero, tests decide alone what time it is.
    pub fn advance(&self, by: Duration) {
        self.lock().simulated += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Anchor> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole anchor.
        self.anchor.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
