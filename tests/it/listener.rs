//! testgate's own listener with all its layers, in front of a service that a test makes up; and calls byte by byte.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;

use testgate::config::ListenAddr;
use testgate::server::{Options, Service, bind, serve};
use testgate::tasks::Lifecycle;
use tokio::net::TcpStream;
use tonic::Status;

/// Serves until it is dropped.
pub struct Listening {
    pub address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Listening {
    pub async fn start(options: Options, service: impl Service) -> Self {
        let bound = bind(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
        let ListenAddr::Tcp(address) = *bound.address() else { panic!("a TCP address") };
        let lifecycle = Lifecycle::new();
        lifecycle.serve();
        tokio::spawn(serve(vec![bound], service, options, lifecycle.clone()));
        Self { address, lifecycle }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.lifecycle.drain();
    }
}

/// A tool that the test command installs and names in a variable.
pub fn tool(variable: &str) -> std::path::PathBuf {
    let path = std::env::var_os(variable).map(std::path::PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: run the tests by tests/run, which installs it"))
}

/// Posts these bytes as the request of a unary call, and gives the status of an answer that is headers alone: no
/// client library adds to the call, or ends it by a clock of its own.
pub async fn post(address: &str, method: &str, headers: &[(&str, &str)], body: Bytes) -> Status {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}/testgate.v1.TestExecutionService/{method}"))
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut send = send.ready().await.unwrap();
    let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    // The answer may come, and the stream end, before all of it is sent.
    drop(stream.send_data(body, true));
    let response = response.await.unwrap();
    connection.abort();
    Status::from_header_map(response.headers()).expect("an answer in headers")
}

/// A message with its prefix, which may lie.
pub fn framed(compressed: u8, length: usize, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(compressed);
    bytes.put_u32(u32::try_from(length).unwrap());
    bytes.extend_from_slice(message);
    bytes.freeze()
}
