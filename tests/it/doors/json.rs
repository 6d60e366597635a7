//! JSON over HTTP: unary calls of the Connect protocol with curl.

use prost::Message as _;
use serde_json::json;
use testgate::proto::v1;
use tonic_types::StatusExt as _;

use super::curl::{Answer, call, curl, post, reason, url};
use super::open_world;
use crate::metrics::Scrape;
use crate::rig::{begin_endless, finish};
use crate::support::{World, told};

const JSON: &str = "content-type: application/json";

fn address_of(world: &World) -> String {
    world.gateway.addresses()[0].to_string()
}

#[tokio::test]
async fn curl_reads_an_execution_as_json_over_http_1_and_2() {
    let world = open_world().await;
    let address = address_of(&world);
    let name = begin_endless(&world).await.name;
    let (url, message) = (url(&address, "GetExecution"), json!({ "name": name }).to_string());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl([version, "--header", JSON, url.as_str()], message.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{answer:?}"
        );
        let execution = &answer.json()["execution"];
        assert_eq!(
            (execution["name"].as_str(), execution["verdict"].as_str()),
            (Some(name.as_str()), Some("VERDICT_PENDING"))
        );
        assert!(execution["revision"].is_string(), "64 bits don't fit into a number of JSON: {execution}");
        assert!(answer.headers.keys().all(|name| !name.starts_with("grpc-")), "{answer:?}");
    }
}

#[tokio::test]
async fn curl_starts_waits_and_reads_the_verdict() {
    let world = open_world().await;
    let address = address_of(&world);
    let parent = world.test("connect", "greeting").await.name;
    let request = json!({"parent": parent, "requestId": "from-curl", "labels": {"build": "42"}});
    let started = call(&address, "StartExecution", &request).await.json();
    let name = started["execution"]["name"].as_str().unwrap();
    assert_eq!(started["execution"]["labels"]["build"], "42");
    let again = call(&address, "StartExecution", &request).await.json();
    assert_eq!((again["execution"]["name"].as_str(), &again["deduplicated"]), (Some(name), &json!(true)));
    finish(&world, name);
    let wait = json!({"name": name, "timeout": "60s"});
    let done = call(&address, "WaitExecution", &wait).await.json();
    assert_eq!(done["execution"]["verdict"], "VERDICT_PASSED", "{done}");
}

#[tokio::test]
async fn protobuf_over_http_is_the_same_call() {
    let world = open_world().await;
    let name = begin_endless(&world).await.name;
    let message = v1::GetExecutionRequest { name: name.clone(), ..Default::default() }.encode_to_vec();
    let answer =
        post(&address_of(&world), "GetExecution", &["content-type: application/proto"], &message).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/proto")),
        "{answer:?}"
    );
    let reply = v1::GetExecutionResponse::decode(&*answer.body).unwrap();
    assert_eq!(reply.execution.unwrap().name, name);
}

#[tokio::test]
async fn an_error_keeps_its_code_its_message_and_all_its_details() {
    let world = open_world().await;
    let address = address_of(&world);
    for (message, status) in [
        (json!({"name": "backends/connect/tests/none/executions/none"}), 404),
        (json!({"name": "backends/x"}), 400),
    ] {
        let answer = call(&address, "GetExecution", &message).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let request =
            v1::GetExecutionRequest { name: message["name"].as_str().unwrap().into(), ..Default::default() };
        let expected = world.client.clone().get_execution(request).await.unwrap_err();
        same(&answer, &expected);
    }
}

/// That an error over HTTP is the one that gRPC gives.
fn same(answer: &Answer, expected: &tonic::Status) {
    let error = answer.json();
    assert_eq!(error["message"], expected.message());
    assert_eq!(reason(&error), told(expected).1);
    let details = tonic_types::Status::decode(expected.details()).unwrap().details;
    let shown = error["details"].as_array().unwrap();
    let types: Vec<_> = details.iter().map(|detail| detail.type_url.rsplit('/').next().unwrap()).collect();
    let shown_types: Vec<_> = shown.iter().map(|detail| detail["type"].as_str().unwrap()).collect();
    assert_eq!(shown_types, types);
    assert!(shown.iter().all(|detail| detail["debug"].is_object()), "{error}");
    assert!(expected.get_details_error_info().is_some());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_named() {
    let world = open_world().await;
    let address = address_of(&world);
    for (headers, body, said) in [
        (&[JSON][..], &b"{\"nam\": \"x\"}"[..], "nam"),
        (&[JSON], b"{\"name\": 7}", "line 1 column"),
        (&[JSON], b"", "is empty"),
        (&["content-type: application/proto"], b"\x0a\xff", "name: "),
        (&[JSON, "connect-protocol-version: 2"], b"{}", "connect-protocol-version"),
        (&[JSON, "connect-timeout-ms: soon"], b"{}", "connect-timeout-ms"),
    ] {
        let answer = post(&address, "GetExecution", headers, body).await;
        assert_eq!(answer.told(), (400, "invalid_argument".into(), "FIELD_INVALID".into()), "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
    }
    let compressed = post(&address, "GetExecution", &[JSON, "content-encoding: gzip"], b"{}").await;
    assert_eq!((compressed.status, compressed.json()["code"].as_str()), (501, Some("unimplemented")));
    let unknown = post(&address, "GetNothing", &[JSON], b"{}").await;
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("unimplemented")));
    let large = post(&address, "GetExecution", &[JSON], &vec![b' '; 5 << 20]).await;
    assert_eq!(large.told(), (429, "resource_exhausted".into(), "REQUEST_TOO_LARGE".into()));
}

#[tokio::test]
async fn what_is_no_call_is_answered_in_terms_of_http() {
    let world = open_world().await;
    let address = address_of(&world);
    let form = post(&address, "GetExecution", &[], b"{}").await;
    assert_eq!(form.status, 415, "{form:?}");
    let offered = form.header("accept-post").unwrap();
    assert!(offered.contains("application/json") && offered.contains("application/grpc-web"), "{offered}");
    let stream = post(&address, "WatchExecutions", &[JSON], b"{}").await;
    assert_eq!(stream.status, 415);
    assert!(stream.header("accept-post").unwrap().contains("application/connect+json"));
    let unary = post(&address, "GetExecution", &["content-type: application/connect+json"], b"").await;
    assert_eq!(unary.status, 415);
    let url = url(&address, "GetExecution");
    let read = curl(["--request", "GET", "--header", JSON, url.as_str()], b"").await;
    assert_eq!((read.status, read.header("allow")), (405, Some("POST")));
    let grpc = post(&address, "GetExecution", &["content-type: application/grpc"], b"").await;
    assert_eq!(grpc.status, 505);
    let page = post(&address, "GetExecution", &[JSON, "origin: https://evil.example"], b"{}").await;
    assert_eq!(page.status, 403);

    // No call came of any of them, and yet they are counted and noted as what was asked for.
    let scrape = Scrape::of(&world).await;
    let counted = |method: &str, code: &str| {
        let labels = [format!("grpc_method=\"{method}\""), format!("grpc_code=\"{code}\"")];
        scrape.sum("grpc_server_handled_total", &labels.each_ref().map(String::as_str))
    };
    assert_eq!(counted("GetExecution", "Unimplemented"), 4.0);
    assert_eq!(counted("WatchExecutions", "Unimplemented"), 1.0);
    assert_eq!(counted("GetExecution", "PermissionDenied"), 1.0);
}

#[tokio::test]
async fn a_wait_is_answered_before_the_call_s_timeout() {
    let world = open_world().await;
    let address = address_of(&world);
    // A wait knows its deadline, and says what is known before it passes.
    let name = begin_endless(&world).await.name;
    let message = json!({ "name": name, "timeout": "300s" }).to_string();
    let headers = [JSON, "connect-timeout-ms: 500"];
    let answer = post(&address, "WaitExecution", &headers, message.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["execution"]["done"].as_bool()), (200, None), "{answer:?}");
}
