//! Executions of every shape, for property tests here and in the store.

use proptest::option;
use proptest::prelude::*;

use crate::model::{
    BackendId, Condition, ConnectDetails, Counts, Details, Execution, ExecutionId, ExecutionName, Failure,
    FailureKind, Labels, LexApiMode, LexDetails, LexModality, LexTarget, OpenMetadataDetails, State, TestId,
    Timestamp, Verdict,
};

pub(crate) fn time() -> impl Strategy<Value = Timestamp> {
    // The years 1 to 9999.
    (-62_135_596_800i64..=253_402_300_799, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| {
        Timestamp::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos).unwrap()
    })
}

fn id() -> impl Strategy<Value = String> {
    "[^\\x00]{1,40}".prop_filter("ids that no name can carry", |id| !matches!(id.as_str(), "." | ".." | "-"))
}

pub(crate) fn name() -> impl Strategy<Value = ExecutionName> {
    ("[a-z][a-z0-9-]{0,10}", id(), id()).prop_map(|(backend, test, execution)| ExecutionName {
        backend: BackendId::new(&backend).unwrap(),
        test: TestId::new(&test).unwrap(),
        execution: ExecutionId::new(&execution).unwrap(),
    })
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map(text(), text(), 0..4)
}

fn counts() -> impl Strategy<Value = Counts> {
    (any::<[Option<i32>; 5]>(), any::<bool>()).prop_map(
        |([total, passed, failed, errored, other], partial)| Counts {
            total,
            passed,
            failed,
            errored,
            other,
            partial,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(FailureKind::Assertion),
        Just(FailureKind::Timeout),
        Just(FailureKind::UpstreamError),
        Just(FailureKind::Stopped),
        Just(FailureKind::ResultUnavailable),
        Just(FailureKind::Lost),
    ];
    (kind, text(), proptest::collection::vec(text(), 0..6))
        .prop_map(|(kind, code, messages)| Failure::new(kind, code, messages))
}

pub(crate) fn details() -> impl Strategy<Value = Details> {
    let target = (text(), text(), text()).prop_map(|(bot_id, bot_alias_id, locale_id)| LexTarget {
        bot_id,
        bot_alias_id,
        locale_id,
    });
    let mode = prop_oneof![Just(LexApiMode::Streaming), Just(LexApiMode::NonStreaming)];
    let modality = prop_oneof![Just(LexModality::Text), Just(LexModality::Audio)];
    prop_oneof![
        (text(), text()).prop_map(|(instance_id, test_case_id)| Details::Connect(ConnectDetails {
            instance_id,
            test_case_id
        })),
        (text(), text(), option::of(target), option::of(mode), option::of(modality), option::of(time()))
            .prop_map(|(test_set_id, test_set_name, target, api_mode, modality, update_time)| {
                Details::Lex(LexDetails {
                    test_set_id,
                    test_set_name,
                    target,
                    api_mode,
                    modality,
                    update_time,
                })
            }),
        (
            text(),
            text(),
            any::<[Option<i64>; 2]>(),
            option::of(proptest::num::f64::NORMAL),
            option::of(Just(0.5))
        )
            .prop_map(|(fqn, run_id, [passed_rows, failed_rows], min_bound, max_bound)| {
                Details::OpenMetadata(OpenMetadataDetails {
                    fully_qualified_name: fqn,
                    result_id: run_id.clone(),
                    incident_id: String::new(),
                    run_id,
                    passed_rows,
                    failed_rows,
                    min_bound,
                    max_bound,
                })
            }),
    ]
}

pub(crate) fn execution() -> impl Strategy<Value = Execution> {
    let condition =
        (text(), text(), time()).prop_map(|(reason, message, since)| Condition { reason, message, since });
    let about = (
        name(),
        proptest::sample::select(State::ALL.as_slice()),
        proptest::sample::select(Verdict::ALL.as_slice()),
        option::of(counts()),
        option::of(failure()),
        option::of(condition),
        option::of(details()),
    );
    let times = proptest::array::uniform5(option::of(time()));
    let texts = proptest::array::uniform7(text());
    (about, times, texts, labels(), labels(), any::<i64>(), any::<bool>()).prop_map(
        |(about, times, texts, labels, upstream_labels, revision, reconciled)| {
            let (name, state, verdict, counts, failure, condition, details) = about;
            let [create_time, start_time, end_time, stop_request_time, observe_time] = times;
            let [
                upstream_status,
                upstream_id,
                creator,
                request_id,
                stop_requester,
                stop_reason,
                test_display_name,
            ] = texts;
            Execution {
                name,
                state,
                verdict,
                counts,
                failure,
                create_time,
                start_time,
                end_time,
                stop_request_time,
                observe_time,
                revision,
                upstream_status,
                upstream_id,
                condition,
                labels,
                details,
                upstream_labels,
                creator,
                request_id,
                stop_requester,
                stop_reason,
                test_display_name,
                reconciled,
            }
        },
    )
}
