//! Bad input: the field and the rule, before any upstream call.

use std::collections::HashMap;

use http::uri::PathAndQuery;
use prost_types::Duration;
use testgate::proto::v1;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::{World, blamed, told};

const CONNECT: &str = "backends/connect/tests/t/executions/e";
const TEST: &str = "backends/connect/tests/t";
const UPSTREAMS: [&str; 3] = ["connect", "lex", "openmetadata"];

/// A world whose upstreams have been asked all that the start of a gateway asks.
async fn probed() -> World {
    let world = World::start().await;
    loop {
        let all = world.client.clone().list_backends(v1::ListBackendsRequest::default()).await.unwrap();
        if all.into_inner().backends.iter().all(|backend| backend.probe_time.is_some()) {
            return world;
        }
        tokio::task::yield_now().await;
    }
}

fn calls(world: &World) -> usize {
    UPSTREAMS.iter().map(|upstream| world.calls(upstream, "*")).sum()
}

/// Calls a method and says how it failed.
macro_rules! failure {
    ($world:expr, $method:ident, $request:expr) => {
        $world.client.clone().$method($request).await.map(drop).expect_err(stringify!($method))
    };
}

mod writes;

fn assert_invalid(status: &Status, reason: &str, field: &str, what: &str) {
    assert_eq!(told(status), (Code::InvalidArgument, reason.to_owned()), "{what}: {status:?}");
    assert!(blamed(status).iter().any(|blamed| blamed == field), "{what}: {field} in {:?}", blamed(status));
}

/// Spellings of one part of a name that are refused.
const BAD_PARTS: [&str; 15] =
    ["", ".", "..", "a b", "%", "%2", "%ZZ", "%00", "a\0b", "%FF", "%2f", "%41", "\u{fc}", "a+b", "%C0%AF"];

fn bad_executions() -> Vec<String> {
    let mut names: Vec<_> =
        BAD_PARTS.iter().map(|part| format!("backends/connect/tests/t/executions/{part}")).collect();
    names.extend(BAD_PARTS.iter().map(|part| format!("backends/connect/tests/{part}/executions/e")));
    names.extend(BAD_PARTS.iter().map(|part| format!("backends/{part}/tests/t/executions/e")));
    names.extend(
        [
            "",
            "/",
            "backends",
            "backends/connect",
            "backends/connect/tests/t",
            "backends/connect/tests/t/executions",
            "/backends/connect/tests/t/executions/e",
            "backends/connect/tests/t/executions/e/",
            "backends/connect/tests/t/executions/e/resultItems/i",
            "backends/connect/executions/e",
            "backends/Connect/tests/t/executions/e",
            "backends/connect/tests/t/executions/-",
        ]
        .map(str::to_owned),
    );
    names.push(format!("backends/connect/tests/t/executions/{}", "x".repeat(2048)));
    names
}

fn bad_tests() -> Vec<String> {
    let mut names: Vec<_> = BAD_PARTS.iter().map(|part| format!("backends/connect/tests/{part}")).collect();
    let more = ["", "backends/connect", "backends/connect/tests", "backends/connect/tests/-", CONNECT];
    names.extend(more.map(str::to_owned));
    names.push(format!("backends/connect/tests/{}", "x".repeat(2048)));
    names
}

#[tokio::test]
async fn malformed_names_are_refused_before_any_upstream_call() {
    let world = probed().await;
    let before = calls(&world);
    for name in bad_executions() {
        let get = v1::GetExecutionRequest { name: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, get_execution, get), "FIELD_INVALID", "name", &name);
        let batch = v1::BatchGetExecutionsRequest {
            names: vec![CONNECT.to_owned(), name.clone()],
            ..Default::default()
        };
        assert_invalid(&failure!(world, batch_get_executions, batch), "FIELD_INVALID", "names[1]", &name);
        let stop = v1::StopExecutionRequest { name: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, stop_execution, stop), "FIELD_INVALID", "name", &name);
        let items = v1::ListResultItemsRequest { parent: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, list_result_items, items), "FIELD_INVALID", "parent", &name);
        let artifacts = v1::ListArtifactsRequest { parent: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, list_artifacts, artifacts), "FIELD_INVALID", "parent", &name);
        let wait = v1::WaitExecutionRequest { name: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, wait_execution, wait), "FIELD_INVALID", "name", &name);
        let watch = v1::WatchExecutionsRequest { names: vec![name.clone()], ..Default::default() };
        assert_invalid(&failure!(world, watch_executions, watch), "FIELD_INVALID", "names[0]", &name);
    }
    for name in bad_tests() {
        let get = v1::GetTestRequest { name: name.clone() };
        assert_invalid(&failure!(world, get_test, get), "FIELD_INVALID", "name", &name);
        let start = v1::StartExecutionRequest { parent: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, start_execution, start), "FIELD_INVALID", "parent", &name);
        let record = v1::RecordExecutionRequest { parent: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, record_execution, record), "FIELD_INVALID", "parent", &name);
    }
    for part in BAD_PARTS {
        let name = format!("backends/{part}");
        let get = v1::GetBackendRequest { name: name.clone() };
        assert_invalid(&failure!(world, get_backend, get), "FIELD_INVALID", "name", &name);
        let tests = v1::ListTestsRequest { parent: name.clone(), ..Default::default() };
        assert_invalid(&failure!(world, list_tests, tests), "FIELD_INVALID", "parent", &name);
        let parent = format!("backends/connect/tests/{part}");
        let list = v1::ListExecutionsRequest { parent: parent.clone(), ..Default::default() };
        assert_invalid(&failure!(world, list_executions, list), "FIELD_INVALID", "parent", &parent);
        if !part.is_empty() {
            let watch = v1::WatchExecutionsRequest { parent: parent.clone(), ..Default::default() };
            assert_invalid(&failure!(world, watch_executions, watch), "FIELD_INVALID", "parent", &parent);
        }
    }
    assert_eq!(calls(&world), before, "bad names reached an upstream");
}

#[tokio::test]
async fn a_wildcard_test_is_for_lex_and_get_execution_alone() {
    let world = probed().await;
    let before = calls(&world);
    let name = "backends/lex/tests/-/executions/e".to_owned();
    let stop = v1::StopExecutionRequest { name: name.clone(), ..Default::default() };
    assert_invalid(&failure!(world, stop_execution, stop), "FIELD_INVALID", "name", "stop");
    let wait = v1::WaitExecutionRequest { name: name.clone(), ..Default::default() };
    assert_invalid(&failure!(world, wait_execution, wait), "FIELD_INVALID", "name", "wait");
    let watch = v1::WatchExecutionsRequest { names: vec![name], ..Default::default() };
    assert_invalid(&failure!(world, watch_executions, watch), "FIELD_INVALID", "names[0]", "watch");
    for backend in ["connect", "quality"] {
        let name = format!("backends/{backend}/tests/-/executions/e");
        let get = v1::GetExecutionRequest { name, ..Default::default() };
        assert_invalid(&failure!(world, get_execution, get), "FIELD_INVALID", "name", backend);
    }
    assert_eq!(calls(&world), before);
}

#[tokio::test]
async fn lists_refuse_sizes_tokens_filters_and_kinds_that_make_no_sense() {
    let world = probed().await;
    let before = calls(&world);
    let page_size = -1;
    let parent = || "backends/-".to_owned();
    let request = v1::ListBackendsRequest { page_size, ..Default::default() };
    assert_invalid(&failure!(world, list_backends, request), "FIELD_INVALID", "page_size", "backends");
    let request = v1::ListTestsRequest { parent: parent(), page_size, ..Default::default() };
    assert_invalid(&failure!(world, list_tests, request), "FIELD_INVALID", "page_size", "tests");
    let all = || "backends/-/tests/-".to_owned();
    let request = v1::ListExecutionsRequest { parent: all(), page_size: i32::MIN, ..Default::default() };
    assert_invalid(&failure!(world, list_executions, request), "FIELD_INVALID", "page_size", "executions");
    let request = v1::ListResultItemsRequest { parent: CONNECT.to_owned(), page_size, ..Default::default() };
    assert_invalid(&failure!(world, list_result_items, request), "FIELD_INVALID", "page_size", "items");
    let request = v1::ListArtifactsRequest { parent: CONNECT.to_owned(), page_size, ..Default::default() };
    assert_invalid(&failure!(world, list_artifacts, request), "FIELD_INVALID", "page_size", "artifacts");

    for token in ["x", "AAAA", "%", "\0", &"A".repeat(300_000)] {
        let page_token = || token.to_owned();
        let request = v1::ListBackendsRequest { page_token: page_token(), ..Default::default() };
        let what = &token[..token.len().min(9)];
        assert_invalid(&failure!(world, list_backends, request), "PAGE_TOKEN_INVALID", "page_token", what);
        let request =
            v1::ListTestsRequest { parent: parent(), page_token: page_token(), ..Default::default() };
        assert_invalid(&failure!(world, list_tests, request), "PAGE_TOKEN_INVALID", "page_token", what);
        let request =
            v1::ListExecutionsRequest { parent: all(), page_token: page_token(), ..Default::default() };
        assert_invalid(&failure!(world, list_executions, request), "PAGE_TOKEN_INVALID", "page_token", what);
        let request = v1::ListResultItemsRequest {
            parent: CONNECT.to_owned(),
            page_token: page_token(),
            ..Default::default()
        };
        assert_invalid(
            &failure!(world, list_result_items, request),
            "PAGE_TOKEN_INVALID",
            "page_token",
            what,
        );
        let request = v1::WatchExecutionsRequest {
            names: vec![CONNECT.to_owned()],
            resume_token: page_token(),
            ..Default::default()
        };
        let status = failure!(world, watch_executions, request);
        assert_invalid(&status, "RESUME_TOKEN_INVALID", "resume_token", what);
    }

    let long = "x".repeat(2049);
    let many = vec!["done = true"; 65].join(" AND ");
    let deep = format!("{}done = true{}", "(".repeat(17), ")".repeat(17));
    let filters = [
        "nonsense",
        "colour = red",
        "state = PURPLE",
        "state > RUNNING",
        "done = maybe",
        "done = true AND",
        "(done = true",
        "done = true AND done = false OR done = true",
        "create_time > yesterday",
        "labels. = x",
        "labels.\"open",
        "done \0 = true",
        long.as_str(),
        many.as_str(),
        deep.as_str(),
    ];
    for filter in filters {
        let what = filter.chars().take(40).collect::<String>();
        let request =
            v1::ListExecutionsRequest { parent: all(), filter: filter.to_owned(), ..Default::default() };
        assert_invalid(&failure!(world, list_executions, request), "FILTER_INVALID", "filter", &what);
        let request =
            v1::WatchExecutionsRequest { parent: all(), filter: filter.to_owned(), ..Default::default() };
        assert_invalid(&failure!(world, watch_executions, request), "FILTER_INVALID", "filter", &what);
    }
    let request =
        v1::ListTestsRequest { parent: parent(), filter: "state = RUNNING".to_owned(), ..Default::default() };
    assert_invalid(&failure!(world, list_tests, request), "FILTER_INVALID", "filter", "no state in tests");
    let request = v1::ListResultItemsRequest {
        parent: CONNECT.to_owned(),
        filter: "done = true".to_owned(),
        ..Default::default()
    };
    assert_invalid(&failure!(world, list_result_items, request), "FILTER_INVALID", "filter", "items");

    let lex = "backends/lex/tests/t/executions/e";
    for (parent, kind) in [(CONNECT, 99), (CONNECT, -1), (CONNECT, 2), (lex, 1), (lex, 7)] {
        let request = v1::ListResultItemsRequest { parent: parent.to_owned(), kind, ..Default::default() };
        let status = failure!(world, list_result_items, request);
        assert_invalid(&status, "FIELD_INVALID", "kind", &format!("{parent}: {kind}"));
    }
    assert_eq!(calls(&world), before);
}

#[tokio::test]
async fn durations_and_combinations_that_make_no_sense_are_refused() {
    let world = probed().await;
    let before = calls(&world);
    let absurd = [
        Duration { seconds: -1, nanos: 0 },
        Duration { seconds: 0, nanos: -1 },
        Duration { seconds: 1, nanos: -1 },
        Duration { seconds: 0, nanos: 1_000_000_000 },
        Duration { seconds: i64::MAX, nanos: 0 },
        Duration { seconds: i64::MIN, nanos: i32::MIN },
    ];
    let name = || CONNECT.to_owned();
    let watch = || v1::WatchExecutionsRequest { names: vec![name()], ..Default::default() };
    for duration in absurd {
        let what = format!("{duration:?}");
        let some = Some(duration);
        let get = v1::GetExecutionRequest { name: name(), max_staleness: some };
        assert_invalid(&failure!(world, get_execution, get), "FIELD_INVALID", "max_staleness", &what);
        let batch = v1::BatchGetExecutionsRequest { names: vec![name()], max_staleness: some };
        assert_invalid(
            &failure!(world, batch_get_executions, batch),
            "FIELD_INVALID",
            "max_staleness",
            &what,
        );
        let wait = v1::WaitExecutionRequest { name: name(), timeout: some, ..Default::default() };
        assert_invalid(&failure!(world, wait_execution, wait), "FIELD_INVALID", "timeout", &what);
        for (request, field) in [
            (v1::WatchExecutionsRequest { heartbeat_interval: some, ..watch() }, "heartbeat_interval"),
            (v1::WatchExecutionsRequest { min_update_interval: some, ..watch() }, "min_update_interval"),
            (v1::WatchExecutionsRequest { max_staleness: some, ..watch() }, "max_staleness"),
        ] {
            assert_invalid(&failure!(world, watch_executions, request), "FIELD_INVALID", field, &what);
        }
    }
    let all = || "backends/-/tests/-".to_owned();
    let many = || vec![name(); 501];
    for (request, field) in [
        (v1::WatchExecutionsRequest::default(), "names"),
        (v1::WatchExecutionsRequest { parent: all(), ..watch() }, "parent"),
        (v1::WatchExecutionsRequest { filter: "done = true".to_owned(), ..watch() }, "filter"),
        (v1::WatchExecutionsRequest { parent: all(), until_done: true, ..Default::default() }, "until_done"),
        (v1::WatchExecutionsRequest { names: many(), ..Default::default() }, "names"),
    ] {
        assert_invalid(&failure!(world, watch_executions, request), "FIELD_INVALID", field, field);
    }
    for names in [Vec::new(), many()] {
        let batch = v1::BatchGetExecutionsRequest { names, ..Default::default() };
        assert_invalid(&failure!(world, batch_get_executions, batch), "FIELD_INVALID", "names", "batch");
    }
    assert_eq!(calls(&world), before);
}

#[tokio::test]
async fn several_faults_are_told_at_once() {
    let world = World::start().await;
    let request = v1::StartExecutionRequest {
        parent: "nonsense".to_owned(),
        request_id: "x".repeat(129),
        labels: HashMap::from([(String::new(), String::new())]),
        ..Default::default()
    };
    let mut fields = blamed(&failure!(world, start_execution, request));
    fields.sort();
    assert_eq!(fields, ["labels", "parent", "request_id"]);
}

#[tokio::test]
async fn broken_utf8_names_its_field() {
    let world = probed().await;
    let before = calls(&world);
    let text = |number: u8| vec![(number << 3) | 2, 2, 0xC3, 0x28];
    let wrapped = |number: u8, inner: Vec<u8>| {
        let mut bytes = vec![(number << 3) | 2, u8::try_from(inner.len()).unwrap()];
        bytes.extend(inner);
        bytes
    };
    let rows = [
        ("ListBackends", text(2), "page_token"),
        ("GetBackend", text(1), "name"),
        ("ListTests", text(1), "parent"),
        ("ListTests", text(4), "filter"),
        ("GetTest", text(1), "name"),
        ("StartExecution", text(1), "parent"),
        ("StartExecution", text(2), "request_id"),
        ("StartExecution", wrapped(4, text(2)), "labels"),
        ("StartExecution", wrapped(3, wrapped(1, text(3))), "lex.target.locale_id"),
        ("StopExecution", text(3), "reason"),
        ("RecordExecution", text(4), "message"),
        ("RecordExecution", wrapped(5, wrapped(1, text(2))), "openmetadata.metrics.value"),
        ("GetExecution", text(1), "name"),
        ("BatchGetExecutions", text(1), "names"),
        ("ListExecutions", text(4), "filter"),
        ("ListResultItems", text(4), "page_token"),
        ("ListArtifacts", text(1), "parent"),
        ("WaitExecution", text(1), "name"),
        ("WatchExecutions", text(1), "names"),
        ("WatchExecutions", text(4), "resume_token"),
        ("GetBackend", vec![0xFF], "request"),
        ("GetBackend", vec![0x0A, 0x7F], "name"),
    ];
    let address = world.gateway.addresses()[0].to_string();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    for (method, bytes, field) in rows {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path: PathAndQuery = format!("/testgate.v1.TestExecutionService/{method}").parse().unwrap();
        let status = client.unary(Request::new(bytes), path, Raw).await.expect_err(method);
        assert_invalid(&status, "FIELD_INVALID", field, method);
    }
    assert_eq!(calls(&world), before);
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}
