//! Simulated Amazon Connect, Amazon Lex V2 and OpenMetadata: real wire formats over real sockets.
//!
//! Shares no type with the adapters, so a wrong idea of the wire can't be wrong on both sides.

pub mod clock;
pub mod http;
pub mod openmetadata;
