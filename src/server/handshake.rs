//! What comes before HTTP/2: the TLS handshake, and who the client is by its certificate.

use std::time::Duration;

use super::socket::Io;
use crate::auth::{Certificate, Peer};
use crate::tls::Tls;

/// Shakes hands where that is needed: over TCP, if the gateway has a certificate. A unix socket never leaves the
/// machine, and its own permissions guard it. `None` is a client that got no further.
pub(super) async fn shake(io: Io, tls: Option<&Tls>, timeout: Duration) -> Option<(Io, Peer)> {
    let (stream, tls) = match (io, tls) {
        (Io::Tcp(stream), Some(tls)) => (stream, tls),
        (io, _) => return Some((io, Peer::default())),
    };
    match tokio::time::timeout(timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = shown.map(|der| Certificate::read(der)).transpose();
            let certificate = certificate
                .map_err(|error| tracing::debug!(error, "a client's certificate can't be read"))
                .ok()?;
            Some((Io::Tls(Box::new(stream)), Peer::new(certificate)))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake was not done in time");
            None
        }
    }
}
