//! Streams whose caller loses something while they are open.

use testgate::config::LimitsConfig;
use testgate::proto::v1;
use testgate::proto::v1::execution_update::Type;
use testgate::proto::v1::watch_executions_response::Event;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::guard::{Bearer, Files, Guarded};
use crate::process::eventually;
use crate::support::{PATIENCE, told};

fn token_of(name: &str) -> String {
    format!("[[auth.token]]\nsubject = \"{name}\"\ntoken_file = \"{name}\"\n")
}

fn grant(subject: &str, role: &str, backends: &str) -> String {
    format!("[[auth.grant]]\nsubjects = [\"{subject}\"]\nrole = \"{role}\"\nbackends = [{backends}]\n")
}

async fn guarded(grants: &str) -> Guarded {
    let files = Files::new();
    files.write("ci", "s3cret");
    Guarded::start(files, &format!("{}{grants}", token_of("ci"))).await
}

/// Puts other grants into force, as a reload does.
fn regrant(gateway: &Guarded, grants: &str) {
    let config = gateway.files.config(&format!("{}{grants}", token_of("ci")));
    gateway.gateway.auth().replace(config.auth.as_ref(), &LimitsConfig::default()).unwrap();
}

async fn start(gateway: &Guarded, parent: &str) -> v1::Execution {
    let request = v1::StartExecutionRequest { parent: parent.to_owned(), ..Default::default() };
    gateway.client("s3cret").await.start_execution(request).await.unwrap().into_inner().execution.unwrap()
}

/// A stream with quick heartbeats, read up to its `snapshot_complete`.
async fn watch(
    gateway: &Guarded,
    request: v1::WatchExecutionsRequest,
) -> (Streaming<v1::WatchExecutionsResponse>, Vec<v1::ExecutionUpdate>, v1::SnapshotComplete) {
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = v1::WatchExecutionsRequest { heartbeat_interval, ..request };
    let mut stream = gateway.client("s3cret").await.watch_executions(request).await.unwrap().into_inner();
    let mut updates = Vec::new();
    loop {
        match next(&mut stream).await.unwrap().event.unwrap() {
            Event::Update(update) => updates.push(update),
            Event::SnapshotComplete(complete) => return (stream, updates, complete),
            _ => {}
        }
    }
}

async fn next(
    stream: &mut Streaming<v1::WatchExecutionsResponse>,
) -> Result<v1::WatchExecutionsResponse, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("nothing came in time")?;
    Ok(message.expect("the stream ended"))
}

/// How a stream ends.
async fn end(stream: &mut Streaming<v1::WatchExecutionsResponse>) -> Status {
    let ended = async {
        loop {
            if let Err(status) = next(stream).await {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it goes on")
}

fn everything() -> v1::WatchExecutionsRequest {
    v1::WatchExecutionsRequest { parent: "backends/-/tests/-".into(), ..Default::default() }
}

const LEX_TEST: &str = "backends/lex/tests/BOOKINGOK1";

fn not_permitted() -> (Code, String) {
    (Code::PermissionDenied, "CALLER_NOT_PERMITTED".to_owned())
}

#[tokio::test]
async fn row_43_a_watch_whose_grant_is_taken_away_is_told() {
    let gateway = guarded(&grant("token:ci", "operator", "\"lex\"")).await;
    let started = start(&gateway, LEX_TEST).await;
    let by_name = v1::WatchExecutionsRequest { names: vec![started.name.clone()], ..Default::default() };
    let by_parent = v1::WatchExecutionsRequest { parent: LEX_TEST.into(), ..Default::default() };
    let mut streams = Vec::new();
    for request in [by_name.clone(), by_parent, everything()] {
        streams.push(watch(&gateway, request).await.0);
    }
    let mut waiting = gateway.client("s3cret").await;
    let wait = v1::WaitExecutionRequest {
        name: started.name,
        timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..Default::default()
    };
    let (waited, ()) = tokio::join!(waiting.wait_execution(wait), async {
        regrant(&gateway, &grant("token:ci", "operator", "\"connect\""));
    });
    // One that was not under way yet is refused at once, and one that was at its end.
    assert_eq!(told(&waited.unwrap_err()), not_permitted());
    for stream in &mut streams {
        assert_eq!(told(&end(stream).await), not_permitted());
    }
    let refused = gateway.client("s3cret").await.watch_executions(by_name).await.unwrap_err();
    assert_eq!(told(&refused), not_permitted());
}

#[tokio::test]
async fn row_43_a_watch_of_a_backend_s_health_is_told() {
    let gateway = guarded(&grant("token:ci", "viewer", "\"lex\"")).await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", gateway.address())).unwrap();
    let mut client = HealthClient::with_interceptor(channel.connect().await.unwrap(), Bearer::new("s3cret"));
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let probed = async || client.clone().check(request("backends/lex")).await.is_ok();
    eventually("its backends were probed", probed).await;
    let mut of_gateway = client.watch(request("")).await.unwrap().into_inner();
    let mut of_lex = client.watch(request("backends/lex")).await.unwrap().into_inner();
    assert!(of_lex.message().await.unwrap().is_some());
    regrant(&gateway, &grant("token:ci", "viewer", "\"connect\""));
    let ended = async {
        loop {
            if let Err(status) = of_lex.message().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it goes on");
    assert_eq!(told(&ended), not_permitted());
    assert!(of_gateway.message().await.unwrap().is_some());
}

#[tokio::test]
async fn row_43_a_watch_whose_token_is_replaced_is_told() {
    let gateway = guarded(&grant("token:ci", "operator", "\"*\"")).await;
    let (mut stream, ..) = watch(&gateway, everything()).await;
    gateway.files.write("ci", "another");
    let ended = end(&mut stream).await;
    assert_eq!(told(&ended), (Code::Unauthenticated, "CALLER_UNAUTHENTICATED".to_owned()));
}

#[tokio::test]
async fn row_43_a_watch_of_everything_that_loses_a_part_sees_it_removed() {
    let both = grant("token:ci", "operator", "\"lex\", \"connect\"");
    let gateway = guarded(&both).await;
    let lex = start(&gateway, LEX_TEST).await;
    let tests = v1::ListTestsRequest { parent: "backends/connect".into(), ..Default::default() };
    let tests = gateway.client("s3cret").await.list_tests(tests).await.unwrap().into_inner().tests;
    let startable = tests.iter().find(|test| test.startable != Some(false)).unwrap();
    let connect = start(&gateway, &startable.name).await;
    let (mut stream, updates, _) = watch(&gateway, everything()).await;
    for name in [&lex.name, &connect.name] {
        assert!(updates.iter().any(|update| update.execution.as_ref().unwrap().name == *name), "{name}");
    }

    regrant(&gateway, &grant("token:ci", "operator", "\"lex\""));
    let mut token = String::new();
    let removed = async {
        loop {
            let message = next(&mut stream).await.unwrap();
            token = message.resume_token;
            if let Some(Event::Update(update)) = message.event
                && update.r#type() == Type::Removed
            {
                return update.execution.unwrap();
            }
        }
    };
    let removed = tokio::time::timeout(PATIENCE, removed).await.unwrap();
    assert_eq!(removed.name, connect.name);
    assert_eq!(removed.upstream_id, connect.upstream_id, "with its last state");
    // The stream lives on with what is left, and says no more of the other.
    for execution in [&connect, &lex] {
        let upstream = if execution.name.starts_with("backends/lex/") { "lex" } else { "connect" };
        let end =
            serde_json::json!({"command": "finish", "execution": execution.upstream_id, "outcome": "passed"});
        gateway.sandbox.control(upstream, &end).unwrap();
    }
    let ended = async {
        loop {
            if let Some(Event::Update(update)) = next(&mut stream).await.unwrap().event {
                let execution = update.execution.unwrap();
                assert_eq!(execution.name, lex.name);
                if execution.done {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    drop(stream);

    // With what it sees now it resumes; with what it saw before, it must begin anew to know what it missed.
    let resume = || v1::WatchExecutionsRequest { resume_token: token.clone(), ..everything() };
    let (_, updates, complete) = watch(&gateway, resume()).await;
    assert!(!complete.reset);
    assert!(updates.iter().all(|update| update.r#type() != Type::Snapshot), "{updates:?}");
    regrant(&gateway, &both);
    let wait = v1::WaitExecutionRequest { name: connect.name.clone(), ..Default::default() };
    assert!(
        gateway
            .client("s3cret")
            .await
            .wait_execution(wait)
            .await
            .unwrap()
            .into_inner()
            .execution
            .unwrap()
            .done
    );
    let (_, updates, complete) = watch(&gateway, resume()).await;
    assert!(complete.reset);
    // What ended in the part that it could not see, since its first stream.
    let ended = |update: &&v1::ExecutionUpdate| update.execution.as_ref().unwrap().name == connect.name;
    assert!(updates.iter().find(ended).expect("it is told of it").execution.as_ref().unwrap().done);
}
