//! Binding addresses, apart from serving on them, so that ports are known and errors told before anything runs.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
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
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "removes the socket's file when dropped")] Option<Unlink>,
    ),
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

/// Takes over the sockets that a service manager opened (systemd's socket activation); none where there is no
/// such manager. Changes the environment, so it comes before anything that could start a thread.
///
/// # Errors
/// One of them is no listening stream socket.
pub fn inherited() -> io::Result<Vec<Bound>> {
    let mut sockets = ListenFd::from_env();
    (0..sockets.len()).map(|index| inherit(&mut sockets, index)).collect()
}

fn inherit(sockets: &mut ListenFd, index: usize) -> io::Result<Bound> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("inherited socket {index}: {error}"));
    let (listener, address) = if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        listener.set_nonblocking(true).map_err(named)?;
        let address = ListenAddr::Tcp(listener.local_addr().map_err(named)?);
        (Listener::Tcp(TcpListener::from_std(listener).map_err(named)?), address)
    } else {
        let missing = || io::Error::other("is gone");
        let listener = sockets.take_unix_listener(index).and_then(|taken| taken.ok_or_else(missing));
        let listener = listener.map_err(named)?;
        listener.set_nonblocking(true).map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let path = address.as_pathname().unwrap_or(Path::new("(unnamed)")).to_owned();
        // The file is the service manager's, which goes on listening.
        (Listener::Unix(UnixListener::from_std(listener).map_err(named)?, None), ListenAddr::Unix(path))
    };
    Ok(Bound { listener, address })
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
    Ok(Bound { listener: Listener::Unix(listener, Some(unlink)), address: ListenAddr::Unix(path.to_owned()) })
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
