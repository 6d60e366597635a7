//! What a service answers a call with.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::proto::framed::Framed;

/// A reply's body, as the service makes it.
pub enum ReplyBody {
    /// One that tonic made.
    Tonic(tonic::body::Body),
    /// A stream whose messages share what they tell of.
    Stream(Pin<Box<dyn Body<Data = Framed, Error = Status> + Send>>),
}

/// An empty one.
impl Default for ReplyBody {
    fn default() -> Self {
        Self::Tonic(tonic::body::Body::empty())
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Tonic(_)) { "Tonic" } else { "Stream" })
    }
}

impl From<tonic::body::Body> for ReplyBody {
    fn from(body: tonic::body::Body) -> Self {
        Self::Tonic(body)
    }
}

impl Body for ReplyBody {
    type Data = Framed;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Framed>, Status>>> {
        match self.get_mut() {
            Self::Tonic(body) => Pin::new(body).poll_frame(cx).map_ok(|frame| frame.map_data(Framed::from)),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Tonic(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Tonic(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
