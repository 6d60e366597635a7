//! The contract as generated code, its conversions, and the one codec that carries it.

pub mod codec;
pub mod convert;
pub mod detail;
pub mod encoded;
pub mod framed;

/// Messages and services of `testgate.v1`, generated from `proto/testgate/v1/testgate.proto`.
#[expect(missing_docs, reason = "the proto file documents every message and field")]
#[allow(clippy::pedantic, clippy::nursery, unreachable_pub, clippy::disallowed_methods)]
pub mod v1 {
    tonic::include_proto!("testgate.v1");
    include!(concat!(env!("OUT_DIR"), "/server/testgate.v1.rs"));
}

/// The compiled contract with its comments, as reflection serves it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/testgate_descriptor.bin"));
