//! How a gateway process ends, and that it lives through a shortage of file descriptors.

use std::time::{Duration, Instant};

use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};

use crate::process::{Serving, eventually, signal};
use crate::support::{PATIENCE, World, connect};

/// The start of a Lex test set, which nothing but the gateway protects from happening twice.
fn lex_start() -> v1::StartExecutionRequest {
    v1::StartExecutionRequest { parent: "backends/lex/tests/BOOKINGOK1".into(), ..Default::default() }
}

#[tokio::test]
async fn a_start_under_way_is_finished_before_the_end() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let mut served = serving.start().await;
    let mut client = connect(&served.address).await;
    let slow = FaultKind::Delay { ms: 1500 };
    world.sandbox.inject("lex", Fault::new("StartTestExecution", slow).times(1)).unwrap();
    let start = client.start_execution(lex_start());
    let stop = async {
        eventually("the start is upstream", async || world.calls("lex", "StartTestExecution") == 1).await;
        signal(&served.child, "TERM").await;
    };
    let (reply, ()) = tokio::join!(start, stop);
    let started = reply.unwrap().into_inner().execution.unwrap();
    assert!(started.name.starts_with("backends/lex/tests/BOOKINGOK1/executions/"), "{started:?}");
    let status = tokio::time::timeout(PATIENCE, served.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn row_02_a_mute_connection_does_not_hold_up_the_end() {
    let world = World::start().await;
    let mut served = Serving::before(&world.sandbox, "127.0.0.1:0").start().await;
    let mute = tokio::net::TcpStream::connect(&served.address).await.unwrap();
    // A call on a later connection proves that the mute one has been accepted.
    connect(&served.address).await.list_backends(v1::ListBackendsRequest::default()).await.unwrap();
    let asked = Instant::now();
    signal(&served.child, "TERM").await;
    let status = tokio::time::timeout(PATIENCE, served.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    // The default of `drain_timeout`.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(mute);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let mut served = serving.start().await;
        let mut client = connect(&served.address).await;
        world.sandbox.inject("lex", Fault::new("StartTestExecution", FaultKind::Silent).times(1)).unwrap();
        let before = world.calls("lex", "StartTestExecution");
        let start = client.start_execution(lex_start());
        let stop = async {
            eventually("the start is upstream", async || world.calls("lex", "StartTestExecution") > before)
                .await;
            signal(&served.child, name).await;
            // The drain has begun when nothing new is let in; the start above holds it up.
            eventually("it drains", async || tokio::net::TcpStream::connect(&served.address).await.is_err())
                .await;
            let asked = Instant::now();
            signal(&served.child, name).await;
            let status = tokio::time::timeout(PATIENCE, served.child.wait()).await.unwrap().unwrap();
            assert_eq!(status.code(), Some(code));
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        };
        let (reply, ()) = tokio::join!(start, stop);
        reply.unwrap_err();
        world.sandbox.clear_faults("lex").unwrap();
    }
}
