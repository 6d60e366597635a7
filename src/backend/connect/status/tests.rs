use super::*;
use crate::backend::connect::wire::{RecordRow, Summary};
use crate::model::status::State as S;
use proptest::prelude::*;

/// `-` or a number.
fn number(cell: &str) -> Option<i32> {
    cell.parse().ok()
}

fn records(cell: &str) -> Records {
    let because = |reason: &str| Records::Completion { reasons: vec![reason.into()], message: "why".into() };
    match cell {
        "unread" => Records::Unread,
        "awaited" => Records::Awaited,
        "without" => Records::WithoutCompletion,
        "init" => because("INITIALIZATION_FAILURE"),
        "other" => because("SOMETHING_ELSE"),
        odd => panic!("{odd}"),
    }
}

fn failure_name(failure: Option<&Failure>) -> &'static str {
    match failure.map(|failure| failure.kind) {
        None => "-",
        Some(FailureKind::Assertion) => "ASSERTION",
        Some(FailureKind::Timeout) => "TIMEOUT",
        Some(FailureKind::UpstreamError) => "UPSTREAM_ERROR",
        Some(FailureKind::Stopped) => "STOPPED",
        Some(FailureKind::ResultUnavailable) => "RESULT_UNAVAILABLE",
        Some(FailureKind::Lost) => "LOST",
    }
}

#[test]
fn every_row_of_the_golden_table_holds() {
    let table = include_str!("../../../../tests/golden/connect.txt");
    let rows: Vec<_> = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(rows.len() >= 30, "the table lost rows");
    for row in rows {
        let cells: Vec<_> = row.split_whitespace().filter(|cell| *cell != "|").collect();
        let [status, total, passed, failed, ran, evidence, state, verdict, failure] = cells[..] else {
            panic!("{row}");
        };
        let status = Status::from(status);
        let summary = ObservationSummary {
            total_observations: number(total),
            observations_passed: number(passed),
            observations_failed: number(failed),
        };
        let evidence = Evidence {
            status: &status,
            counts: Some(&counts(&summary, &status)),
            has_observation: false,
            ran: number(ran).map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap())),
            records: &records(evidence),
        };
        let (is_state, is_verdict, is_failure) = normalise(&evidence);
        let is = (is_state.as_str(), is_verdict.as_str(), failure_name(is_failure.as_ref()));
        assert_eq!(is, (state, verdict, failure), "{row}");
    }
}

#[test]
fn an_observation_among_the_records_counts_as_one() {
    let evidence = Evidence {
        status: &Status::Failed,
        counts: None,
        has_observation: true,
        ran: None,
        records: &Records::Unread,
    };
    assert_eq!(normalise(&evidence).0, S::Completed);
}

#[test]
fn records_have_verdicts_of_their_own() {
    for (status, verdict) in [
        ("PASSED", Verdict::Passed),
        ("FAILED", Verdict::Failed),
        ("IN_PROGRESS", Verdict::Pending),
        ("STOPPED", Verdict::Inconclusive),
        ("NOVEL", Verdict::Inconclusive),
    ] {
        assert_eq!(record_verdict(status), verdict);
    }
}

proptest! {
    #[test]
    fn an_unknown_status_is_kept_and_never_passes(
        text in "[A-Za-z_ ]{0,20}",
        total in any::<Option<i32>>(),
        failed in any::<Option<i32>>(),
        seconds in any::<Option<u64>>(),
    ) {
        let known = ["INITIATED", "IN_PROGRESS", "PASSED", "FAILED", "STOPPED"];
        prop_assume!(!known.contains(&text.as_str()));
        let status = Status::from(text.as_str());
        prop_assert_eq!(&status, &Status::Unknown(text));
        let summary = ObservationSummary {
            total_observations: total, observations_passed: total, observations_failed: failed,
        };
        let evidence = Evidence {
            status: &status,
            counts: Some(&counts(&summary, &status)),
            has_observation: total.is_some(),
            ran: seconds.map(Duration::from_secs),
            records: &Records::WithoutCompletion,
        };
        prop_assert_eq!(normalise(&evidence), (S::UpstreamUnknown, Verdict::Pending, None));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_reading(bytes in any::<Vec<u8>>()) {
        drop(serde_json::from_slice::<Summary>(&bytes));
        drop(serde_json::from_slice::<RecordRow>(&bytes));
    }

    #[test]
    fn odd_optional_members_cost_only_themselves(odd in prop_oneof![
        Just("null"), Just("[]"), Just("{}"), Just("\"x\""), Just("1e400"), Just("-1"), Just("true"),
    ]) {
        let text = format!(r#"{{"Status":"PASSED","StartTime":{odd},"EndTime":{odd},"ObservationSummary":{odd}}}"#);
        prop_assert_eq!(serde_json::from_str::<Summary>(&text).map(|summary| summary.status).ok(), Some("PASSED".into()));
    }
}
