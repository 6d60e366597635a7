//! The gRPC listener: our own accept loop over hyper, because tonic's lacks a connection cap,
//! spins when file descriptors run out, and waits for ever for open streams and silent connections.
//!
//! [`bind`] the addresses, then [`serve`] a tonic `Routes` on them until the [`Lifecycle`] drains. Around every
//! call stands a gate that keeps deadlines, catches panics, and refuses calls while nothing can answer them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};

use crate::audit::Audit;
use crate::auth::Auth;
use crate::doors::Doors;
use crate::metrics::Metrics;
use crate::tasks::{Lifecycle, Tasks, Unfinished};
use crate::tls::Tls;
use crate::trace::Tracer;

mod accept;
mod access;
mod body;
mod budget;
mod connection;
mod deadline;
mod ending;
mod entry;
mod gate;
mod handshake;
mod incoming;
mod jitter;
mod listen;
mod messages;
mod parts;
mod protocol;
mod reply;
mod socket;
mod stall;
mod status;

pub use deadline::Deadline;
pub use listen::{BindError, Bound, bind, inherited};
pub use messages::RequestBody;
pub use protocol::GrpcOnly;
pub use reply::ReplyBody;

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections beyond this many are closed as they come.
    pub max_connections: usize,
    /// From the drain's begin to the last byte.
    pub drain_timeout: Duration,
    /// When a connection is sent elsewhere, less a jitter of a tenth.
    pub max_connection_age: Duration,
    /// From then to the moment when it is cut.
    pub rotation_grace: Duration,
    /// Who may call.
    pub auth: Auth,
    /// What is spoken beside gRPC, and then over HTTP/1.1 too; `None` for nothing.
    pub doors: Option<Arc<Doors>>,
    /// TLS for what comes over TCP; `None` leaves it in the clear.
    pub tls: Option<Tls>,
    /// How long a new connection may take to shake hands, and again to say that it speaks HTTP/2. Over HTTP/1.1, how long
    /// the head of a request may take, counted from the end of the one before.
    pub preface_timeout: Duration,
    /// How often a connection is asked whether it is alive.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// How long a reply may wait for a reader that takes nothing of it.
    pub stall_timeout: Duration,
    /// Streams at a time on one connection.
    pub max_concurrent_streams: u32,
    /// What the requests of one connection may hold between them while they come in, in bytes.
    pub max_uploads: usize,
    /// What of the replies on one connection may wait for their reader between them, in bytes.
    pub max_unread: usize,
    /// The longest header block, in bytes; over HTTP/1.1 the longest head of a request.
    pub max_header_list_size: u32,
    /// What is buffered of a reply that its reader is slow to take, in bytes for each stream.
    pub max_send_buffer: usize,
    /// Where calls are noted.
    pub records: Records,
}

/// Where calls are noted: counted, traced, audited. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Counts them.
    pub metrics: Metrics,
    /// Knows their place in traces.
    pub tracer: Tracer,
    /// The audit log, if one is kept.
    pub audit: Option<Audit>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            drain_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_secs(30 * 60),
            // Longer than a call without a deadline of its own may take.
            rotation_grace: Duration::from_secs(120),
            auth: Auth::anonymous(),
            doors: None,
            tls: None,
            preface_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            // The time that a watch may lag, and as much again.
            stall_timeout: Duration::from_secs(60),
            max_concurrent_streams: 4096,
            max_uploads: 16 * 1024 * 1024,
            max_unread: 32 * 1024 * 1024,
            max_header_list_size: 16 * 1024,
            max_send_buffer: 64 * 1024,
            records: Records::default(),
        }
    }
}

impl Options {
    /// When connections are cut: before the drain's own deadline, so that the process is gone by then.
    fn cut_after(&self) -> Duration {
        self.drain_timeout.mul_f64(0.85)
    }

    /// When streams that did not end by themselves are ended: well before they are cut, so that their status
    /// still arrives; a stream of ours ends itself long before.
    fn end_streams_after(&self) -> Duration {
        (self.drain_timeout / 4).min(Duration::from_secs(1))
    }
}

/// What answers the calls: tonic's `Routes`, or a test's own service.
pub trait Service:
    tower_service::Service<
        Request<RequestBody>,
        Response = Response<ReplyBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Service for S where
    S: tower_service::Service<
            Request<RequestBody>,
            Response = Response<ReplyBody>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves until the lifecycle drains and everything under way has ended, or has been cut shortly before
/// `drain_timeout`.
///
/// # Errors
/// How many connections had to be cut.
pub async fn serve<S: Service>(
    listeners: Vec<Bound>,
    service: S,
    options: Options,
    lifecycle: Lifecycle,
) -> Result<(), Unfinished> {
    let connections = Tasks::new();
    let ending = ending::Ending::default();
    let gate = gate::Gate::new(
        service,
        lifecycle.clone(),
        options.auth.clone(),
        ending.clone(),
        budget::Budgets {
            requests: budget::Budget::new(options.max_uploads),
            replies: budget::Budget::new(options.max_unread),
        },
        options.records.clone(),
    );
    let connector = connection::Connector::new(gate, &options, connections.token());
    let acceptor = Arc::new(accept::Acceptor::new(connector, options.max_connections, connections.clone()));

    let loops =
        listeners.into_iter().map(|bound| accept::run(bound, Arc::clone(&acceptor), lifecycle.draining()));
    // Each ends with the drain, and with it its listener.
    futures_util::future::join_all(loops).await;
    // Without listeners there is nothing to join, yet the caller asked to serve until the drain.
    lifecycle.draining().await;

    tracing::info!(connections = connections.len(), "draining");
    let end_late_streams = async {
        tokio::time::sleep(options.end_streams_after()).await;
        ending.come();
        std::future::pending().await
    };
    let drained = tokio::select! {
        drained = connections.shutdown(options.cut_after()) => drained,
        () = end_late_streams => Ok(()),
    };
    match &drained {
        Ok(()) => tracing::info!("drained"),
        Err(unfinished) => tracing::warn!(%unfinished, "connections were cut at the end of the drain"),
    }
    drained
}

#[cfg(test)]
mod tests;
