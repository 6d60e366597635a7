//! HTTP/2 by hand, for what no decent client sends.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What opens a connection, with the window that each stream of the server's has.
pub(super) fn opening(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &setting)].concat()
}

/// The header block of a call.
pub(super) fn call(path: &str) -> Vec<u8> {
    // :method POST and :scheme http are in the static table; the others are literals that go into no table.
    let mut block = vec![0x83, 0x86];
    block.extend(literal(4, path));
    block.extend(literal(1, "test"));
    block.extend(literal(31, "application/grpc"));
    block
}

/// A header whose name is in the static table.
fn literal(name: u8, value: &str) -> Vec<u8> {
    let mut bytes = match name {
        0..15 => vec![name],
        _ => vec![15, name - 15],
    };
    bytes.push(u8::try_from(value.len()).unwrap());
    bytes.extend(value.as_bytes());
    bytes
}

/// How a connection ended for its client.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum End {
    /// With a GOAWAY of this code.
    GoAway(u32),
    /// Without a word.
    Closed,
}

/// Sends an opening, then what `more` gives until the server has enough; reads all the while.
pub(super) async fn flood(address: &str, first: &[u8], more: impl FnMut(u32) -> Option<Vec<u8>>) -> End {
    let stream = TcpStream::connect(address).await.unwrap();
    let (read, mut write) = stream.into_split();
    write.write_all(&[opening(65_535), first.to_vec()].concat()).await.unwrap();
    let ((), end) = tokio::join!(send(write, more), end(read));
    end
}

async fn send(mut write: OwnedWriteHalf, mut more: impl FnMut(u32) -> Option<Vec<u8>>) {
    for round in 0.. {
        let Some(bytes) = more(round) else { return drop(write.shutdown().await) };
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn end(mut read: OwnedReadHalf) -> End {
    let mut last = End::Closed;
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return last;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return last;
        }
        if head[3] == GOAWAY {
            last = End::GoAway(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}
