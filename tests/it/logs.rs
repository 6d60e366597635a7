//! A log that nobody reads.

use testgate::proto::v1;

use crate::metrics::Scrape;
use crate::process::{Served, Serving, eventually, line_with, signal, stderr_lines};
use crate::support::{Client, PATIENCE, World, admin_at, connect};

/// A gateway that says much on a pipe, and a client that has made it say more than the pipe and its queue hold.
async fn talkative() -> (World, Served, Client) {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.append("[telemetry]\nlog_level = \"trace\"\n");
    let served = serving.start_logging().await;
    let client = connect(&served.address).await;
    let dropped = async || {
        for _ in 0..100 {
            list(&client).await;
        }
        let (_, text) = admin_at(served.admin, "GET", "/metrics", "").await;
        Scrape::parse(&text).sum("testgate_log_lines_dropped_total", &[]) > 0.0
    };
    eventually("lines are dropped and counted", dropped).await;
    (world, served, client)
}

async fn list(client: &Client) {
    let mut client = client.clone();
    let call = client.list_backends(v1::ListBackendsRequest::default());
    tokio::time::timeout(PATIENCE, call).await.expect("the call hangs").unwrap();
}

#[tokio::test]
async fn calls_go_on_while_nobody_reads_the_log_and_it_names_its_gap() {
    let (_world, mut served, client) = talkative().await;
    list(&client).await;
    let mut log = stderr_lines(&mut served.child);
    let gap = line_with(&mut log, "the log has a gap").await;
    let gap: serde_json::Value = serde_json::from_str(&gap).unwrap();
    assert!(gap["lines"].as_u64().unwrap() > 0, "{gap}");
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_no_reader_of_its_log() {
    let (_world, mut served, _client) = talkative().await;
    signal(&served.child, "TERM").await;
    let ended = tokio::time::timeout(PATIENCE, served.child.wait()).await.expect("it does not end");
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_last_lines_get_out() {
    let world = World::start().await;
    let mut served = Serving::before(&world.sandbox, "127.0.0.1:0").start_logging().await;
    signal(&served.child, "TERM").await;
    let mut log = stderr_lines(&mut served.child);
    line_with(&mut log, "drained").await;
}
