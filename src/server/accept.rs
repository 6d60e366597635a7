//! The accept loop: the cap on connections, and patience where the system has no descriptors left.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Service;
use super::connection::Connector;
use super::listen::Bound;
use super::socket::Io;
use crate::tasks::Tasks;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What every accept loop shares.
pub(super) struct Acceptor<S> {
    connector: Arc<Connector<S>>,
    slots: Arc<Semaphore>,
    /// Whether the last connection found no slot; so that a flood is logged once.
    full: AtomicBool,
    connections: Tasks,
}

impl<S: Service> Acceptor<S> {
    pub(super) fn new(connector: Connector<S>, max_connections: usize, connections: Tasks) -> Self {
        let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { connector: Arc::new(connector), slots, full: AtomicBool::new(false), connections }
    }

    /// Starts a connection's task, or closes the connection where there are too many: whoever is connected
    /// must not feel those who come on top.
    fn admit(&self, io: Io) {
        let Some(slot) = self.slot() else { return };
        let connector = Arc::clone(&self.connector);
        self.connections.spawn("connection", async move {
            connector.serve(io).await;
            drop(slot);
        });
    }

    fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if self.full.swap(slot.is_none(), Ordering::Relaxed) != slot.is_none() && slot.is_none() {
            tracing::warn!("max_connections is reached; further connections are closed");
        }
        slot
    }
}

/// Accepts connections until `stop`.
pub(super) async fn run<S: Service>(
    bound: Bound,
    acceptor: Arc<Acceptor<S>>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => return,
            accepted = bound.accept() => accepted,
        };
        match accepted {
            Ok(io) => {
                pause = SHORTEST_PAUSE;
                acceptor.admit(io);
            }
            Err(error) if of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                // Most likely out of file descriptors: the next try would fail at once too, and spin.
                tracing::warn!(%error, pause_ms = pause.as_millis(), "connections cannot be accepted");
                tokio::select! {
                    () = stop.as_mut() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
