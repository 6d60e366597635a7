//! Floods of frames.

use super::Victim;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, FLOW_CONTROL_ERROR, HEADERS, PING,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, call, flood, frame,
};

const WATCH: &str = "/testgate.v1.TestExecutionService/WatchExecutions";
/// Rounds after which a flood that nobody stops gives up: the test fails then.
const ROUNDS: u32 = 2_000;

fn rounds(round: u32, bytes: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
    (round < ROUNDS).then(bytes)
}

#[tokio::test]
async fn row_19_rapid_resets_are_stopped() {
    let victim = Victim::start().await;
    let (block, cancel) = (call(WATCH), 8_u32.to_be_bytes());
    let attack = flood(&victim.served.address, &[], |round| {
        let one = |number: u32| {
            let stream = (round * 100 + number) * 2 + 1;
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block), frame(RST_STREAM, 0, stream, &cancel)]
                .concat()
        };
        rounds(round, || (0..100).flat_map(one).collect())
    });
    assert_eq!(victim.withstands(attack).await, End::GoAway(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn row_19_headers_without_an_end_are_stopped() {
    let victim = Victim::start().await;
    for size in [1, 16_000] {
        let first = frame(HEADERS, 0, 1, &call(WATCH));
        // Bytes of a literal with a name of its own that is as long as a string may say it is.
        let part = [vec![0, 0x7f, 0xff, 0xff, 0x03], vec![b'a'; size]].concat();
        let attack = flood(&victim.served.address, &first, |round| {
            let payload = if round == 0 { &part[..] } else { &part[5..] };
            rounds(round, || frame(CONTINUATION, 0, 1, payload).repeat(20))
        });
        let end = victim.withstands(attack).await;
        // Their number ends the small ones, and a string that is too long the large ones.
        assert!(matches!(end, End::GoAway(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{size} bytes each: {end:?}");
    }
}

#[tokio::test]
async fn row_19_headers_that_unpack_a_thousandfold_cost_nothing() {
    let victim = Victim::start().await;
    // One header of 4,000 bytes into the dynamic table, then references to it, a byte each.
    let value = vec![b'v'; 4_000];
    let mut bomb = [call(WATCH), vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e], value].concat();
    bomb.extend(std::iter::repeat_n(0xbe, 12_000));
    let attack = flood(&victim.served.address, &[], |round| {
        // A table for each connection, and streams as many as one may have.
        let stream = round * 2 + 1;
        (round < 500).then(|| frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb))
    });
    victim.withstands(attack).await;
}

#[tokio::test]
async fn row_19_floods_of_empty_and_of_tiny_data_are_stopped() {
    let victim = Victim::start().await;
    let first = frame(HEADERS, END_HEADERS, 1, &call(WATCH));
    for payload in [&b""[..], b"\0"] {
        let attack = flood(&victim.served.address, &first, |round| {
            rounds(round, || frame(DATA, 0, 1, payload).repeat(1_000))
        });
        let end = victim.withstands(attack).await;
        // The window ends a flood that fills it, the count one that does not.
        assert!(matches!(end, End::GoAway(ENHANCE_YOUR_CALM | FLOW_CONTROL_ERROR)), "{end:?}");
    }
}

#[tokio::test]
async fn row_19_pings_and_settings_by_the_million_cost_no_memory() {
    let victim = Victim::start().await;
    for one in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let attack = flood(&victim.served.address, &[], |round| (round < 200).then(|| one.repeat(1_000)));
        victim.withstands(attack).await;
    }
}
