//! Upstreams that send without end, or send the gateway elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testgate::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use super::Victim;
use crate::process::Serving;
use crate::support::{World, connect, told};

/// What an upstream answers every request with.
#[derive(Clone)]
enum Answer {
    /// A head, then this for ever.
    Endless(&'static str, &'static [u8]),
    /// A redirect to itself.
    Redirect,
}

struct Upstream {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (own, counted) = (address.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_all(stream, answer.clone(), own.clone(), counted.clone()));
            }
        });
        Self { address, requests }
    }
}

async fn answer_all(mut stream: TcpStream, answer: Answer, own: String, requests: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        let sent = match &answer {
            Answer::Redirect => {
                let reply = format!(
                    "HTTP/1.1 307 Elsewhere\r\nlocation: http://{own}/api\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(reply.as_bytes()).await
            }
            Answer::Endless(head, more) => {
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    sent = stream.write_all(more).await;
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Lists the tests of a gateway that has this upstream beside its good ones.
async fn listed(answer: Answer) -> (Status, usize) {
    let upstream = Upstream::start(answer).await;
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    serving.append(&format!(
        "[[backend]]\nid = \"hostile\"\nkind = \"openmetadata\"\nbase_url = \"http://{}/api\"\n\
         token_env = \"SANDBOX_TOKEN\"\nrequest_timeout = \"5s\"\n",
        upstream.address
    ));
    let served = serving.start().await;
    let bystander = connect(&served.address).await;
    let victim = Victim { served, bystander, _world: world, backends: 4 };
    let before = upstream.requests.load(Ordering::SeqCst);
    let request = v1::ListTestsRequest { parent: "backends/hostile".into(), ..Default::default() };
    let mut client = victim.bystander.clone();
    let refused = victim.withstands(client.list_tests(request)).await.unwrap_err();
    (refused, upstream.requests.load(Ordering::SeqCst) - before)
}

#[tokio::test]
async fn an_upstream_body_without_an_end_is_cut_at_the_limit() {
    let (refused, _) = listed(Answer::Endless("HTTP/1.1 200 OK\r\n\r\n", &[b' '; 64 * 1024])).await;
    assert_eq!(told(&refused), (Code::ResourceExhausted, "UPSTREAM_RESPONSE_TOO_LARGE".into()));
}

#[tokio::test]
async fn upstream_headers_without_an_end_are_cut() {
    let (refused, _) = listed(Answer::Endless("HTTP/1.1 200 OK\r\n", b"x-more: and more and more\r\n")).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn an_upstream_redirect_is_never_followed() {
    let (refused, requests) = listed(Answer::Redirect).await;
    assert_eq!(told(&refused), (Code::FailedPrecondition, "UPSTREAM_REDIRECTED".into()));
    assert!(requests <= 2, "{requests} requests: the list, and perhaps the probe");
}
