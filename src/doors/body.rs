//! Bodies on their way through the doors, in or out.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// A body as it came, or as a door translates it.
#[derive(Debug)]
pub enum DoorBody<P, T = tonic::body::Body> {
    /// From or to a caller who speaks gRPC.
    Plain(P),
    /// Made from something else, or into it.
    Translated(T),
}

impl<P, T: Default> Default for DoorBody<P, T> {
    fn default() -> Self {
        Self::Translated(T::default())
    }
}

impl<P, T> Body for DoorBody<P, T>
where
    P: Body<Error = Status> + Unpin,
    T: Body<Data = P::Data, Error = Status> + Unpin,
{
    type Data = P::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<P::Data>, Status>>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body).poll_frame(cx),
            Self::Translated(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Translated(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Translated(body) => body.size_hint(),
        }
    }
}
