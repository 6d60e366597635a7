//! Wall time as the rest of the crate reads it, so that tests with paused time control it too.

use std::sync::Arc;
use std::time::Duration;

use super::Timestamp;

/// A source of wall time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now_utc))
    }

    /// A clock that shows whatever the function says.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// How long ago a moment was; zero for the future.
    pub fn since(&self, moment: Timestamp) -> Duration {
        Duration::try_from(self.now() - moment).unwrap_or_default()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
