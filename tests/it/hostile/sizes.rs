//! Messages that are too large, say so, or unpack to it.

use std::process::Stdio;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Request;
use testgate::proto::v1;
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Victim;
use crate::listener::{framed, post};
use crate::support::told;

const LIMIT: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    let victim = Victim::start().await;
    let mut client = victim.bystander.clone();
    for size in [LIMIT + 1, 20 * LIMIT] {
        let request = v1::GetBackendRequest { name: "n".repeat(size) };
        let refused = victim.withstands(client.get_backend(request)).await.unwrap_err();
        assert_eq!(told(&refused), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()), "{size}");
    }
}

#[tokio::test]
async fn a_request_that_only_claims_to_be_large_is_refused_at_once() {
    let victim = Victim::start().await;
    let claim = post(&victim.served.address, "GetBackend", &[], framed(0, u32::MAX as usize, b""));
    let refused = victim.withstands(claim).await;
    assert_eq!(told(&refused), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()));
}

#[tokio::test]
async fn row_22_a_compressed_bomb_is_refused_and_never_unpacked() {
    let victim = Victim::start().await;
    let mut gzip = Command::new("sh");
    gzip.args(["-c", "head -c 10000000 /dev/zero | gzip -9"]).stdin(Stdio::null());
    let bomb = gzip.output().await.unwrap().stdout;
    assert!((1..100_000).contains(&bomb.len()), "{} bytes", bomb.len());
    // Under the limit as it comes and far above it unpacked: no encoding but identity is taken, so it stays packed.
    let address = &victim.served.address;
    let packed = framed(1, bomb.len(), &bomb);
    let refused =
        victim.withstands(post(address, "GetBackend", &[("grpc-encoding", "gzip")], packed.clone())).await;
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    let accepted = refused.metadata().get("grpc-accept-encoding").map(|value| value.to_str().unwrap());
    assert_eq!(accepted, Some("identity"));
    // Packed by nothing that was named: gRPC wants INTERNAL of it.
    let refused = victim.withstands(post(address, "GetBackend", &[], packed)).await;
    assert_eq!(refused.code(), Code::Internal, "{refused:?}");
}

#[tokio::test]
async fn requests_that_are_never_finished_hold_a_bounded_amount() {
    const STREAMS: usize = 100;
    let victim = Victim::start().await;
    let stream = TcpStream::connect(&victim.served.address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let attack = async {
        let mut held = Vec::new();
        let mut answers = FuturesUnordered::new();
        for _ in 0..STREAMS {
            let uri = "http://test/testgate.v1.TestExecutionService/GetBackend";
            let request = Request::post(uri).header("content-type", "application/grpc").body(()).unwrap();
            send = send.ready().await.unwrap();
            let (answer, mut upload) = send.send_request(request, false).unwrap();
            // Half of a message that is within the limit.
            upload.send_data(framed(0, LIMIT - 1, &vec![0; LIMIT / 2]), false).unwrap();
            held.push(upload);
            answers.push(answer);
        }
        answers.next().await.unwrap().unwrap()
    };
    let answer = victim.withstands(attack).await;
    let refused = Status::from_header_map(answer.headers()).expect("an answer in headers");
    assert_eq!(told(&refused), (Code::ResourceExhausted, "CALLER_LIMIT_EXCEEDED".into()), "{refused:?}");
    assert!(refused.get_details_retry_info().is_some());
    connection.abort();
}
