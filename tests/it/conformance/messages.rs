//! The suite's messages (`connectrpc.conformance.v1`), as far as unary calls and server streams need them.

use prost::{Message, Oneof};
use prost_types::Any;

#[derive(Clone, Message)]
pub struct ServerCompatRequest {
    #[prost(bool, tag = "4")]
    pub use_tls: bool,
    #[prost(uint32, tag = "6")]
    pub message_receive_limit: u32,
}

#[derive(Clone, Message)]
pub struct ServerCompatResponse {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(uint32, tag = "2")]
    pub port: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub pem_cert: Vec<u8>,
}

#[derive(Clone, Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub value: Vec<String>,
}

#[derive(Clone, Message)]
pub struct Error {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, optional, tag = "2")]
    pub message: Option<String>,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

#[derive(Clone, Oneof)]
pub enum UnaryOutcome {
    #[prost(bytes, tag = "2")]
    Data(Vec<u8>),
    #[prost(message, tag = "3")]
    Error(Error),
}

#[derive(Clone, Message)]
pub struct UnaryResponseDefinition {
    #[prost(message, repeated, tag = "1")]
    pub response_headers: Vec<Header>,
    #[prost(oneof = "UnaryOutcome", tags = "2, 3")]
    pub response: Option<UnaryOutcome>,
    #[prost(message, repeated, tag = "4")]
    pub response_trailers: Vec<Header>,
    #[prost(uint32, tag = "6")]
    pub response_delay_ms: u32,
}

#[derive(Clone, Message)]
pub struct StreamResponseDefinition {
    #[prost(message, repeated, tag = "1")]
    pub response_headers: Vec<Header>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub response_data: Vec<Vec<u8>>,
    #[prost(uint32, tag = "3")]
    pub response_delay_ms: u32,
    #[prost(message, optional, tag = "4")]
    pub error: Option<Error>,
    #[prost(message, repeated, tag = "5")]
    pub response_trailers: Vec<Header>,
}

/// UnaryRequest, and IdempotentUnaryRequest, which has the same fields.
#[derive(Clone, Message)]
pub struct UnaryRequest {
    #[prost(message, optional, tag = "1")]
    pub response_definition: Option<UnaryResponseDefinition>,
    #[prost(bytes = "vec", tag = "2")]
    pub request_data: Vec<u8>,
}

#[derive(Clone, Message)]
pub struct ServerStreamRequest {
    #[prost(message, optional, tag = "1")]
    pub response_definition: Option<StreamResponseDefinition>,
    #[prost(bytes = "vec", tag = "2")]
    pub request_data: Vec<u8>,
}

/// What every method answers with.
#[derive(Clone, Message)]
pub struct Response {
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

#[derive(Clone, Message)]
pub struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub request_info: Option<RequestInfo>,
}

#[derive(Clone, Message)]
pub struct RequestInfo {
    #[prost(message, repeated, tag = "1")]
    pub request_headers: Vec<Header>,
    #[prost(int64, optional, tag = "2")]
    pub timeout_ms: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    pub requests: Vec<Any>,
}
