//! gRPC-Web as text, which pages use where their HTTP client can't read bytes as they come.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use testgate::proto::v1;

use super::curl::{Answer, post};
use super::open_world;
use crate::listener::framed;

const TEXT: [&str; 2] = ["content-type: application/grpc-web-text", "accept: application/grpc-web-text"];

/// The bytes behind an answer, each part of which is encoded by itself.
fn decoded(answer: &Answer) -> Vec<u8> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    let ends = text.match_indices('=').map(|(at, _)| at + 1).filter(|at| !text[*at..].starts_with('='));
    let mut parts = Vec::new();
    let mut begin = 0;
    for end in ends.chain([text.len()]) {
        parts.extend(STANDARD.decode(&text[begin..end]).unwrap());
        begin = end;
    }
    parts
}

#[tokio::test]
async fn a_call_as_text_is_the_same_call() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    let message = v1::GetBackendRequest { name: "backends/lex".into() }.encode_to_vec();
    let body = STANDARD.encode(framed(0, message.len(), &message));
    let answer = post(&address, "GetBackend", &TEXT, body.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/grpc-web-text+proto"))
    );
    let bytes = decoded(&answer);
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    let reply = v1::GetBackendResponse::decode(&bytes[5..5 + length]).unwrap();
    assert_eq!(reply.backend.unwrap().name, "backends/lex");
    let trailers = &bytes[5 + length..];
    assert_eq!(trailers[0], 0x80);
    assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn text_that_is_no_base64_is_the_caller_s_mistake() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    for body in ["!!!!", "AAAAAAAA?", "A"] {
        let answer = post(&address, "GetBackend", &TEXT, body.as_bytes()).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("3")), "{body}: {answer:?}");
        assert!(answer.header("grpc-message").unwrap().contains("base64"), "{answer:?}");
    }
}
