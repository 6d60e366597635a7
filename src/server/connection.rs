//! One connection, from its first byte to its last.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use super::entry::Entry;
use super::gate::Gate;
use super::socket::{Io, Socket};
use super::stall::StreamExecutor;
use super::{Options, Service, handshake, jitter};
use crate::doors::Doors;
use crate::tls::Tls;

/// hyper takes no smaller one for HTTP/1.1.
const SMALLEST_BUFFER: usize = 8192;

/// What serves every connection.
pub(super) struct Connector<S> {
    gate: Gate<S>,
    doors: Option<Arc<Doors>>,
    http: auto::Builder<StreamExecutor>,
    tls: Option<Tls>,
    preface_timeout: Duration,
    write_timeout: Duration,
    max_age: Duration,
    rotation_grace: Duration,
    /// Is cancelled when the drain begins.
    drain: CancellationToken,
}

type Connection<'a, S> = auto::Connection<'a, TokioIo<Socket>, Entry<S>, StreamExecutor>;

/// What goes wrong on a connection.
type Error = Box<dyn std::error::Error + Send + Sync>;

impl<S: Service> Connector<S> {
    pub(super) fn new(gate: Gate<S>, options: &Options, drain: CancellationToken) -> Self {
        let mut http = auto::Builder::new(StreamExecutor::new(options.stall_timeout));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(options.max_header_list_size)
            .max_send_buf_size(options.max_send_buffer)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout)
            .auto_date_header(false);
        if options.doors.is_some() {
            let longest_head = usize::try_from(options.max_header_list_size).unwrap_or(usize::MAX);
            http.http1()
                .timer(TokioTimer::new())
                .header_read_timeout(options.preface_timeout)
                .max_buf_size(longest_head.max(SMALLEST_BUFFER));
        } else {
            http = http.http2_only();
        }
        Self {
            gate,
            doors: options.doors.clone(),
            http,
            tls: options.tls.clone(),
            preface_timeout: options.preface_timeout,
            // Whoever reads nothing for so long has not answered a ping either.
            write_timeout: options.ping_interval + options.ping_timeout,
            max_age: options.max_connection_age,
            rotation_grace: options.rotation_grace,
            drain,
        }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, io: Io) {
        let shaken = tokio::select! {
            shaken = handshake::shake(io, self.tls.as_ref(), self.preface_timeout) => shaken,
            () = self.drain.cancelled() => return,
        };
        let Some((io, peer)) = shaken else { return };
        let (socket, opened) = Socket::new(io, self.preface_timeout, self.write_timeout);
        let (gate, ending) = self.gate.for_connection(peer);
        let entry = Entry::new(gate, self.doors.clone());
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(socket), entry));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.drain.cancelled() => {
                if !opened.load(Ordering::Relaxed) {
                    // hyper would wait for the handshake of one that never speaks.
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = tokio::time::sleep(self.age()) => self.rotate(connection, &ending).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }

    /// How long one connection may live: those that came together don't go together.
    fn age(&self) -> Duration {
        self.max_age - jitter::up_to(self.max_age / 10)
    }

    /// Sends the client elsewhere: GOAWAY, or no further request, then a status on every open stream, then time for what is left.
    async fn rotate(
        &self,
        mut connection: Pin<&mut Connection<'_, S>>,
        ending: &Ending,
    ) -> Result<(), Error> {
        connection.as_mut().graceful_shutdown();
        ending.come();
        match tokio::time::timeout(self.rotation_grace, connection).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::debug!("a connection past its age was cut");
                Ok(())
            }
        }
    }
}
