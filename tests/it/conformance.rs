//! The Connect project's conformance suite for servers, against the listener, the doors and the codec.
//!
//! The suite's runner starts a server by a command and speaks with it over standard input and output. That command
//! is a shell that passes both on to this process, where the service runs.

mod messages;
mod service;

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use testgate::config::DoorsConfig;
use testgate::doors::Doors;
use testgate::server::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::listener::{Listening, tool};
use crate::process::isolate;
use messages::{ServerCompatRequest, ServerCompatResponse};

/// What is tested of a gateway whose doors are closed: gRPC with protobuf over HTTP/2, and no compression.
const CLOSED: &str = "\
features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY]
  streamTypes: [STREAM_TYPE_UNARY, STREAM_TYPE_SERVER_STREAM]
  supportsTls: false
";

/// What is tested of one whose doors are open. JSON is Connect's alone.
const OPEN: &str = "\
features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB]
  codecs: [CODEC_PROTO, CODEC_JSON]
  compressions: [COMPRESSION_IDENTITY]
  streamTypes: [STREAM_TYPE_UNARY, STREAM_TYPE_SERVER_STREAM]
  supportsTls: false
  supportsConnectGet: false
excludeCases:
  - {protocol: PROTOCOL_GRPC, codec: CODEC_JSON}
  - {protocol: PROTOCOL_GRPC_WEB, codec: CODEC_JSON}
";

/// Cases that fail, and why; the suite complains about one that passes.
const KNOWN_FAILING: [(&str, &str); 5] = [
    ("Server Message Size/**/request-exceeds-server-limit", DETAILS),
    ("gRPC Unexpected Requests/**/unary/multiple-requests", CARDINALITY),
    ("gRPC Unexpected Requests/**/unary/no-request", CARDINALITY),
    ("gRPC Unexpected Requests/**/server-stream/multiple-requests", CARDINALITY),
    ("gRPC Unexpected Requests/**/server-stream/no-request", CARDINALITY),
];
/// The same of gRPC-Web, behind which is tonic too.
const KNOWN_FAILING_OPEN: [(&str, &str); 4] = [
    ("gRPC-Web Unexpected Requests/**/unary/multiple-requests", CARDINALITY),
    ("gRPC-Web Unexpected Requests/**/unary/no-request", CARDINALITY),
    ("gRPC-Web Unexpected Requests/**/server-stream/multiple-requests", CARDINALITY),
    ("gRPC-Web Unexpected Requests/**/server-stream/no-request", CARDINALITY),
];
/// The code is the right one.
const DETAILS: &str =
    "the contract gives every error an ErrorInfo, and the suite wants these without details";
/// As in grpc-go, whose own list of known failures has the same four.
const CARDINALITY: &str = "tonic reads the first message and no more (`Grpc::map_request_unary`), and answers INTERNAL \
                           where there is none";

/// Cases whose outcome is a race: where the client's clock is the first to pass the deadline it never sees that
/// testgate's answer has details.
const KNOWN_FLAKY: &str = "Timeouts/**";

/// The command that the runner takes for a server.
const RELAY: &str = "exec 3<>\"/dev/tcp/127.0.0.1/$0\" 4<&0; cat <&4 >&3 & exec cat <&3";

/// The suite takes seconds; a busy machine must not decide.
const WHOLE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_conformance_suite_passes() {
    pass(CLOSED, false, 100).await;
}

#[tokio::test]
async fn the_conformance_suite_passes_through_every_door() {
    pass(OPEN, true, 500).await;
}

/// Runs the suite, which must have at least so many cases.
async fn pass(suite: &str, open: bool, least: usize) {
    let relayed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = relayed.local_addr().unwrap().port().to_string();
    let servers = tokio::spawn(async move {
        loop {
            let (stream, _) = relayed.accept().await.unwrap();
            tokio::spawn(serve(stream, open));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, suite).unwrap();
    let mut command = Command::new(tool("TESTGATE_CONFORMANCE"));
    command.args(["--mode", "server", "--conf"]).arg(&config);
    let more = if open { &KNOWN_FAILING_OPEN[..] } else { &[] };
    for (case, _) in KNOWN_FAILING.iter().chain(more) {
        command.args(["--known-failing", case]);
    }
    command.args(["--known-flaky", KNOWN_FLAKY]);
    command.args(["--", "bash", "-c", RELAY, &port]);
    isolate(&mut command);
    let output =
        tokio::time::timeout(WHOLE, command.output()).await.expect("the suite does not end").unwrap();
    servers.abort();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said.lines().find_map(|line| line.strip_prefix("Total cases: ")).expect("a count");
    assert!(counted.parse::<usize>().unwrap() >= least, "{said}");
}

/// One server of the runner's: it says what it wants, hears the address, and hangs up when it is done.
async fn serve(mut runner: TcpStream, open: bool) {
    let length = runner.read_u32().await.unwrap();
    let mut request = vec![0; length as usize];
    runner.read_exact(&mut request).await.unwrap();
    let request = ServerCompatRequest::decode(&*request).unwrap();
    assert!(!request.use_tls, "not asked for");
    let service = service::service(request.message_receive_limit);
    let limit = usize::try_from(request.message_receive_limit).unwrap();
    let doors = if open { doors(if limit == 0 { 4 << 20 } else { limit }) } else { None };
    let listening = Listening::start(Options { doors, ..Options::default() }, service).await;
    let response = ServerCompatResponse {
        host: listening.address.ip().to_string(),
        port: listening.address.port().into(),
        pem_cert: Vec::new(),
    };
    runner.write_all(&with_length(&response.encode_to_vec())).await.unwrap();
    drop(runner.read(&mut [0]).await);
}

fn doors(max_request: usize) -> Option<Arc<Doors>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/conformance");
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.include_imports(true).open_file("service.proto").unwrap();
    let config = DoorsConfig { grpc_web: true, connect: true, ..DoorsConfig::default() };
    Doors::open(&config, &[&compiler.encode_file_descriptor_set()], max_request).unwrap().map(Arc::new)
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}
