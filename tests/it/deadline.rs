//! A deadline that passes while an upstream keeps its answer to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prost::Message as _;
use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::listener::{framed, post};
use crate::process::{Serving, eventually};
use crate::support::{World, told};

/// An upstream that reads and never answers; how many connections to it are open.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
                counted.fetch_sub(1, Ordering::SeqCst);
                drop(stream.read(&mut [0]).await);
            });
        }
    });
    (address, open)
}

#[tokio::test]
async fn row_14_a_unary_call_ends_at_its_deadline_and_the_upstream_call_with_it() {
    let (upstream, open) = silent().await;
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    // The upstream call's own timeout is far beyond what this test waits for.
    serving.append(&format!(
        "[[backend]]\nid = \"silent\"\nkind = \"openmetadata\"\nbase_url = \"http://{upstream}/api\"\n\
         token_env = \"SANDBOX_TOKEN\"\nrequest_timeout = \"5m\"\n"
    ));
    let served = serving.start().await;
    eventually("the probe has been given up", async || open.load(Ordering::SeqCst) == 0).await;
    let request = v1::ListTestsRequest { parent: "backends/silent".into(), ..Default::default() };
    let message = request.encode_to_vec();
    let start = Instant::now();
    let headers = [("grpc-timeout", "1S")];
    let answer = post(&served.address, "ListTests", &headers, framed(0, message.len(), &message));
    let asked = eventually("upstream is asked", async || open.load(Ordering::SeqCst) > 0);
    let (status, ()) = tokio::join!(answer, asked);
    let took = start.elapsed();
    assert_eq!(told(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()), "{status:?}");
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
    eventually("the upstream call is given up", async || open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn nobody_is_told_to_wait_beyond_their_deadline() {
    let world = World::start().await;
    let name = world.test("connect", "greeting").await.name;
    let pushback = |status: Status| {
        assert!(status.get_details_retry_info().is_some(), "{status:?}");
        status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse::<i64>().unwrap()
    };
    world.sandbox.inject("connect", Fault::new("ListTestCases", FaultKind::Status { status: 503 })).unwrap();
    let mut list =
        Request::new(v1::ListTestsRequest { parent: "backends/connect".into(), ..Default::default() });
    list.set_timeout(Duration::from_secs(50));
    let status = world.client.clone().list_tests(list).await.unwrap_err();
    assert!((1000..=2000).contains(&pushback(status)));

    let throttle = FaultKind::Throttle { retry_after: Some(20) };
    world.sandbox.inject("connect", Fault::new("DescribeTestCase", throttle)).unwrap();
    let mut read = Request::new(v1::GetTestRequest { name });
    read.set_timeout(Duration::from_secs(10));
    let status = world.client.clone().get_test(read).await.unwrap_err();
    assert_eq!(told(&status), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
    assert_eq!(pushback(status), -1, "the pause is longer than what is left");
}
