//! What others learn of the gateway without its proto file: health and reflection.

use serde_json::json;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::support::{PATIENCE, World};

const SERVICE: &str = "testgate.v1.TestExecutionService";

async fn channel(world: &World) -> Channel {
    let address = world.gateway.addresses()[0].to_string();
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Waits until a service is told to have a status.
async fn becomes(client: &HealthClient<Channel>, service: &str, wanted: ServingStatus) {
    let request = HealthCheckRequest { service: service.to_owned() };
    let told = async {
        // A name that is not there yet is watched all the same.
        let mut states = client.clone().watch(request).await.unwrap().into_inner();
        while let Some(state) = states.message().await.unwrap() {
            if state.status() == wanted {
                return;
            }
        }
        panic!("the watch of {service:?} ended");
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .unwrap_or_else(|_| panic!("{service:?} did not become {wanted:?}"));
}

#[tokio::test]
async fn health_speaks_for_the_server_the_service_and_each_backend() {
    let world = World::start().await;
    let client = HealthClient::new(channel(&world).await);
    becomes(&client, "", ServingStatus::Serving).await;
    for service in [SERVICE, "backends/connect", "backends/lex", "backends/quality"] {
        becomes(&client, service, ServingStatus::Serving).await;
    }
    let nobody = HealthCheckRequest { service: "backends/nobody".to_owned() };
    assert_eq!(client.clone().check(nobody).await.unwrap_err().code(), tonic::Code::NotFound);

    world.control("openmetadata", json!({"do": "token_trouble", "kind": "expired"}));
    let parent = "backends/quality".to_owned();
    let list = testgate::proto::v1::ListTestsRequest { parent, ..Default::default() };
    world.client.clone().list_tests(list.clone()).await.unwrap_err();
    becomes(&client, "backends/quality", ServingStatus::NotServing).await;
    let service = HealthCheckRequest { service: SERVICE.to_owned() };
    let status = client.clone().check(service).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving, "one backend's trouble is not the gateway's");

    world.control("openmetadata", json!({"do": "token_trouble", "kind": "none"}));
    world.client.clone().list_tests(list).await.unwrap();
    becomes(&client, "backends/quality", ServingStatus::Serving).await;
}

#[tokio::test]
async fn a_backend_shows_its_trouble_and_a_good_call_clears_it() {
    let world = World::start().await;
    let get = || async {
        let request = testgate::proto::v1::GetBackendRequest { name: "backends/quality".to_owned() };
        world.client.clone().get_backend(request).await.unwrap().into_inner().backend.unwrap()
    };
    let parent = "backends/quality".to_owned();
    let list = testgate::proto::v1::ListTestsRequest { parent, ..Default::default() };
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "revoked"}));
    world.client.clone().list_tests(list.clone()).await.unwrap_err();
    let unwell = get().await;
    assert_eq!(unwell.condition.unwrap().reason, "BACKEND_CREDENTIALS_INVALID");
    assert!(unwell.probe_time.is_some());
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "none"}));
    world.client.clone().list_tests(list).await.unwrap();
    assert_eq!(get().await.condition, None);
}

#[tokio::test]
async fn reflection_lists_the_service_and_gives_its_file() {
    let world = World::start().await;
    let client = ServerReflectionClient::new(channel(&world).await);
    let ask = |message: MessageRequest| {
        let mut client = client.clone();
        async move {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            let mut answers =
                client.server_reflection_info(tokio_stream_of(request)).await.unwrap().into_inner();
            let ServerReflectionResponse { message_response, .. } = answers.message().await.unwrap().unwrap();
            message_response.unwrap()
        }
    };
    let MessageResponse::ListServicesResponse(listed) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == SERVICE), "{names:?}");
    assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{names:?}");
    let MessageResponse::FileDescriptorResponse(file) =
        ask(MessageRequest::FileContainingSymbol(format!("{SERVICE}.WatchExecutions"))).await
    else {
        panic!("no file of the service");
    };
    let file = String::from_utf8_lossy(&file.file_descriptor_proto[0]).into_owned();
    assert!(file.contains("until_done"));
}

fn tokio_stream_of<T>(message: T) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::iter([message])
}
