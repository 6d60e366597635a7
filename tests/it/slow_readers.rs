//! Readers that take little, nothing for a while, or nothing at all.

use std::collections::HashMap;

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::WatchExecutionsRequest;
use testgate::proto::v1::watch_executions_response::Event;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::rig::{Stream, begin_endless, finish, id_of, quick, shown, watching};
use crate::support::{PATIENCE, World, told};

const SECOND: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 1, nanos: 0 });
/// As the gateway announces it.
const MAX_LAG: u32 = 30;

/// Has an upstream say that so many observations of an execution passed.
fn progress(world: &World, name: &str, passed: i32) {
    let counts =
        json!({"command": "set", "execution": id_of(name), "total": 99, "passed": passed, "failed": 0});
    world.control("connect", counts);
}

fn passed(execution: &v1::Execution) -> Option<i32> {
    execution.counts.as_ref().and_then(|counts| counts.passed)
}

/// A stream on a connection of its own, into whose window no more than the opening fits.
async fn stalled_at_once(
    world: &World,
    request: WatchExecutionsRequest,
) -> tonic::Streaming<v1::WatchExecutionsResponse> {
    let address = format!("http://{}", world.gateway.addresses()[0]);
    let endpoint = tonic::transport::Channel::from_shared(address).unwrap().initial_stream_window_size(256);
    let client = v1::test_execution_service_client::TestExecutionServiceClient::new;
    let mut client = client(endpoint.connect().await.unwrap());
    client.watch_executions(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn row_08_a_slow_reader_gets_the_newest_state_and_how_many_it_stands_for() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut slow = stalled_at_once(&world, watching([&started.name])).await;

    let mut quick_reader = Stream::open(&world, watching([&started.name])).await.unwrap();
    quick_reader.opening().await;
    let id = id_of(&started.name);
    for passed in 1..=8 {
        world.control(
            "connect",
            json!({"command": "set", "execution": id, "total": 9, "passed": passed, "failed": 0}),
        );
        quick_reader
            .until(|update| shown(update).counts.and_then(|counts| counts.passed) == Some(passed))
            .await;
    }
    finish(&world, &started.name);
    quick_reader.until(|update| shown(update).done).await;

    let mut seen = Vec::new();
    while !seen.last().is_some_and(|update| shown(update).done) {
        if let Some(Event::Update(update)) = slow.message().await.unwrap().unwrap().event {
            seen.push(update);
        }
    }
    assert!(seen.windows(2).all(|pair| shown(&pair[0]).revision < shown(&pair[1]).revision));
    let merged: i32 = seen.iter().map(|update| update.coalesced_count).sum();
    assert!(merged >= 5 && seen.len() <= 5, "{} updates stand for {merged} more", seen.len());
}

#[tokio::test]
async fn a_heartbeat_never_overtakes_an_update() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let watch = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&started.name]) };
    // Many, as a heartbeat that is due and an update that waits may go out in either order by chance.
    let mut stalled = Vec::new();
    for _ in 0..12 {
        stalled.push(stalled_at_once(&world, watch.clone()).await);
    }
    let mut quick_reader = Stream::open(&world, watch).await.unwrap();
    quick_reader.opening().await;
    finish(&world, &started.name);
    quick_reader.until(|update| shown(update).done).await;
    let seen = crate::support::now().unix_timestamp();
    for _ in 0..3 {
        quick_reader.beat().await;
    }
    for mut stream in stalled {
        loop {
            match stream.message().await.unwrap().unwrap().event.unwrap() {
                Event::Update(update) if shown(&update).done => break,
                Event::Heartbeat(beat) => {
                    let sent = beat.send_time.unwrap().seconds;
                    assert!(sent <= seen, "a heartbeat sent {} s after the end came first", sent - seen);
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn row_07_a_reader_that_stops_costs_a_slot_an_execution_and_nobody_else_and_still_gets_every_end() {
    let world = quick(1.0).await;
    let mut names = Vec::new();
    for _ in 0..10 {
        names.push(begin_endless(&world).await.name);
    }
    let mut slow = stalled_at_once(&world, watching(&names)).await;
    slow.message().await.unwrap().expect("the first message");
    let mut quick_reader = Stream::open(&world, watching(&names)).await.unwrap();
    quick_reader.opening().await;
    names.iter().for_each(|name| finish(&world, name));
    let mut ended = 0;
    quick_reader
        .until(|update| {
            ended += usize::from(shown(update).done);
            ended == names.len()
        })
        .await;

    let mut seen: HashMap<String, Vec<v1::ExecutionUpdate>> = HashMap::new();
    while seen.values().filter(|updates| shown(updates.last().unwrap()).done).count() < names.len() {
        let message = tokio::time::timeout(PATIENCE, slow.message()).await.expect("nothing came in time");
        if let Some(Event::Update(update)) = message.unwrap().unwrap().event {
            seen.entry(shown(&update).name.clone()).or_default().push(update);
        }
    }
    for updates in seen.values() {
        assert!(updates.windows(2).all(|pair| shown(&pair[0]).revision < shown(&pair[1]).revision));
        // The snapshot, what was under way when the reader stopped, and one slot.
        assert!(updates.len() <= 4, "{} updates of one execution waited", updates.len());
    }
}

/// It takes `max_lag`, which can't be changed.
#[tokio::test]
async fn a_reader_that_stalls_past_max_lag_is_told_when_it_reads_again_and_resumes() {
    let world = quick(1.0).await;
    let name = begin_endless(&world).await.name;
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&name]) };
    let mut stalled = stalled_at_once(&world, watching([&name])).await;
    let mut quick_reader = Stream::open(&world, request).await.unwrap();
    quick_reader.opening().await;
    // More than fits into what is on the way.
    for round in 1..=4 {
        progress(&world, &name, round);
        quick_reader.until(|update| passed(shown(update)) == Some(round)).await;
    }
    for _ in 0..=MAX_LAG + 2 {
        quick_reader.beat().await;
    }
    finish(&world, &name);
    quick_reader.until(|update| shown(update).done).await;

    let mut token = String::new();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, stalled.message()).await.expect("nothing came in time") {
            Ok(Some(message)) => {
                let done = matches!(&message.event, Some(Event::Update(update)) if shown(update).done);
                assert!(!done, "the stream went on");
                if !message.resume_token.is_empty() {
                    token = message.resume_token;
                }
            }
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(told(&ended), (Code::ResourceExhausted, "WATCH_CONSUMER_TOO_SLOW".to_owned()), "{ended:?}");
    assert!(ended.get_details_retry_info().is_some());
    let resumed = WatchExecutionsRequest { resume_token: token, ..watching([&name]) };
    let mut resumed = Stream::open(&world, resumed).await.unwrap();
    assert!(shown(&resumed.until(|update| shown(update).done).await).done);
}
