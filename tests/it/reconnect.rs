//! Clients that come back: after a restart, all at once, and through a proxy that cuts what is silent.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::WatchExecutionsRequest;
use testgate::proto::v1::watch_executions_response::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::place::{Place, next, snapshot};
use crate::rig::{begin_endless, id_of, quick, watching};
use crate::start::{CONNECT, name_of};
use crate::support::{Client, PATIENCE, connect, told};

#[tokio::test]
async fn row_01_a_drain_ends_streams_in_time_and_they_resume() {
    let place = Place::new().await;
    let mut process = place.process().await;
    let name = name_of(&process.client, &CONNECT.parent(&place.world).await, "once").await;
    place.world.control("connect", json!({"command": "hang", "execution": id_of(&name)}));
    let request = v1::WatchExecutionsRequest { names: vec![name.clone()], ..Default::default() };
    let mut before = snapshot(&process.client, request.clone()).await;
    let begun = Instant::now();
    process.terminate();
    let mut token = before.resume_token;
    let ended = loop {
        match next(&mut before.stream).await {
            Ok(message) => token = message.resume_token,
            Err(ended) => break ended,
        }
    };
    assert_eq!(told(&ended), (Code::Unavailable, "GATEWAY_DRAINING".into()), "{ended}");
    assert!(ended.get_details_retry_info().is_some());
    assert!(process.exit().await.success());
    assert!(begun.elapsed() < Duration::from_secs(6), "longer than drain_timeout: {:?}", begun.elapsed());

    let process = place.process().await;
    let resumed = v1::WatchExecutionsRequest { resume_token: token, ..request };
    assert!(!snapshot(&process.client, resumed).await.reset);
}

/// Ends before, during and after the restart.
const PARTS: usize = 3;

/// What one of many watchers went through.
struct Seen {
    /// The delay that it was told to wait.
    delay: Duration,
    /// It was told to begin anew.
    reset: bool,
}

/// Follows names over the end of a gateway to the next one's, as a good client does, until all are done.
async fn follow(
    mut gateway: watch::Receiver<Client>,
    names: Vec<String>,
    opened: watch::Sender<usize>,
) -> Seen {
    let mut seen = Seen { delay: Duration::ZERO, reset: false };
    let mut undone: HashSet<String> = names.iter().cloned().collect();
    let mut token = String::new();
    loop {
        let request = WatchExecutionsRequest {
            names: names.clone(),
            until_done: true,
            resume_token: token.clone(),
            ..Default::default()
        };
        let client = gateway.borrow_and_update().clone();
        let mut stream = client.clone().watch_executions(request).await.unwrap().into_inner();
        let ended = loop {
            match next(&mut stream).await {
                Ok(message) => {
                    if !message.resume_token.is_empty() {
                        token = message.resume_token;
                    }
                    match message.event.unwrap() {
                        Event::Update(update) => {
                            let execution = update.execution.unwrap();
                            if execution.done {
                                undone.remove(&execution.name);
                            }
                        }
                        Event::SnapshotComplete(mark) => {
                            seen.reset |= mark.reset;
                            opened.send_modify(|count| *count += 1);
                        }
                        Event::Complete(_) => {
                            assert!(undone.is_empty(), "complete, but an end was not seen: {undone:?}");
                            return seen;
                        }
                        Event::Heartbeat(_) => {}
                    }
                }
                Err(ended) => break ended,
            }
        };
        assert_eq!(told(&ended), (Code::Unavailable, "GATEWAY_DRAINING".into()), "{ended}");
        seen.delay = ended.get_details_retry_info().unwrap().retry_delay.unwrap();
        gateway.changed().await.unwrap();
        tokio::time::sleep(seen.delay).await;
    }
}

/// What a restart under watchers came to.
struct Restart {
    watchers: Vec<Seen>,
    /// Upstream calls while the watchers came back.
    calls: usize,
    /// How long they took to.
    took: Duration,
}

/// Restarts a gateway in good order under watchers of executions that end before it, meanwhile, and after it.
async fn restart_under(watchers: usize) -> Restart {
    let place = Place::new().await;
    let mut process = place.process().await;
    let parent = CONNECT.parent(&place.world).await;
    let mut names = Vec::new();
    for number in 0..PARTS {
        let name = name_of(&process.client, &parent, &number.to_string()).await;
        place.world.control("connect", json!({"command": "hang", "execution": id_of(&name)}));
        names.push(name);
    }
    let finish = |name: &str| {
        let finish = json!({"command": "finish", "execution": id_of(name), "outcome": "passed"});
        place.world.control("connect", finish);
    };
    let (gateway, current) = watch::channel(process.client.clone());
    let (opened, mut openings) = watch::channel(0);
    let running: Vec<_> =
        (0..watchers).map(|_| tokio::spawn(follow(current.clone(), names.clone(), opened.clone()))).collect();
    let opened_by_all = async |openings: &mut watch::Receiver<usize>, times: usize| {
        let all = openings.wait_for(|count| *count >= times * watchers);
        drop(tokio::time::timeout(PATIENCE, all).await.expect("not all came").unwrap());
    };
    opened_by_all(&mut openings, 1).await;
    finish(&names[0]);
    process.terminate();
    assert!(process.exit().await.success());
    finish(&names[1]);
    let process = place.process().await;
    let (before, begun) = (place.world.calls("connect", "*"), Instant::now());
    gateway.send_replace(process.client.clone());
    opened_by_all(&mut openings, 2).await;
    let (calls, took) = (place.world.calls("connect", "*") - before, begun.elapsed());
    finish(&names[2]);
    let mut seen = Vec::new();
    for watcher in running {
        seen.push(tokio::time::timeout(PATIENCE, watcher).await.expect("an end was missed").unwrap());
    }
    Restart { watchers: seen, calls, took }
}

#[tokio::test]
async fn row_03_a_rolling_restart_under_a_thousand_watchers_loses_no_end() {
    let restart = restart_under(1000).await;
    assert_eq!(restart.watchers.len(), 1000);
    assert!(restart.watchers.iter().all(|seen| !seen.reset));
}

#[tokio::test]
async fn row_04_watchers_that_come_back_at_once_are_spread_out_and_cost_upstream_nothing() {
    let restart = restart_under(300).await;
    let delays = || restart.watchers.iter().map(|seen| seen.delay);
    let spread = delays().max().unwrap() - delays().min().unwrap();
    // The window is half a second.
    assert!(spread >= Duration::from_millis(400), "they come back within {spread:?}");
    // What is followed is read every 200 ms at the most, whoever watches it, by up to three calls.
    let reads = usize::try_from(restart.took.as_millis() / 200).unwrap() + 2;
    assert!(restart.calls <= 3 * PARTS * reads, "{} calls within {:?}", restart.calls, restart.took);
}

/// Passes bytes on, and cuts a connection whose server says nothing for so long.
async fn proxy(listener: TcpListener, server: String, silence: Duration) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(&server).await.unwrap();
        tokio::spawn(async move {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut bytes = [0; 4096];
            while let Ok(Ok(count @ 1..)) = tokio::time::timeout(silence, from_server.read(&mut bytes)).await
            {
                if to_client.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
            up.abort();
        });
    }
}

/// It takes longer than the silence that the proxy allows.
#[tokio::test]
async fn row_05_heartbeats_keep_a_stream_alive_behind_a_proxy_that_cuts_what_is_silent() {
    let world = quick(1.0).await;
    let name = begin_endless(&world).await.name;
    world.reach(&name, v1::execution::State::Running).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(proxy(listener, world.gateway.addresses()[0].to_string(), Duration::from_secs(5)));
    let beats = |seconds| WatchExecutionsRequest {
        heartbeat_interval: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..watching([&name])
    };
    let mut silent = connect(&address).await.watch_executions(beats(60)).await.unwrap().into_inner();
    let mut alive = connect(&address).await.watch_executions(beats(1)).await.unwrap().into_inner();
    // The proxy does cut: each stream has a connection of its own.
    let cut = async {
        loop {
            if let Err(cut) = next(&mut silent).await {
                return cut;
            }
        }
    };
    let kept = async {
        let mut beats = 0;
        while beats < 8 {
            let message = next(&mut alive).await.expect("the stream was cut");
            beats += usize::from(matches!(message.event, Some(Event::Heartbeat(_))));
        }
    };
    let (cut, ()) = tokio::join!(cut, kept);
    assert_ne!(cut.code(), Code::Ok);
}
