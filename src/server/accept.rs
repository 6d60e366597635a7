//! The accept loop, and one connection from its first byte to its last.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::gate::Gate;
use super::listen::Bound;
use super::socket::{Io, Socket};
use super::{Options, Service};
use crate::tasks::Tasks;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What every accept loop shares.
pub(super) struct Acceptor<S> {
    gate: Gate<S>,
    http: http2::Builder<TokioExecutor>,
    preface_timeout: Duration,
    slots: Arc<Semaphore>,
    /// Whether the last connection found no slot; so that a flood is logged once.
    full: AtomicBool,
    connections: Tasks,
}

impl<S: Service> Acceptor<S> {
    pub(super) fn new(gate: Gate<S>, options: &Options, connections: Tasks) -> Self {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(options.max_header_list_size)
            .max_send_buf_size(options.max_send_buffer)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout)
            .auto_date_header(false);
        let slots = options.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            gate,
            http,
            preface_timeout: options.preface_timeout,
            slots: Arc::new(Semaphore::new(slots)),
            full: AtomicBool::new(false),
            connections,
        }
    }

    /// Starts a connection's task, or closes the connection where there are too many: whoever is connected
    /// must not feel those who come on top.
    fn admit(&self, io: Io) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::warn!("max_connections is reached; further connections are closed");
            }
            return;
        };
        self.full.store(false, Ordering::Relaxed);

        let (socket, opened) = Socket::new(io, self.preface_timeout);
        let connection = self.http.serve_connection(TokioIo::new(socket), self.gate.clone());
        let drain = self.connections.token();
        self.connections.spawn("connection", async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.cancelled() => {
                    if !opened.load(Ordering::Relaxed) {
                        // hyper would wait for the handshake of one that never speaks.
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
            drop(slot);
        });
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
