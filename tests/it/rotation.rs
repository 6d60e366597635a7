//! Connections that reach their age while they are in use.

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::process::{Serving, finish, program};
use crate::rig::{Stream, watching_parent};
use crate::support::{World, connect, told};

#[tokio::test]
async fn row_15_the_command_line_follows_a_run_over_connections_that_go() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.set("max_connection_age = \"1s\"");
    let served = serving.start().await;
    // A run of four seconds: every connection that follows it, and the one that reads its end, is sent away meanwhile.
    let mut run = program(["run", "connect/greeting"]);
    run.env("TESTGATE_SERVER", &served.address);
    let ended = finish(run).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("resuming"), "no connection went: {ended:?}");
}

#[tokio::test]
async fn row_16_a_watch_on_a_connection_past_its_age_ends_with_a_status_and_resumes() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.set("max_connection_age = \"1s\"");
    let served = serving.start().await;
    let client = connect(&served.address).await;
    let mut request = watching_parent("backends/connect/tests/-");
    let mut stream = Stream::open_on(&client, request.clone()).await.unwrap();
    stream.opening().await;
    let status = loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(told(&status), (Code::Unavailable, "GATEWAY_DRAINING".into()), "{status:?}");
    assert!(status.get_details_retry_info().is_some());

    // Elsewhere, which here is the same process on another connection.
    request.resume_token = stream.token;
    let elsewhere = connect(&served.address).await;
    let mut resumed = Stream::open_on(&elsewhere, request).await.unwrap();
    let (updates, complete) = resumed.opening().await;
    assert!(updates.is_empty() && !complete.reset, "{updates:?} {complete:?}");
}
