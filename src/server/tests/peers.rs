//! Peers that stop reading, or are gone without a word.

use super::*;

/// Serves calls on one connection after the other until one is answered: a slot has become free.
async fn until_a_slot_is_free(served: &Served) {
    let freed = async {
        loop {
            let Ok(stream) = TcpStream::connect(served.address).await else { continue };
            let Ok((send, connection)) = h2::client::handshake(stream).await else { continue };
            served.tasks.spawn("client", async move { drop(connection.await) });
            if call(&send, "/t.T/Deadline", Some("5S")).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the slot was not freed");
}

fn impatient() -> Options {
    let moment = Duration::from_millis(100);
    Options { max_connections: 1, ping_interval: moment, ping_timeout: moment, ..quick() }
}

#[tokio::test]
async fn row_06_a_half_open_client_is_freed_within_the_keepalive_time() {
    let served = Served::start(impatient(), scripted()).await;
    // It speaks HTTP/2, opens a stream, and then nothing of it is ever heard again: not even that it is gone.
    let mut gone = TcpStream::connect(served.address).await.unwrap();
    gone.write_all(&opening_with_call("/t.T/Stream", 65_535)).await.unwrap();
    until_a_slot_is_free(&served).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_freed_though_no_ping_reaches_it() {
    let served = Served::start(impatient(), scripted()).await;
    let mut deaf = TcpStream::connect(served.address).await.unwrap();
    // Windows so wide that the socket's own buffers are what fills up.
    deaf.write_all(&opening_with_call("/t.T/Endless", i32::MAX as u32)).await.unwrap();
    until_a_slot_is_free(&served).await;
}

#[tokio::test]
async fn a_stream_whose_reader_takes_nothing_is_reset_and_the_others_go_on() {
    let served =
        Served::start(Options { stall_timeout: Duration::from_millis(200), ..quick() }, scripted()).await;
    let client = served.connect().await;
    let request = Request::post("http://test/t.T/Endless").body(()).unwrap();
    let (response, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let reset = async {
        loop {
            // What is taken is never acknowledged, so that the window fills up and stays full.
            if let Err(error) = body.data().await.expect("no end") {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), reset).await.expect("no reset came");
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    // Gives back the connection's window, which the call after it needs.
    drop(body);
    assert!(call(&client, "/t.T/Deadline", Some("5S")).await.is_ok());
}

/// The bytes of a client that opens a connection and makes one call on it, with its streams' window.
fn opening_with_call(path: &str, window: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = vec![0, 4];
    settings.extend(window.to_be_bytes());
    bytes.extend(frame(4, 0, 0, &settings));
    bytes.extend(frame(8, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes()));
    // :method POST and :scheme http from the static table, :path and :authority as literals.
    let mut headers = vec![0x83, 0x86, 0x04, path.len() as u8];
    headers.extend(path.as_bytes());
    headers.extend([0x01, 4]);
    headers.extend(b"test");
    bytes.extend(frame(1, 5, 1, &headers));
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
