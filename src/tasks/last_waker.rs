//! Whom something wakes that is set once and kept.

use std::task::{Context, Waker};

/// The task that waited last. While the same one waits, whatever would wake it can be left as it is, which costs less
/// than to set it anew.
#[derive(Debug, Default)]
pub struct LastWaker(Option<Waker>);

impl LastWaker {
    /// Notes who waits now. Whether it is somebody else than before.
    pub fn changes(&mut self, cx: &Context<'_>) -> bool {
        let changes = self.0.as_ref().is_none_or(|known| !known.will_wake(cx.waker()));
        if changes {
            self.0 = Some(cx.waker().clone());
        }
        changes
    }

    /// Wakes whoever waited last.
    pub fn wake(&self) {
        if let Some(waker) = &self.0 {
            waker.wake_by_ref();
        }
    }
}
