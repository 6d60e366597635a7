//! A result that is far larger than any reply may be.

use std::collections::HashSet;

use prost::Message as _;
use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::result_item::Kind;

use crate::rig::quick;

/// The most that a reply may have, with a margin to gRPC's usual 4 MiB.
const LARGEST_REPLY: usize = 3_670_016;

#[tokio::test]
async fn row_21_fifty_thousand_result_items_come_in_pages_none_over_the_limit() {
    let world = quick(100.0).await;
    // Three utterances for each conversation.
    let script = json!({"checks": 17_000, "seconds": 1});
    let started = world.control("lex", json!({"command": "start", "test": "BOOKINGOK1", "script": script}));
    let id = |member: &str| started[member].as_str().unwrap().to_owned();
    let name = format!("backends/lex/tests/{}/executions/{}", id("test"), id("execution"));
    world.follow(&name).await;
    let mut client = world.client.clone().max_decoding_message_size(LARGEST_REPLY);
    let mut request = v1::ListResultItemsRequest {
        parent: name,
        kind: Kind::Utterance.into(),
        page_size: 1000,
        ..Default::default()
    };
    let mut names = HashSet::new();
    let mut items = 0;
    loop {
        let page = client.list_result_items(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() <= LARGEST_REPLY, "{} bytes", page.encoded_len());
        items += page.result_items.len();
        names.extend(page.result_items.into_iter().map(|item| item.name));
        if page.next_page_token.is_empty() {
            break;
        }
        assert_ne!(page.next_page_token, request.page_token);
        request.page_token = page.next_page_token;
    }
    assert_eq!((items, names.len()), (51_000, 51_000));
}
