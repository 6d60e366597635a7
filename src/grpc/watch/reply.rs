//! A stream's reply: its messages as a body.
//!
//! tonic's own keeps a buffer for each stream between messages, looks twice for a message that is not there, and stands
//! behind several boxes. Here a message gets a buffer for what is its own, which is gone once it is written, and shares
//! the state that it tells of with the messages of other streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream as _;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::feed::Feed;
use crate::proto::framed::{Framed, Replies};

/// Messages that wait are sent together, up to about so many bytes.
const FULL: usize = 16 * 1024;

/// What one stream sends.
pub(super) struct Reply {
    feed: Feed,
    /// How the stream ends, once that is known.
    end: Option<Status>,
    is_over: bool,
}

impl Reply {
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, end: None, is_over: false }
    }

    /// The messages that are there now, or how the stream ends.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Framed, Status>> {
        let mut messages = Replies::default();
        loop {
            let end = match Pin::new(&mut self.feed).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    messages.write(&message)?;
                    None
                }
                Poll::Ready(Some(Err(status))) => Some(status),
                Poll::Ready(None) => Some(Status::ok("")),
                Poll::Pending if messages.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(messages.finish())),
            };
            match end {
                Some(end) if messages.is_empty() => return Poll::Ready(Err(end)),
                Some(end) => self.end = Some(end),
                None => {}
            }
            if self.end.is_some() || messages.len() >= FULL || !self.feed.has_more() {
                return Poll::Ready(Ok(messages.finish()));
            }
        }
    }
}

impl Body for Reply {
    type Data = Framed;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Framed>, Status>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let polled = match this.end.take() {
            Some(end) => Poll::Ready(Err(end)),
            None => this.poll_messages(cx),
        };
        polled.map(|messages| match messages {
            Ok(messages) => Some(Ok(Frame::data(messages))),
            Err(end) => {
                this.is_over = true;
                let mut trailers = HeaderMap::new();
                Some(end.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
