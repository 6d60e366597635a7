use testgate::backend::{Backend, Effect, ErrorKind, ListHint, StartOptions};
use testgate::model::LexStartOptions;
use testgate::model::{FailureKind, ItemKind, State, TestId, Verdict};
use testgate::sandbox::fault::{Fault, FaultKind};

use crate::support::{call, page, world};

#[tokio::test]
async fn every_default_test_set_reaches_its_verdict() {
    let world = world().await;
    for (test, expected) in [
        ("BOOKINGOK1", (State::Completed, Verdict::Passed, None)),
        ("BOOKINGBAD", (State::Completed, Verdict::Failed, Some(FailureKind::Assertion))),
        ("AGENTERROR", (State::Completed, Verdict::Inconclusive, Some(FailureKind::UpstreamError))),
        ("EMPTYSET01", (State::Completed, Verdict::Inconclusive, Some(FailureKind::ResultUnavailable))),
        ("BROKENRUN1", (State::Errored, Verdict::Inconclusive, Some(FailureKind::UpstreamError))),
        ("SLOWSET001", (State::Completed, Verdict::Passed, None)),
        ("LATERESULT", (State::Completed, Verdict::Passed, None)),
        ("AUDIOSET01", (State::Completed, Verdict::Passed, None)),
    ] {
        let (target, started) = world.start(&world.lex, test).await;
        assert_eq!(started.observation.state, State::Pending);
        let (last, _) = world.follow(&world.lex, target).await;
        let failure = last.failure.as_ref().map(|failure| failure.kind);
        assert_eq!((last.state, last.verdict, failure), expected, "{test}");
        assert_eq!(last.test.unwrap().as_str(), test);
        if test == "BROKENRUN1" {
            assert!(!last.failure.unwrap().messages.is_empty(), "the reasons are kept");
        }
    }
}

#[tokio::test]
async fn row_33_results_that_lag_are_awaited_with_a_condition() {
    let world = world().await;
    let (mut target, _) = world.start(&world.lex, "LATERESULT").await;
    let mut conditions = 0;
    let last = loop {
        let observation = world.lex.observe(&call(), &target).await.unwrap();
        if observation.state.is_done() {
            break observation;
        }
        conditions += usize::from(observation.condition.is_some());
        assert!(observation.condition.is_none() || observation.state == State::Settling);
        world.pass_over(&mut target, observation);
    };
    assert_eq!(last.verdict, Verdict::Passed);
    assert!(conditions > 0, "404 came first");
}

#[tokio::test]
async fn what_a_list_showed_completed_is_asked_for_its_results_only() {
    let world = world().await;
    let (mut target, _) = world.start(&world.lex, "BOOKINGBAD").await;
    world.pass(600);
    let listed =
        world.lex.list_executions(&call(), None, &page(50, None), &ListHint::default()).await.unwrap();
    let row = listed.items.into_iter().find(|row| row.execution == target.execution).unwrap().observation;
    assert_eq!((row.state, row.verdict), (State::Settling, Verdict::Pending));
    target.settling = row.settling;
    target.end_time = row.end_time;
    let last = world.lex.observe(&call(), &target).await.unwrap();
    assert_eq!((last.state, last.verdict), (State::Completed, Verdict::Failed));
    assert!(last.counts.unwrap().failed > Some(0));
    assert_eq!(world.sandbox.calls("lex", "ListTestExecutionResultItems").len(), 1);
    assert!(world.sandbox.calls("lex", "DescribeTestExecution").is_empty());
}

#[tokio::test]
async fn results_unreadable_for_five_minutes_are_given_up() {
    let world = world().await;
    let began = std::time::Instant::now();
    let (target, _) = world.start(&world.lex, "BOOKINGOK1").await;
    let fault = Fault::new("ListTestExecutionResultItems", FaultKind::Status { status: 404 });
    world.sandbox.inject("lex", fault).unwrap();
    let (last, _) = world.follow(&world.lex, target).await;
    assert_eq!((last.state, last.verdict), (State::Completed, Verdict::Inconclusive));
    assert_eq!(last.failure.unwrap().kind, FailureKind::ResultUnavailable);
    let waited = world.now() - last.end_time.unwrap();
    // The adapter's clock also goes on in real time.
    let most = time::Duration::seconds(301) + began.elapsed();
    assert!((time::Duration::seconds(290)..=most).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_lost_start_is_sent_once_and_found() {
    let world = world().await;
    let intent = world.intent(&world.lex, "BOOKINGOK1", "unused").await;
    world.sandbox.inject("lex", Fault::new("StartTestExecution", FaultKind::ResetAfter).times(1)).unwrap();
    let error = world.lex.start(&call(), &intent).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::StartOutcomeUnknown, Effect::Possible));
    assert_eq!(world.sandbox.calls("lex", "StartTestExecution").len(), 1);
    let found = world.lex.find_started(&call(), &intent).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].observation.test.as_ref().unwrap().as_str(), "BOOKINGOK1");

    world.pass(60);
    let later = world.intent(&world.lex, "BOOKINGOK1", "unused").await;
    assert!(world.lex.find_started(&call(), &later).await.unwrap().is_empty());
    let mut other = world.intent(&world.lex, "BOOKINGBAD", "unused").await;
    other.time = intent.time;
    assert!(world.lex.find_started(&call(), &other).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_start_is_planned_from_request_and_defaults() {
    let world = world().await;
    let test = TestId::new("IMPORTING1").unwrap();
    let error = world.lex.plan_start(&call(), &test, &StartOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TestNotStartable);
    assert!(error.message.contains("Importing"), "{error}");

    let options = StartOptions {
        lex: Some(LexStartOptions { locale_id: Some("de_DE".into()), ..LexStartOptions::default() }),
    };
    let test = TestId::new("BOOKINGOK1").unwrap();
    let plan = world.lex.plan_start(&call(), &test, &options).await.unwrap();
    let testgate::model::Details::Lex(details) = plan.details else { panic!() };
    assert_eq!(details.target.as_ref().unwrap().locale_id, "de_DE");
    assert_eq!(details.target.unwrap().bot_id, "BOT0000001");
}

#[tokio::test]
async fn there_is_no_stop() {
    let world = world().await;
    let (target, _) = world.start(&world.lex, "BOOKINGOK1").await;
    let error = world.lex.stop(&call(), &target, "t").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityNotSupported);
}

#[tokio::test]
async fn all_five_levels_have_items_with_ids_of_their_own_over_any_page_size() {
    let world = world().await;
    let (target, _) = world.start(&world.lex, "BOOKINGBAD").await;
    world.follow(&world.lex, target.clone()).await;
    let kinds =
        [ItemKind::Overall, ItemKind::Conversation, ItemKind::Intent, ItemKind::Slot, ItemKind::Utterance];
    for kind in kinds {
        let mut all = Vec::new();
        for size in [1, 2, 1000] {
            let mut ids = Vec::new();
            let mut token = None;
            loop {
                let found =
                    world.lex.list_items(&call(), &target, Some(kind), &page(size, token)).await.unwrap();
                assert!(found.items.len() <= size);
                assert!(found.items.iter().all(|item| item.kind == kind));
                ids.extend(found.items.into_iter().map(|item| item.id));
                token = found.next;
                if token.is_none() {
                    break;
                }
            }
            all.push(ids);
        }
        assert!(!all[0].is_empty(), "{kind:?}");
        assert!(all.iter().all(|ids| *ids == all[0]), "{kind:?}: {all:?}");
        let mut unique = all[0].clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), all[0].len(), "{kind:?}: {all:?}");
    }
    let error = world.lex.list_items(&call(), &target, Some(ItemKind::TestCase), &page(1, None)).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::FieldInvalid("kind"));
}

#[tokio::test]
async fn an_artifact_link_says_when_it_ends_and_stays_out_of_debug() {
    let world = world().await;
    let (target, _) = world.start(&world.lex, "BOOKINGOK1").await;
    world.follow(&world.lex, target.clone()).await;
    let artifacts = world.lex.list_artifacts(&call(), &target).await.unwrap();
    assert!(artifacts[0].uri.starts_with("https://"), "{}", artifacts[0].uri);
    assert!(!format!("{artifacts:?}").contains("https://"));
}

#[tokio::test]
async fn executions_come_newest_first_and_paging_stops_at_the_age_that_is_wanted() {
    let world = world().await;
    for _ in 0..3 {
        world.start(&world.lex, "BOOKINGOK1").await;
        world.pass(100);
    }
    let listed =
        world.lex.list_executions(&call(), None, &page(50, None), &ListHint::default()).await.unwrap();
    let times: Vec<_> = listed.items.iter().map(|row| row.observation.create_time.unwrap()).collect();
    assert!(times.len() == 3 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert!(listed.items.iter().all(|row| row.observation.state == State::Settling));
    let hint = ListHint { created_from: Some(times[0]), ..ListHint::default() };
    let first = world.lex.list_executions(&call(), None, &page(2, None), &hint).await.unwrap();
    assert!(first.next.is_none());
    let other = TestId::new("BOOKINGBAD").unwrap();
    let none = world.lex.list_executions(&call(), Some(&other), &page(50, None), &ListHint::default()).await;
    assert!(none.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_execution_is_found_without_its_test() {
    let world = world().await;
    let (mut target, _) = world.start(&world.lex, "BOOKINGOK1").await;
    target.test = None;
    let observation = world.lex.observe(&call(), &target).await.unwrap();
    assert_eq!(observation.test.unwrap().as_str(), "BOOKINGOK1");
}
