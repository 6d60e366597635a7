use time::macros::datetime;

use super::*;
use crate::model::Metric;

const NOW: Timestamp = datetime!(2026-11-21 12:00:00 UTC);

fn record(end_time: Timestamp) -> Record {
    Record {
        end_time,
        verdict: Verdict::Failed,
        message: "3 rows null".to_owned(),
        metrics: vec![Metric {
            name: "nullCount".to_owned(),
            value: "3".to_owned(),
            predicted_value: String::new(),
        }],
        passed_rows: Some(7),
        failed_rows: None,
    }
}

fn check(record: &Record) -> Result<NewResult, ErrorKind> {
    wanted(record, &Clock::from_fn(|| NOW)).map_err(|error| error.kind)
}

fn stored() -> CaseResult {
    serde_json::from_str(
        r#"{"id":"x","timestamp":1795262400000,"testCaseStatus":"Failed","result":"3 rows null","passedRows":7,
            "testResultValue":[{"name":"nullCount","value":"3"}],"dimensionResults":[],"incidentId":"y"}"#,
    )
    .unwrap()
}

#[test]
fn a_time_that_is_no_milliseconds_is_refused_with_a_hint() {
    for (time, hint) in [
        (datetime!(1970-01-21 15:39:42.8 UTC), "in seconds"),
        (datetime!(1969-12-31 23:59:59 UTC), "in seconds"),
        (datetime!(2028-01-01 00:00:00 UTC), "microseconds"),
        (datetime!(9999-12-31 23:59:59 UTC), "microseconds"),
    ] {
        let error = plausible(time, NOW).unwrap_err();
        assert_eq!(error.kind, ErrorKind::FieldInvalid("end_time"));
        assert!(error.message.contains(hint), "{}", error.message);
    }
    assert_eq!(plausible(datetime!(1973-03-03 09:46:40 UTC), NOW).unwrap(), EARLIEST_MS);
    assert!(plausible(NOW + time::Duration::days(365), NOW).is_ok());
}

#[test]
fn the_key_is_cut_to_whole_milliseconds() {
    let wanted = check(&record(datetime!(2026-11-21 12:00:00.1239999 UTC))).unwrap();
    assert_eq!(wanted.timestamp % 1_000, 123);
}

#[test]
fn verdicts_become_upstreams_words_and_others_are_refused() {
    for (verdict, expected) in [
        (Verdict::Passed, Ok("Success")),
        (Verdict::Failed, Ok("Failed")),
        (Verdict::Inconclusive, Ok("Aborted")),
        (Verdict::Pending, Err(ErrorKind::FieldInvalid("verdict"))),
        (Verdict::None, Err(ErrorKind::FieldInvalid("verdict"))),
    ] {
        assert_eq!(check(&Record { verdict, ..record(NOW) }).map(|wanted| wanted.status), expected);
    }
}

#[test]
fn what_upstream_can_not_store_is_refused_here() {
    let message = Record { message: "a\0b".to_owned(), ..record(NOW) };
    assert_eq!(check(&message), Err(ErrorKind::FieldInvalid("message")));
    let metric = Metric { value: "\0".to_owned(), ..Metric::default() };
    let metrics = Record { metrics: vec![metric], ..record(NOW) };
    assert_eq!(check(&metrics), Err(ErrorKind::FieldInvalid("openmetadata.metrics")));
    let rows = Record { failed_rows: Some(-1), ..record(NOW) };
    assert_eq!(check(&rows), Err(ErrorKind::FieldInvalid("openmetadata.failed_rows")));
}

#[test]
fn any_difference_in_content_is_seen_and_what_the_server_adds_is_not() {
    let wanted = check(&record(NOW)).unwrap();
    assert!(same(&stored(), &wanted));
    let differs = |change: fn(&mut CaseResult)| {
        let mut row = stored();
        change(&mut row);
        !same(&row, &wanted)
    };
    assert!(differs(|row| row.status = "Success".to_owned()));
    assert!(differs(|row| row.result.clear()));
    assert!(differs(|row| row.passed_rows = None));
    assert!(differs(|row| row.failed_rows = Some(0)));
    assert!(differs(|row| row.test_result_value.clear()));
    assert!(differs(|row| row.test_result_value[0].value = "4".to_owned()));
    assert!(differs(|row| row.test_result_value[0].predicted_value = "4".to_owned()));
}

#[tokio::test]
async fn a_key_is_held_by_one_call_and_forgotten_after_the_last() {
    let locks = Locks::default();
    let first = locks.hold((Uuid::nil(), 1)).await;
    let second = locks.hold((Uuid::nil(), 1));
    tokio::pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(locks.hold((Uuid::nil(), 2)).await);
    drop(first);
    drop(second.await);
    drop(locks.hold((Uuid::nil(), 3)).await);
    assert_eq!(locks.0.lock().unwrap().len(), 1, "only the last one's entry is left to be swept");
}
