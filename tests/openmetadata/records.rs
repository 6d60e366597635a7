//! Recording, in both API styles.

use futures_util::future::join_all;
use serde_json::json;
use testgate::backend::{Backend, ErrorKind, Record};
use testgate::config::backend::ApiStyle;
use testgate::model::{Details, Metric, State, Timestamp, Verdict};
use testgate::sandbox::fault::FaultKind;
use testgate::sandbox::openmetadata::seed::*;

use crate::rig::*;

pub(crate) fn record(end_time: Timestamp, verdict: Verdict) -> Record {
    Record {
        end_time,
        verdict,
        message: "Max 42".to_owned(),
        metrics: vec![Metric {
            name: "maxValue".to_owned(),
            value: "42".to_owned(),
            predicted_value: String::new(),
        }],
        passed_rows: Some(7),
        failed_rows: Some(0),
    }
}

#[tokio::test]
async fn a_result_is_stored_and_answered_as_read_back_in_both_styles() {
    for (options, style) in [(airflow(), "by-fqn"), (documented(), "documented")] {
        let rig = Rig::start(options).await;
        let test = case(CASE_NEVER_RUN);
        for (seconds, verdict, state) in [
            (1, Verdict::Passed, State::Completed),
            (2, Verdict::Failed, State::Completed),
            (3, Verdict::Inconclusive, State::Errored),
        ] {
            let wanted = record(rig.now() - time::Duration::seconds(seconds), verdict);
            let found = rig.backend.record(&call(), &test, &wanted).await.unwrap();
            assert_eq!((found.observation.state, found.observation.verdict), (state, verdict), "{style}");
            let key = found.execution.as_str().parse::<i64>().unwrap();
            assert_eq!(moment(key), found.observation.end_time.unwrap());
            let Some(Details::OpenMetadata(details)) = found.observation.details else {
                panic!("no details")
            };
            assert_eq!((details.passed_rows, details.failed_rows), (Some(7), Some(0)));
            let again = rig.backend.observe(&call(), &target(&test, found.execution)).await.unwrap();
            assert_eq!(again.verdict, verdict);
        }
        assert_eq!(rig.backend.info().location.get("api").map(String::as_str), Some(style));
    }
}

#[tokio::test]
async fn the_same_is_success_and_another_is_refused_without_a_write() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let test = case(CASE_NEVER_RUN);
        let wanted = record(rig.now(), Verdict::Passed);
        rig.backend.record(&call(), &test, &wanted).await.unwrap();
        let again = rig.backend.record(&call(), &test, &wanted).await.unwrap();
        assert_eq!(again.observation.verdict, Verdict::Passed);
        let other = record(wanted.end_time, Verdict::Failed);
        let error = rig.backend.record(&call(), &test, &other).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ResultExists);
        assert_eq!(rig.calls("AddResult"), 1, "a refused duplicate would open an incident");
    }
}

#[tokio::test]
async fn many_at_once_write_once() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let (test, wanted, call) = (case(CASE_NEVER_RUN), record(rig.now(), Verdict::Failed), call());
        let all = join_all((0..12).map(|_| rig.backend.record(&call, &test, &wanted))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(rig.calls("AddResult"), 1);
    }
}

#[tokio::test]
async fn a_lost_reply_is_read_before_anything_is_written_again() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let test = case(CASE_NEVER_RUN);
        rig.inject("AddResult", FaultKind::ResetAfter, 1);
        let stored = record(rig.now(), Verdict::Failed);
        rig.backend.record(&call(), &test, &stored).await.unwrap();
        assert_eq!(rig.calls("AddResult"), 1, "it was there");

        rig.inject("AddResult", FaultKind::Status { status: 500 }, 1);
        let refused = record(rig.now() - time::Duration::seconds(1), Verdict::Failed);
        rig.backend.record(&call(), &test, &refused).await.unwrap();
        assert_eq!(rig.calls("AddResult"), 3, "it was not there");
    }
}

#[tokio::test]
async fn a_result_that_can_not_be_read_back_is_unknown() {
    let rig = Rig::start(airflow()).await;
    rig.inject("AddResult", FaultKind::ResetAfter, 1);
    let after_the_first =
        testgate::sandbox::fault::Fault::new("ListResults", FaultKind::Status { status: 503 });
    rig.sandbox.inject(SERVER, after_the_first.after(1)).unwrap();
    let wanted = record(rig.now(), Verdict::Passed);
    let error = rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RecordOutcomeUnknown);
    rig.sandbox.clear_faults(SERVER).unwrap();
    rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap();
    assert_eq!(rig.calls("AddResult"), 1, "the repeat found it");
}

#[tokio::test]
async fn a_swallowed_write_is_written_once_more_and_then_reported() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let test = case(CASE_NEVER_RUN);
        rig.control(json!({"do": "swallow_results", "times": 1}));
        rig.backend.record(&call(), &test, &record(rig.now(), Verdict::Passed)).await.unwrap();
        assert_eq!(rig.calls("AddResult"), 2);
        rig.control(json!({"do": "swallow_results", "times": 2}));
        let wanted = record(rig.now() - time::Duration::seconds(1), Verdict::Passed);
        let error = rig.backend.record(&call(), &test, &wanted).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ResultNotStored);
        assert_eq!(rig.calls("AddResult"), 4);
    }
}

#[tokio::test]
async fn a_race_is_read_back_and_judged() {
    let rig = Rig::start(airflow()).await;
    let wanted = record(rig.now(), Verdict::Passed);
    // What the first read misses is there when the write comes.
    let empty = FaultKind::Reply {
        status: 200,
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        body: r#"{"data":[],"paging":{"total":0}}"#.to_owned(),
    };
    let timestamp = rig.clock.now_ms();
    rig.control(json!({"do": "add_result", "case": CASE_NEVER_RUN.to_string(), "status": "Failed", "timestamp": timestamp}));
    rig.inject("ListResults", empty, 1);
    let error = rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResultExists);
    assert_eq!(rig.calls("AddResult"), 1);
}

#[tokio::test]
async fn a_deleted_case_is_left_alone() {
    for options in [airflow(), documented()] {
        let rig = Rig::start(options).await;
        let wanted = record(rig.now(), Verdict::Passed);
        for hard in [false, true] {
            rig.control(json!({"do": "delete_case", "case": CASE_NEVER_RUN.to_string(), "hard": hard}));
            let error = rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::UpstreamNotFound);
        }
        assert_eq!(rig.calls("AddResult"), 0);
    }
}

#[tokio::test]
async fn seconds_are_refused_before_any_call() {
    let rig = Rig::start(airflow()).await;
    let wanted = record(moment(1_769_982_800), Verdict::Passed);
    let error = rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::FieldInvalid("end_time"));
    assert_eq!(rig.calls("*"), 0);
    assert_eq!(rig.calls("GetTestCase"), 0);
    let error = rig.backend.record(&call(), &pipeline(PIPELINE_ORDERS), &wanted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityNotSupported);
}

#[tokio::test]
async fn the_style_is_found_once_and_a_pin_is_kept() {
    let rig = Rig::start(documented()).await;
    for seconds in 0..3 {
        let wanted = record(rig.now() - time::Duration::seconds(seconds), Verdict::Passed);
        rig.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap();
    }
    assert_eq!(rig.calls("Version"), 1);
    let absent: usize = rig.sandbox.calls(SERVER, testgate::sandbox::fault::UNKNOWN_OPERATION).len();
    assert_eq!(absent, 1, "the absent route was tried once");

    let pinned = Rig::start_with(documented(), |_, om| om.api = ApiStyle::ByFqn).await;
    let wanted = record(pinned.now(), Verdict::Passed);
    let error = pinned.backend.record(&call(), &case(CASE_NEVER_RUN), &wanted).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::UpstreamUnrecognized);
    assert_eq!(pinned.calls("Version"), 0);
}
