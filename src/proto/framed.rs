//! Messages as gRPC frames them, whose bytes may be shared.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, int32, key_len};
use tonic::Status;

use super::codec::{self, PREFIX};
use super::encoded::{Event, ExecutionUpdate, WatchExecutionsResponse};

/// The numbers of the fields that are written here.
const RESUME_TOKEN: u32 = 1;
const UPDATE: u32 = 2;
const UPDATE_TYPE: u32 = 1;
const UPDATE_EXECUTION: u32 = 2;
const UPDATE_COALESCED: u32 = 3;

/// Bytes of messages. The last of them may be those of a state, which all who are told of it share.
#[derive(Clone, Debug, Default)]
pub struct Framed {
    own: Bytes,
    shared: Bytes,
}

impl Framed {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    /// Takes so many bytes off the front, or all.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let own = self.own.split_to(count.min(self.own.len()));
        let shared = self.shared.split_to(count - own.len());
        Self { own, shared }
    }

    /// The bytes, in the order in which they are sent.
    pub fn slices(&self) -> [&[u8]; 2] {
        [&self.own, &self.shared]
    }
}

impl From<Bytes> for Framed {
    fn from(own: Bytes) -> Self {
        Self { own, shared: Bytes::new() }
    }
}

impl Buf for Framed {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.own.is_empty() { &self.shared } else { &self.own }
    }

    fn advance(&mut self, count: usize) {
        let own = count.min(self.own.len());
        self.own.advance(own);
        self.shared.advance(count - own);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if self.own.len() >= count {
            return self.own.split_to(count);
        }
        if self.own.is_empty() {
            return self.shared.split_to(count);
        }
        let mut bytes = BytesMut::with_capacity(count);
        bytes.put(self.take(count));
        bytes.freeze()
    }
}

/// Replies of a stream that are sent together.
#[derive(Debug, Default)]
pub struct Replies {
    own: BytesMut,
    shared: Bytes,
}

impl Replies {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }

    /// What was written.
    pub fn finish(self) -> Framed {
        Framed { own: self.own.freeze(), shared: self.shared }
    }

    /// Writes a reply behind those that are there.
    ///
    /// # Errors
    /// It has more bytes than can be told.
    pub fn write(&mut self, reply: &WatchExecutionsResponse) -> Result<(), Status> {
        if !self.shared.is_empty() {
            self.own.extend_from_slice(&std::mem::take(&mut self.shared));
        }
        match &reply.event {
            Some(Event::Update(update)) => self.write_update(&reply.resume_token, update),
            _ => codec::write_message(reply, &mut self.own),
        }
    }

    /// Writes an update whose state comes last, so that its bytes need not be copied.
    fn write_update(&mut self, token: &str, update: &ExecutionUpdate) -> Result<(), Status> {
        let ExecutionUpdate { r#type, execution, coalesced_count } = update;
        let number = |tag, value: &i32| if *value == 0 { 0 } else { int32::encoded_len(tag, value) };
        let delimited = |tag, length: usize| key_len(tag) + encoded_len_varint(length as u64) + length;
        let update_length = number(UPDATE_TYPE, r#type)
            + number(UPDATE_COALESCED, coalesced_count)
            + delimited(UPDATE_EXECUTION, execution.len());
        let token_length = if token.is_empty() { 0 } else { delimited(RESUME_TOKEN, token.len()) };
        let length = token_length + delimited(UPDATE, update_length);

        let to = &mut self.own;
        to.reserve(PREFIX + length - execution.len());
        codec::write_prefix(length, to)?;
        if !token.is_empty() {
            begin(RESUME_TOKEN, token.len(), to);
            to.put_slice(token.as_bytes());
        }
        begin(UPDATE, update_length, to);
        for (tag, value) in [(UPDATE_TYPE, r#type), (UPDATE_COALESCED, coalesced_count)] {
            if *value != 0 {
                int32::encode(tag, value, to);
            }
        }
        begin(UPDATE_EXECUTION, execution.len(), to);
        self.shared = execution.clone();
        Ok(())
    }
}

/// Writes what stands before a field of so many bytes.
fn begin(tag: u32, length: usize, to: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::v1;

    fn reply() -> impl Strategy<Value = WatchExecutionsResponse> {
        let update = (0..4i32, "[a-z]{0,200}", any::<i32>()).prop_map(|(r#type, name, coalesced_count)| {
            let execution = v1::Execution { name, ..Default::default() }.encode_to_vec().into();
            Event::Update(ExecutionUpdate { r#type, execution, coalesced_count })
        });
        let other = prop_oneof![
            any::<i32>().prop_map(|done_count| Event::Complete(v1::WatchComplete { done_count })),
            Just(Event::Heartbeat(v1::Heartbeat::default())),
        ];
        let event = prop_oneof![3 => update, 1 => other];
        ("[a-z]{0,150}", event)
            .prop_map(|(resume_token, event)| WatchExecutionsResponse { resume_token, event: Some(event) })
    }

    proptest! {
        #[test]
        fn replies_are_read_as_they_were_written(
            replies in prop::collection::vec(reply(), 1..6), cuts in prop::collection::vec(1usize..300, 0..20),
        ) {
            let mut written = Replies::default();
            for reply in &replies {
                written.write(reply).unwrap();
            }
            let length = written.len();
            let mut framed = written.finish();
            prop_assert_eq!(framed.len(), length);
            prop_assert_eq!(framed.slices().concat().len(), length);
            // However it is cut, and read by whatever chunks.
            let mut bytes = BytesMut::new();
            for cut in cuts {
                let mut part = framed.split_to(cut);
                let first = part.copy_to_bytes(part.len() / 2);
                bytes.extend_from_slice(&first);
                bytes.put(part);
            }
            bytes.put(framed);
            prop_assert_eq!(bytes.len(), length);
            for reply in &replies {
                prop_assert_eq!(bytes.get_u8(), 0);
                let length = usize::try_from(bytes.get_u32()).unwrap();
                let message = bytes.split_to(length).freeze();
                prop_assert_eq!(&WatchExecutionsResponse::decode(message).unwrap(), reply);
            }
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn the_state_of_the_last_update_is_not_copied() {
        let execution = Bytes::from(vec![0x0a, 1, b'x']);
        let update = ExecutionUpdate { r#type: 1, execution: execution.clone(), coalesced_count: 0 };
        let reply = WatchExecutionsResponse { event: Some(Event::Update(update)), ..Default::default() };
        let mut written = Replies::default();
        written.write(&reply).unwrap();
        written.write(&reply).unwrap();
        let framed = written.finish();
        assert!(std::ptr::eq(framed.slices()[1].as_ptr(), execution.as_ptr()));
    }
}
