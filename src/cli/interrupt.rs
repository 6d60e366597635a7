//! Ctrl-C, SIGTERM and `--timeout`: what may end a command before it is done.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// How following ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// By itself.
    Finished(T),
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// Listens for signals for as long as a command runs: one that comes between two waits is not lost.
#[derive(Debug)]
pub(crate) struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// From here on a signal is told instead of ending the process.
    pub(crate) fn listen() -> Self {
        // Where a handler can't be installed, the signal ends the process as it always did.
        Self([SignalKind::interrupt(), SignalKind::terminate()].into_iter().flat_map(signal).collect())
    }

    /// Runs a future until it is done or a signal comes.
    pub(crate) async fn guard<F: Future>(&mut self, future: F) -> End<F::Output> {
        self.guard_until(None, future).await
    }

    /// Runs a future until it is done, a signal comes or the time is over.
    pub(crate) async fn guard_until<F: Future>(
        &mut self,
        deadline: Option<Instant>,
        future: F,
    ) -> End<F::Output> {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            output = future => End::Finished(output),
            () = self.next() => End::Interrupted,
            () = late => End::TimedOut,
        }
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

/// When a time limit that begins now is over; never where there is none, or one beyond the clock.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_runs_out_only_where_there_is_a_limit() {
        let mut interrupts = Interrupts(Vec::new());
        let never = std::future::pending::<()>();
        let soon = deadline(Some(Duration::from_secs(5)));
        assert!(matches!(interrupts.guard_until(soon, never).await, End::TimedOut));
        let hour = tokio::time::sleep(Duration::from_secs(3600));
        assert!(matches!(interrupts.guard(hour).await, End::Finished(())));
        let now = deadline(Some(Duration::ZERO));
        assert!(matches!(interrupts.guard_until(now, async {}).await, End::Finished(())));
        assert_eq!(deadline(Some(Duration::MAX)), None);
    }
}
