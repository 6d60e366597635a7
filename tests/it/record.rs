//! Recording: read first, write once, answer with what was read back.

use std::time::Duration;

use prost_types::Timestamp;
use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::Verdict;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::record_execution_request::Details;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Setup, World, blamed, now, state, told, verdict};

/// A case without any result, so that nothing of the seed is in the way.
const CASE: &str = "never_run";

async fn record(world: &World, request: v1::RecordExecutionRequest) -> Result<v1::Execution, Status> {
    let answer = world.client.clone().record_execution(request).await?;
    Ok(answer.into_inner().execution.unwrap())
}

/// A moment so many seconds ago, in whole milliseconds.
fn ago(seconds: i64) -> Timestamp {
    let then = now() - time::Duration::seconds(seconds);
    Timestamp { seconds: then.unix_timestamp(), nanos: i32::from(then.millisecond()) * 1_000_000 }
}

fn millis(at: &Timestamp) -> i64 {
    at.seconds * 1000 + i64::from(at.nanos / 1_000_000)
}

async fn passed(world: &World, end_time: Timestamp) -> v1::RecordExecutionRequest {
    v1::RecordExecutionRequest {
        parent: world.test("quality", CASE).await.name,
        end_time: Some(end_time),
        verdict: Verdict::Passed.into(),
        message: "as it should be".into(),
        details: Some(Details::Openmetadata(v1::OpenMetadataRecord {
            metrics: vec![v1::Metric {
                name: "rowCount".into(),
                value: "17".into(),
                predicted_value: String::new(),
            }],
            passed_rows: Some(17),
            failed_rows: Some(0),
        })),
    }
}

fn writes(world: &World) -> usize {
    world.calls("openmetadata", "AddResult")
}

/// The case as the simulated server has it.
fn case(world: &World) -> serde_json::Value {
    let overview = world.control("openmetadata", json!({"do": "overview"}));
    let cases = overview["cases"].as_array().unwrap();
    cases.iter().find(|case| case["fqn"].as_str().unwrap().ends_with(CASE)).unwrap().clone()
}

fn style(world: &World, api: &str) {
    world.control("openmetadata", json!({"do": "set", "api": api}));
}

#[tokio::test]
async fn each_verdict_is_recorded_by_both_styles_of_routes() {
    for api in ["by-fqn", "documented"] {
        let world = World::start().await;
        style(&world, api);
        for (at, (asked, ends)) in [
            (Verdict::Passed, State::Completed),
            (Verdict::Failed, State::Completed),
            (Verdict::Inconclusive, State::Errored),
        ]
        .into_iter()
        .enumerate()
        {
            let end_time = ago(60 - i64::try_from(at).unwrap());
            let request =
                v1::RecordExecutionRequest { verdict: asked.into(), ..passed(&world, end_time).await };
            let recorded = record(&world, request.clone()).await.unwrap();
            let context = format!("{api} {asked:?}: {recorded:?}");
            assert_eq!((state(&recorded), verdict(&recorded)), (ends, asked), "{context}");
            assert!(recorded.done && recorded.revision > 0, "{context}");
            assert_eq!(recorded.end_time, Some(end_time), "{context}");
            assert_eq!(recorded.name, format!("{}/executions/{}", request.parent, millis(&end_time)));

            let get = v1::GetExecutionRequest { name: recorded.name.clone(), ..Default::default() };
            let got = world.client.clone().get_execution(get).await.unwrap().into_inner().execution.unwrap();
            assert_eq!(got, recorded);
            let list = v1::ListExecutionsRequest { parent: request.parent.clone(), ..Default::default() };
            let rows = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
            assert_eq!(rows.len(), at + 1, "{context}");
            assert_eq!((&rows[0].name, rows[0].verdict), (&recorded.name, recorded.verdict), "{context}");

            // The same again says the same and writes nothing.
            let wrote = writes(&world);
            assert_eq!(record(&world, request).await.unwrap().name, recorded.name);
            assert_eq!(writes(&world), wrote, "{context}");
        }
        assert_eq!(case(&world)["results"], 3, "{api}");
    }
}

#[tokio::test]
async fn what_is_read_back_holds_the_rows_and_the_metrics() {
    let world = World::start().await;
    let recorded = record(&world, passed(&world, ago(5)).await).await.unwrap();
    let Some(v1::execution::Details::Openmetadata(details)) = &recorded.details else {
        panic!("{recorded:?}")
    };
    assert_eq!((details.passed_rows, details.failed_rows), (Some(17), Some(0)));
    let items = v1::ListResultItemsRequest { parent: recorded.name, ..Default::default() };
    let items = world.client.clone().list_result_items(items).await.unwrap().into_inner().result_items;
    assert_eq!(items.len(), 1);
    let text = format!("{:?}", items[0]);
    assert!(text.contains("rowCount") && text.contains("17"), "{text}");
}

#[tokio::test]
async fn row_36_other_content_under_the_same_key_is_refused_without_a_write() {
    for api in ["by-fqn", "documented"] {
        let world = World::start().await;
        style(&world, api);
        let first = passed(&world, ago(5)).await;
        record(&world, first.clone()).await.unwrap();
        let wrote = writes(&world);
        let metric = v1::Metric { name: "rowCount".into(), value: "18".into(), ..Default::default() };
        let details =
            v1::OpenMetadataRecord { metrics: vec![metric], passed_rows: Some(17), failed_rows: Some(0) };
        for other in [
            v1::RecordExecutionRequest { verdict: Verdict::Failed.into(), ..first.clone() },
            v1::RecordExecutionRequest { message: "otherwise".into(), ..first.clone() },
            v1::RecordExecutionRequest { details: Some(Details::Openmetadata(details)), ..first.clone() },
            v1::RecordExecutionRequest { details: None, ..first.clone() },
        ] {
            let refused = record(&world, other).await.unwrap_err();
            assert_eq!(told(&refused), (Code::AlreadyExists, "RESULT_EXISTS".into()), "{api}: {refused}");
            assert!(refused.get_details_retry_info().is_none());
        }
        assert_eq!(writes(&world), wrote, "{api}");
        assert_eq!((&case(&world)["latest"], &case(&world)["incident"]), (&json!("Success"), &json!(null)));
    }
}

#[tokio::test]
async fn row_36_a_conflict_in_a_race_is_judged_by_what_is_there() {
    for same in [true, false] {
        let world = World::start().await;
        // Another gateway writes while the write of ours is on its way to the server.
        let other = World::over(world.sandbox.clone(), Setup::default()).await;
        let request = passed(&world, ago(5)).await;
        let theirs = match same {
            true => request.clone(),
            false => v1::RecordExecutionRequest { message: "otherwise".into(), ..request.clone() },
        };
        let delay = Fault::new("AddResult", FaultKind::Delay { ms: 800 }).times(1);
        world.sandbox.inject("openmetadata", delay).unwrap();
        let race = async {
            while writes(&world) == 0 {
                tokio::task::yield_now().await;
            }
            record(&other, theirs).await.unwrap()
        };
        let (ours, theirs) = tokio::join!(record(&world, request), race);
        let statuses: Vec<_> =
            world.sandbox.calls("openmetadata", "AddResult").iter().filter_map(|call| call.status).collect();
        assert_eq!(statuses, [409, 201], "theirs came first");
        match same {
            true => assert_eq!(ours.unwrap().name, theirs.name),
            false => assert_eq!(told(&ours.unwrap_err()), (Code::AlreadyExists, "RESULT_EXISTS".into())),
        }
        assert_eq!(case(&world)["results"], 1);
    }
}

#[tokio::test]
async fn a_conflict_with_nothing_there_is_a_conflict() {
    let world = World::start().await;
    let conflict = FaultKind::Status { status: 409 };
    world.sandbox.inject("openmetadata", Fault::new("AddResult", conflict).times(1)).unwrap();
    let refused = record(&world, passed(&world, ago(5)).await).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Aborted, "UPSTREAM_CONFLICT".into()));
    assert_eq!(writes(&world), 1);
}

#[tokio::test]
async fn row_35_an_implausible_time_is_refused_with_a_hint_before_any_write() {
    let world = World::start().await;
    let good = passed(&world, ago(5)).await;
    let before = writes(&world);
    let seconds = now().unix_timestamp();
    for (at, hint) in [
        // Seconds, taken for milliseconds.
        (Timestamp { seconds: seconds / 1000, nanos: 0 }, "seconds"),
        (Timestamp { seconds: 0, nanos: 0 }, "seconds"),
        (Timestamp { seconds: -5, nanos: 0 }, "seconds"),
        // Microseconds, taken for milliseconds.
        (Timestamp { seconds: seconds * 100, nanos: 0 }, "microseconds"),
        (Timestamp { seconds: i64::MAX, nanos: 0 }, ""),
        (Timestamp { seconds, nanos: -1 }, ""),
    ] {
        let request = v1::RecordExecutionRequest { end_time: Some(at), ..good.clone() };
        let refused = record(&world, request).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".into()), "{at:?}: {refused}");
        assert_eq!(blamed(&refused), ["end_time"], "{at:?}");
        let bad = refused.get_details_bad_request().unwrap();
        assert!(bad.field_violations[0].description.contains(hint), "{at:?}: {bad:?}");
    }
    assert_eq!(writes(&world), before);
}

#[tokio::test]
async fn a_malformed_record_is_refused_with_all_its_fields() {
    let world = World::start().await;
    let good = passed(&world, ago(5)).await;
    let metric = v1::Metric { name: "x".into(), ..Default::default() };
    let rows = |passed, count| {
        let metrics = vec![metric.clone(); count];
        Some(Details::Openmetadata(v1::OpenMetadataRecord {
            metrics,
            passed_rows: Some(passed),
            failed_rows: None,
        }))
    };
    for (request, field) in [
        (v1::RecordExecutionRequest { end_time: None, ..good.clone() }, "end_time"),
        (v1::RecordExecutionRequest { verdict: 0, ..good.clone() }, "verdict"),
        (v1::RecordExecutionRequest { verdict: Verdict::Pending.into(), ..good.clone() }, "verdict"),
        (v1::RecordExecutionRequest { verdict: 99, ..good.clone() }, "verdict"),
        (v1::RecordExecutionRequest { message: "x".repeat(64 * 1024 + 1), ..good.clone() }, "message"),
        (v1::RecordExecutionRequest { message: "a\0b".into(), ..good.clone() }, "message"),
        (v1::RecordExecutionRequest { details: rows(0, 101), ..good.clone() }, "openmetadata.metrics"),
        (v1::RecordExecutionRequest { details: rows(-1, 0), ..good.clone() }, "openmetadata.passed_rows"),
        (v1::RecordExecutionRequest { parent: "backends/quality/tests/-".into(), ..good.clone() }, "parent"),
    ] {
        assert_eq!(blamed(&record(&world, request).await.unwrap_err()), [field]);
    }
    let worst = v1::RecordExecutionRequest { end_time: None, verdict: 0, ..good };
    assert_eq!(blamed(&record(&world, worst).await.unwrap_err()).len(), 2);
    assert_eq!(writes(&world), 0);
}

#[tokio::test]
async fn row_38_a_swallowed_write_is_written_once_more() {
    for api in ["by-fqn", "documented"] {
        let world = World::start().await;
        style(&world, api);
        world.control("openmetadata", json!({"do": "swallow_results", "times": 1}));
        let recorded = record(&world, passed(&world, ago(5)).await).await.unwrap();
        assert_eq!(verdict(&recorded), Verdict::Passed);
        assert_eq!(case(&world)["results"], 1, "{api}");
        let stored = world.sandbox.calls("openmetadata", "AddResult");
        let accepted = stored.iter().filter(|call| call.status.is_some_and(|status| status < 300)).count();
        assert_eq!(accepted, 2, "{api}");
    }
}

#[tokio::test]
async fn row_38_a_write_that_is_swallowed_twice_is_told() {
    let world = World::start().await;
    world.control("openmetadata", json!({"do": "swallow_results", "times": 2}));
    let request = passed(&world, ago(5)).await;
    let lost = record(&world, request.clone()).await.unwrap_err();
    assert_eq!(told(&lost), (Code::Unavailable, "RESULT_NOT_STORED".into()));
    assert!(lost.get_details_retry_info().is_some());
    assert_eq!((writes(&world), &case(&world)["results"]), (2, &json!(0)));
    record(&world, request).await.unwrap();
    assert_eq!(case(&world)["results"], 1);
}

#[tokio::test]
async fn after_a_lost_reply_nothing_is_written_twice() {
    for api in ["by-fqn", "documented"] {
        for lost in [FaultKind::ResetAfter, FaultKind::Truncate, FaultKind::WrongJson] {
            let world = World::start().await;
            style(&world, api);
            // The way is known, so that the fault meets the write itself.
            record(&world, passed(&world, ago(50)).await).await.unwrap();
            let wrote = writes(&world);
            world.sandbox.inject("openmetadata", Fault::new("AddResult", lost.clone()).times(1)).unwrap();
            let recorded = record(&world, passed(&world, ago(5)).await).await.unwrap();
            assert_eq!(verdict(&recorded), Verdict::Passed, "{api} {lost:?}");
            assert_eq!(writes(&world) - wrote, 1, "{api} {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_write_that_was_lost_on_its_way_is_written_again() {
    for lost in [FaultKind::ResetBefore, FaultKind::Silent, FaultKind::Status { status: 500 }] {
        let world = World::with(impatient()).await;
        world.sandbox.inject("openmetadata", Fault::new("AddResult", lost.clone()).times(1)).unwrap();
        let recorded = record(&world, passed(&world, ago(5)).await).await.unwrap();
        assert_eq!(verdict(&recorded), Verdict::Passed, "{lost:?}");
        assert_eq!((writes(&world), &case(&world)["results"]), (2, &json!(1)), "{lost:?}");
    }
}

fn impatient() -> Setup {
    let adjust: fn(&mut Vec<testgate::config::backend::BackendConfig>) =
        |backends| backends.iter_mut().for_each(|one| one.request_timeout = Duration::from_millis(400));
    Setup { adjust, ..Setup::default() }
}

#[tokio::test]
async fn a_lost_write_that_cannot_be_read_back_is_unknown_and_safe_to_repeat() {
    let world = World::start().await;
    let request = passed(&world, ago(5)).await;
    let sandbox = &world.sandbox;
    sandbox.inject("openmetadata", Fault::new("AddResult", FaultKind::ResetAfter).times(1)).unwrap();
    // The first read finds nothing; those after the write fail.
    let unreadable = Fault::new("ListResults", FaultKind::Status { status: 500 });
    sandbox.inject("openmetadata", unreadable.after(1)).unwrap();
    let unknown = record(&world, request.clone()).await.unwrap_err();
    assert_eq!(told(&unknown), (Code::Unknown, "RECORD_OUTCOME_UNKNOWN".into()), "{unknown}");
    assert!(unknown.get_details_retry_info().is_none());
    sandbox.clear_faults("openmetadata").unwrap();
    assert_eq!(verdict(&record(&world, request).await.unwrap()), Verdict::Passed);
    assert_eq!(writes(&world), 1);
}

#[tokio::test]
async fn a_soft_deleted_case_stays_deleted() {
    for api in ["by-fqn", "documented"] {
        let world = World::start().await;
        style(&world, api);
        let request = passed(&world, ago(5)).await;
        record(&world, v1::RecordExecutionRequest { end_time: Some(ago(60)), ..request.clone() })
            .await
            .unwrap();
        let wrote = writes(&world);
        world.control("openmetadata", json!({"do": "delete_case", "case": CASE}));
        let missing = record(&world, request.clone()).await.unwrap_err();
        assert_eq!(told(&missing), (Code::NotFound, "UPSTREAM_NOT_FOUND".into()), "{api}: {missing}");
        assert!(missing.get_details_resource_info().is_some());
        assert_eq!((writes(&world), &case(&world)["deleted"]), (wrote, &json!(true)), "{api}");
        world.control("openmetadata", json!({"do": "delete_case", "case": CASE, "hard": true}));
        let missing = record(&world, request).await.unwrap_err();
        assert_eq!(told(&missing), (Code::NotFound, "UPSTREAM_NOT_FOUND".into()), "{api}: {missing}");
    }
}

#[tokio::test]
async fn row_37_an_older_result_leaves_the_current_status() {
    for api in ["by-fqn", "documented"] {
        let world = World::start().await;
        style(&world, api);
        let newest = passed(&world, ago(5)).await;
        let older = v1::RecordExecutionRequest {
            end_time: Some(ago(500)),
            verdict: Verdict::Failed.into(),
            ..newest.clone()
        };
        record(&world, newest.clone()).await.unwrap();
        assert_eq!(verdict(&record(&world, older).await.unwrap()), Verdict::Failed);
        let case = case(&world);
        assert_eq!((&case["latest"], &case["results"]), (&json!("Success"), &json!(2)), "{api}");
        let list = v1::ListExecutionsRequest { parent: newest.parent, ..Default::default() };
        let rows = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
        let verdicts: Vec<_> = rows.iter().map(verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed], "{api}");
    }
}

#[tokio::test]
async fn row_36_twenty_concurrent_records_write_once() {
    tokio::join!(record_at_once("by-fqn"), record_at_once("documented"));
}

async fn record_at_once(api: &str) {
    let world = World::start().await;
    style(&world, api);
    record(&world, passed(&world, ago(60)).await).await.unwrap();
    let wrote = writes(&world);
    let request = passed(&world, ago(5)).await;
    let records = (0..20).map(|_| record(&world, request.clone()));
    let answers = futures_util::future::join_all(records).await;
    let first = answers[0].as_ref().unwrap();
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap(), first, "{api}");
    }
    assert_eq!(writes(&world) - wrote, 1, "{api}");
}

#[tokio::test]
async fn of_concurrent_records_that_differ_one_wins() {
    let world = World::start().await;
    let request = passed(&world, ago(5)).await;
    let other = v1::RecordExecutionRequest { verdict: Verdict::Failed.into(), ..request.clone() };
    let (one, two) = tokio::join!(record(&world, request), record(&world, other));
    let loser = match (one, two) {
        (Ok(_), Err(loser)) | (Err(loser), Ok(_)) => loser,
        both => panic!("{both:?}"),
    };
    assert_eq!(told(&loser), (Code::AlreadyExists, "RESULT_EXISTS".into()));
    assert_eq!((writes(&world), &case(&world)["results"]), (1, &json!(1)));
}

#[tokio::test]
async fn nothing_else_takes_results() {
    let world = World::start().await;
    let good = passed(&world, ago(5)).await;
    for parent in [
        world.test("connect", "greeting").await.name,
        world.test("lex", "booking").await.name,
        world.test("quality", "Orders, daily").await.name,
    ] {
        let request = v1::RecordExecutionRequest { parent, ..good.clone() };
        let refused = record(&world, request).await.unwrap_err();
        assert_eq!(told(&refused), (Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED".into()));
    }
    let nowhere = v1::RecordExecutionRequest { parent: "backends/nowhere/tests/x".into(), ..good };
    assert_eq!(
        told(&record(&world, nowhere).await.unwrap_err()),
        (Code::NotFound, "RESOURCE_NOT_FOUND".into())
    );
}

#[tokio::test]
async fn a_watch_is_told_of_what_is_recorded() {
    use testgate::proto::v1::watch_executions_response::Event;
    let world = World::start().await;
    let request = passed(&world, ago(0)).await;
    let watch = v1::WatchExecutionsRequest { parent: request.parent.clone(), ..Default::default() };
    let mut stream = world.client.clone().watch_executions(watch).await.unwrap().into_inner();
    let told = async {
        loop {
            match stream.message().await.unwrap().unwrap().event.unwrap() {
                Event::SnapshotComplete(_) => {
                    let after = v1::RecordExecutionRequest { end_time: Some(ago(0)), ..request.clone() };
                    record(&world, after).await.unwrap();
                }
                Event::Update(update) => return update.execution.unwrap(),
                _ => {}
            }
        }
    };
    let update = tokio::time::timeout(crate::support::PATIENCE, told).await.unwrap();
    assert_eq!((update.done, verdict(&update)), (true, Verdict::Passed));
}
