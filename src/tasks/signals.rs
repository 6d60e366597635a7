//! What the process does on signals.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Lifecycle;

/// How long the last log lines may take to get out.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The signals a server listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    ///
    /// # Errors
    /// The system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Begins the drain on the first SIGTERM or SIGINT and ends the process on the second; calls `hang_up` on SIGHUP.
    /// Runs for ever.
    pub async fn run(mut self, lifecycle: Lifecycle, mut hang_up: impl FnMut()) {
        let mut asked = false;
        loop {
            // SIGINT is 2 and SIGTERM 15; a process they end reports 128 more.
            let code = tokio::select! {
                Some(()) = self.terminate.recv() => 143,
                Some(()) = self.interrupt.recv() => 130,
                Some(()) = self.hangup.recv() => {
                    hang_up();
                    continue;
                }
                else => return std::future::pending().await,
            };
            if asked {
                tracing::warn!("a second signal: ending at once");
                crate::telemetry::flush(LAST_WORDS);
                std::process::exit(code);
            }
            asked = true;
            tracing::info!("a signal: draining");
            lifecycle.drain();
        }
    }
}
