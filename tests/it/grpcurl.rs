//! grpcurl without a proto file: what a stranger's first minutes look like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tokio::process::Command;
use tonic_reflection::pb::{v1, v1alpha};

use crate::process::{Ended, finish, isolate};
use crate::support::{PATIENCE, World};

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
    assert!(service.out.contains("// Discovery: what this caller may use."), "{service:?}");
    // Comments behind a field stand above it here.
    let execution = grpcurl(&world, &[], &["describe", "testgate.v1.Execution"]).await;
    let contract = include_str!("../../proto/testgate/v1/testgate.proto");
    let message = contract.split_once("message Execution {").unwrap().1.split_once("\n}\n").unwrap().0;
    let comments: Vec<_> = message.lines().filter_map(|line| Some(line.split_once("; // ")?.1)).collect();
    assert!(comments.len() > 20, "{comments:?}");
    for comment in comments {
        assert!(
            execution.out.lines().any(|line| line.trim() == format!("// {comment}")),
            "{comment}: {execution:?}"
        );
    }
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

/// What one version of the reflection service tells a client that walks it, as a user interface does: the services, every
/// file that they need, and the file of every symbol in these.
macro_rules! walked {
    ($version:ident, $world:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let url = format!("http://{}", $world.gateway.addresses()[0]);
        let channel = tonic::transport::Channel::from_shared(url).unwrap().connect().await.unwrap();
        let (requests, received) = tokio::sync::mpsc::channel(1);
        let received = tokio_stream::wrappers::ReceiverStream::new(received);
        let mut replies =
            ServerReflectionClient::new(channel).server_reflection_info(received).await.unwrap().into_inner();
        let mut ask = async |message| {
            let request =
                $version::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            requests.send(request).await.unwrap();
            let reply = tokio::time::timeout(PATIENCE, replies.message()).await.expect("no reply");
            reply.unwrap().unwrap().message_response.unwrap()
        };
        let files_of = |reply| match reply {
            MessageResponse::FileDescriptorResponse(files) => files.file_descriptor_proto,
            other => panic!("{other:?}"),
        };

        let MessageResponse::ListServicesResponse(listed) =
            ask(MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list of services")
        };
        let services: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
        let mut walk = Walk::default();
        for service in &services {
            walk.add(files_of(ask(MessageRequest::FileContainingSymbol(service.clone())).await));
        }
        while let Some(missing) = walk.missing() {
            walk.add(files_of(ask(MessageRequest::FileByFilename(missing)).await));
        }
        for symbol in walk.symbols() {
            assert!(!files_of(ask(MessageRequest::FileContainingSymbol(symbol)).await).is_empty());
        }
        (services, walk)
    }};
}

/// Files by their names.
#[derive(Default)]
struct Walk(BTreeMap<String, FileDescriptorProto>);

impl Walk {
    fn add(&mut self, files: Vec<Vec<u8>>) {
        for file in files {
            let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
            self.0.insert(file.name().to_owned(), file);
        }
    }

    /// A file that another one imports and that is not here yet.
    fn missing(&self) -> Option<String> {
        self.0.values().flat_map(|file| &file.dependency).find(|name| !self.0.contains_key(*name)).cloned()
    }

    /// The names of all messages and enums; what refers to something that is not there fails.
    fn symbols(&self) -> Vec<String> {
        let file = self.0.values().cloned().collect();
        let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file }).unwrap();
        let messages = pool.all_messages().filter(|message| !message.is_map_entry());
        messages
            .map(|message| message.full_name().to_owned())
            .chain(pool.all_enums().map(|one| one.full_name().to_owned()))
            .collect()
    }
}

#[tokio::test]
async fn row_49_each_version_of_reflection_alone_tells_everything() {
    let world = World::start().await;
    let (new, walked) = walked!(v1, world);
    let (old, walked_before) = walked!(v1alpha, world);
    for service in [SERVICES[0], SERVICES[3]] {
        assert!(new.contains(service) && old.contains(service), "{new:?} {old:?}");
    }
    assert!(new.contains(SERVICES[1]), "{new:?}");
    assert!(old.contains(SERVICES[2]), "{old:?}");
    for walk in [walked, walked_before] {
        let symbols = walk.symbols();
        for known in [
            "testgate.v1.Execution.State",
            "testgate.v1.WatchExecutionsResponse",
            "google.protobuf.Timestamp",
        ] {
            assert!(symbols.iter().any(|symbol| symbol == known), "{known}: {symbols:?}");
        }
    }
}
