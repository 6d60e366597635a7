//! More connections than there may be, or than there are descriptors, and many streams on one of them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use testgate::proto::v1;
use tokio::net::TcpStream;

use crate::process::{Served, Serving, eventually, free_port};
use crate::rig::{Stream, watching_parent};
use crate::support::{Client, World, connect};

/// How much of a core the gateway uses while something happens, in percent.
async fn share_of_a_core(served: &Served, happening: impl Future<Output = ()>) -> f64 {
    let (start, before) = (Instant::now(), served.cpu());
    happening.await;
    (served.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
}

async fn lists(client: &Client) -> bool {
    client.clone().list_backends(v1::ListBackendsRequest::default()).await.is_ok()
}

#[tokio::test]
async fn row_17_a_flood_of_connections_costs_little_and_streams_lose_nothing() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.set("max_connections = 2");
    let served = serving.start().await;
    let (watcher, caller) = (connect(&served.address).await, connect(&served.address).await);
    assert!(lists(&caller).await);
    let mut stream = Stream::open_on(&watcher, watching_parent("backends/-/tests/-")).await.unwrap();
    stream.opening().await;
    let request = v1::StartExecutionRequest {
        parent: world.test("connect", "greeting").await.name,
        ..Default::default()
    };
    let started = caller.clone().start_execution(request).await.unwrap().into_inner().execution.unwrap();

    // A hundred connections a second, each of them refused.
    let flood = async {
        let mut due = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..200 {
            due.tick().await;
            let mut extra = TcpStream::connect(&served.address).await.unwrap();
            let refused = tokio::io::AsyncReadExt::read(&mut extra, &mut [0]).await;
            assert!(!matches!(refused, Ok(1..)), "it was let in");
        }
    };
    let share = share_of_a_core(&served, flood).await;
    eprintln!("refusing 100 connections a second: {share:.1} % of a core");
    assert!(share < 50.0, "{share:.1} % of a core");
    // The run that began before the flood is seen to its end on the same stream.
    let done =
        stream.until(|update| update.execution.as_ref().is_some_and(|e| e.done && e.name == started.name));
    assert!(done.await.execution.unwrap().done);
    assert!(lists(&caller).await);
}

#[tokio::test]
async fn row_17_a_shortage_of_descriptors_costs_no_cpu_and_passes() {
    let world = World::start().await;
    let mut serving = Serving::before(&world.sandbox, &format!("127.0.0.1:{}", free_port()));
    serving.open_files = Some(40);
    let served = serving.start().await;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(&served.address).await.unwrap());
    }
    eventually("no descriptor is left", async || served.descriptors() >= 40).await;
    let share = share_of_a_core(&served, tokio::time::sleep(Duration::from_secs(2))).await;
    eprintln!("without a descriptor left: {share:.1} % of a core");
    assert!(share < 50.0, "{share:.1} % of a core");

    drop(held);
    eventually("calls are answered again", async || {
        let Ok(channel) = tonic::transport::Channel::from_shared(format!("http://{}", served.address))
            .unwrap()
            .connect()
            .await
        else {
            return false;
        };
        lists(&Client::new(channel)).await
    })
    .await;
}

#[tokio::test]
async fn row_20_five_hundred_busy_streams_on_one_connection_get_no_goaway() {
    const STREAMS: usize = 500;
    const CALLS: usize = 20;
    let world = World::start().await;
    let client = world.client.clone();
    let mut watches = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = Stream::open_on(&client, watching_parent("backends/connect/tests/-")).await.unwrap();
        stream.opening().await;
        watches.push(stream);
    }
    // Unary calls beside them, as many at a time, some of them given up half-way as impatient callers do.
    let calls = (0..STREAMS).map(|number| {
        let client = client.clone();
        async move {
            for call in 0..CALLS {
                let answered = lists(&client);
                if (number + call) % 10 == 0 {
                    drop(tokio::time::timeout(Duration::ZERO, answered).await);
                } else {
                    assert!(answered.await, "call {call} of {number}");
                }
            }
        }
    });
    let started = world.begin("connect", "greeting").await;
    join_all(calls).await;
    // Every stream sees the run to its end, so none was reset, and no GOAWAY ended them.
    let ends = watches.iter_mut().map(|stream| {
        stream.until(|update| update.execution.as_ref().is_some_and(|e| e.done && e.name == started.name))
    });
    assert_eq!(join_all(ends).await.len(), STREAMS);
}
