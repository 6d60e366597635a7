//! The gRPC face of the gateway.

pub mod error;
pub mod validate;
