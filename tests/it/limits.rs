//! What one caller may use, and that others don't notice when it wants more.

use std::time::Duration;

use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::guard::{Client, Files, Guarded};
use crate::process::eventually;
use crate::support::{PATIENCE, told};

const LEX_TEST: &str = "backends/lex/tests/BOOKINGOK1";

async fn guarded(limits: &str) -> Guarded {
    let files = Files::new();
    let mut text = String::new();
    for name in ["greedy", "modest"] {
        files.write(name, name);
        text.push_str(&format!("[[auth.token]]\nsubject = \"{name}\"\ntoken_file = \"{name}\"\n"));
    }
    text.push_str("[[auth.grant]]\nsubjects = [\"*\"]\nrole = \"operator\"\nbackends = [\"*\"]\n");
    Guarded::start(files, &format!("{text}[limits]\n{limits}\n")).await
}

fn assert_exceeded(refused: &Status, says: &str) -> Duration {
    assert_eq!(told(refused), (Code::ResourceExhausted, "CALLER_LIMIT_EXCEEDED".to_owned()));
    assert!(refused.message().contains(says), "{}", refused.message());
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    refused.get_details_retry_info().expect("a RetryInfo").retry_delay.expect("a delay")
}

async fn call(client: &mut Client) -> Result<(), Status> {
    client.list_backends(v1::ListBackendsRequest::default()).await.map(|_| ())
}

#[tokio::test]
async fn calls_beyond_the_rate_are_refused_with_the_time_to_wait_on_whatever_connection() {
    // One call in a hundred seconds, so that no slowness of this machine lets a second one through.
    let gateway = guarded("requests_per_second = 0.01").await;
    call(&mut gateway.client("greedy").await).await.unwrap();
    for _ in 0..3 {
        let refused = call(&mut gateway.client("greedy").await).await.unwrap_err();
        let wait = assert_exceeded(&refused, "0.01 calls a second");
        assert!(wait > Duration::from_secs(10) && wait <= Duration::from_secs(100), "{wait:?}");
    }
    call(&mut gateway.client("modest").await).await.unwrap();
    // Strangers count for nobody.
    let stranger = call(&mut gateway.client("stranger").await).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn streams_and_their_names_are_counted_until_they_end() {
    let gateway = guarded("concurrent_streams = 2\nwatched_names = 3").await;
    let mut greedy = gateway.client("greedy").await;
    let request = v1::StartExecutionRequest { parent: LEX_TEST.into(), ..Default::default() };
    let name = greedy.start_execution(request).await.unwrap().into_inner().execution.unwrap().name;
    let by_names =
        |count: usize| v1::WatchExecutionsRequest { names: vec![name.clone(); count], ..Default::default() };
    let by_parent = v1::WatchExecutionsRequest { parent: LEX_TEST.into(), ..Default::default() };

    assert_exceeded(&greedy.watch_executions(by_names(4)).await.unwrap_err(), "3 names");
    let first = greedy.watch_executions(by_names(3)).await.unwrap();
    assert_exceeded(&greedy.watch_executions(by_names(1)).await.unwrap_err(), "3 names");
    let second = greedy.watch_executions(by_parent.clone()).await.unwrap();
    assert_exceeded(&greedy.watch_executions(by_parent.clone()).await.unwrap_err(), "2 streams");
    assert!(gateway.client("modest").await.watch_executions(by_names(3)).await.is_ok());
    drop((first, second));
    eventually("both have ended", async || {
        let opened = greedy.watch_executions(by_names(3)).await;
        opened.is_ok() && greedy.watch_executions(by_parent.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn starts_are_counted_while_they_are_under_way() {
    let gateway = guarded("starts_in_flight = 1").await;
    let start = |id: &str| v1::StartExecutionRequest {
        parent: LEX_TEST.into(),
        request_id: id.to_owned(),
        ..Default::default()
    };
    let slow = FaultKind::Delay { ms: 1500 };
    gateway.sandbox.inject("lex", Fault::new("StartTestExecution", slow).times(1)).unwrap();
    let mut greedy = gateway.client("greedy").await;
    let mut same = greedy.clone();
    let under_way = greedy.start_execution(start("one"));
    let more = async {
        eventually("the first start is upstream", async || {
            gateway.sandbox.calls("lex", "StartTestExecution").len() == 1
        })
        .await;
        same.start_execution(start("two")).await
    };
    let both = async { tokio::join!(under_way, more) };
    let (first, second) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    first.unwrap();
    assert_exceeded(&second.unwrap_err(), "1 starts");
    greedy.start_execution(start("three")).await.unwrap();
}
