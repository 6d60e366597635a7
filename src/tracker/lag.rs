//! Streams whose reader is too slow: what waits for it is freed, and it is told when it reads again.
//!
//! While a reader takes nothing nobody polls its stream, so that this can't be seen from inside the stream.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::subscription::Subscriber;

/// An update that is unread for longer ends its stream.
pub const MAX_LAG: Duration = Duration::from_secs(30);
/// How often is looked for such updates.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The open streams.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Vec<Weak<Subscriber>>>);

impl Streams {
    pub(super) fn add(&self, subscriber: &Arc<Subscriber>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(subscriber));
    }

    /// Has each of them look up.
    pub(super) fn wake(&self) {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().filter_map(Weak::upgrade).for_each(|subscriber| subscriber.wake());
    }

    /// Frees what waits for readers that are too slow, now and then, as long as the process runs.
    pub(super) async fn keep_up(&self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| {
            let open = stream.upgrade();
            if let Some(subscriber) = &open
                && subscriber.give_up_if_behind(now)
            {
                tracing::debug!("a stream's reader is too slow: what waits for it is freed");
            }
            open.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::Published;
    use super::super::subscription::{Broken, Selection};
    use super::*;
    use crate::model::{Execution, ExecutionName};

    const SECOND: Duration = Duration::from_secs(1);

    fn state(id: usize) -> Arc<Published> {
        let name = format!("backends/b/tests/t/executions/{id}");
        Published::new(Execution::unread(ExecutionName::parse(&name).unwrap()))
    }

    fn stream() -> (Streams, Arc<Subscriber>) {
        let (streams, subscriber) = (Streams::default(), Arc::new(Subscriber::new(Selection::Names)));
        streams.add(&subscriber);
        (streams, subscriber)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unread_for_too_long_is_freed_and_nothing_is_queued_any_more() {
        let (streams, subscriber) = stream();
        subscriber.offer(&state(0), 1, Instant::now());
        streams.look(Instant::now());
        tokio::time::advance(MAX_LAG).await;
        // A newer state in the same slot is no progress of the reader.
        subscriber.offer(&state(0), 2, Instant::now());
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), None);
        tokio::time::advance(SECOND).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), Some(Broken::GivenUp));
        subscriber.offer(&state(1), 3, Instant::now());
        assert!(subscriber.take(|_| false).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_on_is_too_slow_all_the_same_if_what_it_takes_is_too_old() {
        let (streams, subscriber) = stream();
        (0..9).for_each(|id| subscriber.offer(&state(id), 1, Instant::now()));
        for _ in 0..3 {
            streams.look(Instant::now());
            assert!(subscriber.take(|_| false).is_some());
            tokio::time::advance(MAX_LAG / 3).await;
        }
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), None);
        tokio::time::advance(SECOND).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), Some(Broken::GivenUp));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_has_taken_everything_or_is_made_to_wait_has_its_time_afterwards() {
        let (streams, subscriber) = stream();
        tokio::time::advance(MAX_LAG * 2).await;
        streams.look(Instant::now());
        subscriber.offer(&state(0), 1, Instant::now());
        // It leaves the update where it is, as with a floor under its rate, and waits for more.
        assert_eq!(subscriber.attend(), None);
        let (held_until, waker) = (Instant::now() + MAX_LAG * 2, std::task::Waker::noop());
        let waiting = subscriber.poll_news(&std::task::Context::from_waker(waker), Some(held_until));
        assert!(waiting.is_pending());
        streams.look(Instant::now());
        tokio::time::advance(MAX_LAG * 3).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), None);
        tokio::time::advance(SECOND).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), Some(Broken::GivenUp));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_opening_may_take_its_time_as_long_as_it_goes_on() {
        let (streams, subscriber) = stream();
        subscriber.open_with((0..3).map(state).collect());
        streams.look(Instant::now());
        for _ in 0..2 {
            tokio::time::advance(MAX_LAG - SECOND).await;
            streams.look(Instant::now());
            assert!(subscriber.take_opening().is_some());
            streams.look(Instant::now());
        }
        tokio::time::advance(MAX_LAG + SECOND).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), Some(Broken::GivenUp));
        assert!(subscriber.take_opening().is_none(), "the snapshot is freed as well");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changed_during_a_long_opening_has_its_time_after_it() {
        let (streams, subscriber) = stream();
        subscriber.open_with(vec![state(0)]);
        subscriber.offer(&state(1), 1, Instant::now());
        tokio::time::advance(MAX_LAG * 2).await;
        assert!(subscriber.take_opening().is_some());
        tokio::time::advance(MAX_LAG).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), None);
        tokio::time::advance(SECOND).await;
        streams.look(Instant::now());
        assert_eq!(subscriber.attend(), Some(Broken::GivenUp));
    }

    #[test]
    fn a_stream_hears_of_what_came_since_it_looked_up_and_is_woken_once() {
        let ((streams, subscriber), wakes) = (stream(), Arc::new(Wakes::default()));
        let waker = Arc::clone(&wakes).into();
        let hears = || subscriber.poll_news(&std::task::Context::from_waker(&waker), None).is_ready();
        subscriber.offer(&state(0), 1, Instant::now());
        assert!(hears() && hears(), "what came before it waits is news");
        assert_eq!(subscriber.attend(), None);
        assert!(!hears(), "what it has looked at is no news");
        for position in 2..5 {
            subscriber.offer(&state(0), position, Instant::now());
        }
        assert!(hears());
        subscriber.attend();
        assert!(!hears());
        streams.wake();
        assert!(hears());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "once each time that it waited");
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn streams_that_are_gone_are_forgotten() {
        let (streams, subscriber) = stream();
        drop(subscriber);
        streams.look(Instant::now());
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
