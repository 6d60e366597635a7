//! From a start to a verdict, and stops.

use serde_json::json;
use testgate::backend::{Backend, ErrorKind, StartOptions};
use testgate::model::{ExecutionId, FailureKind, State, Verdict};
use testgate::sandbox::fault::FaultKind;
use testgate::sandbox::openmetadata::seed::*;

use crate::rig::*;

#[tokio::test]
async fn a_run_without_an_id_is_found_and_believed_once_it_has_stood() {
    let rig = Rig::start(airflow()).await;
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
    assert!(target.execution.is_minted(), "Airflow gives no id");

    let first = rig.observe(&mut target).await;
    assert_eq!((first.state, first.verdict), (State::Pending, Verdict::Pending));
    rig.wait(2);
    let running = rig.observe(&mut target).await;
    assert_eq!(running.state, State::Running);
    assert!(target.upstream_id.is_some());

    rig.wait(5);
    let ended = rig.observe(&mut target).await;
    assert_eq!((ended.state, ended.upstream_status.as_str()), (State::Settling, "success"));
    rig.wait(29);
    assert_eq!(rig.observe(&mut target).await.state, State::Settling);
    rig.wait(1);
    let done = rig.observe(&mut target).await;
    assert_eq!((done.state, done.verdict), (State::Completed, Verdict::Passed));
    let counts = done.counts.unwrap();
    assert_eq!(
        (counts.total, counts.passed, counts.failed, counts.partial),
        (Some(4), Some(4), Some(0), false)
    );
    assert!(done.end_time.unwrap() > done.start_time.unwrap());
    assert_eq!(done.test_display_name, "Orders, daily");
}

#[tokio::test]
async fn a_run_with_an_id_keeps_it() {
    let rig = Rig::start(kubernetes()).await;
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS_CRITICAL)).await;
    assert!(!target.execution.is_minted());
    let done = rig.settle(&mut target).await;
    assert_eq!((done.state, done.verdict), (State::Completed, Verdict::Passed));
    assert_eq!(done.upstream_id, target.execution.as_str());
    assert_eq!(done.counts.unwrap().total, Some(2), "only the subset counts");
}

#[tokio::test]
async fn each_end_gets_its_own_verdict() {
    let rig = Rig::start(airflow()).await;
    for (id, state, verdict, failure) in [
        (PIPELINE_CUSTOMERS, State::Completed, Verdict::Failed, FailureKind::Assertion),
        (PIPELINE_PAYMENTS, State::Completed, Verdict::Inconclusive, FailureKind::UpstreamError),
        (PIPELINE_BROKEN, State::Errored, Verdict::Inconclusive, FailureKind::UpstreamError),
    ] {
        let mut target = rig.run(&pipeline(id)).await;
        let done = rig.settle(&mut target).await;
        assert_eq!((done.state, done.verdict), (state, verdict), "{id}");
        assert_eq!(done.failure.unwrap().kind, failure, "{id}");
    }
}

#[tokio::test]
async fn a_run_that_left_no_result_does_not_pass() {
    let rig = Rig::start(airflow()).await;
    rig.script(PIPELINE_ORDERS, json!({"silent": true}));
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
    let done = rig.settle(&mut target).await;
    assert_eq!((done.state, done.verdict), (State::Completed, Verdict::Inconclusive));
    assert_eq!(done.failure.unwrap().kind, FailureKind::ResultUnavailable);
}

#[tokio::test]
async fn a_suite_of_many_pages_is_judged_whole() {
    let rig = Rig::start(airflow()).await;
    rig.control(json!({"do": "add_cases", "count": 450, "prefix": "bulk"}));
    rig.control(json!({"do": "script_case", "case": "price_positive", "status": "Failed"}));
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS_BASIC)).await;
    let done = rig.settle(&mut target).await;
    let counts = done.counts.unwrap();
    assert_eq!((counts.total, counts.passed, counts.failed), (Some(454), Some(453), Some(1)));
    assert_eq!(done.verdict, Verdict::Failed);
}

#[tokio::test]
async fn a_large_suite_is_read_over_several_calls_where_one_has_no_time_for_it() {
    let rig = Rig::start_with(airflow(), |config, _| config.max_requests_per_second = 40.0).await;
    rig.control(json!({"do": "add_cases", "count": 100, "prefix": "bulk"}));
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS_BASIC)).await;
    rig.wait(10);
    rig.observe(&mut target).await;
    rig.wait(31);
    let mut readings = 0;
    let done = loop {
        let mut short = call();
        short.deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(700);
        let reading = rig.backend.observe(&short, &target).await.unwrap();
        readings += 1;
        if reading.state.is_done() {
            break reading;
        }
        assert_eq!(reading.state, State::Settling);
        assert!(readings < 50, "it makes no progress: {:?}", reading.condition);
    };
    assert_eq!((done.verdict, done.counts.unwrap().passed), (Verdict::Passed, Some(104)));
    assert!(readings > 1);
}

#[tokio::test]
async fn a_change_of_mind_starts_the_wait_anew() {
    let rig = Rig::start(airflow()).await;
    let mut target = rig.run(&pipeline(PIPELINE_FLIPPING)).await;
    rig.wait(7);
    let first = rig.observe(&mut target).await;
    assert_eq!((first.state, first.upstream_status.as_str()), (State::Settling, "success"));
    rig.wait(40);
    let second = rig.observe(&mut target).await;
    assert_eq!((second.state, second.upstream_status.as_str()), (State::Settling, "partialSuccess"));
    rig.wait(30);
    let done = rig.observe(&mut target).await;
    assert_eq!((done.state, done.verdict), (State::Completed, Verdict::Inconclusive));
    assert!(done.counts.unwrap().partial);
}

#[tokio::test]
async fn an_old_run_is_believed_at_first_sight() {
    let rig = Rig::start(airflow()).await;
    let test = pipeline(PIPELINE_ORDERS);
    let listed = rig.backend.list_executions(&call(), Some(&test), &page(10), &Default::default()).await;
    let oldest = listed.unwrap().items.pop().unwrap();
    assert_eq!(oldest.observation.state, State::Settling, "a list doesn't read the results");
    let mut target = target(&oldest.test, oldest.execution);
    let done = rig.observe(&mut target).await;
    assert!(done.state.is_done());
}

#[tokio::test]
async fn a_run_that_was_there_and_is_not_now_is_gone_and_one_that_never_was_may_come() {
    for options in [airflow(), kubernetes()] {
        let rig = Rig::start(options).await;
        let mut target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
        rig.wait(2);
        rig.observe(&mut target).await;
        rig.control(json!({"do": "delete_run", "pipeline": PIPELINE_ORDERS.to_string(), "run": "latest"}));
        let error = rig.backend.observe(&call(), &target).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::UpstreamNotFound);

        let mut late = target_of_a_start(&rig, "1f0c1d7e-7a54-4f0e-9d7e-0a1b2c3d4e5f");
        assert_eq!(rig.observe(&mut late).await.state, State::Pending);
        rig.wait(301);
        let error = rig.backend.observe(&call(), &late).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::UpstreamNotFound);
    }
}

fn target_of_a_start(rig: &Rig, run: &str) -> testgate::backend::Target {
    let mut target = target(&pipeline(PIPELINE_ORDERS), ExecutionId::new(run).unwrap());
    target.create_time = Some(rig.now());
    target.first_seen = Some(rig.now());
    target
}

#[tokio::test]
async fn runs_of_others_are_not_taken_for_ours() {
    let rig = Rig::start(airflow()).await;
    let test = pipeline(PIPELINE_ORDERS);
    let foreign =
        |rig: &Rig| rig.control(json!({"do": "start_run", "pipeline": PIPELINE_ORDERS.to_string()}));
    foreign(&rig);
    rig.wait(60);
    let mut first = rig.run(&test).await;
    rig.wait(1);
    let mut second = rig.run(&test).await;
    rig.wait(3);
    foreign(&rig);
    rig.observe(&mut first).await;
    second.claimed = [first.upstream_id.clone().unwrap()].into();
    rig.observe(&mut second).await;
    assert_ne!(first.upstream_id, second.upstream_id);
    let runs =
        rig.backend.list_executions(&call(), Some(&test), &page(10), &Default::default()).await.unwrap();
    let newest: Vec<_> = runs.items.iter().take(4).map(|run| run.execution.as_str().to_owned()).collect();
    assert_eq!(second.upstream_id.as_ref(), newest.get(1));
    assert_eq!(first.upstream_id.as_ref(), newest.get(2));
}

#[tokio::test]
async fn recorded_results_do_not_count_for_a_run() {
    let rig = Rig::start(airflow()).await;
    rig.script(PIPELINE_ORDERS, json!({"silent": true}));
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
    rig.wait(3);
    let record = crate::records::record(rig.now(), Verdict::Passed);
    rig.backend.record(&call(), &case(CASE_ROW_COUNT), &record).await.unwrap();
    let done = rig.settle(&mut target).await;
    assert_eq!((done.verdict, done.counts.unwrap().passed), (Verdict::Inconclusive, Some(0)));
}

#[tokio::test]
async fn results_that_can_not_be_read_leave_it_settling_with_a_reason() {
    let rig = Rig::start(airflow()).await;
    let mut target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
    rig.wait(10);
    rig.observe(&mut target).await;
    rig.wait(31);
    rig.inject(
        "ListResults",
        FaultKind::Status { status: http::StatusCode::SERVICE_UNAVAILABLE.as_u16() },
        30,
    );
    let waiting = rig.observe(&mut target).await;
    assert_eq!(waiting.state, State::Settling);
    assert_eq!(waiting.condition.unwrap().0, "UPSTREAM_INTERNAL");
    rig.sandbox.clear_faults(SERVER).unwrap();
    assert_eq!(rig.observe(&mut target).await.verdict, Verdict::Passed);
}

#[tokio::test]
async fn a_stop_ends_all_runs_as_stopped() {
    for (options, upstream) in [(airflow(), "failed"), (kubernetes(), "stopped")] {
        let rig = Rig::start(options).await;
        let test = pipeline(PIPELINE_SLOW);
        let mut target = rig.run(&test).await;
        rig.wait(5);
        assert_eq!(rig.observe(&mut target).await.state, State::Running);
        rig.backend.stop(&call(), &target, "token").await.unwrap();
        assert_eq!(rig.calls("Kill"), 1);
        target.stop_requested = true;
        let done = rig.settle(&mut target).await;
        assert_eq!((done.state, done.upstream_status.as_str()), (State::Stopped, upstream));
        assert_eq!(done.verdict, Verdict::Inconclusive);
    }
}

#[tokio::test]
async fn a_lost_kill_is_sent_once_and_said_to_be_unknown() {
    let rig = Rig::start(airflow()).await;
    let target = rig.run(&pipeline(PIPELINE_SLOW)).await;
    rig.inject("Kill", FaultKind::ResetAfter, 1);
    let error = rig.backend.stop(&call(), &target, "token").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StopOutcomeUnknown);
    assert_eq!(rig.calls("Kill"), 1);
}

#[tokio::test]
async fn what_can_not_be_started_says_why_and_triggers_nothing() {
    let rig = Rig::start(airflow()).await;
    let plan =
        async |test| rig.backend.plan_start(&call(), &test, &StartOptions::default()).await.unwrap_err();
    let undeployed = plan(pipeline(PIPELINE_UNDEPLOYED)).await;
    assert_eq!(undeployed.kind, ErrorKind::TestNotStartable);
    assert!(undeployed.message.contains("deployed: false"));
    assert_eq!(plan(pipeline(PIPELINE_SWITCHED_OFF)).await.kind, ErrorKind::TestNotStartable);
    let single = plan(case(CASE_EMAIL_FORMAT)).await;
    assert_eq!(single.kind, ErrorKind::CapabilityNotSupported);
    let missing = plan(pipeline(CASE_EMAIL_FORMAT)).await;
    assert_eq!(missing.kind, ErrorKind::UpstreamNotFound);
    assert_eq!(missing.resource.unwrap().1, format!("backends/om/tests/pipeline-{CASE_EMAIL_FORMAT}"));
    let lex = StartOptions { lex: Some(Default::default()) };
    let wrong = rig.backend.plan_start(&call(), &pipeline(PIPELINE_ORDERS), &lex).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::FieldInvalid("lex"));
    assert_eq!(rig.calls("Trigger"), 0);
}

#[tokio::test]
async fn the_wrong_execution_is_not_found() {
    let rig = Rig::start(airflow()).await;
    for (test, execution, expected) in [
        (case(CASE_ROW_COUNT), "0123", ErrorKind::ResourceNotFound),
        (case(CASE_ROW_COUNT), "abc", ErrorKind::ResourceNotFound),
        (case(CASE_ROW_COUNT), "5", ErrorKind::UpstreamNotFound),
        (pipeline(PIPELINE_ORDERS), "1f0c1d7e-7a54-4f0e-9d7e-0a1b2c3d4e5f", ErrorKind::UpstreamNotFound),
        (pipeline(PIPELINE_ORDERS), "not a uuid", ErrorKind::UpstreamNotFound),
        (pipeline(CASE_ROW_COUNT), "5", ErrorKind::UpstreamNotFound),
    ] {
        let target = target(&test, ExecutionId::new(execution).unwrap());
        let error = rig.backend.observe(&call(), &target).await.unwrap_err();
        assert_eq!(error.kind, expected, "{execution}");
    }
}

#[tokio::test]
async fn the_items_of_a_run_are_its_cases() {
    let rig = Rig::start(airflow()).await;
    let mut target = rig.run(&pipeline(PIPELINE_CUSTOMERS)).await;
    rig.settle(&mut target).await;
    let first = rig.backend.list_items(&call(), &target, None, &page(1)).await.unwrap();
    let rest = testgate::backend::PageRequest { size: 10, token: first.next.clone() };
    let rest = rig.backend.list_items(&call(), &target, None, &rest).await.unwrap();
    let mut items = [first.items, rest.items].concat();
    items.sort_by(|one, other| one.display_name.cmp(&other.display_name));
    let shown: Vec<_> = items.iter().map(|item| (item.display_name.as_str(), item.verdict)).collect();
    assert_eq!(shown, [("email_format", Verdict::Failed), ("row_count", Verdict::Passed)]);
    assert!(items[0].payload.as_ref().unwrap().contains("\"Failed\""));
    assert!(items[0].event_time.is_some());
}
