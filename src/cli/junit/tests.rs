use super::*;
use crate::proto::v1::ResultCounts;
use crate::proto::v1::execution::State;

fn run(execution: Option<Execution>) -> Run {
    Run {
        test: "backends/b/tests/t".into(),
        label: "b/as typed".into(),
        sent: true,
        execution,
        removed: false,
        stopping: false,
        trouble: None,
    }
}

fn ended(state: State, verdict: Verdict) -> Execution {
    Execution {
        name: "backends/b/tests/t/executions/e".into(),
        test_display_name: "Greeting".into(),
        state: state.into(),
        verdict: verdict.into(),
        done: true,
        ..Default::default()
    }
}

fn item(name: &str, verdict: Verdict) -> ResultItem {
    ResultItem { name: format!("x/resultItems/{name}"), verdict: verdict.into(), ..Default::default() }
}

fn failure(messages: &[&str]) -> Option<FailureReason> {
    Some(FailureReason {
        upstream_code: "Mismatched".into(),
        messages: messages.iter().map(|message| (*message).to_owned()).collect(),
        truncated_count: 2,
        ..Default::default()
    })
}

fn xml(suite: TestSuite) -> String {
    let mut report = Report::new("testgate");
    report.add_test_suite(suite);
    report.to_string().unwrap()
}

#[test]
fn one_suite_a_test_and_one_case_an_item() {
    let mut failed = item("2", Verdict::Failed);
    failed.failure = failure(&["no", "not at all"]);
    failed.expected = "yes".into();
    let items =
        [item("1", Verdict::Passed), failed, item("3", Verdict::Inconclusive), item("4", Verdict::None)];
    let suite = suite(&run(Some(ended(State::Completed, Verdict::Failed))), &items, None);
    assert_eq!((suite.tests, suite.failures, suite.errors, suite.skipped), (4, 1, 1, 1));
    let xml = xml(suite);
    assert!(xml.contains(r#"<testsuite name="b/Greeting""#), "{xml}");
    assert!(xml.contains(r#"<failure message="no" type="Mismatched">no"#), "{xml}");
    assert!(xml.contains("not at all\nand 2 more\nexpected: yes"), "{xml}");
}

#[test]
fn a_run_that_did_not_pass_is_told_where_no_item_tells_it() {
    let table = [
        (State::Completed, Verdict::Failed, (1, 0)),
        (State::Completed, Verdict::Inconclusive, (0, 1)),
        (State::Errored, Verdict::Inconclusive, (0, 1)),
        (State::Stopped, Verdict::Inconclusive, (0, 1)),
        (State::Lost, Verdict::Inconclusive, (0, 1)),
        (State::Completed, Verdict::Passed, (0, 0)),
    ];
    for (state, verdict, expected) in table {
        for (items, extra) in [(&[][..], 1), (&[item("1", Verdict::Passed)][..], 2)] {
            let suite = suite(&run(Some(ended(state, verdict))), items, None);
            assert_eq!((suite.failures, suite.errors), expected, "{state:?} {verdict:?}");
            let told = if expected == (0, 0) { 1 } else { extra };
            assert_eq!(suite.tests, told, "{state:?} {verdict:?}");
        }
    }
}

#[test]
fn what_was_not_started_not_done_or_not_read_is_an_error() {
    let mut running = ended(State::Running, Verdict::Pending);
    running.done = false;
    let unread = Failure::Trouble("away".into());
    let mut refused = run(None);
    refused.trouble = Some("can't start it".into());
    let passed = || run(Some(ended(State::Completed, Verdict::Passed)));
    for (run, unread, text) in [
        (run(None), None, "was not started"),
        (run(Some(running)), None, "still RUNNING"),
        (passed(), Some(&unread), "away"),
        (refused, None, "can&apos;t start it"),
    ] {
        let suite = suite(&run, &[], unread);
        assert_eq!((suite.tests, suite.errors), (1, 1));
        let xml = xml(suite);
        assert!(xml.contains(text), "{text}: {xml}");
    }
}

#[test]
fn what_xml_can_not_hold_is_left_out() {
    let mut odd = item("1", Verdict::Failed);
    odd.display_name = "a\u{1b}[31m\u{0}<&\">\u{fffe}".into();
    odd.failure = failure(&["]]>\u{8}\r\n"]);
    let mut execution = ended(State::Completed, Verdict::Failed);
    execution.counts = Some(ResultCounts { total: Some(1), failed: Some(1), ..Default::default() });
    execution.labels = [("k\u{1}".to_owned(), "v\u{2}".to_owned())].into();
    let xml = xml(suite(&run(Some(execution)), &[odd], None));
    assert!(xml.contains("a&lt;&amp;&quot;&gt;"), "{xml}");
    assert!(xml.chars().all(|c| !c.is_control() || c == '\n'), "{xml:?}");
}
