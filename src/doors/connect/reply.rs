//! Replies, from gRPC's form to Connect's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::MessageDescriptor;
use tonic::{Code, Status};

use super::super::schema::{Schema, to_json};
use super::request::envelope;
use super::status::{End, Error, http, json};
use crate::proto::codec::PREFIX;

/// Headers and trailers that belong to gRPC; the others are the service's.
const OF_GRPC: [HeaderName; 7] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
    CONTENT_TYPE,
    CONTENT_LENGTH,
];

/// The flag of the envelope that ends a stream.
const END: u8 = 0b10;

/// The reply to a unary call, once all of it is there: its status comes first here, and last in gRPC.
pub(super) async fn unary<R>(
    response: Response<R>,
    form: Option<MessageDescriptor>,
    schema: &Schema,
) -> Response<tonic::body::Body>
where
    R: Body<Data = Bytes, Error = Status>,
{
    let (mut head, body) = response.into_parts();
    let (status, message, trailers) = match take_status(&mut head.headers) {
        Some(status) => (status, Bytes::new(), HeaderMap::new()),
        None => match body.collect().await {
            Err(status) => (status, Bytes::new(), HeaderMap::new()),
            Ok(collected) => {
                let mut trailers = collected.trailers().cloned().unwrap_or_default();
                let status = take_status(&mut trailers).unwrap_or_else(cut_short);
                (status, collected.to_bytes(), trailers)
            }
        },
    };
    for (name, value) in &trailers {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            head.headers.append(name, value.clone());
        }
    }
    let said = if status.code() == Code::Ok { said(message, form) } else { Err(status) };
    let body = said.unwrap_or_else(|status| {
        head.status = http(status.code());
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        json(&Error::of(&status, schema))
    });
    Response::from_parts(head, tonic::body::Body::new(Full::from(body)))
}

/// What the one message of a reply says.
fn said(framed: Bytes, form: Option<MessageDescriptor>) -> Result<Bytes, Status> {
    if framed.len() < PREFIX {
        return Err(cut_short());
    }
    let message = framed.slice(PREFIX..);
    match form {
        None => Ok(message),
        Some(descriptor) => to_json(descriptor, &message),
    }
}

/// A stream of replies. It is a success in HTTP's terms however it ends.
pub(super) fn stream<R>(
    response: Response<R>,
    form: Option<MessageDescriptor>,
    schema: &Arc<Schema>,
) -> Response<tonic::body::Body>
where
    R: Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
{
    let (mut head, inner) = response.into_parts();
    let Some(status) = take_status(&mut head.headers) else {
        let schema = Arc::clone(schema);
        let messages = Messages { inner: Some(inner), form, schema, held: BytesMut::new() };
        return Response::from_parts(head, tonic::body::Body::new(messages));
    };
    // All that came is the end, and what came with it are trailers.
    let end = end(&status, &std::mem::take(&mut head.headers), schema);
    Response::from_parts(head, tonic::body::Body::new(Full::from(end)))
}

/// A reply's messages one by one, and then how it ended.
struct Messages<R> {
    /// `None` once it has ended.
    inner: Option<R>,
    form: Option<MessageDescriptor>,
    schema: Arc<Schema>,
    /// The begin of a message whose rest has not come yet.
    held: BytesMut,
}

impl<R: Body<Data = Bytes, Error = Status> + Unpin> Body for Messages<R> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let mut trailers = HeaderMap::new();
        let status = loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            match ready!(Pin::new(inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.translate(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Err(status) => break status,
                    },
                    Err(frame) => {
                        trailers = frame.into_trailers().unwrap_or_default();
                        break take_status(&mut trailers).unwrap_or_else(cut_short);
                    }
                },
                Some(Err(status)) => break status,
                None => break cut_short(),
            }
        };
        this.inner = None;
        Poll::Ready(Some(Ok(Frame::data(end(&status, &trailers, &this.schema)))))
    }
}

impl<R> Messages<R> {
    /// Makes Connect's envelopes of gRPC's. They differ in what is in them only, if that.
    fn translate(&mut self, data: Bytes) -> Result<Bytes, Status> {
        let Some(descriptor) = &self.form else { return Ok(data) };
        self.held.extend_from_slice(&data);
        let mut whole = BytesMut::new();
        while let Some((_, length)) = self.held.split_first_chunk::<1>()
            && let Some((length, rest)) = length.split_first_chunk::<4>()
        {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if rest.len() < length {
                break;
            }
            let message = self.held.split_to(PREFIX + length).split_off(PREFIX);
            let mut framed = BytesMut::new();
            framed.put_bytes(0, PREFIX);
            framed.extend_from_slice(&to_json(descriptor.clone(), &message)?);
            whole.extend_from_slice(&envelope(0, framed)?);
        }
        Ok(whole.freeze())
    }
}

/// The last envelope of a stream.
fn end(status: &Status, trailers: &HeaderMap, schema: &Schema) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_bytes(0, PREFIX);
    framed.extend_from_slice(&json(&End::of(status, trailers, schema)));
    envelope(END, framed).unwrap_or_default()
}

/// Takes gRPC's status out of headers or trailers, and leaves there what is the service's.
fn take_status(headers: &mut HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers);
    for name in OF_GRPC {
        headers.remove(name);
    }
    status
}

fn cut_short() -> Status {
    Status::internal("the reply ended before its status")
}
