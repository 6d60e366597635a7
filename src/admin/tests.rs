use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

struct Served {
    address: SocketAddr,
    lifecycle: Lifecycle,
    tasks: Tasks,
}

impl Served {
    async fn start(backend_ready: bool, store_ready: bool) -> Self {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let served = Self { address: bound.address(), lifecycle: Lifecycle::new(), tasks: Tasks::new() };
        let part = |name: &str, ready, required| Readiness {
            name: name.to_owned(),
            ready,
            required,
            detail: if ready { String::new() } else { "connection\nrefused".to_owned() },
        };
        let parts = vec![part("store", store_ready, true), part("backends/lex", backend_ready, false)];
        let admin = Admin {
            lifecycle: served.lifecycle.clone(),
            log: None,
            config: Box::new(|| serde_json::json!({ "server": { "drain_timeout": "10s" } })),
            readiness: Box::new(move || parts.clone()),
            metrics: Box::new(|| "testgate_watch_streams 3\n".to_owned()),
        };
        served.tasks.spawn_critical("admin", serve(bound, Arc::new(admin), served.tasks.clone()));
        served
    }

    /// The status and body of one request.
    async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn get(&self, target: &str) -> (u16, String) {
        self.ask("GET", target, "").await
    }
}

#[tokio::test]
async fn liveness_depends_on_nothing() {
    let served = Served::start(false, false).await;
    assert_eq!(served.get("/livez").await, (200, "ok\n".to_owned()));
    served.lifecycle.drain();
    assert_eq!(served.get("/livez").await.0, 200);
}

#[tokio::test]
async fn readiness_follows_the_phase() {
    let served = Served::start(true, true).await;
    assert_eq!(served.get("/readyz").await, (503, "not ready\n".to_owned()));
    served.lifecycle.serve();
    assert_eq!(served.get("/readyz").await, (200, "ready\n".to_owned()));
    served.lifecycle.drain();
    assert_eq!(served.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn a_backend_that_is_down_is_shown_and_leaves_the_gateway_ready() {
    let served = Served::start(false, true).await;
    served.lifecycle.serve();
    let (status, body) = served.get("/readyz?verbose").await;
    assert_eq!(status, 200);
    assert_eq!(body, "gateway serving\nstore ready\nbackends/lex unready: connection refused\nready\n");
}

#[tokio::test]
async fn the_gateway_is_unready_without_its_store() {
    let served = Served::start(true, false).await;
    served.lifecycle.serve();
    assert_eq!(served.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn metrics_and_configuration_are_shown() {
    let served = Served::start(true, true).await;
    let (status, metrics) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(metrics, "testgate_watch_streams 3\n");
    let (_, config) = served.get("/config").await;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["server"]["drain_timeout"], "10s");
}

#[tokio::test]
async fn drain_needs_post_and_begins_the_drain() {
    let served = Served::start(true, true).await;
    served.lifecycle.serve();
    assert_eq!(served.get("/drain").await.0, 405);
    assert_eq!(served.lifecycle.phase(), Phase::Serving);
    assert_eq!(served.ask("POST", "/drain", "").await.0, 202);
    assert_eq!(served.lifecycle.phase(), Phase::Draining);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_what_there_is() {
    let served = Served::start(true, true).await;
    assert_eq!(served.get("/").await.0, 404);
    assert_eq!(served.ask("DELETE", "/loglevel", "").await.0, 405);
    assert_eq!(served.ask("PUT", "/loglevel", "info").await.0, 404);
}

#[tokio::test]
async fn an_open_connection_does_not_hold_the_end_up() {
    let served = Served::start(true, true).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(served.get("/livez").await.0, 200);
    assert_eq!(served.tasks.shutdown(Duration::from_secs(5)).await, Ok(()));
    assert!(idle.read(&mut [0]).await.is_ok_and(|read| read == 0));
}
