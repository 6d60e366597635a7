//! The messages of the services, and their JSON form.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::value::RawValue;
use tonic::Status;

use crate::proto::detail::{Violation, field_invalid};

/// What is known of the services behind the doors.
#[derive(Debug)]
pub(super) struct Schema(DescriptorPool);

impl Schema {
    /// Reads descriptor sets, of the services and of what may stand in the details of an error.
    ///
    /// # Errors
    /// One can't be read, or contradicts another.
    pub(super) fn new(sets: &[&[u8]]) -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(*set)?;
        }
        Ok(Self(pool))
    }

    /// The method of a path such as `/package.Service/Method`.
    pub(super) fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.0.get_service_by_name(service)?;
        service.methods().find(|known| known.name() == method)
    }

    /// The JSON form of a message that is known by its name only; `None` where it is not known.
    pub(super) fn shown(&self, name: &str, message: &[u8]) -> Option<Box<RawValue>> {
        let json = to_json(self.0.get_message_by_name(name)?, message).ok()?;
        RawValue::from_string(String::from_utf8(json.into()).ok()?).ok()
    }
}

/// Appends the protobuf form of a message's JSON.
///
/// # Errors
/// It is not JSON, or not of this message.
pub(super) fn from_json(descriptor: MessageDescriptor, json: &[u8], to: &mut BytesMut) -> Result<(), Status> {
    if json.trim_ascii().is_empty() {
        return Err(wrong("is empty: a message without fields is {}"));
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    let read = DynamicMessage::deserialize(descriptor, &mut parser);
    let message = read.and_then(|message| parser.end().map(|()| message));
    let message = message.map_err(|error| wrong(error.to_string()))?;
    message.encode(to).map_err(|error| wrong(error.to_string()))
}

/// The JSON form of a message: lowerCamelCase names, 64-bit integers as strings, defaults left out.
///
/// # Errors
/// It is not of this message.
pub(super) fn to_json(descriptor: MessageDescriptor, message: &[u8]) -> Result<Bytes, Status> {
    let unprintable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a reply has no JSON form");
        Status::internal("the reply has no JSON form")
    };
    let message = DynamicMessage::decode(descriptor, message).map_err(|error| unprintable(&error))?;
    let mut json = BytesMut::new().writer();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &SerializeOptions::new())
        .map_err(|error| unprintable(&error))?;
    Ok(json.into_inner().freeze())
}

fn wrong(rule: impl Into<String>) -> Status {
    field_invalid(&[Violation::new("request", rule)])
}
