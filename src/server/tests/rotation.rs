//! Connections that have become too old.

use super::*;

const AGE: Duration = Duration::from_millis(200);

fn young() -> Options {
    Options { max_connection_age: AGE, ..quick() }
}

#[tokio::test]
async fn an_old_connections_streams_end_with_a_status_and_then_it_closes() {
    let served = Served::start(young(), scripted()).await;
    let (client, closed) = served.connect_watched().await;
    for path in ["/t.T/Stream", "/t.T/Endless", "/testgate.v1.TestExecutionService/WaitExecution"] {
        let (client, closed) = served.connect_watched().await;
        let answer = call(&client, path, None).await.unwrap();
        answer.assert(Code::Unavailable, "GATEWAY_DRAINING");
        assert!(answer.status.get_details_retry_info().is_some(), "{path}");
        // GOAWAY without an error, and no reset.
        closed.await.unwrap().unwrap();
    }
    // An idle one goes as well.
    drop(client);
    closed.await.unwrap().unwrap();
    // The others have theirs, and new ones are welcome.
    let client = served.connect().await;
    assert!(call(&client, "/t.T/Deadline", Some("5S")).await.is_ok());
}

#[tokio::test]
async fn a_call_under_way_outlives_its_connections_age() {
    let served = Served::start(young(), scripted()).await;
    let client = served.connect().await;
    let answer = call(&client, "/t.T/Slow", None).await.unwrap();
    assert_eq!(answer.data, FRAME.len());
}

#[tokio::test]
async fn a_connection_that_does_not_go_is_cut_after_the_grace() {
    let served = Served::start(Options { rotation_grace: AGE, ..young() }, scripted()).await;
    let client = served.connect().await;
    assert!(call(&client, "/t.T/Hang", None).await.is_err());
}
