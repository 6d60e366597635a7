//! What is kept of a call: its place in a trace, its log line, its entry in the audit log.

use std::collections::HashSet;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use testgate::proto::v1;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::metrics::Scrape;
use crate::process::{Served, Serving, eventually, line_with, stderr_lines};
use crate::support::{Client, PATIENCE, World, admin_at, connect};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that hands on what it gets.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let name = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
            assert_eq!(text(name.value.as_ref().unwrap().value.as_ref()), "testgate");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                drop(self.0.send(span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    let found = found.unwrap_or_else(|| panic!("no {key} in {span:?}"));
    text(found.value.as_ref().unwrap().value.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn collector() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Span>) {
    let (sender, spans) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let service = TraceServiceServer::new(Collector(sender));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, spans)
}

/// A gateway process with more in its `[telemetry]`.
async fn serving(world: &World, telemetry: &str) -> (Serving, Served, Client) {
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let config = std::fs::read_to_string(serving.config()).unwrap();
    std::fs::write(serving.config(), format!("{config}\n[telemetry]\n{telemetry}\n")).unwrap();
    let served = serving.start_logging().await;
    let client = connect(&served.address).await;
    (serving, served, client)
}

fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("00-{TRACE}-{PARENT}-01");
    request.metadata_mut().insert("traceparent", value.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    request
}

/// An upstream that refuses everything, and the heads of the requests that it got.
async fn tapped() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<String>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (sender, heads) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                drop(sender.send(String::from_utf8(head).unwrap()));
                let reply = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\nx-request-id: up-1\r\n\r\n{}";
                drop(stream.write_all(reply.as_bytes()).await);
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn a_callers_trace_goes_on_to_upstream_and_to_the_collector() {
    let world = World::start().await;
    let ((collector, mut spans), (upstream, mut heads)) = (collector().await, tapped().await);
    let telemetry = format!(
        "otlp_endpoint = \"http://{collector}\"\n[[backend]]\nid = \"tapped\"\nkind = \"openmetadata\"\n\
         base_url = \"http://{upstream}/api\""
    );
    let (_serving, _served, mut client) = serving(&world, &telemetry).await;

    let list = v1::ListTestsRequest { parent: "backends/tapped".to_owned(), ..Default::default() };
    client.list_tests(traced(list)).await.unwrap_err();
    let carried = async {
        loop {
            let head = heads.recv().await.unwrap();
            // The gateway's own probe belongs to no caller.
            if let Some(line) = head.lines().find(|line| line.starts_with("traceparent: ")) {
                assert!(head.contains("\r\ntracestate: vendor=1\r\n"), "{head}");
                return line.trim_start_matches("traceparent: ").to_owned();
            }
        }
    };
    let carried = tokio::time::timeout(PATIENCE, carried).await.expect("no trace came to upstream");
    assert!(carried.starts_with(&format!("00-{TRACE}-")) && carried.ends_with("-01"), "{carried}");

    // A stream has a span too, once it is over.
    let request =
        v1::WatchExecutionsRequest { parent: "backends/lex/tests/-".to_owned(), ..Default::default() };
    let mut stream = client.watch_executions(traced(request)).await.unwrap().into_inner();
    stream.message().await.unwrap();
    drop(stream);

    let mut found: Vec<Span> = Vec::new();
    let of_trace = |found: &[Span], wanted: &dyn Fn(&Span) -> bool| {
        found.iter().find(|span| hex(&span.trace_id) == TRACE && wanted(span)).cloned()
    };
    let of_call = |span: &Span| span.name == "testgate.v1.TestExecutionService/ListTests";
    let of_stream = |span: &Span| span.name == "testgate.v1.TestExecutionService/WatchExecutions";
    let of_request = |span: &Span| span.kind() == SpanKind::Client;
    let all = async {
        while of_trace(&found, &of_call).is_none()
            || of_trace(&found, &of_stream).is_none()
            || of_trace(&found, &of_request).is_none()
        {
            found.push(spans.recv().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the spans did not come");
    let server = of_trace(&found, &of_call).unwrap();
    assert_eq!(server.kind(), SpanKind::Server);
    assert_eq!(hex(&server.parent_span_id), PARENT);
    assert_eq!(server.trace_state, "vendor=1");
    assert_eq!(attribute(&server, "rpc.grpc.status_code"), "9");
    assert!(server.start_time_unix_nano > 0 && server.end_time_unix_nano >= server.start_time_unix_nano);
    let upstream = of_trace(&found, &of_request).unwrap();
    assert_eq!(upstream.parent_span_id, server.span_id);
    assert_eq!(attribute(&upstream, "http.response.status_code"), "403");
    assert_eq!(attribute(&upstream, "upstream.request_id"), "up-1");
    assert!(carried.contains(&hex(&upstream.span_id)), "upstream is told the span of its request: {carried}");
    assert_eq!(hex(&of_trace(&found, &of_stream).unwrap().parent_span_id), PARENT);
}

#[tokio::test]
async fn each_poll_is_a_trace_of_its_own() {
    let world = World::start().await;
    let (collector, mut spans) = collector().await;
    let telemetry = format!("otlp_endpoint = \"http://{collector}\"");
    let (_serving, _served, mut client) = serving(&world, &telemetry).await;
    let start = v1::StartExecutionRequest {
        parent: "backends/lex/tests/BOOKINGOK1".to_owned(),
        ..Default::default()
    };
    client.start_execution(traced(start)).await.unwrap();

    let mut found: Vec<Span> = Vec::new();
    let polls = |found: &[Span]| -> Vec<Span> {
        let of_lex =
            |span: &&Span| span.kind() == SpanKind::Internal && attribute(span, "testgate.backend") == "lex";
        found.iter().filter(of_lex).cloned().collect()
    };
    let request_of = |found: &[Span], poll: &Span| {
        let of_poll = |span: &&Span| {
            span.kind() == SpanKind::Client
                && span.trace_id == poll.trace_id
                && span.parent_span_id == poll.span_id
        };
        found.iter().find(of_poll).cloned()
    };
    let two = async {
        while polls(&found).iter().filter(|poll| request_of(&found, poll).is_some()).count() < 2 {
            found.push(spans.recv().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, two).await.expect("the spans of two polls did not come");
    let polls = polls(&found);
    for poll in &polls {
        assert!(["poll", "list"].contains(&poll.name.as_str()), "{poll:?}");
        assert!(poll.parent_span_id.is_empty() && hex(&poll.trace_id) != TRACE, "{poll:?}");
    }
    let traces: HashSet<_> = polls.iter().map(|poll| poll.trace_id.clone()).collect();
    assert_eq!(traces.len(), polls.len(), "two polls share a trace");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let world = World::start().await;
    let nowhere = crate::process::free_port();
    let telemetry = format!("otlp_endpoint = \"http://127.0.0.1:{nowhere}\"");
    let (_serving, served, mut client) = serving(&world, &telemetry).await;
    for _ in 0..20 {
        client.list_backends(v1::ListBackendsRequest::default()).await.unwrap();
    }
    let dropped = async || {
        let (_, text) = admin_at(served.admin, "GET", "/metrics", "").await;
        Scrape::parse(&text).sum("testgate_trace_spans_dropped_total", &[]) >= 20.0
    };
    eventually("the spans are counted", dropped).await;
    client.list_backends(v1::ListBackendsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn each_call_has_one_line_and_each_change_an_entry() {
    let world = World::start().await;
    let (serving, mut served, mut client) =
        serving(&world, "audit_file = \"audit.log\"\nlog_format = \"json\"").await;
    let start = v1::StartExecutionRequest {
        parent: "backends/lex/tests/BOOKINGOK1".to_owned(),
        request_id: "nightly-7".to_owned(),
        ..Default::default()
    };
    let started = client.start_execution(traced(start)).await.unwrap().into_inner().execution.unwrap();
    let stop = v1::StopExecutionRequest {
        name: started.name.clone(),
        reason: "enough".to_owned(),
        ..Default::default()
    };
    client.stop_execution(stop).await.unwrap_err();
    client.list_backends(v1::ListBackendsRequest::default()).await.unwrap();

    let mut log = stderr_lines(&mut served.child);
    let line = line_with(&mut log, "/StartExecution").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "access");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["caller"], "anonymous");
    assert_eq!(line["code"], "Ok");
    assert_eq!(line["trace_id"], TRACE);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(!line["upstream_request_id"].as_str().unwrap().is_empty());
    let line = line_with(&mut log, "/ListBackends").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line.get("upstream_request_id").is_none(), "{line}");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);

    let file = serving.folder().join("audit.log");
    eventually("both are written", async || std::fs::read_to_string(&file).unwrap().lines().count() == 2)
        .await;
    let entries: Vec<serde_json::Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries[0]["event"], "started");
    assert_eq!(entries[0]["method"], "StartExecution");
    assert_eq!(entries[0]["caller"], "anonymous");
    assert_eq!(entries[0]["resource"], started.name);
    assert_eq!(entries[0]["request_id"], "nightly-7");
    assert_eq!(entries[0]["trace_id"], TRACE);
    assert_eq!(entries[1]["event"], "failed");
    assert_eq!(entries[1]["code"], "Unimplemented");
    assert_eq!(entries[1]["reason"], "enough");
}
