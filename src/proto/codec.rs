//! Protobuf over gRPC with small buffers.
//!
//! tonic starts every stream with an 8 KiB encode buffer, which is most of what an idle watch costs. The
//! messages here are small, so the buffer starts at 512 bytes and grows when one is not.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::detail;

const INITIAL_BUFFER: usize = 512;
const YIELD_THRESHOLD: usize = 32 * 1024;
/// What stands before each message, in bytes: a flag, and the message's length. Connect's envelopes have the same.
pub const PREFIX: usize = 5;

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder(PhantomData)
    }
}

/// Writes one message into the stream's buffer.
#[derive(Debug)]
pub struct ProstEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for ProstEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        if buf.remaining_mut() < item.encoded_len() {
            buf.reserve(item.encoded_len());
        }
        item.encode(buf).map_err(|error| unencodable(&error))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(INITIAL_BUFFER, YIELD_THRESHOLD)
    }
}

/// Writes a message to the end of a buffer as gRPC frames it: a flag that it is not compressed, its length, its bytes.
///
/// # Errors
/// It has more bytes than can be told.
pub fn write_message(message: &impl Message, to: &mut BytesMut) -> Result<(), Status> {
    let length = message.encoded_len();
    to.reserve(PREFIX + length);
    write_prefix(length, to)?;
    message.encode(to).map_err(|error| unencodable(&error))
}

/// Writes what stands before a message of so many bytes.
///
/// # Errors
/// They are more than can be told.
pub fn write_prefix(length: usize, to: &mut BytesMut) -> Result<(), Status> {
    let told = u32::try_from(length).map_err(|_| Status::internal("a reply has more than 4 GiB"))?;
    to.put_u8(0);
    to.put_u32(told);
    Ok(())
}

fn unencodable(error: &prost::EncodeError) -> Status {
    Status::internal(format!("a reply could not be encoded: {error}"))
}

/// Reads one message; what is not a valid message is the caller's mistake, and the answer names the field.
#[derive(Debug)]
pub struct ProstDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for ProstDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let item =
            U::decode(buf.copy_to_bytes(buf.remaining())).map_err(|error| detail::undecodable(&error))?;
        Ok(Some(item))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(INITIAL_BUFFER, YIELD_THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn messages_are_framed_one_after_another() {
        let messages = ["one", "", "three"].map(|name| v1::GetTestRequest { name: name.to_owned() });
        let mut bytes = BytesMut::new();
        messages.iter().for_each(|message| write_message(message, &mut bytes).unwrap());
        let mut bytes = bytes.freeze();
        for message in messages {
            assert_eq!(bytes.get_u8(), 0, "not compressed");
            let length = usize::try_from(bytes.get_u32()).unwrap();
            assert_eq!(v1::GetTestRequest::decode(bytes.split_to(length)).unwrap(), message);
        }
        assert!(bytes.is_empty());
    }
}
