//! A gateway whose doors are closed, as they are by default.

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{SERVICE, both};
use crate::rig::hurried;
use crate::support::{PATIENCE, Setup, World};

/// The status of an answer over HTTP/2 to a request with this type of content.
async fn status_of(address: &str, kind: &str) -> u16 {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request =
        Request::post(format!("http://{address}/{SERVICE}/ListBackends")).header("content-type", kind);
    let (response, mut body) =
        send.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
    drop(body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true));
    let status = response.await.unwrap().status();
    connection.abort();
    status.as_u16()
}

/// What is said to a request over HTTP/1.1.
async fn said_to_http1(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /{SERVICE}/ListBackends HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // Whether the end is a reset is the system's business.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it stays open"));
    String::from_utf8_lossy(&said).into_owned()
}

const KINDS: [&str; 4] =
    ["application/grpc-web", "application/grpc-web-text", "application/json", "application/connect+json"];

#[tokio::test]
async fn a_plain_gateway_speaks_grpc_over_http_2_and_nothing_else() {
    let world = World::start().await;
    let address = world.gateway.addresses()[0].to_string();
    for kind in KINDS {
        assert_eq!(status_of(&address, kind).await, 415, "{kind}");
    }
    let said = said_to_http1(&address).await;
    assert!(!said.contains("HTTP/1.1"), "{said:?}");
}

#[tokio::test]
async fn each_door_opens_for_itself() {
    let json = |name: &str| (name == "TESTGATE_DOORS").then(|| "connect".to_owned());
    let web = |name: &str| (name == "TESTGATE_DOORS").then(|| "grpc-web".to_owned());
    for (env, open) in [
        (json as fn(&str) -> Option<String>, [415, 415, 200, 415]),
        (web, [200, 200, 415, 415]),
        (both, [200, 200, 200, 415]),
    ] {
        let world = World::with(Setup { env, ..hurried(1.0) }).await;
        let address = world.gateway.addresses()[0].to_string();
        let mut statuses = Vec::new();
        for kind in KINDS {
            let status = status_of(&address, kind).await;
            // The body is none of JSON's, which is not the point.
            statuses.push(if status == 400 { 200 } else { status });
        }
        assert_eq!(statuses, open);
        assert!(said_to_http1(&address).await.starts_with("HTTP/1.1 "));
    }
}
