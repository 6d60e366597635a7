//! Streams whose reader takes nothing any more.
//!
//! A reply waits in memory for the windows that its reader opens, and while it waits nobody polls its body: no
//! deadline or drain could end it. So hyper's future for the stream runs inside one of ours, which knows from the
//! body whether it waits for the reader, and ends the stream with a reset where that takes too long.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

thread_local! {
    /// The turn of the stream that is being polled. Kept there, and not where both could reach it, for ten thousand
    /// streams would each have one more place in memory to be fetched for a message.
    static TURN: Cell<Turn> = const { Cell::new(Turn(0)) };
}

/// How many frames a stream's body has handed out, and in the lowest bit whether it is the reader's turn to take one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Turn(u32);

impl Turn {
    /// How many were handed out, where the reader has not taken the last one.
    fn untaken(self) -> Option<u32> {
        (self.0 & 1 == 1).then_some(self.0)
    }
}

/// Notes for the stream that is being polled that a frame is the reader's to take.
pub(super) fn handed_out() {
    TURN.set(Turn((TURN.get().0 | 1).wrapping_add(2)));
}

/// Notes for the stream that is being polled that the reader has taken everything.
pub(super) fn all_taken() {
    TURN.set(Turn(TURN.get().0 & !1));
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
    Supervised { stream, turn: Turn::default(), longest, alarm: None }
}

pin_project! {
    /// hyper's future for a stream, under watch. An `async fn` would keep room for that future twice.
    struct Supervised<F> {
        #[pin]
        stream: F,
        turn: Turn,
        longest: Duration,
        // Only while the reader is waited for, which is seldom: an idle stream has no timer of this kind.
        alarm: Option<(u32, Pin<Box<Sleep>>)>,
    }
}

impl<F: Future<Output = ()>> Future for Supervised<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let outer = TURN.replace(*this.turn);
        let polled = this.stream.poll(cx);
        *this.turn = TURN.replace(outer);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        let Some(now) = this.turn.untaken() else {
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
            handed_out();
            std::future::pending().await
        };
        assert_eq!(ended_after(stalled).await, 10 * SECOND);
        let idle = async {
            handed_out();
            all_taken();
            tokio::time::sleep(100 * SECOND).await;
        };
        assert_eq!(ended_after(idle).await, 100 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_takes_something_is_left_alone() {
        let slow = async {
            for _ in 0..10 {
                handed_out();
                tokio::time::sleep(9 * SECOND).await;
            }
        };
        assert_eq!(ended_after(slow).await, 90 * SECOND);
    }
}
