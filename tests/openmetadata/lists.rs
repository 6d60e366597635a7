//! Lists of tests and executions, and odd names.

use std::collections::BTreeSet;

use serde_json::json;
use testgate::backend::{Backend, ListHint, Listed, PageRequest};
use testgate::model::{StartMode, State, Test, TestId, Verdict};
use testgate::sandbox::openmetadata::seed::*;

use crate::rig::*;

async fn tests(rig: &Rig, size: usize) -> Vec<Test> {
    let (mut all, mut at) = (Vec::new(), page(size));
    loop {
        let found = rig.backend.list_tests(&call(), &at).await.unwrap();
        assert!(found.items.len() <= size);
        all.extend(found.items);
        let Some(next) = found.next else { return all };
        at = PageRequest { size, token: Some(next) };
    }
}

async fn executions(rig: &Rig, test: Option<&TestId>, size: usize, hint: &ListHint) -> Vec<Listed> {
    let (mut all, mut at) = (Vec::new(), page(size));
    for _ in 0..2_000 {
        let found = rig.backend.list_executions(&call(), test, &at, hint).await.unwrap();
        assert!(found.items.len() <= size);
        all.extend(found.items);
        let Some(next) = found.next else { return all };
        at = PageRequest { size, token: Some(next) };
    }
    panic!("the list does not end")
}

fn names(rows: &[Listed]) -> BTreeSet<(String, String)> {
    rows.iter().map(|row| (row.test.as_str().to_owned(), row.execution.as_str().to_owned())).collect()
}

#[tokio::test]
async fn pipelines_come_before_cases_and_none_comes_twice() {
    let rig = Rig::start(airflow()).await;
    let all = tests(&rig, 500).await;
    let ids = |tests: &[Test]| tests.iter().map(|test| test.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&tests(&rig, 3).await), ids(&all));
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>().len(), all.len());
    let pipelines =
        all.iter().take_while(|test| test.capabilities.start_mode == StartMode::GatewayDedup).count();
    assert_eq!(pipelines, 11);
    assert!(all.iter().skip(pipelines).all(|test| test.capabilities.record_execution));
    let undeployed = all.iter().find(|test| test.id == pipeline(PIPELINE_UNDEPLOYED)).unwrap();
    assert_eq!(
        (undeployed.startable, undeployed.not_startable_reason.as_str()),
        (Some(false), "deployed: false")
    );
}

#[tokio::test]
async fn a_test_comes_with_the_resource_byte_for_byte() {
    let rig = Rig::start(airflow()).await;
    for id in [case(CASE_EMAIL_FORMAT), pipeline(PIPELINE_ODD)] {
        let test = rig.backend.get_test(&call(), &id).await.unwrap();
        let payload: serde_json::Value = serde_json::from_str(test.payload.as_ref().unwrap()).unwrap();
        assert_eq!(payload["fullyQualifiedName"], test.upstream_id.as_str());
    }
}

#[tokio::test]
async fn a_cases_results_are_paged_newest_first_over_any_density() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let (test, now) = (case(CASE_NEVER_RUN), rig.clock.now_ms());
        // A burst, a gap of a year, another burst, and one of the future.
        let times: Vec<i64> = (0..40)
            .map(|n| now - n)
            .chain((0..7).map(|n| now - 31_536_000_000 - n * 1_000))
            .chain([now + 86_400_000])
            .collect();
        for timestamp in &times {
            rig.control(json!({"do": "add_result", "case": CASE_NEVER_RUN.to_string(), "status": "Success", "timestamp": timestamp}));
        }
        let found = executions(&rig, Some(&test), 9, &ListHint::default()).await;
        let keys: Vec<i64> = found.iter().map(|row| row.execution.as_str().parse().unwrap()).collect();
        let mut expected = times.clone();
        expected.sort_by_key(|time| std::cmp::Reverse(*time));
        assert_eq!(keys, expected);
        let hint = ListHint { created_from: Some(moment(now - 10)), ..ListHint::default() };
        assert_eq!(executions(&rig, Some(&test), 4, &hint).await.len(), 12);
    }
}

#[tokio::test]
async fn results_too_many_for_one_body_are_listed_all_the_same() {
    let rig = Rig::start_with(airflow(), |config, _| config.max_response_size = 20_000).await;
    let now = rig.clock.now_ms();
    for number in 0..300 {
        rig.control(json!({"do": "add_result", "case": CASE_NEVER_RUN.to_string(), "status": "Success", "timestamp": now - number * 60_000}));
    }
    let found = executions(&rig, Some(&case(CASE_NEVER_RUN)), 20, &ListHint::default()).await;
    assert_eq!(names(&found).len(), 300);
}

#[tokio::test]
async fn the_executions_of_all_tests_are_walked_without_loss() {
    let rig = Rig::start(airflow()).await;
    let whole = executions(&rig, None, 1000, &ListHint::default()).await;
    let small = executions(&rig, None, 4, &ListHint::default()).await;
    assert_eq!(names(&small), names(&whole));
    assert_eq!(small.len(), whole.len());
    let mut one_by_one = BTreeSet::new();
    for test in tests(&rig, 100).await {
        one_by_one.extend(names(&executions(&rig, Some(&test.id), 100, &ListHint::default()).await));
    }
    assert_eq!(names(&whole), one_by_one);
    assert!(whole.len() > 30);
}

#[tokio::test]
async fn only_the_unfinished_are_listed_where_only_they_are_wanted() {
    let rig = Rig::start(airflow()).await;
    rig.run(&pipeline(PIPELINE_SLOW)).await;
    let queued = json!({"do": "add_result", "case": CASE_NEVER_RUN.to_string(), "status": "Queued", "timestamp": rig.clock.now_ms()});
    rig.control(queued);
    rig.wait(5);
    let hint = ListHint { unfinished_only: true, ..ListHint::default() };
    let open: Vec<_> = executions(&rig, None, 50, &hint)
        .await
        .into_iter()
        .filter(|row| !row.observation.state.is_done())
        .collect();
    let states: Vec<_> = open.iter().map(|row| (row.test.clone(), row.observation.state)).collect();
    assert!(states.contains(&(pipeline(PIPELINE_SLOW), State::Running)), "{states:?}");
    assert!(states.contains(&(case(CASE_NEVER_RUN), State::Pending)), "{states:?}");
    assert_eq!(rig.calls("ListResults"), 0, "the newest result speaks for its case");
}

#[tokio::test]
async fn row_39_odd_names_go_through_both_ways() {
    let rig = Rig::start(airflow()).await;
    let mut target = rig.run(&pipeline(PIPELINE_ODD)).await;
    let done = rig.settle(&mut target).await;
    assert_eq!((done.verdict, done.counts.unwrap().passed), (Verdict::Passed, Some(7)));
    for offset in 0..7 {
        let id = uuid::Uuid::from_u128(CASE_ODD_FIRST.as_u128() + offset);
        let record = crate::records::record(rig.now(), Verdict::Failed);
        rig.backend.record(&call(), &case(id), &record).await.unwrap();
    }
}
