//! Streams of the Connect protocol, over HTTP/1.1 and HTTP/2, with curl.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout};

use super::curl::{reason, spawn, url};
use super::open_world;
use crate::process::{Serving, eventually};
use crate::rig::{begin_endless, finish};
use crate::support::{PATIENCE, World, admin};

const JSON: &str = "content-type: application/connect+json";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A watch whose events are read one by one.
pub(super) struct Watch {
    curl: Child,
    out: ChildStdout,
}

impl Watch {
    pub(super) async fn open(address: &str, arguments: &[&str], request: &Value) -> Self {
        let url = url(address, "WatchExecutions");
        let arguments = arguments.iter().copied().chain(["--header", JSON, url.as_str()]);
        let mut curl = spawn(arguments, &[]);
        let mut stdin = curl.stdin.take().unwrap();
        stdin.write_all(&envelope(request)).await.unwrap();
        drop(stdin);
        let out = curl.stdout.take().unwrap();
        Self { curl, out }
    }

    /// The next message, or how the stream ended.
    pub(super) async fn next(&mut self) -> Result<Value, Value> {
        let mut prefix = [0; 5];
        let read = async {
            self.out.read_exact(&mut prefix).await.expect("an envelope");
            let [flags, length @ ..] = prefix;
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            self.out.read_exact(&mut message).await.unwrap();
            let message = serde_json::from_slice(&message).unwrap();
            match flags {
                0 => Ok(message),
                2 => Err(message),
                other => panic!("flags {other}"),
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came in time")
    }

    /// Reads on to a message that has this member.
    pub(super) async fn until(&mut self, member: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|end| panic!("it ended: {end}"));
            if let Some(found) = message.get(member) {
                return found.clone();
            }
        }
    }

    /// Reads on to the end, after which nothing may come.
    pub(super) async fn end(&mut self) -> Value {
        let end = loop {
            if let Err(end) = self.next().await {
                break end;
            }
        };
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.out.read_to_end(&mut rest)).await;
        assert_eq!(read.expect("the reply does not end").unwrap(), 0, "{rest:?}");
        end
    }
}

fn envelope(message: &Value) -> Vec<u8> {
    let message = message.to_string();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message.bytes());
    bytes
}

fn told(end: &Value) -> (&str, String) {
    (end["error"]["code"].as_str().unwrap_or_default(), reason(&end["error"]))
}

#[tokio::test]
async fn curl_follows_an_execution_to_its_end() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    for version in VERSIONS {
        let name = begin_endless(&world).await.name;
        let request = json!({"names": [name], "untilDone": true});
        let mut watch = Watch::open(&address, &[version], &request).await;
        assert_eq!(watch.until("update").await["execution"]["name"], name);
        watch.until("snapshotComplete").await;
        finish(&world, &name);
        let verdict = loop {
            let update = watch.until("update").await;
            if update["execution"]["done"] == true {
                break update["execution"]["verdict"].clone();
            }
        };
        assert_eq!(verdict, "VERDICT_PASSED");
        assert_eq!(watch.until("complete").await["doneCount"], 1);
        assert_eq!(watch.end().await, json!({}), "it ended well");
        assert!(watch.curl.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn a_drain_ends_a_stream_with_a_status_in_its_last_message() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    let request = json!({"parent": "backends/-/tests/-"});
    let mut watches = Vec::new();
    for version in VERSIONS {
        let mut watch = Watch::open(&address, &[version], &request).await;
        watch.until("snapshotComplete").await;
        watches.push(watch);
    }
    world.gateway.drain().await.expect("nothing had to be cut");
    for mut watch in watches {
        let end = watch.end().await;
        assert_eq!(told(&end), ("unavailable", "GATEWAY_DRAINING".to_owned()), "{end}");
        let details = end["error"]["details"].as_array().unwrap();
        assert!(details.iter().any(|detail| detail["type"] == "google.rpc.RetryInfo"), "{end}");
        assert!(end["metadata"]["grpc-retry-pushback-ms"].is_array(), "{end}");
        assert!(watch.curl.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_with_its_own_code() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    let request = json!({"parent": "backends/-/tests/-"});
    for version in VERSIONS {
        let mut watch =
            Watch::open(&address, &[version, "--header", "connect-timeout-ms: 500"], &request).await;
        let end = watch.end().await;
        assert_eq!(told(&end), ("deadline_exceeded", "DEADLINE_EXCEEDED".to_owned()), "{end}");
    }
}

#[tokio::test]
async fn a_stream_that_can_t_begin_ends_at_once_and_says_why() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    for (request, code, reason) in [
        (json!({"names": ["backends/x"]}), "invalid_argument", "FIELD_INVALID"),
        (json!({"nam": 1}), "invalid_argument", "FIELD_INVALID"),
        (json!({"parent": "backends/nowhere/tests/-"}), "not_found", "RESOURCE_NOT_FOUND"),
    ] {
        let end = Watch::open(&address, &[], &request).await.end().await;
        assert_eq!(told(&end), (code, reason.to_owned()), "{end}");
    }
}

#[tokio::test]
async fn a_connection_past_its_age_ends_its_stream_with_a_status() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.set("max_connection_age = \"1s\"\ndoors = [\"connect\"]");
    let served = serving.start().await;
    let request = json!({"parent": "backends/connect/tests/-"});
    let mut watch = Watch::open(&served.address, &["--http1.1"], &request).await;
    let end = watch.end().await;
    assert_eq!(told(&end), ("unavailable", "GATEWAY_DRAINING".to_owned()), "{end}");
    assert!(watch.curl.wait().await.unwrap().success(), "the connection was cut");
}

/// What the gateway says of the streams that it has.
async fn streams(world: &World) -> String {
    let (_, metrics) = admin(&world.gateway, "GET", "/metrics", "").await;
    let line = metrics.lines().find(|line| line.starts_with("testgate_watch_streams"));
    line.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let world = open_world().await;
    let address = world.gateway.addresses()[0].to_string();
    // So long that no heartbeat finds it out.
    let request = json!({"parent": "backends/-/tests/-", "heartbeatInterval": "60s"});
    for version in VERSIONS {
        let mut watch = Watch::open(&address, &[version], &request).await;
        watch.until("snapshotComplete").await;
        assert_eq!(streams(&world).await, "testgate_watch_streams 1");
        let left = tokio::time::Instant::now();
        watch.curl.kill().await.unwrap();
        eventually("the stream is gone", async || streams(&world).await == "testgate_watch_streams 0").await;
        assert!(left.elapsed() < Duration::from_secs(30), "only a heartbeat found it out");
    }
}
