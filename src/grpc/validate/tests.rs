use proptest::prelude::*;
use tonic::Status;
use tonic_types::StatusExt;

use super::*;
use crate::model::{ExecutionName, TestName};
use crate::proto::v1;

/// The one problem that a check finds, as `field: rule`.
fn problem<T>(check: impl FnOnce(&mut Violations) -> T) -> String {
    let mut violations = Violations::new();
    check(&mut violations);
    match violations.0.as_slice() {
        [] => String::new(),
        [only] => format!("{}: {}", only.field, only.rule),
        several => panic!("more than one problem: {several:?}"),
    }
}

#[test]
fn page_sizes_are_defaulted_and_clamped_and_negative_ones_refused() {
    let mut violations = Violations::new();
    let sizes = [0, 1, 1000, 1001, i32::MAX].map(|size| violations.page_size(size));
    assert_eq!(sizes, [50, 1, 1000, 1000, 1000]);
    assert!(violations.is_empty());
    assert_eq!(problem(|v| v.page_size(-1)), "page_size: is -1; it must not be negative");
}

#[test]
fn names_are_reported_under_their_field() {
    let told = problem(|v| v.name("parent", TestName::parse("backends/cc/tests/a%2fb")));
    assert_eq!(told, "parent: \"a%2fb\" must be spelled \"a%2Fb\"");
}

#[test]
fn each_wrong_name_of_a_list_is_reported_with_its_index() {
    let names: Vec<_> = ["x", "backends/cc/tests/t/executions/e", "backends/cc/tests/t/executions/.."]
        .map(str::to_owned)
        .into();
    let mut violations = Violations::new();
    let parsed = violations.names("names", &names, ExecutionName::parse);
    assert_eq!(parsed.len(), 1);
    let fields: Vec<_> = violations.0.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["names[0]", "names[2]"]);
}

#[test]
fn lists_of_names_hold_1_to_500() {
    let name = "backends/cc/tests/t/executions/e".to_owned();
    let told = |count| problem(|v| v.names("names", &vec![name.clone(); count], ExecutionName::parse));
    assert_eq!(told(0), "names: needs at least one name");
    assert_eq!((told(1), told(500)), (String::new(), String::new()));
    assert_eq!(told(501), "names: has 501 names; the most is 500");
}

#[test]
fn request_ids_are_printable_ascii() {
    let mut violations = Violations::new();
    assert_eq!(violations.request_id(""), None);
    assert_eq!(violations.request_id("order 66~"), Some("order 66~"));
    assert_eq!(violations.request_id(&"x".repeat(128)), Some("x".repeat(128).as_str()));
    assert!(violations.is_empty());
    assert_eq!(
        problem(|v| v.request_id(&"x".repeat(129)).is_some()),
        "request_id: has 129 bytes; the most is 128"
    );
    let told = problem(|v| v.request_id("a\u{7f}"));
    assert_eq!(told, "request_id: must be printable ASCII; the byte at 1 is not");
    assert!(!problem(|v| v.request_id("é")).is_empty());
    assert!(!problem(|v| v.request_id("a\0")).is_empty());
}

#[test]
fn labels_keep_to_their_sizes() {
    let told = |key: String, value: String| problem(|v| v.labels([(key, value)].into()));
    assert_eq!(told("k".repeat(63), "v".repeat(256)), "");
    assert_eq!(told(String::new(), String::new()), "labels: has an empty key");
    assert_eq!(told("k".repeat(64), String::new()), "labels: has a key of 64 bytes; the most is 63");
    assert_eq!(told("k".into(), "v".repeat(257)), "labels[\"k\"]: has 257 bytes; the most is 256");
    assert_eq!(told("k".into(), "\0".into()), "labels[\"k\"]: must not contain NUL");
    let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(problem(|v| v.labels(many)), "labels: has 33 entries; the most is 32");
}

#[test]
fn texts_are_bounded_and_hold_no_nul() {
    assert_eq!(problem(|v| v.text("reason", &"x".repeat(1024), MAX_REASON_BYTES)), "");
    let told = problem(|v| v.text("reason", &"x".repeat(1025), MAX_REASON_BYTES));
    assert_eq!(told, "reason: has 1025 bytes; the most is 1024");
    assert_eq!(problem(|v| v.text("reason", "a\0b", MAX_REASON_BYTES)), "reason: must not contain NUL");
}

#[test]
fn unknown_enum_numbers_are_refused_with_the_names() {
    let allowed = [(v1::Verdict::Passed, "PASSED"), (v1::Verdict::Failed, "FAILED")];
    let parse = |number| v1::Verdict::try_from(number).ok();
    let mut violations = Violations::new();
    assert_eq!(violations.one_of("verdict", 2, &allowed, parse), Some(v1::Verdict::Passed));
    let told = |number| problem(|v| v.one_of("verdict", number, &allowed, parse));
    assert_eq!(told(0), "verdict: is required: one of PASSED, FAILED");
    assert_eq!(told(1), "verdict: is 1; it must be one of PASSED, FAILED");
    assert_eq!(told(99), "verdict: is 99; it must be one of PASSED, FAILED");
}

#[test]
fn durations_are_refused_where_absurd_and_clamped_where_only_too_much() {
    let asked = |seconds, nanos| duration(&prost_types::Duration { seconds, nanos });
    assert_eq!(asked(1, 500_000_000), Ok(Duration::from_millis(1500)));
    for (seconds, nanos) in [(-1, 0), (0, -1), (1, -1), (i64::MIN, 0)] {
        assert_eq!(asked(seconds, nanos).unwrap_err(), "must not be negative");
    }
    assert!(asked(0, 1_000_000_000).unwrap_err().contains("nanos"));
    assert!(asked(i64::MAX, 0).unwrap_err().contains("seconds"));

    let range = Duration::from_secs(1)..=Duration::from_secs(60);
    let granted = |seconds| {
        let asked = prost_types::Duration { seconds, nanos: 0 };
        Violations::new().granted("heartbeat_interval", Some(&asked), Duration::from_secs(15), range.clone())
    };
    assert_eq!([0, 5, 3600].map(granted), [1, 5, 60].map(Duration::from_secs));
    let unset = Violations::new().granted("timeout", None, Duration::from_secs(15), range.clone());
    assert_eq!(unset, Duration::from_secs(15));
}

#[test]
fn timestamps_keep_to_the_years_1_to_9999() {
    let read = |seconds, nanos| timestamp(&prost_types::Timestamp { seconds, nanos });
    assert_eq!(read(0, 0), Ok(Timestamp::UNIX_EPOCH));
    assert_eq!(read(-62_135_596_800, 0).unwrap().year(), 1);
    assert_eq!(read(253_402_300_799, 999_999_999).unwrap().year(), 9999);
    for (seconds, nanos) in
        [(-62_135_596_801, 0), (253_402_300_800, 0), (i64::MAX, 0), (0, -1), (0, 1_000_000_000)]
    {
        assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
    }
}

#[test]
fn all_problems_of_a_request_come_at_once() {
    let mut violations = Violations::new();
    let parent = violations.name("parent", TestName::parse(""));
    violations.page_size(-5);
    violations.text("reason", "\0", 10);
    let status = Status::from(violations.finish_with(parent).unwrap_err());
    assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 3);
}

proptest! {
    #[test]
    fn any_duration_and_timestamp_is_read_or_refused(seconds: i64, nanos: i32) {
        if let Ok(read) = duration(&prost_types::Duration { seconds, nanos }) {
            prop_assert_eq!(i64::try_from(read.as_secs()).unwrap(), seconds);
        }
        if let Ok(read) = timestamp(&prost_types::Timestamp { seconds, nanos }) {
            prop_assert_eq!(read.unix_timestamp(), seconds);
        }
    }

    #[test]
    fn any_text_is_a_request_id_or_refused(text in ".{0,200}") {
        let mut violations = Violations::new();
        let taken = violations.request_id(&text).is_some();
        prop_assert_eq!(taken, violations.is_empty() && !text.is_empty());
    }
}
