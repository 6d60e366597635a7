//! Handing out what a door made of a reply.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::body::Polled;
use super::budget::{Budget, Part, Rest};
use super::{stall, status};

/// A translated body, which is handed out as [`GateBody`](super::body::GateBody) hands out what it has: in parts that
/// count until they are written, and so that its stream can tell whether it waits for its reader.
pub(crate) struct Parts {
    inner: tonic::body::Body,
    rest: Rest,
    budget: Budget,
}

impl Parts {
    pub(super) fn new(inner: tonic::body::Body, budget: Budget) -> Self {
        Self { inner, rest: Rest::default(), budget }
    }

    fn hand_out_rest(&mut self) -> Polled {
        stall::handed_out();
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_part()))))
    }
}

impl Body for Parts {
    type Data = Part;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if !this.rest.is_empty() {
            return this.hand_out_rest();
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    // The status of a translated reply is a part of it: all that is left is to break it off.
                    this.rest =
                        Rest::new(data.into(), Some(&this.budget)).map_err(|_| status::replies_full())?;
                    this.hand_out_rest()
                }
                // No door makes any.
                Err(_) => Poll::Ready(None),
            },
            Poll::Ready(Some(Err(status))) => Poll::Ready(Some(Err(status))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                stall::all_taken();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.inner.size_hint() } else { SizeHint::new() }
    }
}
