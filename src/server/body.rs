//! A reply's body, which ends in time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::access::Record;
use super::deadline::Deadline;
use super::status;
use crate::tasks::panic_message;

/// The body of the service inside. It is cut short, with a status in trailers as gRPC wants it, at the
/// deadline, when a drain can wait no longer, and where the service panics.
pub(crate) struct GateBody {
    /// `None` once it has ended.
    inner: Option<tonic::body::Body>,
    deadline: Option<Deadline>,
    end: CancellationToken,
    /// Set up at the first wait, which a unary reply never comes to.
    alarms: Option<Pin<Box<Alarms>>>,
    started: bool,
    record: Record,
}

struct Alarms {
    deadline: Option<Pin<Box<Sleep>>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl GateBody {
    pub(super) fn new(
        inner: tonic::body::Body,
        deadline: Option<Deadline>,
        end: CancellationToken,
        record: Record,
    ) -> Self {
        Self { inner: Some(inner), deadline, end, alarms: None, started: false, record }
    }

    /// The body of a reply that is all headers.
    pub(super) fn empty(record: Record) -> Self {
        let end = CancellationToken::new();
        Self { inner: None, deadline: None, end, alarms: None, started: true, record }
    }

    /// Ends the body with a status of ours; dropping the inner one cancels its work.
    fn cut(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
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
            Box::pin(Alarms { deadline, end: Box::pin(self.end.clone().cancelled_owned()) })
        });
        if alarms.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(status::deadline_exceeded());
        }
        alarms.end.as_mut().poll(cx).map(|()| status::draining())
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
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
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    this.record.code = status::complete(trailers);
                } else if this.started && this.deadline.is_some_and(|Deadline(at)| Instant::now() >= at) {
                    // A stream that always has something to say never waits.
                    return this.cut(&status::deadline_exceeded());
                }
                this.started = true;
                Poll::Ready(Some(Ok(frame)))
            }
            ended @ Poll::Ready(None | Some(Err(_))) => {
                this.inner = None;
                ended
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
