//! A timer that is kept from message to message.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use crate::tasks::LastWaker;

/// Wakes a stream at a time. Nothing of it is touched while that time and the stream's task stay the same.
pub(super) struct Alarm {
    at: Instant,
    set_for: LastWaker,
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, set_for: LastWaker::default(), timer: Box::pin(tokio::time::sleep_until(at)) }
    }

    /// Ready from a time on.
    pub(super) fn poll_at(&mut self, at: Instant, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if !self.set_for.changes(cx) && at == self.at && now < at {
            return Poll::Pending;
        }
        if at != self.at {
            self.at = at;
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_whoever_waited_last_and_at_the_time_that_was_asked_for_last() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let tasks = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
        let wakes = || tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
        let mut alarm = Alarm::new(start + SECOND);
        let mut poll = |task: usize, at: Duration| {
            let waker = tasks[task].clone().into();
            alarm.poll_at(start + at, Instant::now(), &mut Context::from_waker(&waker)).is_ready()
        };
        assert!(!poll(0, SECOND) && !poll(0, SECOND) && !poll(1, SECOND));
        tokio::time::sleep(SECOND).await;
        assert_eq!(wakes(), [0, 1]);
        assert!(poll(1, SECOND));

        assert!(!poll(0, 9 * SECOND) && !poll(0, 2 * SECOND));
        tokio::time::sleep(SECOND).await;
        assert_eq!(wakes(), [1, 1]);
        assert!(poll(0, 2 * SECOND));
        assert!(!poll(0, 3 * SECOND), "it can be set again");
    }
}
