//! The default chain, in a process of its own because it reads the environment.

use serde_json::json;
use testgate::backend::Backend;
use testgate::backend::Shared;
use testgate::backend::connect::Connect;
use testgate::config::backend::{AwsConfig, ConnectConfig, SystemConfig};
use testgate::metrics::Metrics;
use testgate::model::Clock;
use testgate::sandbox::connect::DEFAULT_INSTANCE_ID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{call, config, world};

/// A container's credential endpoint.
async fn container(body: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/credentials", listener.local_addr().unwrap());
    let served = tokio::task::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (url, served)
}

#[tokio::test]
async fn region_endpoint_and_container_credentials_come_from_the_environment() {
    let world = world().await;
    let keys = json!({
        "command": "credentials", "access_key_id": "AKIDCONTAINER",
        "secret_access_key": "container-secret", "session_token": "tok/+==",
    });
    world.sandbox.control("connect", &keys).unwrap();
    let reply = json!({
        "AccessKeyId": "AKIDCONTAINER", "SecretAccessKey": "container-secret", "Token": "tok/+==",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    let (container, served) = container(reply.to_string()).await;
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "credentials::probes_with_what_the_environment_says", "--ignored", "--nocapture"])
        .env_clear()
        .env("AWS_REGION", "us-west-2")
        .env("AWS_ENDPOINT_URL_CONNECT", format!("http://{}", world.sandbox.address("connect").unwrap()))
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", container)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let request = served.await.unwrap();
    assert!(request.contains("let-me-in"), "{request}");
    assert_eq!(world.sandbox.calls("connect", "ListTestCases").len(), 3);
}

#[tokio::test]
#[ignore = "run by the test above with an environment of its own"]
async fn probes_with_what_the_environment_says() {
    let connect = ConnectConfig { aws: AwsConfig::default(), instance_id: DEFAULT_INSTANCE_ID.into() };
    let config = config("connect", SystemConfig::Connect(connect.clone()));
    let backend = Connect::new(&config, &connect, &Shared::new(Clock::system(), Metrics::new()));
    // The credentials are asked for once, whatever the number of calls.
    for _ in 0..3 {
        backend.probe(&call()).await.unwrap();
    }
}
