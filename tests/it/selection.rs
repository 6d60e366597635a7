//! How much a stream by parent may select.

use testgate::proto::v1::WatchExecutionsRequest;
use tonic::Code;

use crate::large_store;
use crate::place::Place;
use crate::rig::Stream;
use crate::support::told;

/// The most that one stream may select.
const MOST: usize = 10_000;

#[tokio::test]
async fn as_many_as_a_stream_may_select_open_it_and_one_more_is_too_many() {
    let place = Place::new().await;
    large_store::build(&place.store(), "lex", MOST + 1, 0).await;
    let process = place.process().await;
    let ended = |more: &str| WatchExecutionsRequest {
        parent: "backends/lex/tests/-".to_owned(),
        filter: format!("end_time > \"2020-01-01T00:00:00Z\"{more}"),
        ..Default::default()
    };
    let Err(status) = Stream::open_on(&process.client, ended("")).await else { panic!("it opened") };
    assert_eq!(told(&status), (Code::ResourceExhausted, "SELECTION_TOO_LARGE".to_owned()), "{status}");

    let mut stream = Stream::open_on(&process.client, ended(" AND NOT labels.build = \"0\"")).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    assert_eq!(snapshot.len(), MOST);
}
