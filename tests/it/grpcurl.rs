//! grpcurl without a proto file: what a stranger's first minutes look like.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::process::Command;
use tonic_reflection::pb::{v1, v1alpha};

use crate::process::{Ended, finish, isolate};
use crate::support::World;

/// The real grpcurl, which the test command installs.
pub fn grpcurl_path() -> PathBuf {
    std::env::var_os("TESTGATE_GRPCURL").map(PathBuf::from).expect(
        "TESTGATE_GRPCURL is not set: run the README's test command, tests/run, which installs grpcurl and sets it",
    )
}

async fn grpcurl(world: &World, flags: &[&str], what: &[&str]) -> Ended {
    let mut command = Command::new(grpcurl_path());
    command.arg("-plaintext").args(flags).arg(world.gateway.addresses()[0].to_string()).args(what);
    isolate(&mut command);
    finish(command).await
}

const SERVICES: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "testgate.v1.TestExecutionService",
];

#[tokio::test]
async fn row_49_services_and_all_fourteen_methods_are_listed() {
    let world = World::start().await;
    let services = grpcurl(&world, &[], &["list"]).await;
    assert_eq!(services.code, Some(0), "{services:?}");
    for service in [SERVICES[0], SERVICES[3]] {
        assert!(services.out.lines().any(|line| line == service), "{services:?}");
    }
    let methods = grpcurl(&world, &[], &["list", "testgate.v1.TestExecutionService"]).await;
    assert_eq!(methods.out.lines().count(), 14, "{methods:?}");
}

#[tokio::test]
async fn row_49_a_description_has_the_contracts_comments() {
    let world = World::start().await;
    let service = grpcurl(&world, &[], &["describe", "testgate.v1.TestExecutionService"]).await;
    assert_eq!(service.code, Some(0), "{service:?}");
    assert!(service.out.contains("rpc StartExecution ("), "{service:?}");
    assert!(service.out.contains("// "), "{service:?}");
    // Every message and every service of the contract, to the last field.
    let all = grpcurl(&world, &[], &["describe"]).await;
    assert_eq!(all.code, Some(0), "{all:?}");
}

#[tokio::test]
async fn error_details_are_shown_in_words() {
    let world = World::start().await;
    let request = r#"{"parent": "backends/lex", "page_size": -1}"#;
    let refused = grpcurl(&world, &["-d", request], &["testgate.v1.TestExecutionService/ListTests"]).await;
    assert_ne!(refused.code, Some(0));
    for told in
        ["Code: InvalidArgument", "google.rpc.BadRequest", "\"field\": \"page_size\"", "FIELD_INVALID"]
    {
        assert!(refused.err.contains(told), "{told}: {}", refused.err);
    }
    let request = r#"{"name": "backends/nowhere"}"#;
    let refused = grpcurl(&world, &["-d", request], &["testgate.v1.TestExecutionService/GetBackend"]).await;
    for told in ["Code: NotFound", "google.rpc.ErrorInfo", "RESOURCE_NOT_FOUND"] {
        assert!(refused.err.contains(told), "{told}: {}", refused.err);
    }
}

#[tokio::test]
async fn health_is_answered_for_the_gateway_and_for_each_backend() {
    let world = World::start().await;
    crate::process::eventually("it is ready", async || {
        let ready = grpcurl(&world, &[], &["grpc.health.v1.Health/Check"]).await;
        ready.out.contains("SERVING") && !ready.out.contains("NOT_SERVING")
    })
    .await;
    let request = r#"{"service": "backends/lex"}"#;
    let backend = grpcurl(&world, &["-d", request], &["grpc.health.v1.Health/Check"]).await;
    assert!(backend.out.contains("\"SERVING\""), "{backend:?}");
    let unknown =
        grpcurl(&world, &["-d", r#"{"service": "nowhere"}"#], &["grpc.health.v1.Health/Check"]).await;
    assert!(unknown.err.contains("Code: NotFound"), "{unknown:?}");
}

/// The services that one version of the reflection service tells of, asked as its own clients ask.
macro_rules! reflected {
    ($version:ident, $world:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let url = format!("http://{}", $world.gateway.addresses()[0]);
        let channel = tonic::transport::Channel::from_shared(url).unwrap().connect().await.unwrap();
        let mut client = ServerReflectionClient::new(channel);
        let ask = |message| $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let requests = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("testgate.v1.TestExecutionService".into())),
        ];
        let mut replies =
            client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let listed = replies.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
        let files = replies.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::FileDescriptorResponse(files) = files else { panic!("{files:?}") };
        assert!(!files.file_descriptor_proto.is_empty());
        listed.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
    }};
}

#[tokio::test]
async fn row_49_both_versions_of_reflection_answer() {
    let world = World::start().await;
    let (new, old) = (reflected!(v1, world), reflected!(v1alpha, world));
    for service in [SERVICES[0], SERVICES[3]] {
        assert!(new.contains(service) && old.contains(service), "{new:?} {old:?}");
    }
    assert!(new.contains(SERVICES[1]), "{new:?}");
    assert!(old.contains(SERVICES[2]), "{old:?}");
}
