//! Simulated Amazon Connect, Amazon Lex V2 and OpenMetadata: real wire formats over real sockets.
//!
//! Shares no type with the adapters, so a wrong idea of the wire can't be wrong on both sides.
//!
//! Upstreams compute what they show from the clock when they are asked; nothing runs in the background. Any number
//! of sandboxes fit into one process: tests start theirs on port 0.

pub mod clock;
pub mod connect;
pub mod control;
pub mod fault;
pub mod http;
pub mod lex;
pub mod openmetadata;
pub mod scenario;
pub mod sigv4;

mod aws;
mod server;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clock::Clock;
use self::connect::Connect;
use self::control::{Board, Control};
use self::fault::{Call, Fault, Traffic};
use self::http::Upstream;
use self::lex::Lex;
use self::server::Mounted;

/// The default ports on 127.0.0.1.
pub mod ports {
    /// The control endpoint.
    pub const CONTROL: u16 = 4570;
    /// Amazon Connect.
    pub const CONNECT: u16 = 4571;
    /// Amazon Lex V2.
    pub const LEX: u16 = 4572;
    /// OpenMetadata.
    pub const OPENMETADATA: u16 = 8585;
}

/// What to start, and where.
pub struct Options {
    /// The clock that all upstreams share.
    pub clock: Arc<Clock>,
    /// Where the control endpoint listens.
    pub control: SocketAddr,
    /// The upstreams and where they listen.
    pub upstreams: Vec<(SocketAddr, Arc<dyn Upstream>)>,
    /// How long each reply is held back.
    pub latency: Duration,
}

impl Options {
    /// No upstream yet; the control endpoint on its default port.
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, control: local(ports::CONTROL), upstreams: Vec::new(), latency: Duration::ZERO }
    }

    /// Connect and Lex with the default data on the default ports.
    pub fn standard(clock: Arc<Clock>) -> Self {
        let connect = Connect::new(Arc::clone(&clock), connect::Options::default());
        let lex = Lex::new(Arc::clone(&clock), lex::Options::default());
        Self::new(clock).with(local(ports::CONNECT), Arc::new(connect)).with(local(ports::LEX), Arc::new(lex))
    }

    /// Adds an upstream.
    #[must_use]
    pub fn with(mut self, address: SocketAddr, upstream: Arc<dyn Upstream>) -> Self {
        self.upstreams.push((address, upstream));
        self
    }

    /// The same on free ports that the system picks.
    #[must_use]
    pub fn on_free_ports(mut self) -> Self {
        self.control.set_port(0);
        self.upstreams.iter_mut().for_each(|(address, _)| address.set_port(0));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstreams: Vec<_> = self.upstreams.iter().map(|(at, upstream)| (upstream.name(), at)).collect();
        formatter
            .debug_struct("Options")
            .field("control", &self.control)
            .field("upstreams", &upstreams)
            .finish()
    }
}

/// An address on the loopback interface.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Running upstreams. Dropping it ends them without waiting; [`Sandbox::shutdown`] waits.
pub struct Sandbox {
    board: Arc<Board>,
    control: SocketAddr,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// What a start-up banner shows.
#[derive(Clone, Debug, Serialize)]
pub struct Banner {
    /// The control endpoint's address.
    pub control: SocketAddr,
    /// Each upstream: name, address, and its own ids and credentials.
    pub upstreams: Vec<UpstreamBanner>,
}

/// One upstream's part of the banner.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamBanner {
    /// `connect`, `lex` or `openmetadata`.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Ids, region and credentials, in a shape of its own.
    pub details: Value,
}

impl Sandbox {
    /// Binds every address first, so that one port in use fails the start as a whole, then serves.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options { clock, control, upstreams, latency } = options;
        let mut listeners = Vec::with_capacity(upstreams.len());
        let mut mounted = Vec::with_capacity(upstreams.len());
        for (address, upstream) in upstreams {
            let listener = bind(address, upstream.name()).await?;
            let address = listener.local_addr()?;
            let entry = Arc::new(Mounted {
                upstream,
                traffic: Traffic::default(),
                clock: Arc::clone(&clock),
                latency,
            });
            listeners.push((listener, Arc::clone(&entry)));
            mounted.push((address, entry));
        }
        let listener = bind(control, "control").await?;
        let control = listener.local_addr()?;
        let board = Arc::new(Board { clock: Arc::clone(&clock), control, upstreams: mounted });
        let endpoint = Control { board: Arc::clone(&board) };
        listeners.push((
            listener,
            Arc::new(Mounted {
                upstream: Arc::new(endpoint),
                traffic: Traffic::default(),
                clock,
                latency: Duration::ZERO,
            }),
        ));
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (listener, mounted) in listeners {
            tasks.spawn(server::accept(listener, mounted, cancel.clone(), tasks.clone()));
        }
        tasks.close();
        Ok(Self { board, control, cancel, tasks })
    }

    /// Where an upstream listens.
    pub fn address(&self, upstream: &str) -> Option<SocketAddr> {
        Some(self.board.find(upstream)?.0)
    }

    /// Where the control endpoint listens.
    pub fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// The clock of all upstreams.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.board.clock
    }

    /// Gives an upstream a command, as `POST /{upstream}` on the control endpoint does.
    pub fn control(&self, upstream: &str, command: &Value) -> Result<Value, String> {
        self.board.command(upstream, command)
    }

    /// Injects a fault and gives its id.
    pub fn inject(&self, upstream: &str, fault: Fault) -> Result<u64, String> {
        self.board.traffic(upstream)?.inject(fault)
    }

    /// Removes all faults of an upstream.
    pub fn clear_faults(&self, upstream: &str) -> Result<usize, String> {
        Ok(self.board.traffic(upstream)?.clear(None))
    }

    /// The calls that an operation got, oldest first; `*` for all operations. Empty for an unknown upstream.
    pub fn calls(&self, upstream: &str, operation: &str) -> Vec<Call> {
        self.board.traffic(upstream).map(|traffic| traffic.calls(operation)).unwrap_or_default()
    }

    /// An upstream's faults and traffic.
    pub fn traffic(&self, upstream: &str) -> Option<&Traffic> {
        self.board.traffic(upstream).ok()
    }

    /// Addresses, ids and credentials to show at the start.
    pub fn banner(&self) -> Banner {
        let upstreams = self.board.upstreams.iter().map(|(address, mounted)| UpstreamBanner {
            name: mounted.upstream.name(),
            address: *address,
            details: mounted.upstream.banner(),
        });
        Banner { control: self.control, upstreams: upstreams.collect() }
    }

    /// Ends all connections, answered or not, and waits until they are gone.
    pub async fn shutdown(self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sandbox").field("banner", &self.banner()).finish()
    }
}

async fn bind(address: SocketAddr, name: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{name} on {address}: {error}")))
}

#[cfg(test)]
mod tests;
