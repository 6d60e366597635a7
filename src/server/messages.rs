//! Counting the messages of a call as their bytes go by.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::incoming::Metered;
use crate::doors::DoorBody;
use crate::metrics::Method;
use crate::proto::codec::PREFIX;

/// Finds where messages begin, however their bytes are cut into frames.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; PREFIX],
    /// How much of the prefix has come.
    have: usize,
    /// How much of the message is yet to come.
    left: usize,
}

impl Messages {
    /// Takes the next bytes; says how many messages begin in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut begun = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            for (place, byte) in self.prefix.iter_mut().skip(self.have).zip(bytes) {
                *place = *byte;
            }
            let taken = (PREFIX - self.have).min(bytes.len());
            self.have += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.have == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.have = 0;
                begun += 1;
            }
        }
        begun
    }
}

/// A request's body as the service gets it, whose messages are counted.
#[derive(Debug)]
pub struct RequestBody {
    inner: DoorBody<Metered>,
    messages: Messages,
    method: Arc<Method>,
}

impl RequestBody {
    pub(super) fn new(inner: DoorBody<Metered>, method: Arc<Method>) -> Self {
        Self { inner, messages: Messages::default(), method }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.method.received(this.messages.pass(data));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            lengths in prop::collection::vec(0usize..20, 0..20), cut in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend(u32::try_from(*length).unwrap().to_be_bytes());
                bytes.extend(std::iter::repeat_n(0xff, *length));
            }
            let mut messages = Messages::default();
            let counted: u64 = bytes.chunks(cut).map(|chunk| messages.pass(chunk)).sum();
            prop_assert_eq!(counted, lengths.len() as u64);
        }
    }
}
