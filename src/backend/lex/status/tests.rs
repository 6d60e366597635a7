use super::*;
use crate::backend::lex::wire::{Execution, OverallItem, ResultsPage, UtteranceItem};
use proptest::prelude::*;

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
    let table = include_str!("../../../../tests/golden/lex.txt");
    let rows: Vec<_> = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(rows.len() >= 27, "the table lost rows");
    for row in rows {
        let cells: Vec<_> = row.split_whitespace().filter(|cell| *cell != "|").collect();
        let [status, results, total, matched, mismatched, errors, other, state, verdict, failure] = cells[..]
        else {
            panic!("{row}");
        };
        let mut counts = ResultCounts::new();
        for (key, cell) in
            [("Matched", matched), ("Mismatched", mismatched), ("ExecutionError", errors), ("Novel", other)]
        {
            counts.extend(cell.parse().ok().map(|count: i64| (key.to_owned(), count)));
        }
        let results = match results {
            "awaited" => Results::Awaited,
            "given-up" => Results::GivenUp,
            "read" => Results::Read(Tally::of(total.parse().unwrap_or(0), &counts)),
            odd => panic!("{odd}"),
        };
        let (is_state, is_verdict, is_failure) = normalise(&Status::from(status), &results, &[]);
        let is = (is_state.as_str(), is_verdict.as_str(), failure_name(is_failure.as_ref()));
        assert_eq!(is, (state, verdict, failure), "{row}");
    }
}

#[test]
fn single_and_multi_turn_rows_are_summed() {
    let counts =
        |pairs: &[(&str, i64)]| pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
    let mut tally = Tally::of(3, &counts(&[("Matched", 3)]));
    tally.add(2, &counts(&[("Matched", 1), ("Mismatched", 1)]));
    assert_eq!(tally, Tally { total: 5, matched: 4, mismatched: 1, errors: 0, other: 0 });
    assert_eq!(tally.verdict().0, Verdict::Failed);
}

#[test]
fn items_have_verdicts_of_their_own() {
    for (result, verdict) in [
        ("Matched", Verdict::Passed),
        ("Mismatched", Verdict::Failed),
        ("ExecutionError", Verdict::Inconclusive),
        ("Novel", Verdict::Inconclusive),
        ("", Verdict::Inconclusive),
    ] {
        assert_eq!(match_verdict(result), verdict);
    }
}

proptest! {
    #[test]
    fn an_unknown_status_is_kept_and_never_passes(text in "[A-Za-z ]{0,20}", matched in 1i64..100) {
        let known = ["Pending", "Waiting", "InProgress", "Completed", "Failed", "Stopping", "Stopped"];
        prop_assume!(!known.contains(&text.as_str()));
        let status = Status::from(text.as_str());
        prop_assert_eq!(&status, &Status::Unknown(text));
        let results = Results::Read(Tally { total: matched, matched, ..Tally::default() });
        prop_assert_eq!(normalise(&status, &results, &[]), (State::UpstreamUnknown, Verdict::Pending, None));
    }

    #[test]
    fn passed_needs_every_result_matched_and_one_at_least(
        total in any::<i64>(),
        counts in proptest::collection::btree_map("Matched|Mismatched|ExecutionError|Novel", any::<i64>(), 0..4),
    ) {
        let tally = Tally::of(total, &counts);
        let all_matched = total > 0
            && counts.get("Matched") == Some(&total)
            && counts.iter().all(|(key, count)| key == "Matched" || *count == 0);
        prop_assert_eq!(tally.verdict().0 == Verdict::Passed, all_matched);
        let counts = tally.counts();
        prop_assert!(counts.total >= Some(0) && counts.passed >= Some(0));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_reading(bytes in any::<Vec<u8>>()) {
        drop(serde_json::from_slice::<Execution>(&bytes));
        drop(serde_json::from_slice::<ResultsPage>(&bytes));
        drop(serde_json::from_slice::<OverallItem>(&bytes));
        drop(serde_json::from_slice::<UtteranceItem>(&bytes));
    }
}
