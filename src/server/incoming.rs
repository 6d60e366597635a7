//! A request's body as it comes in.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tonic::Status;

use super::budget::Share;
use super::status;

/// How much of a request that nobody wants is read, and for how long.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// A body whose bytes are counted.
#[derive(Debug)]
pub(super) struct Metered {
    /// `None` only while it is dropped.
    inner: Option<Incoming>,
    held: Share,
    left: Option<oneshot::Sender<Incoming>>,
}

/// What is left of a body when a call is answered before it was read to its end.
#[derive(Debug)]
pub(super) struct Unread(oneshot::Receiver<Incoming>);

impl Metered {
    pub(super) fn new(inner: Incoming, held: Share) -> Self {
        Self { inner: Some(inner), held, left: None }
    }

    /// Keeps what is left of the body.
    pub(super) fn unread(&mut self) -> Unread {
        let (left, unread) = oneshot::channel();
        self.left = Some(left);
        Unread(unread)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let (Some(inner), Some(left)) = (self.inner.take(), self.left.take())
            && !inner.is_end_stream()
        {
            // Nobody waits for it where the connection is gone.
            drop(left.send(inner));
        }
    }
}

impl Unread {
    /// Reads on for a while, if there is any use in it; says whether the body is whole now. Over HTTP/1.1 an answer that
    /// comes before the request is whole ends the connection, and the system throws the answer away if bytes come after
    /// that.
    pub(super) async fn linger(mut self, may_come: bool) -> bool {
        let Ok(mut body) = self.0.try_recv() else { return true };
        let mut read = 0;
        let reading = async {
            while read < LINGER_BYTES {
                match body.frame().await {
                    Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        // Late or not, the answer goes out now.
        may_come && tokio::time::timeout(LINGER, reading).await.unwrap_or(false)
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.held.take(data.len()).map_err(|_| status::requests_full())?;
        }
        polled.map_err(|error| Status::from_error(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
