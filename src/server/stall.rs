//! Streams whose reader takes nothing any more.
//!
//! A reply waits in memory for the windows that its reader opens, and while it waits nobody polls its body: no
//! deadline or drain could end it. So hyper's future for the stream runs inside one of ours, which knows from the
//! body whether it waits for the reader, and ends the stream with a reset where that takes too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Instant, Sleep};

tokio::task_local! {
    static HANDED_OUT: HandedOut;
}

/// How many frames a body has handed out, and in the lowest bit whether it is the reader's turn to take one.
#[derive(Clone, Debug, Default)]
pub(super) struct HandedOut(Arc<AtomicU32>);

impl HandedOut {
    /// Of the stream that the running task serves; one of nobody's outside of such a task.
    pub(super) fn of_this_stream() -> Self {
        HANDED_OUT.try_with(Clone::clone).unwrap_or_default()
    }

    /// A frame is the reader's to take.
    pub(super) fn frame(&self) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store((before | 1).wrapping_add(2), Ordering::Relaxed);
    }

    /// The reader has taken everything.
    pub(super) fn nothing(&self) {
        self.0.fetch_and(!1, Ordering::Relaxed);
    }

    /// How many were handed out, where the reader has not taken the last one.
    fn untaken(&self) -> Option<u32> {
        let now = self.0.load(Ordering::Relaxed);
        (now & 1 == 1).then_some(now)
    }
}

/// Runs hyper's streams, and resets those whose reader stalls.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    longest: Duration,
}

impl StreamExecutor {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        TokioExecutor::new().execute(supervise(stream, self.longest));
    }
}

fn supervise<F: Future<Output = ()>>(stream: F, longest: Duration) -> Supervised<F> {
    let handed_out = HandedOut::default();
    let stream = HANDED_OUT.scope(handed_out.clone(), stream);
    Supervised { stream, handed_out, longest, alarm: None }
}

pin_project! {
    /// hyper's future for a stream, under watch. An `async fn` would keep room for that future twice.
    struct Supervised<F> {
        #[pin]
        stream: TaskLocalFuture<HandedOut, F>,
        handed_out: HandedOut,
        longest: Duration,
        // Only while the reader is waited for, which is seldom: an idle stream has no timer of this kind.
        alarm: Option<(u32, Pin<Box<Sleep>>)>,
    }
}

impl<F: Future<Output = ()>> Future for Supervised<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(now) = this.handed_out.untaken() else {
            *this.alarm = None;
            return Poll::Pending;
        };
        let longest = *this.longest;
        let (at, timer) = this.alarm.get_or_insert_with(|| (now, Box::pin(tokio::time::sleep(longest))));
        if *at != now {
            *at = now;
            timer.as_mut().reset(Instant::now() + longest);
        }
        if timer.as_mut().poll(cx).is_ready() {
            tracing::debug!("a stream is reset: its reader takes nothing");
            // Dropping hyper's future resets the stream.
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ended_after(stream: impl Future<Output = ()>) -> Duration {
        let start = Instant::now();
        supervise(stream, 10 * SECOND).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_its_reader_is_ended_and_one_that_has_nothing_to_say_is_not() {
        let stalled = async {
            HandedOut::of_this_stream().frame();
            std::future::pending().await
        };
        assert_eq!(ended_after(stalled).await, 10 * SECOND);
        let idle = async {
            HandedOut::of_this_stream().frame();
            HandedOut::of_this_stream().nothing();
            tokio::time::sleep(100 * SECOND).await;
        };
        assert_eq!(ended_after(idle).await, 100 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_takes_something_is_left_alone() {
        let slow = async {
            for _ in 0..10 {
                HandedOut::of_this_stream().frame();
                tokio::time::sleep(9 * SECOND).await;
            }
        };
        assert_eq!(ended_after(slow).await, 90 * SECOND);
    }
}
