use super::*;
use crate::backend::testing::{Reply, Upstream};

const WAIT: Duration = Duration::from_secs(20);

fn get(url: &str) -> Request {
    Request::new(http::Method::GET, Url::parse(url).unwrap())
}

async fn send(script: Reply, max_body: usize, timeout: Duration) -> Result<Response, HttpError> {
    let upstream = Upstream::start([script]).await;
    HttpClients::default().get(None, Proxy::Never).send(get(&upstream.url()), timeout, max_body).await
}

#[tokio::test]
async fn a_body_of_the_limit_passes_and_one_byte_more_does_not() {
    let reply = || Reply::Http(200, vec![], vec![b'x'; 100]);
    assert_eq!(send(reply(), 100, WAIT).await.unwrap().body.len(), 100);
    assert_eq!(send(reply(), 99, WAIT).await.unwrap_err().kind, HttpErrorKind::TooLarge);
    let unannounced = Reply::Raw([b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 100]].concat());
    assert_eq!(send(unannounced, 99, WAIT).await.unwrap_err().kind, HttpErrorKind::TooLarge);
}

#[tokio::test]
async fn a_cut_body_a_reset_and_silence_may_all_have_had_an_effect() {
    let cut = Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}".to_vec());
    let error = send(cut, 1000, WAIT).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Broken, true));
    let error = send(Reply::Close, 1000, WAIT).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Broken, true));
    let error = send(Reply::Silence, 1000, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Timeout, true));
}

#[tokio::test]
async fn a_body_that_stalls_counts_into_the_try() {
    let upstream = Upstream::start([Reply::Http(200, vec![], vec![b'x'; 10])]).await;
    let client = HttpClients::default().get(None, Proxy::Never);
    assert!(client.send(get(&upstream.url()), WAIT, 100).await.is_ok());
    let error = client.send(get(&upstream.url()), Duration::ZERO, 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Timeout);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_certainly_had_no_effect() {
    let client = HttpClients::default().get(None, Proxy::Never);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client.send(get(&format!("http://{closed}/")), WAIT, 100).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Connect, false));
    let error = client.send(get("http://nowhere.invalid/"), WAIT, 100).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Connect, false));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_a_tls_failure() {
    let upstream = Upstream::start([Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]).await;
    let client = HttpClients::default().get(None, Proxy::Never);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let answer = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (sent, _stream) = tokio::join!(client.send(get(&url), WAIT, 100), answer);
    let error = sent.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Tls, false), "{error}");
    drop(upstream);
}

#[tokio::test]
async fn a_redirect_is_handed_over_and_not_followed() {
    let reply = Reply::json(307, "{}").with("location", "http://127.0.0.1:1/");
    assert_eq!(send(reply, 100, WAIT).await.unwrap().status, 307);
}

#[tokio::test]
async fn a_ca_file_that_is_missing_is_named() {
    let client = HttpClients::default().get(Some(Path::new("/nonexistent/ca.pem")), Proxy::Environment);
    let error = client.send(get("https://127.0.0.1:1/"), WAIT, 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Setup);
    assert!(error.message.contains("/nonexistent/ca.pem"), "{error}");
}

#[test]
fn backends_with_the_same_roots_share_a_client() {
    let clients = HttpClients::default();
    let (one, two) = (clients.get(None, Proxy::Environment), clients.get(None, Proxy::Environment));
    assert!(Arc::ptr_eq(&one.0, &two.0));
    assert!(!Arc::ptr_eq(&one.0, &clients.get(None, Proxy::Never).0));
}
