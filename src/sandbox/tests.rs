use std::time::Instant;

use ::http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::FaultKind;
use super::http::{Reply, Request};
use super::*;

/// Answers with how often it was asked, or would have been.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU32);

impl Counter {
    fn count(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Upstream for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn operation(&self, request: &Request) -> Option<&'static str> {
        (request.method == Method::GET).then_some("Count")
    }

    fn handle(&self, _request: &Request) -> Reply {
        let count = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        Reply::json(StatusCode::OK, &json!({"count": count}))
    }

    fn handle_swallowed(&self, _request: &Request) -> Reply {
        Reply::json(StatusCode::OK, &json!({"count": self.count() + 1}))
    }

    fn control(&self, command: &Value) -> Result<Value, String> {
        if command["command"] == "state" { Ok(json!({"count": self.count()})) } else { Err("no".into()) }
    }
}

async fn start() -> (Sandbox, Arc<Counter>) {
    let counter = Arc::new(Counter::default());
    let options =
        Options::new(Arc::new(Clock::new(1.0))).with(local(0), Arc::clone(&counter) as _).on_free_ports();
    (Sandbox::start(options).await.unwrap(), counter)
}

/// Sends one request and reads until the peer closes: what came, and how it ended.
async fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, io::Result<()>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let ended = stream.read_to_end(&mut reply).await.map(|_| ());
    (String::from_utf8_lossy(&reply).into_owned(), ended)
}

async fn get(sandbox: &Sandbox) -> (String, io::Result<()>) {
    send(sandbox.address("counter").unwrap(), "GET", "/", "").await
}

async fn control(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> (String, Value) {
    let (reply, _) = send(sandbox.control_address(), method, path, body).await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

fn inject(sandbox: &Sandbox, kind: FaultKind) {
    sandbox.inject("counter", Fault::new("Count", kind).times(1)).unwrap();
}

#[tokio::test]
async fn a_reset_before_the_effect_leaves_none_and_one_after_it_does() {
    let (sandbox, counter) = start().await;
    inject(&sandbox, FaultKind::ResetBefore);
    let (reply, ended) = get(&sandbox).await;
    assert_eq!((reply.as_str(), ended.unwrap_err().kind()), ("", io::ErrorKind::ConnectionReset));
    assert_eq!(counter.count(), 0);
    inject(&sandbox, FaultKind::ResetAfter);
    let (reply, ended) = get(&sandbox).await;
    assert_eq!((reply.as_str(), ended.unwrap_err().kind()), ("", io::ErrorKind::ConnectionReset));
    assert_eq!(counter.count(), 1);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_truncated_reply_announces_more_than_comes() {
    let (sandbox, counter) = start().await;
    inject(&sandbox, FaultKind::Truncate);
    let (reply, _) = get(&sandbox).await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(!body.is_empty() && body.len() < announced.parse::<usize>().unwrap(), "{reply}");
    assert_eq!(counter.count(), 1);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn faults_answer_in_place_of_the_upstream() {
    let (sandbox, counter) = start().await;
    let headers = [("x-a".to_owned(), "b".to_owned())].into();
    for (kind, starts, contains) in [
        (FaultKind::Throttle { retry_after: Some(7) }, "HTTP/1.1 429", "retry-after: 7"),
        (FaultKind::Quota, "HTTP/1.1 402", "Quota exceeded"),
        (FaultKind::Status { status: 503 }, "HTTP/1.1 503", "Injected"),
        (FaultKind::Html { status: 502 }, "HTTP/1.1 502", "<html>"),
        (FaultKind::Redirect { location: "http://else/".into() }, "HTTP/1.1 307", "location: http://else/"),
        (FaultKind::Swallow, "HTTP/1.1 200", "\"count\":1"),
        (FaultKind::Reply { status: 418, headers, body: "tea".into() }, "HTTP/1.1 418", "x-a: b"),
    ] {
        inject(&sandbox, kind.clone());
        let (reply, ended) = get(&sandbox).await;
        ended.unwrap();
        assert!(reply.starts_with(starts) && reply.contains(contains), "{kind:?}: {reply}");
    }
    assert_eq!(counter.count(), 0);
    inject(&sandbox, FaultKind::WrongJson);
    assert!(get(&sandbox).await.0.contains("unexpected"));
    assert_eq!(counter.count(), 1);
    let calls = sandbox.calls("counter", "Count");
    assert_eq!(calls.first().map(|call| (call.status, call.fault)), Some((Some(429), Some("throttle"))));
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_delay_holds_the_reply_back() {
    let (sandbox, _) = start().await;
    inject(&sandbox, FaultKind::Delay { ms: 60 });
    let begun = Instant::now();
    assert!(get(&sandbox).await.0.contains("\"count\":1"));
    assert!(begun.elapsed() >= Duration::from_millis(60));
    sandbox.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_silent_and_idle_connections() {
    let (sandbox, counter) = start().await;
    inject(&sandbox, FaultKind::Silent);
    let address = sandbox.address("counter").unwrap();
    let mut mute = TcpStream::connect(address).await.unwrap();
    let mut asking = TcpStream::connect(address).await.unwrap();
    asking.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    while sandbox.calls("counter", "Count").is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(5), sandbox.shutdown()).await.unwrap();
    let mut rest = Vec::new();
    drop(mute.read_to_end(&mut rest).await);
    drop(asking.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    assert_eq!(counter.count(), 0);
}

#[tokio::test]
async fn the_date_header_follows_the_simulated_clock() {
    let (sandbox, _) = start().await;
    sandbox.clock().set_scale(0.0);
    sandbox.clock().advance(Duration::from_secs(3 * 24 * 3600));
    let expected = httpdate::fmt_http_date(std::time::UNIX_EPOCH + sandbox.clock().now());
    let (reply, _) = get(&sandbox).await;
    assert!(reply.contains(&format!("date: {expected}")), "{reply}");
    sandbox.shutdown().await;
}

#[tokio::test]
async fn the_control_endpoint_injects_shows_and_clears() {
    let (sandbox, _) = start().await;
    let fault = r#"{"upstream":"counter","operation":"Count","kind":"throttle","retry_after":2,"times":3}"#;
    let (status, id) = control(&sandbox, "POST", "/faults", fault).await;
    assert_eq!((status.as_str(), &id["id"]), ("HTTP/1.1 200 OK", &json!(0)));
    assert!(get(&sandbox).await.0.contains("retry-after: 2"));
    let (_, faults) = control(&sandbox, "GET", "/faults", "").await;
    let fault = &faults["faults"][0];
    assert_eq!(
        (&fault["upstream"], &fault["times"], &fault["struck"]),
        (&json!("counter"), &json!(2), &json!(1))
    );
    let (_, cleared) = control(&sandbox, "DELETE", "/faults?upstream=counter&id=0", "").await;
    assert_eq!(cleared["cleared"], 1);
    let (_, calls) = control(&sandbox, "GET", "/calls?upstream=counter&operation=Count", "").await;
    assert_eq!(calls["calls"][0]["status"], 429);
    let (_, overview) = control(&sandbox, "GET", "/", "").await;
    assert_eq!(overview["upstreams"][0]["counts"]["Count"], 1);
    let (_, clock) = control(&sandbox, "POST", "/clock", r#"{"scale":10}"#).await;
    assert_eq!(clock["scale"], 10.0);
    let (_, state) = control(&sandbox, "POST", "/counter", r#"{"command":"state"}"#).await;
    assert_eq!(state["count"], 0);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn the_control_endpoint_says_what_is_wrong() {
    let (sandbox, _) = start().await;
    for (method, path, body, status) in [
        ("POST", "/faults", "{", "400"),
        ("POST", "/faults", r#"{"kind":"quota"}"#, "400"),
        ("POST", "/faults", r#"{"upstream":"none","kind":"quota"}"#, "400"),
        ("POST", "/faults", r#"{"upstream":"counter","kind":"gremlin"}"#, "400"),
        ("DELETE", "/faults?id=0", "", "400"),
        ("GET", "/calls", "", "400"),
        ("POST", "/clock", r#"{"scale":-1}"#, "400"),
        ("POST", "/clock", r#"{"scale":1e300}"#, "400"),
        ("POST", "/clock", r#"{"advance_ms":-5}"#, "400"),
        ("POST", "/counter", r#"{"command":"dance"}"#, "400"),
        ("POST", "/nobody", "{}", "404"),
        ("GET", "/nowhere", "", "404"),
    ] {
        let (line, answer) = control(&sandbox, method, path, body).await;
        assert!(
            line.contains(status) && answer["error"].is_string(),
            "{method} {path} {body}: {line} {answer}"
        );
    }
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_port_in_use_fails_the_start_and_says_which() {
    let (sandbox, counter) = start().await;
    let taken = sandbox.address("counter").unwrap();
    let options = Options::new(Arc::new(Clock::new(1.0))).on_free_ports().with(taken, counter);
    let error = Sandbox::start(options).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("counter"), "{error}");
    sandbox.shutdown().await;
}
