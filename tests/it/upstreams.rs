//! What upstreams do that nobody would expect of them: they queue for long, are late, go in circles, have other clocks.

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::{ListExecutionsRequest, Verdict};
use tonic::Code;

use crate::rig::{Stream, finish, quick, shown, start_elsewhere, watching};
use crate::support::{state, told, verdict};

const MORE_THAN_A_RUN_MAY_TAKE: std::time::Duration = std::time::Duration::from_secs(600);

#[tokio::test]
async fn row_31_a_run_that_waits_in_the_queue_is_pending_however_long() {
    let world = quick(1.0).await;
    world.control("connect", json!({"command": "limits", "running": 0, "accepted": 100}));
    let started = world.begin("connect", "greeting").await;
    world.sandbox.clock().advance(MORE_THAN_A_RUN_MAY_TAKE);
    world.skew.forward(MORE_THAN_A_RUN_MAY_TAKE);
    let forced = v1::GetExecutionRequest {
        name: started.name.clone(),
        max_staleness: Some(prost_types::Duration::default()),
    };
    let waiting = world.client.clone().get_execution(forced).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(
        (state(&waiting), verdict(&waiting), waiting.done),
        (State::Pending, Verdict::Pending, false),
        "{waiting:?}"
    );
    assert!(waiting.failure.is_none() && waiting.condition.is_none(), "{waiting:?}");
}

#[tokio::test]
async fn row_33_results_that_come_late_are_awaited_in_settling() {
    for lagging in ["not_found", "conflict", "empty_page", "mixed"] {
        let world = quick(10.0).await;
        world.control("lex", json!({"command": "lag", "results_ms": 20_000, "lagging": lagging}));
        let started = world.begin("lex", "booking").await;
        let states = world.follow(&started.name).await;
        let settling = states.iter().filter(|shown| state(shown) == State::Settling);
        assert!(settling.clone().count() > 0, "{lagging}: {states:?}");
        assert!(settling.clone().all(|shown| verdict(shown) == Verdict::Pending), "{lagging}: {states:?}");
        let end = states.last().unwrap();
        assert_eq!((state(end), verdict(end)), (State::Completed, Verdict::Passed), "{lagging}");
    }
}

#[tokio::test]
async fn row_34_page_tokens_that_go_in_a_circle_are_reported() {
    // Time stands still, so that a token that leads to the same page is the same token.
    let world = quick(0.0).await;
    world.control("connect", json!({"command": "limits", "running": 5, "accepted": 1000}));
    for _ in 0..251 {
        start_elsewhere(&world, "connect", "timeout");
    }
    world.control("connect", json!({"command": "tokens", "loop": true}));
    let mut request = ListExecutionsRequest {
        parent: "backends/connect/tests/-".to_owned(),
        page_size: 100,
        ..Default::default()
    };
    let mut pages = 0;
    let status = loop {
        match world.client.clone().list_executions(request.clone()).await {
            Ok(page) => request.page_token = page.into_inner().next_page_token,
            Err(status) => break status,
        }
        pages += 1;
        assert!(pages < 10, "the circle is not noticed");
        assert!(!request.page_token.is_empty(), "a list that goes in a circle has no end");
    };
    assert_eq!(told(&status), (Code::Internal, "UPSTREAM_INVALID_RESPONSE".to_owned()), "{status}");
}

#[tokio::test]
async fn row_34_who_is_followed_by_a_list_that_goes_in_a_circle_is_read_by_itself() {
    let world = quick(0.0).await;
    world.control("connect", json!({"command": "limits", "running": 251, "accepted": 1000}));
    let names: Vec<_> = (0..251).map(|_| start_elsewhere(&world, "connect", "timeout")).collect();
    world.control("connect", json!({"command": "tokens", "loop": true}));
    let ends = [&names[0], &names[125], &names[250]];
    let mut stream = Stream::open(&world, watching(ends)).await.unwrap();
    stream.opening().await;
    for name in ends {
        finish(&world, name);
        let end = stream.until(|update| shown(update).done).await.execution.unwrap();
        assert_eq!((&end.name, verdict(&end)), (name, Verdict::Passed));
    }
}

#[tokio::test]
async fn row_40_an_expired_token_is_told_of_its_backend_alone_until_it_is_good_again() {
    let world = quick(1.0).await;
    let condition = async |id: &str| {
        let request = v1::GetBackendRequest { name: format!("backends/{id}") };
        let backend = world.client.clone().get_backend(request).await.unwrap().into_inner().backend.unwrap();
        backend.condition.map(|condition| condition.reason)
    };
    let list = async || {
        let request = v1::ListTestsRequest { parent: "backends/quality".to_owned(), ..Default::default() };
        world.client.clone().list_tests(request).await
    };
    list().await.unwrap();
    assert_eq!(condition("quality").await, None);
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "expired"}));
    let status = list().await.unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "BACKEND_CREDENTIALS_INVALID".to_owned()));
    assert_eq!(condition("quality").await.as_deref(), Some("BACKEND_CREDENTIALS_INVALID"));
    assert_eq!(condition("lex").await, None);
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "none"}));
    list().await.unwrap();
    assert_eq!(condition("quality").await, None);
}

#[tokio::test]
async fn row_41_upstream_clocks_that_are_an_hour_off_change_no_order_and_no_verdict() {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    for upstream_is_ahead in [true, false] {
        let world = quick(10.0).await;
        match upstream_is_ahead {
            true => world.sandbox.clock().advance(HOUR),
            false => world.skew.forward(HOUR),
        }
        for (backend, test) in [("connect", "greeting"), ("lex", "booking"), ("quality", "Orders, critical")]
        {
            let started = world.begin(backend, test).await;
            let states = world.follow(&started.name).await;
            let context = format!("{backend}, ahead: {upstream_is_ahead}: {states:?}");
            assert!(states.windows(2).all(|pair| pair[0].revision < pair[1].revision), "{context}");
            let end = states.last().unwrap();
            assert_eq!((state(end), verdict(end)), (State::Completed, Verdict::Passed), "{context}");
        }
    }
}
