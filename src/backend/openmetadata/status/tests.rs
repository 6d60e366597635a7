use std::collections::HashMap;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const TABLE: &str = include_str!("../../../../tests/golden/openmetadata.txt");
const NOW: Timestamp = datetime!(2026-11-21 12:00:00 UTC);
const SETTLE: Duration = Duration::from_secs(30);

/// The circumstances of a line, `key=value` or bare words.
fn circumstances(text: &str) -> HashMap<&str, &str> {
    text.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect()
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().unwrap())
}

fn words(text: &str) -> Vec<CaseWord> {
    text.split(',')
        .enumerate()
        .filter(|(_, status)| *status != "none")
        .map(|(at, status)| CaseWord {
            name: format!("case{at}"),
            status: (status != "-").then(|| CaseStatus::parse(status)),
            message: String::new(),
        })
        .collect()
}

fn run(status: &str, circumstances: &HashMap<&str, &str>) -> Reading {
    let phase = Phase::parse(status);
    let Phase::Ended(end) = phase else { return unfinished(phase) };
    let known = circumstances.get("seen").map(|seen| {
        let (before, then) = seen.split_once(':').unwrap_or((seen, status));
        Settling { since: NOW - seconds(before), upstream_status: then.to_owned() }
    });
    let sight = Sight {
        status,
        known: known.as_ref(),
        now: NOW,
        ended_ago: circumstances.get("first-sight-ended").map(|ago| seconds(ago)),
        settle_time: SETTLE,
    };
    if settle(&sight).is_err() {
        return unfinished(phase);
    }
    let results = circumstances.get("results").copied().unwrap_or("none");
    ended(end, circumstances.contains_key("stopped-here"), &words(results))
}

fn describe(reading: &Reading) -> [String; 4] {
    let failure = match &reading.failure {
        None => "-".to_owned(),
        Some(failure) if failure.upstream_code.is_empty() => format!("{:?}", failure.kind),
        Some(failure) => format!("{:?} {}", failure.kind, failure.upstream_code),
    };
    let counts = reading.counts.map_or("-".to_owned(), |counts| {
        let numbers = [counts.total, counts.passed, counts.failed, counts.errored, counts.other]
            .map(|number| number.unwrap().to_string())
            .join("/");
        if counts.partial { format!("{numbers} partial") } else { numbers }
    });
    [reading.state.as_str().to_owned(), reading.verdict.as_str().to_owned(), failure, counts]
}

#[test]
fn every_line_of_the_table_holds() {
    let lines: Vec<_> = TABLE.lines().filter(|line| line.contains('|') && !line.starts_with('#')).collect();
    assert!(lines.len() > 30, "the table lost its lines");
    for line in lines {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [what, given, expected @ ..] = columns.as_slice() else { panic!("malformed: {line}") };
        let (kind, status) = what.split_once(' ').unwrap_or((what, ""));
        let reading = match kind {
            "result" => result(status, "words"),
            "run" => run(status, &circumstances(given)),
            _ => panic!("neither a result nor a run: {line}"),
        };
        assert_eq!(describe(&reading), *expected, "{line}");
        assert_eq!(reading.state.is_done(), reading.verdict != Verdict::Pending, "{line}");
    }
}

#[test]
fn a_changed_final_state_starts_the_wait_anew() {
    let known = Settling { since: NOW - SETTLE, upstream_status: "failed".to_owned() };
    let sight = Sight {
        status: "stopped",
        known: Some(&known),
        now: NOW,
        ended_ago: Some(SETTLE * 9),
        settle_time: SETTLE,
    };
    assert_eq!(settle(&sight), Err(Settling { since: NOW, upstream_status: "stopped".to_owned() }));
}

#[test]
fn the_worst_result_of_a_case_speaks_for_it() {
    let result = |status: &str, words: &str| CaseResult {
        status: status.to_owned(),
        result: words.to_owned(),
        ..CaseResult::default()
    };
    let results = [result("Success", "new"), result("Failed", "newer bad"), result("Failed", "older bad")];
    let word = CaseWord::of("c", &results);
    assert_eq!((word.status, word.message.as_str()), (Some(CaseStatus::Failed), "newer bad"));
    assert_eq!(CaseWord::of("c", []).status, None);
}

fn any_word() -> impl Strategy<Value = CaseWord> {
    prop_oneof![Just("Success"), Just("Failed"), Just("Aborted"), Just("Queued"), Just("Green"), Just("-")]
        .prop_map(|status| CaseWord {
            name: "case".to_owned(),
            status: (status != "-").then(|| CaseStatus::parse(status)),
            message: String::new(),
        })
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Success), Just(End::Partial), Just(End::Failed), Just(End::Stopped)]
}

proptest! {
    #[test]
    fn an_unknown_word_is_never_a_verdict(text in "\\PC{0,20}") {
        let known = ["Success", "Failed", "Aborted", "Queued"].contains(&text.as_str());
        if !known {
            let reading = result(&text, "");
            prop_assert_eq!((reading.state, reading.verdict), (State::UpstreamUnknown, Verdict::Pending));
        }
        if Phase::parse(&text) == Phase::Unknown {
            prop_assert_eq!(unfinished(Phase::Unknown).state, State::UpstreamUnknown);
        }
    }

    #[test]
    fn a_run_passes_only_where_something_ran_and_all_of_it_passed(
        end in any_end(),
        stopped in any::<bool>(),
        cases in proptest::collection::vec(any_word(), 0..6),
    ) {
        let reading = ended(end, stopped, &cases);
        prop_assert!(reading.state.is_done());
        prop_assert_ne!(reading.verdict, Verdict::Pending);
        let all_passed =
            !cases.is_empty() && cases.iter().all(|case| case.status == Some(CaseStatus::Success));
        prop_assert_eq!(reading.verdict == Verdict::Passed, end == End::Success && all_passed);
        prop_assert_eq!(reading.failure.is_none(), reading.verdict == Verdict::Passed);
    }
}
