//! Binding addresses, apart from serving on them, so that ports are known and errors told before anything runs.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use super::socket::Io;
use crate::config::ListenAddr;

/// A listener that is bound, with the address it got.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    address: ListenAddr,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the socket's file when dropped")] Unlink),
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: ListenAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Binds one address. A unix socket that a dead process left behind is replaced, a live one is not.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: &ListenAddr) -> Result<Bound, BindError> {
    let bound = match address {
        ListenAddr::Tcp(socket) => TcpListener::bind(socket).await.and_then(|listener| {
            let address = ListenAddr::Tcp(listener.local_addr()?);
            Ok(Bound { listener: Listener::Tcp(listener), address })
        }),
        ListenAddr::Unix(path) => bind_unix(path),
    };
    bound.map_err(|source| BindError { address: address.clone(), source })
}

impl Bound {
    /// The address with the port that the system picked.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Io> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A stream that is gone already fails at its first read as well.
                drop(stream.set_nodelay(true));
                Ok(Io::Tcp(stream))
            }
            Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Io::Unix(stream)),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            // Someone listens, or may: the bind below says that the address is in use.
            Ok(_) | Err(_) => {}
        }
    }
    let listener = UnixListener::bind(path)?;
    let unlink = Unlink(path.to_owned());
    Ok(Bound { listener: Listener::Unix(listener, unlink), address: ListenAddr::Unix(path.to_owned()) })
}

/// Removes a socket's file with its listener.
#[derive(Debug)]
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket's file could not be removed");
        }
    }
}
