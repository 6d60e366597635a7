use proptest::prelude::*;
use prost::Message as _;
use time::macros::datetime;

use super::*;
use crate::model::{Artifact, Execution, ExecutionName, Labels, ResultItem, State, TestName, Verdict};

pub(crate) mod arbitrary;

fn name() -> ExecutionName {
    ExecutionName::parse("backends/lex/tests/t%2F1/executions/e").unwrap()
}

proptest! {
    #[test]
    fn an_execution_survives_the_way_there_and_back(execution in arbitrary::execution()) {
        let there = v1::Execution::from(&execution);
        let bytes = there.encode_to_vec();
        let back = Execution::try_from(v1::Execution::decode(bytes.as_slice()).unwrap()).unwrap();
        prop_assert_eq!(back, execution);
    }

    #[test]
    fn any_execution_is_within_the_limit_and_the_same_each_time(
        mut execution in arbitrary::execution(),
        text in "\\PC{0,3000}",
        labels in 0usize..200,
    ) {
        execution.stop_reason.clone_from(&text);
        execution.upstream_id.clone_from(&text);
        execution.upstream_labels = (0..labels).map(|n| (format!("k{n}"), text.clone())).collect();
        execution.labels = (0..labels).map(|n| (format!("k{n}"), "v".repeat(256))).collect();
        let bounded = super::execution(&execution);
        prop_assert!(bounded.encoded_len() <= MAX_EXECUTION_BYTES, "{}", bounded.encoded_len());
        prop_assert_eq!(&bounded, &super::execution(&execution));
        prop_assert_eq!(bounded.name, execution.name.to_string());
    }

    #[test]
    fn no_message_makes_the_conversion_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = v1::Execution::decode(bytes.as_slice()) {
            drop(Execution::try_from(message));
        }
    }

    #[test]
    fn no_time_makes_the_conversion_panic(seconds: i64, nanos: i32) {
        let time = prost_types::Timestamp { seconds, nanos };
        if let Some(read) = to_time(&time) {
            prop_assert_eq!(from_time(read), Some(time));
        }
        let duration = prost_types::Duration { seconds: seconds % 315_576_000_000, nanos };
        if let Some(read) = to_duration(&duration) {
            prop_assert_eq!(from_duration(read), duration);
        }
    }
}

#[test]
fn what_fits_is_not_shrunk() {
    let mut execution = Execution::unread(name());
    execution.failure =
        Some(Failure::new(crate::model::FailureKind::Assertion, "", (0..4).map(|_| "m".repeat(1024))));
    assert_eq!(super::execution(&execution), v1::Execution::from(&execution));
}

#[test]
fn failure_messages_go_before_labels() {
    let mut execution = Execution::unread(name());
    execution.failure =
        Some(Failure::new(crate::model::FailureKind::Assertion, "", (0..4).map(|_| "m".repeat(1024))));
    execution.labels = (0..12).map(|n| (format!("k{n}"), "v".repeat(256))).collect::<Labels>();
    let bounded = super::execution(&execution);
    assert_eq!(bounded.labels.len(), 12);
    assert_eq!(bounded.failure.unwrap().messages, vec!["m".repeat(512); 4]);
}

#[test]
fn the_longest_name_leaves_room_for_the_rest() {
    let id = "x".repeat(990);
    let name = format!("backends/b/tests/{id}/executions/{id}");
    let mut execution = Execution::unread(ExecutionName::parse(&name).unwrap());
    for text in [&mut execution.upstream_id, &mut execution.stop_reason, &mut execution.creator] {
        *text = "y".repeat(5000);
    }
    let bounded = super::execution(&execution);
    assert!(bounded.encoded_len() <= MAX_EXECUTION_BYTES);
    assert_eq!(bounded.name, name);
    assert_eq!(bounded.creator.len(), 512);
}

#[test]
fn times_that_no_client_could_read_are_left_unset() {
    assert_eq!(from_time(datetime!(0000-12-31 23:59:59 UTC)), None);
    assert!(from_time(datetime!(0001-01-01 00:00:00 UTC)).is_some());
    assert!(from_time(datetime!(9999-12-31 23:59:59 UTC)).is_some());
    assert_eq!(to_time(&prost_types::Timestamp { seconds: 0, nanos: -1 }), None);
    assert_eq!(to_time(&prost_types::Timestamp { seconds: 0, nanos: 1_000_000_000 }), None);
}

#[test]
fn a_negative_duration_is_none() {
    assert_eq!(to_duration(&prost_types::Duration { seconds: -1, nanos: 0 }), None);
    assert_eq!(to_duration(&prost_types::Duration { seconds: 0, nanos: -1 }), None);
    let second = prost_types::Duration { seconds: 1, nanos: 500 };
    assert_eq!(to_duration(&second), Some(Duration::new(1, 500)));
    assert_eq!(from_duration(Duration::new(1, 500)), second);
    assert_eq!(from_duration(Duration::MAX).seconds, 315_576_000_000);
}

#[test]
fn done_follows_from_the_state() {
    for state in State::ALL {
        let mut execution = Execution::unread(name());
        execution.state = state;
        assert_eq!(super::execution(&execution).done, state.is_done());
    }
}

#[test]
fn states_and_verdicts_carry_the_contracts_names() {
    for state in State::ALL {
        let wire = v1::execution::State::from(state).as_str_name();
        assert_eq!(wire, format!("STATE_{}", state.as_str()));
    }
    for verdict in Verdict::ALL {
        assert_eq!(v1::Verdict::from(verdict).as_str_name(), format!("VERDICT_{}", verdict.as_str()));
    }
}

#[test]
fn numbers_without_a_meaning_are_refused() {
    assert_eq!(verdict(0), Err(UnknownEnum { name: "Verdict", number: 0 }));
    assert_eq!(verdict(99), Err(UnknownEnum { name: "Verdict", number: 99 }));
    assert_eq!(item_kind(0), Ok(None));
    assert_eq!(item_kind(-1), Err(UnknownEnum { name: "ResultItem.Kind", number: -1 }));
    assert_eq!(lex_api_mode(2), Ok(Some(crate::model::LexApiMode::NonStreaming)));
    assert!(lex_modality(3).is_err());
}

#[test]
fn a_long_payload_is_left_out_and_said_to_be() {
    let mut item = ResultItem {
        id: "a/b".into(),
        kind: crate::model::ItemKind::Intent,
        display_name: String::new(),
        verdict: Verdict::Passed,
        event_time: None,
        expected: String::new(),
        actual: String::new(),
        counts: None,
        failure: None,
        metrics: Vec::new(),
        payload: Some("x".repeat(MAX_PAYLOAD_BYTES).into()),
    };
    let shown = result_item(&name(), &item);
    assert_eq!(shown.name, "backends/lex/tests/t%2F1/executions/e/resultItems/a%2Fb");
    assert_eq!((shown.payload_json.len(), shown.payload_omitted), (MAX_PAYLOAD_BYTES, false));

    item.payload = Some("x".repeat(MAX_PAYLOAD_BYTES + 1).into());
    let shown = result_item(&name(), &item);
    assert_eq!((shown.payload_json.len(), shown.payload_omitted), (0, true));
}

#[test]
fn an_artifact_and_a_test_stand_under_their_names() {
    let link = Artifact { id: "run log".into(), uri: "https://x".into(), expire_time: None };
    let shown = artifact(&name(), &link);
    assert_eq!(shown.name, "backends/lex/tests/t%2F1/executions/e/artifacts/run%20log");

    let of: TestName = name().test_name();
    let test = crate::model::Test {
        id: of.test.clone(),
        display_name: "T".into(),
        upstream_id: "t/1".into(),
        capabilities: crate::model::Capabilities {
            start_mode: crate::model::StartMode::GatewayDedup,
            stop_scope: crate::model::StopScope::None,
            list_executions: true,
            record_execution: false,
            artifacts: true,
            result_kinds: &[crate::model::ItemKind::Slot],
            filter_pushdown: &["state"],
        },
        startable: None,
        not_startable_reason: String::new(),
        upstream_labels: Labels::new(),
        update_time: None,
        description: String::new(),
        payload: None,
    };
    let shown = super::test(&of, &test);
    assert_eq!(shown.name, "backends/lex/tests/t%2F1");
    assert_eq!(shown.capabilities.unwrap().result_kinds, [v1::result_item::Kind::Slot as i32]);
}
