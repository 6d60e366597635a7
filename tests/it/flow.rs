//! The main job: list, start, follow to a verdict, read what is left behind.

use testgate::proto::v1::execution::State;
use testgate::proto::v1::failure_reason::Kind as FailureKind;
use testgate::proto::v1::{self, Verdict};

use crate::support::{World, state, verdict};

#[tokio::test]
async fn one_request_starts_any_kind_of_test_and_a_stream_shows_its_verdict() {
    let world = World::start().await;
    for (backend, test) in [("connect", "greeting"), ("lex", "booking"), ("quality", "Orders, daily")] {
        let states = world.run(backend, test).await;
        assert_eq!(
            (state(&states), verdict(&states)),
            (State::Completed, Verdict::Passed),
            "{backend}/{test}: {states:?}"
        );
        assert!(states.done);
        assert!(states.counts.unwrap().total.unwrap() > 0, "{backend}/{test}");
        let items = v1::ListResultItemsRequest { parent: states.name, ..Default::default() };
        let items = world.client.clone().list_result_items(items).await.unwrap().into_inner();
        assert!(!items.result_items.is_empty(), "{backend}/{test} has no items");
    }
}

#[tokio::test]
async fn a_failed_expectation_is_a_failed_verdict_and_no_error() {
    let world = World::start().await;
    for (backend, test) in [("connect", "holiday-closure"), ("lex", "booking-mismatch")] {
        let ended = world.run(backend, test).await;
        assert_eq!(
            (state(&ended), verdict(&ended)),
            (State::Completed, Verdict::Failed),
            "{backend}/{test}: {ended:?}"
        );
        assert_eq!(ended.failure.unwrap().kind(), FailureKind::Assertion);
    }
}
