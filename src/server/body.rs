//! A reply's body, which ends in time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::access::Record;
use super::budget::{Exhausted, Part, Rest, Share};
use super::deadline::Deadline;
use super::ending::Ending;
use super::messages::Messages;
use super::reply::ReplyBody;
use super::{stall, status};
use crate::proto::framed::Framed;
use crate::tasks::{LastWaker, panic_message};

/// The body of the service inside. It is cut short, with a status in trailers as gRPC wants it, at the
/// deadline, when a drain can wait no longer, and where the service panics.
pub(crate) struct GateBody {
    /// `None` once it has ended.
    inner: Option<ReplyBody>,
    deadline: Option<Deadline>,
    end: Ending,
    /// Set up at the first wait, which a unary reply never comes to.
    alarms: Option<Alarms>,
    /// Whether anything was handed out.
    begun: bool,
    /// What is left of a message that is handed out in parts.
    rest: Rest,
    /// What the stream itself holds of what the replies on this connection may; none for one that is all headers.
    stream: Option<Share>,
    messages: Messages,
    record: Record,
}

/// What comes of asking for the next frame.
pub(super) type Polled = Poll<Option<Result<Frame<Part>, Status>>>;

struct Alarms {
    deadline: Option<Pin<Box<Sleep>>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whom they wake. To set them anew for each message would cost more than to frame it.
    set_for: LastWaker,
}

impl GateBody {
    pub(super) fn new(
        inner: ReplyBody,
        deadline: Option<Deadline>,
        end: Ending,
        stream: Share,
        record: Record,
    ) -> Self {
        Self { deadline, stream: Some(stream), ..Self::around(Some(inner), end, record) }
    }

    /// The body of a reply that is all headers.
    pub(super) fn empty(record: Record) -> Self {
        // Nothing is to be ended.
        Self::around(None, Ending::default(), record)
    }

    fn around(inner: Option<ReplyBody>, end: Ending, record: Record) -> Self {
        Self {
            inner,
            deadline: None,
            end,
            alarms: None,
            begun: false,
            rest: Rest::default(),
            stream: None,
            messages: Messages::default(),
            record,
        }
    }

    /// Hands a frame out: from now on it is the reader's turn.
    fn hand_out(&mut self, frame: Frame<Part>) -> Polled {
        self.begun = true;
        stall::handed_out();
        Poll::Ready(Some(Ok(frame)))
    }

    fn hand_out_rest(&mut self) -> Polled {
        let part = self.rest.split_part();
        self.hand_out(Frame::data(part))
    }

    /// Hands a message out, if the connection's other replies leave room for it.
    fn hand_out_message(&mut self, data: Framed) -> Polled {
        let begun: u64 = data.slices().map(|bytes| self.messages.pass(bytes)).into_iter().sum();
        self.record.method().sent(begun);
        match Rest::new(data, self.stream.as_ref().map(Share::budget)) {
            Ok(rest) => self.rest = rest,
            Err(Exhausted) => return self.cut(&status::replies_full()),
        }
        self.hand_out_rest()
    }

    /// Whether a stream must end now, be it that it always has something to say and never waits.
    fn is_over(&self) -> Option<Status> {
        if self.deadline.is_some_and(|Deadline(at)| Instant::now() >= at) {
            return Some(status::deadline_exceeded());
        }
        self.end.has_come().then(status::draining)
    }

    /// Ends the body with a status of ours; dropping the inner one cancels its work.
    fn cut(&mut self, status: &Status) -> Polled {
        self.inner = None;
        self.alarms = None;
        self.record.code = Some(status.code());
        let mut trailers = HeaderMap::new();
        status::write(status, &mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    /// What ends the body while there is nothing to send.
    fn poll_alarms(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let alarms = self.alarms.get_or_insert_with(|| {
            let deadline = self.deadline.map(|Deadline(at)| Box::pin(tokio::time::sleep_until(at)));
            Alarms { deadline, end: Box::pin(self.end.wait()), set_for: LastWaker::default() }
        });
        if !alarms.set_for.changes(cx) {
            return self.is_over().map_or(Poll::Pending, Poll::Ready);
        }
        if alarms.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(status::deadline_exceeded());
        }
        alarms.end.as_mut().poll(cx).map(|()| status::draining())
    }
}

impl Body for GateBody {
    type Data = Part;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if !this.rest.is_empty() {
            return this.hand_out_rest();
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let polled = match catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                tracing::error!(panic = panic_message(&*panic), "a reply's stream panicked");
                return this.cut(&status::internal());
            }
        };
        match polled {
            Poll::Pending => match this.poll_alarms(cx) {
                Poll::Ready(status) => this.cut(&status),
                Poll::Pending => {
                    stall::all_taken();
                    Poll::Pending
                }
            },
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    // Only a stream has a second one.
                    if let Some(status) = this.begun.then(|| this.is_over()).flatten() {
                        return this.cut(&status);
                    }
                    this.hand_out_message(data)
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    this.record.code = status::complete(&mut trailers);
                    this.hand_out(Frame::trailers(trailers))
                }
            },
            Poll::Ready(Some(Err(status))) => {
                this.inner = None;
                Poll::Ready(Some(Err(status)))
            }
            Poll::Ready(None) => {
                this.inner = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Whatever the inner one says: it may be cut, and a length that was promised would have to be kept.
        match &self.inner {
            Some(_) => SizeHint::new(),
            None => SizeHint::with_exact(self.rest.len() as u64),
        }
    }
}
