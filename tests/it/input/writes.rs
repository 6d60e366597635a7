//! What starts, stops and records refuse.

use std::collections::HashMap;

use prost_types::Timestamp;
use testgate::proto::v1::{self, LexStartOptions, LexTarget, Metric, OpenMetadataRecord};

use super::{CONNECT, TEST, assert_invalid, calls, probed};

#[tokio::test]
async fn starts_and_stops_refuse_fields_out_of_bounds() {
    let world = probed().await;
    let before = calls(&world);
    let start = || v1::StartExecutionRequest { parent: TEST.to_owned(), ..Default::default() };
    let lex_start = |lex: LexStartOptions| v1::StartExecutionRequest {
        parent: "backends/lex/tests/t".to_owned(),
        options: Some(v1::start_execution_request::Options::Lex(lex)),
        ..Default::default()
    };
    let labels = |key: &str, value: &str| HashMap::from([(key.to_owned(), value.to_owned())]);
    let bot = |bot_id: String| LexTarget { bot_id, ..Default::default() };
    let starts = [
        (v1::StartExecutionRequest { request_id: "x".repeat(129), ..start() }, "request_id"),
        (v1::StartExecutionRequest { request_id: "\u{fc}".to_owned(), ..start() }, "request_id"),
        (v1::StartExecutionRequest { request_id: "a\nb".to_owned(), ..start() }, "request_id"),
        (
            v1::StartExecutionRequest {
                labels: (0..33).map(|n| (n.to_string(), String::new())).collect(),
                ..start()
            },
            "labels",
        ),
        (v1::StartExecutionRequest { labels: labels("", "v"), ..start() }, "labels"),
        (v1::StartExecutionRequest { labels: labels(&"k".repeat(64), "v"), ..start() }, "labels"),
        (v1::StartExecutionRequest { labels: labels("k", &"v".repeat(257)), ..start() }, "labels[\"k\"]"),
        (v1::StartExecutionRequest { labels: labels("k", "a\0b"), ..start() }, "labels[\"k\"]"),
        (
            v1::StartExecutionRequest { parent: TEST.to_owned(), ..lex_start(LexStartOptions::default()) },
            "lex",
        ),
        (lex_start(LexStartOptions { api_mode: 9, ..Default::default() }), "lex.api_mode"),
        (lex_start(LexStartOptions { modality: -1, ..Default::default() }), "lex.modality"),
        (
            lex_start(LexStartOptions { target: Some(bot("x".repeat(129))), ..Default::default() }),
            "lex.target.bot_id",
        ),
        (
            lex_start(LexStartOptions { target: Some(bot("a\0".to_owned())), ..Default::default() }),
            "lex.target.bot_id",
        ),
    ];
    for (request, field) in starts {
        assert_invalid(&failure!(world, start_execution, request), "FIELD_INVALID", field, field);
    }
    let stop = || v1::StopExecutionRequest { name: CONNECT.to_owned(), ..Default::default() };
    for (request, field) in [
        (v1::StopExecutionRequest { reason: "r".repeat(1025), ..stop() }, "reason"),
        (v1::StopExecutionRequest { reason: "a\0b".to_owned(), ..stop() }, "reason"),
        (v1::StopExecutionRequest { request_id: "x".repeat(129), ..stop() }, "request_id"),
    ] {
        assert_invalid(&failure!(world, stop_execution, request), "FIELD_INVALID", field, field);
    }
    assert_eq!(calls(&world), before);
}

#[tokio::test]
async fn records_refuse_fields_out_of_bounds() {
    let world = probed().await;
    let before = calls(&world);
    let case = testgate::sandbox::openmetadata::seed::CASE_NEVER_RUN;
    let record = || v1::RecordExecutionRequest {
        parent: format!("backends/quality/tests/case-{case}"),
        end_time: Some(Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        verdict: v1::Verdict::Passed.into(),
        ..Default::default()
    };
    let with = |details: OpenMetadataRecord| v1::RecordExecutionRequest {
        details: Some(v1::record_execution_request::Details::Openmetadata(details)),
        ..record()
    };
    let at = |seconds, nanos| v1::RecordExecutionRequest {
        end_time: Some(Timestamp { seconds, nanos }),
        ..record()
    };
    let metric = |name: &str| Metric { name: name.to_owned(), ..Default::default() };
    let records = [
        (v1::RecordExecutionRequest { end_time: None, ..record() }, "end_time"),
        (at(i64::MAX, 0), "end_time"),
        (at(i64::MIN, 0), "end_time"),
        (at(0, -1), "end_time"),
        (at(1_790_000_000, 1_000_000_000), "end_time"),
        // Milliseconds that were taken for seconds, and seconds that were taken for milliseconds.
        (at(1_790_000_000_000, 0), "end_time"),
        (at(1_790_000, 0), "end_time"),
        (v1::RecordExecutionRequest { verdict: 0, ..record() }, "verdict"),
        (v1::RecordExecutionRequest { verdict: v1::Verdict::Pending.into(), ..record() }, "verdict"),
        (v1::RecordExecutionRequest { verdict: v1::Verdict::None.into(), ..record() }, "verdict"),
        (v1::RecordExecutionRequest { verdict: 77, ..record() }, "verdict"),
        (v1::RecordExecutionRequest { message: "m".repeat(64 * 1024 + 1), ..record() }, "message"),
        (v1::RecordExecutionRequest { message: "a\0b".to_owned(), ..record() }, "message"),
        (
            with(OpenMetadataRecord { metrics: vec![Metric::default(); 101], ..Default::default() }),
            "openmetadata.metrics",
        ),
        (
            with(OpenMetadataRecord { metrics: vec![metric("ok"), metric("a\0")], ..Default::default() }),
            "openmetadata.metrics[1].name",
        ),
        (
            with(OpenMetadataRecord { passed_rows: Some(-1), ..Default::default() }),
            "openmetadata.passed_rows",
        ),
        (
            with(OpenMetadataRecord { failed_rows: Some(i64::MIN), ..Default::default() }),
            "openmetadata.failed_rows",
        ),
    ];
    for (at, (request, field)) in records.into_iter().enumerate() {
        let what = format!("row {at}, {field}");
        assert_invalid(&failure!(world, record_execution, request), "FIELD_INVALID", field, &what);
    }
    assert_eq!(calls(&world), before);
}
