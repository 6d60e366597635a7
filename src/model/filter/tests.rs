use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::model::{BackendId, ExecutionId, ItemKind, TestId, TestName};

const START: Timestamp = datetime!(2026-11-01 00:00 UTC);

fn execution(state: State, verdict: Verdict) -> Execution {
    let test = TestName { backend: BackendId::new("connect").unwrap(), test: TestId::new("t").unwrap() };
    Execution { state, verdict, ..Execution::unread(test.execution(ExecutionId::new("e").unwrap())) }
}

fn parse(text: &str) -> Filter {
    Filter::parse(text, Schema::Executions).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The error of a text, as `byte: message`.
fn refused(text: &str) -> String {
    let error = Filter::parse(text, Schema::Executions).expect_err(text);
    format!("{}: {}", error.at, error.message)
}

#[test]
fn the_contracts_example_reads_and_matches() {
    let filter = parse(r#"done = true AND NOT verdict = PASSED AND end_time > "2026-11-01T00:00:00Z""#);
    let mut failed = execution(State::Completed, Verdict::Failed);
    assert!(!filter.matches(&failed), "without an end time the comparison is false");
    failed.end_time = Some(START + time::Duration::SECOND);
    assert!(filter.matches(&failed));
    failed.verdict = Verdict::Passed;
    assert!(!filter.matches(&failed));
}

#[test]
fn blank_text_matches_everything() {
    for text in ["", "  ", "\n"] {
        assert!(parse(text).is_empty());
        assert!(parse(text).matches(&execution(State::Lost, Verdict::Inconclusive)));
    }
}

#[test]
fn enums_are_named_with_or_without_their_prefix() {
    for (long, short) in [("VERDICT_PASSED", "PASSED"), ("VERDICT_NONE", "NONE")] {
        assert_eq!(parse(&format!("verdict = {long}")), parse(&format!("verdict={short}")));
    }
    for state in State::ALL {
        let filter = parse(&format!("state = STATE_{}", state.as_str()));
        for other in State::ALL {
            assert_eq!(filter.matches(&execution(other, Verdict::Pending)), state == other);
        }
    }
}

#[test]
fn absent_labels_and_unset_times_compare_as_false_so_their_negation_is_true() {
    let bare = execution(State::Running, Verdict::Pending);
    for term in ["labels.k = v", "labels.k != v", "labels.k < v", "upstream_labels.k = v"] {
        assert!(!parse(term).matches(&bare), "{term}");
        assert!(parse(&format!("NOT {term}")).matches(&bare), "{term}");
    }
    for op in ["=", "!=", "<", "<=", ">", ">="] {
        let term = format!(r#"end_time {op} "2026-11-01T00:00:00Z""#);
        assert!(!parse(&term).matches(&bare), "{term}");
        assert!(parse(&format!("NOT {term}")).matches(&bare), "{term}");
    }
}

#[test]
fn labels_take_any_key_in_quotes() {
    let mut labelled = execution(State::Running, Verdict::Pending);
    labelled.labels.insert(r#"a "key" \ é"#.into(), "x y".into());
    labelled.upstream_labels.insert("team-1".into(), "blue".into());
    assert!(parse(r#"labels."a \"key\" \\ é" = "x y""#).matches(&labelled));
    assert!(parse("upstream_labels.team-1 = blue").matches(&labelled));
    assert!(!parse("labels.team-1 = blue").matches(&labelled));
}

#[test]
fn times_compare_across_zones() {
    let mut ended = execution(State::Completed, Verdict::Passed);
    ended.end_time = Some(START);
    assert!(parse(r#"end_time = "2026-11-01T02:00:00+02:00""#).matches(&ended));
    assert!(
        parse(r#"end_time >= "2026-11-01T00:00:00Z" AND end_time <= "2026-11-01T00:00:00Z""#).matches(&ended)
    );
    assert!(!parse(r#"end_time > "2026-11-01T00:00:00Z""#).matches(&ended));
}

#[test]
#[rustfmt::skip]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("verdikt = PASSED", "0: there is no field \"verdikt\" here; did you mean verdict?"),
        ("colour = red", "0: there is no field \"colour\" here; the fields are state, verdict, done, create_time, end_time, labels.KEY, upstream_labels.KEY"),
        ("display_name = x", "0: there is no field \"display_name\" here; the fields are state, verdict, done, create_time, end_time, labels.KEY, upstream_labels.KEY"),
        ("state = RUNING", "8: \"RUNING\" is no value of state: use one of PENDING, RUNNING, STOPPING, UPSTREAM_UNKNOWN, SETTLING, COMPLETED, ERRORED, STOPPED, LOST; did you mean RUNNING?"),
        ("verdict = passed", "10: \"passed\" is no value of verdict: use one of PENDING, PASSED, FAILED, INCONCLUSIVE, NONE; did you mean PASSED?"),
        ("verdict = \"PASSED\"", "10: PASSED is written without quotes here"),
        ("verdict > PASSED", "8: verdict knows only = and !="),
        ("done < true", "5: done knows only = and !="),
        ("done = yes", "7: \"yes\" is no value of done: use one of true, false"),
        ("done == true", "5: equality is a single ="),
        ("done true", "5: expected one of = != < <= > >=, not 't'"),
        ("done =", "6: expected a value; quote it unless it is a word, not the end"),
        ("done = true and done = false", "12: AND is written in upper case"),
        ("not done = true", "0: NOT is written in upper case"),
        ("AND done = true", "0: AND stands between two comparisons"),
        ("done = true AND", "15: expected a field, NOT or `(`, not the end"),
        ("done = true done = true", "12: expected AND, OR or the end, not 'd'"),
        ("done = true && done = true", "12: expected AND, OR or the end, not '&'"),
        ("done = true AND done = true OR done = false", "28: AND and OR side by side need parentheses"),
        ("(done = true", "12: expected AND, OR or the `)` of the `(` at byte 0, not the end"),
        ("done = true)", "11: this `)` closes nothing"),
        ("labels = x", "6: labels needs a key, as in labels.team"),
        ("labels. = x", "7: labels needs a key, as in labels.team or labels.\"a key\""),
        ("labels.a key = x", "9: expected one of = != < <= > >=, not 'k'"),
        ("labels.\"a key = x", "7: this quote is not closed"),
        ("labels.k = \"a\\n\"", "13: a `\\` in quotes stands before `\"` or `\\` only"),
        ("labels.k = \"\0\"", "12: a filter must not contain NUL"),
        ("state.x = RUNNING", "5: state has no keys"),
        ("end_time > 2026-11-01T00:00:00Z", "11: a time is quoted, as in \"2026-11-01T00:00:00Z\""),
        ("end_time > \"yesterday\"", "11: \"yesterday\" is no RFC 3339 time of the years 1 to 9999, as \"2026-11-01T00:00:00Z\" is"),
        ("end_time > \"0001-01-01T00:00:00+10:00\"", "11: \"0001-01-01T00:00:00+10:00\" is no RFC 3339 time of the years 1 to 9999, as \"2026-11-01T00:00:00Z\" is"),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn size_terms_and_depth_are_bounded() {
    let terms = |count| vec!["done = true"; count].join(" OR ");
    assert_eq!(parse(&terms(64)), parse(&terms(64)));
    assert!(refused(&terms(65)).ends_with("a filter has at most 64 comparisons"));
    let nested = |depth| format!("{}done = true{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(parse(&nested(16)), parse("done = true"));
    assert!(refused(&nested(17)).starts_with("16: parentheses and NOTs nest"));
    assert!(
        refused(&format!("{}done = true", "NOT ".repeat(17))).starts_with("64: parentheses and NOTs nest")
    );
    let long = |length: usize| format!("labels.k = \"{}\"", "é".repeat(length - 13));
    assert!(!parse(&long(2048)).is_empty());
    assert!(refused(&long(2049)).ends_with("a filter has at most 2048 characters"));
}

#[test]
fn tests_and_items_have_their_own_fields() {
    let item = ResultItem {
        id: "1".into(),
        kind: ItemKind::Observation,
        display_name: String::new(),
        verdict: Verdict::Failed,
        event_time: None,
        expected: String::new(),
        actual: String::new(),
        counts: None,
        failure: None,
        metrics: Vec::new(),
        payload: None,
    };
    assert!(Filter::parse("verdict != PASSED", Schema::Items).unwrap().matches(&item));
    assert!(Filter::parse("state = RUNNING", Schema::Items).is_err());
    for text in ["display_name = \"a b\"", "startable = true", "upstream_labels.tier = gold"] {
        assert!(Filter::parse(text, Schema::Tests).is_ok(), "{text}");
    }
    assert!(Filter::parse("labels.tier = gold", Schema::Tests).is_err());
}

#[test]
#[rustfmt::skip]
fn bounds_are_found_and_never_narrower_than_the_filter() {
    let (t, late) = (Some(START), Some(datetime!(2026-11-02 00:00 UTC)));
    for (text, ended, unfinished) in [
        (r#"end_time > "2026-11-01T00:00:00Z""#, t, false),
        (r#"end_time < "2026-11-01T00:00:00Z""#, None, false),
        (r#"NOT end_time < "2026-11-01T00:00:00Z""#, None, false),
        (r#"done = true AND end_time > "2026-11-01T00:00:00Z""#, t, false),
        (r#"end_time > "2026-11-01T00:00:00Z" AND end_time > "2026-11-02T00:00:00Z""#, late, false),
        (r#"end_time > "2026-11-01T00:00:00Z" OR end_time > "2026-11-02T00:00:00Z""#, t, false),
        (r#"end_time > "2026-11-01T00:00:00Z" OR done = false"#, t, false),
        (r#"end_time > "2026-11-01T00:00:00Z" OR verdict = FAILED"#, None, false),
        ("done = false", None, true),
        ("done != true", None, true),
        ("NOT done = true", None, true),
        ("NOT (done = true OR labels.k = v)", None, true),
        ("NOT (done = true AND labels.k = v)", None, false),
        ("state = RUNNING OR state = SETTLING", None, true),
        ("state = RUNNING OR state = LOST", None, false),
        ("verdict = PENDING", None, true),
        ("done = true", None, false),
    ] {
        let filter = parse(text);
        assert_eq!(filter.end_time_lower_bound(), ended, "{text}");
        assert_eq!(filter.unfinished_only(), unfinished, "{text}");
    }
    assert_eq!(parse(r#"create_time >= "2026-11-01T00:00:00Z" AND done = true"#).created_lower_bound(), t);
    assert_eq!(parse(r#"create_time >= "2026-11-01T00:00:00Z" OR done = true"#).created_lower_bound(), None);
    assert!(parse("labels.k = v OR NOT done = true").mentions_state_or_verdict_or_done());
    assert!(!parse("labels.k = v").mentions_state_or_verdict_or_done());
}

/// Comparisons with their meaning in plain Rust, for the reference below.
type Leaf = (&'static str, fn(&Execution) -> bool);
const LEAVES: &[Leaf] = &[
    ("state = RUNNING", |e| e.state == State::Running),
    ("state != STATE_LOST", |e| e.state != State::Lost),
    ("verdict = VERDICT_PASSED", |e| e.verdict == Verdict::Passed),
    ("verdict = PENDING", |e| e.verdict == Verdict::Pending),
    ("done = true", |e| e.state.is_done()),
    ("done != true", |e| !e.state.is_done()),
    (r#"end_time > "2026-11-01T00:00:05Z""#, |e| e.end_time > Some(START + time::Duration::seconds(5))),
    (r#"end_time <= "2026-11-01T00:00:03Z""#, |e| {
        e.end_time.is_some_and(|t| t <= START + time::Duration::seconds(3))
    }),
    (r#"create_time >= "2026-11-01T00:00:04Z""#, |e| {
        e.create_time >= Some(START + time::Duration::seconds(4))
    }),
    ("labels.k = v", |e| e.labels.get("k").is_some_and(|v| v == "v")),
    (r#"labels.k != "v""#, |e| e.labels.get("k").is_some_and(|v| v != "v")),
];

#[derive(Clone, Debug)]
enum Tree {
    Leaf(usize),
    Not(Box<Tree>),
    Join(bool, Vec<Tree>),
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Leaf(leaf) => LEAVES[*leaf].0.to_owned(),
            Self::Not(inner) => format!("NOT ({})", inner.text()),
            Self::Join(all, parts) => {
                let parts: Vec<_> = parts.iter().map(|part| format!("({})", part.text())).collect();
                parts.join(if *all { " AND " } else { "  OR " })
            }
        }
    }

    fn holds(&self, execution: &Execution) -> bool {
        match self {
            Self::Leaf(leaf) => LEAVES[*leaf].1(execution),
            Self::Not(inner) => !inner.holds(execution),
            Self::Join(true, parts) => !parts.iter().any(|part| !part.holds(execution)),
            Self::Join(false, parts) => parts.iter().any(|part| part.holds(execution)),
        }
    }
}

fn any_tree() -> impl Strategy<Value = Tree> {
    (0..LEAVES.len()).prop_map(Tree::Leaf).prop_recursive(4, 20, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            (any::<bool>(), proptest::collection::vec(inner, 2..4))
                .prop_map(|(all, parts)| Tree::Join(all, parts)),
        ]
    })
}

fn any_execution() -> impl Strategy<Value = Execution> {
    let verdicts = prop::sample::select(&Verdict::ALL[1..4]);
    let second = || prop::option::of((0i64..10).prop_map(|s| START + time::Duration::seconds(s)));
    let label = prop::option::of(prop::sample::select(vec!["v", "w"]));
    (prop::sample::select(&State::ALL[..]), verdicts, second(), second(), label).prop_map(
        |(state, verdict, create_time, end_time, label)| {
            let verdict = if state.is_done() { verdict } else { Verdict::Pending };
            let labels = label.map(|value| ("k".to_owned(), value.to_owned())).into_iter().collect();
            Execution { create_time, end_time, labels, ..execution(state, verdict) }
        },
    )
}

proptest! {
    #[test]
    fn evaluation_agrees_with_plain_rust(tree in any_tree(), execution in any_execution()) {
        prop_assume!(tree.text().len() <= MAX_CHARS);
        prop_assert_eq!(parse(&tree.text()).matches(&execution), tree.holds(&execution));
    }

    #[test]
    fn bounds_never_exclude_what_matches(tree in any_tree(), execution in any_execution()) {
        prop_assume!(tree.text().len() <= MAX_CHARS);
        let filter = parse(&tree.text());
        if filter.matches(&execution) {
            if execution.is_done() {
                prop_assert!(!filter.unfinished_only());
                if let Some(from) = filter.end_time_lower_bound() {
                    prop_assert!(execution.end_time >= Some(from));
                }
            }
            if let Some(from) = filter.created_lower_bound() {
                prop_assert!(execution.create_time >= Some(from));
            }
        }
    }

    #[test]
    fn a_printed_filter_reads_as_itself(tree in any_tree()) {
        prop_assume!(tree.text().len() <= MAX_CHARS);
        let filter = parse(&tree.text());
        prop_assert_eq!(&parse(&filter.to_string()), &filter);
    }

    #[test]
    fn any_label_survives_printing(key in "[^\\x00]{1,30}", value in "[^\\x00]{0,30}") {
        let term = Term { field: Field::Labels(key), op: Op::Equal, operand: Operand::Text(value) };
        let filter = Filter(Some(Expr::Term(term)));
        prop_assert_eq!(&parse(&filter.to_string()), &filter);
    }

    #[test]
    fn arbitrary_text_is_read_or_refused_within_it(text in ".{0,300}") {
        if let Err(error) = Filter::parse(&text, Schema::Executions) {
            prop_assert!(error.at <= text.len());
        }
    }

    #[test]
    fn arbitrary_tokens_are_read_or_refused(
        tokens in proptest::collection::vec(
            prop::sample::select(vec![
                "(", ")", "NOT", "AND", "OR", "and", "done", "=", "!=", "<", "true", "verdict", "PASSED",
                "labels.", "labels.k", "\"", "\\", "end_time", "\"2026-11-01T00:00:00Z\"", ".", " ", "é",
            ]),
            0..60,
        )
    ) {
        let text = tokens.join(" ");
        if let Err(error) = Filter::parse(&text, Schema::Executions) {
            prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at));
        }
    }
}

#[test]
fn required_tags_are_those_of_a_conjunction() {
    let tags = |text: &str| {
        let filter = Filter::parse(text, Schema::Tests).unwrap();
        (filter.mentions_upstream_labels(), filter.required_upstream_labels())
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        tags("upstream_labels.a = x AND (startable = true AND upstream_labels.b = y)"),
        (true, vec![pair("a", "x"), pair("b", "y")])
    );
    assert_eq!(tags("upstream_labels.a = x OR startable = true"), (true, vec![]));
    assert_eq!(tags("NOT upstream_labels.a = x"), (true, vec![]));
    assert_eq!(tags("upstream_labels.a != x"), (true, vec![]));
    assert_eq!(tags("startable = true"), (false, vec![]));
}
