//! A connection's bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

/// The HTTP/2 preface and the header of the settings that must follow it, in bytes.
const OPENING: usize = 24 + 9;

/// A connection as it was accepted, or with TLS on it.
#[derive(Debug)]
pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that must open in time, gathers what it writes, and fails where nobody reads: keepalive can't
/// end such a connection, since neither its ping nor its last frame gets out.
///
/// It says that it can't write from several buffers at once: where it can, h2 gives every message of 256 bytes
/// or more a system call of its own, and copies smaller ones together only otherwise.
#[derive(Debug)]
pub(super) struct Socket {
    io: Io,
    seen: usize,
    opened: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    /// Runs while the peer takes nothing.
    unread: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Wraps a connection; the flag tells whether it has opened yet.
    pub(super) fn new(io: Io, opening: Duration, write_timeout: Duration) -> (Self, Arc<AtomicBool>) {
        let opened = Arc::new(AtomicBool::new(false));
        let deadline = Some(Box::pin(tokio::time::sleep(opening)));
        let socket = Self { io, seen: 0, opened: Arc::clone(&opened), deadline, write_timeout, unread: None };
        (socket, opened)
    }

    /// Watches over what comes of a write.
    fn written<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.unread = None;
            return wrote;
        }
        let timeout = self.write_timeout;
        let unread = self.unread.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match unread.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if self.deadline.is_none() {
            return read;
        }
        self.seen += buf.filled().len() - before;
        if self.seen >= OPENING {
            self.deadline = None;
            self.opened.store(true, Ordering::Relaxed);
            return read;
        }
        let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late && read.is_pending() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 preface came")));
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.written(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.written(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
