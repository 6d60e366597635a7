//! The one message of a request, from Connect's form to gRPC's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use super::super::schema::from_json;
use crate::proto::codec::PREFIX;
use crate::proto::detail::{self, Violation, field_invalid};

/// How a message comes.
#[derive(Debug)]
pub(super) struct Form {
    /// In an envelope, as streams have it.
    pub(super) enveloped: bool,
    /// As the JSON of this message; else as protobuf.
    pub(super) json: Option<MessageDescriptor>,
}

/// A request's body, which is read to its end before anything of it is passed on: only then is the length known that
/// comes first, and that there is no second message.
#[derive(Debug)]
pub(super) struct Message<B> {
    /// `None` once it has ended.
    inner: Option<B>,
    held: BytesMut,
    form: Form,
    max: usize,
}

impl<B> Message<B> {
    pub(super) fn new(inner: B, form: Form, max: usize) -> Self {
        Self { inner: Some(inner), held: BytesMut::new(), form, max }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Message<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            match ready!(Pin::new(inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if this.held.len() + data.len() > this.max.saturating_add(PREFIX) {
                        this.inner = None;
                        return Poll::Ready(Some(Err(detail::too_large())));
                    }
                    this.held.extend_from_slice(&data);
                }
                Some(Err(status)) => {
                    this.inner = None;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    this.inner = None;
                    let message = to_grpc(&this.form, std::mem::take(&mut this.held).freeze());
                    return Poll::Ready(Some(message.map(Frame::data)));
                }
            }
        }
    }
}

/// Makes gRPC's form of a whole body.
fn to_grpc(form: &Form, body: Bytes) -> Result<Bytes, Status> {
    let message = if form.enveloped { unwrap(body)? } else { body };
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_bytes(0, PREFIX);
    match &form.json {
        None => framed.extend_from_slice(&message),
        Some(descriptor) => from_json(descriptor.clone(), &message, &mut framed)?,
    }
    envelope(0, framed)
}

/// Writes flags and length into the room before a message.
pub(super) fn envelope(flags: u8, mut framed: BytesMut) -> Result<Bytes, Status> {
    let length = framed.len().checked_sub(PREFIX).and_then(|length| u32::try_from(length).ok());
    let (Some(length), Some(prefix)) = (length, framed.get_mut(..PREFIX)) else {
        return Err(detail::too_large());
    };
    let (flag, rest) = prefix.split_at_mut(1);
    flag.fill(flags);
    rest.copy_from_slice(&length.to_be_bytes());
    Ok(framed.freeze())
}

/// The message in the one envelope of a body.
fn unwrap(body: Bytes) -> Result<Bytes, Status> {
    if body.is_empty() {
        return Err(Status::unimplemented("a message is missing: this method takes one"));
    }
    let Some((prefix, rest)) = body.split_at_checked(PREFIX) else {
        return Err(wrong("ends within the five bytes that come before a message"));
    };
    let [flags, length @ ..] = prefix else { return Err(wrong("has no flags")) };
    match flags {
        0 => {}
        // As tonic says it to callers who speak gRPC.
        1 => return Err(Status::internal("the message is compressed, and no header says how")),
        _ => return Err(wrong("has flags on its message that mean nothing here")),
    }
    let length = length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
    if length > rest.len() {
        return Err(wrong("ends within its message"));
    }
    if length < rest.len() {
        return Err(Status::unimplemented("there is more than one message: this method takes one"));
    }
    Ok(body.slice(PREFIX..))
}

fn wrong(rule: &str) -> Status {
    field_invalid(&[Violation::new("request", rule)])
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use prost::Message as _;
    use prost_reflect::DescriptorPool;
    use tonic::Code;

    use super::*;
    use crate::proto::v1;

    fn json() -> Option<MessageDescriptor> {
        let pool = DescriptorPool::decode(crate::proto::DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name("testgate.v1.GetExecutionRequest")
    }

    async fn read(form: Form, max: usize, frames: &[&'static [u8]]) -> Result<Bytes, Status> {
        let frames: Vec<_> =
            frames.iter().map(|data| Ok::<_, Status>(Frame::data(Bytes::from_static(data)))).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok(Message::new(body, form, max).collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_whole_body_becomes_a_message_with_its_length() {
        let plain = Form { enveloped: false, json: None };
        assert_eq!(read(plain, 10, &[b"ab", b"", b"c"]).await.unwrap(), &b"\0\0\0\0\x03abc"[..]);
        let nothing = Form { enveloped: false, json: None };
        assert_eq!(read(nothing, 10, &[]).await.unwrap(), &b"\0\0\0\0\0"[..]);
        let form = Form { enveloped: false, json: json() };
        let framed = read(form, 100, &[b"{\"na", b"me\": \"x\"}"]).await.unwrap();
        let message = v1::GetExecutionRequest { name: "x".into(), ..Default::default() }.encode_to_vec();
        assert_eq!(framed[PREFIX..], message);
    }

    #[tokio::test]
    async fn one_envelope_is_one_message_and_anything_else_is_refused() {
        let enveloped = |bytes: &'static [u8]| async move {
            read(Form { enveloped: true, json: None }, 10, &[bytes]).await
        };
        assert_eq!(enveloped(b"\0\0\0\0\x02hi").await.unwrap(), &b"\0\0\0\0\x02hi"[..]);
        for (bytes, code) in [
            (&b""[..], Code::Unimplemented),
            (b"\0\0\0\0\x01a\0\0\0\0\x01b", Code::Unimplemented),
            (b"\0\0\0", Code::InvalidArgument),
            (b"\0\0\0\0\x03hi", Code::InvalidArgument),
            (b"\0\xff\xff\xff\xffhi", Code::InvalidArgument),
            (b"\x01\0\0\0\x02hi", Code::Internal),
            (b"\x02\0\0\0\x02{}", Code::InvalidArgument),
        ] {
            assert_eq!(enveloped(bytes).await.unwrap_err().code(), code, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn json_that_is_not_of_the_message_says_where() {
        for (bytes, said) in [
            (&b""[..], "is empty"),
            (b"{\"nam\": 1}", "nam"),
            (b"{\"name\": 1}", "line 1"),
            (b"{} {}", "line 1"),
            (b"[]", "line 1"),
            (b"{\"name\": \"x\"", "line 1"),
            (b"\xff", "line 1"),
        ] {
            let form = Form { enveloped: false, json: json() };
            let status = read(form, 100, &[bytes]).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{bytes:?}");
            assert!(status.message().contains(said), "{bytes:?}: {}", status.message());
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_before_it_is_whole() {
        let form = Form { enveloped: false, json: None };
        let status = read(form, 4, &[b"12345", b"67890"]).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
}
