//! What a restart keeps: the gateway as a process of its own that is killed, stopped, and started again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::place::{Place, get, next, snapshot, until, until_done};
use crate::start::{CONNECT, Kind, LEX, QUALITY, name_of, start};
use crate::support::{state, told, verdict};

const KINDS: [Kind; 3] = [CONNECT, LEX, QUALITY];

#[tokio::test]
async fn an_answered_start_survives_a_kill_with_all_that_belongs_to_it() {
    let place = Place::new().await;
    let first = place.process().await;
    let mut started = Vec::new();
    for kind in KINDS {
        let parent = kind.parent(&place.world).await;
        let request = v1::StartExecutionRequest {
            parent: parent.clone(),
            request_id: "once".into(),
            labels: HashMap::from([("commit".to_owned(), "4f2a".to_owned())]),
            ..Default::default()
        };
        let answer = first.client.clone().start_execution(request.clone()).await.unwrap().into_inner();
        started.push((kind, request, answer.execution.unwrap()));
    }
    first.kill().await;

    let second = place.process().await;
    for (kind, request, before) in started {
        let known = get(&second.client, &before.name).await.unwrap();
        assert!(known.revision >= before.revision, "{}: {known:?} {before:?}", kind.backend);
        assert_eq!(known.labels, before.labels);
        assert_eq!((&known.creator, &known.request_id), (&before.creator, &before.request_id));
        assert_eq!(known.create_time, before.create_time);
        let repeat = second.client.clone().start_execution(request.clone()).await.unwrap().into_inner();
        assert!(repeat.deduplicated);
        assert_eq!(repeat.execution.unwrap().name, before.name);
        let other = v1::StartExecutionRequest { labels: HashMap::new(), ..request };
        let reused = second.client.clone().start_execution(other).await.unwrap_err();
        assert_eq!(told(&reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".into()));
        let ended = until_done(&second.client, &before.name).await;
        let expected = if kind.backend == "quality" { v1::Verdict::Failed } else { v1::Verdict::Passed };
        assert_eq!((state(&ended), verdict(&ended)), (State::Completed, expected));
        assert!(ended.revision > before.revision);
        assert_eq!(ended.name, before.name, "a minted id stays");
        assert_eq!(kind.runs(&place.world), 1);
    }
}

#[tokio::test]
async fn what_is_unfinished_is_polled_again_without_anyone_asking() {
    let place = Place::new().await;
    let first = place.process().await;
    let mut names = Vec::new();
    for kind in KINDS {
        let parent = kind.parent(&place.world).await;
        names.push(name_of(&first.client, &parent, "once").await);
    }
    first.kill().await;
    let reads = [
        ("connect", "GetTestCaseExecutionSummary"),
        ("lex", "DescribeTestExecution"),
        ("openmetadata", "ListPipelineStatus"),
    ];
    let before = reads.map(|(upstream, operation)| place.world.calls(upstream, operation));
    let second = place.process().await;
    for ((upstream, operation), before) in reads.into_iter().zip(before) {
        until(|| place.world.calls(upstream, operation) > before).await;
    }
    for name in names {
        assert!(until_done(&second.client, &name).await.done);
    }
}

#[tokio::test]
async fn what_is_done_is_read_from_the_store_without_a_call() {
    let place = Place::new().await;
    let mut first = place.process().await;
    let name = name_of(&first.client, &LEX.parent(&place.world).await, "once").await;
    let done = until_done(&first.client, &name).await;
    // A save that was queued is written soon, not at once; an orderly end waits for it.
    first.terminate();
    assert!(first.exit().await.success());
    let second = place.process().await;
    let before = place.world.calls("lex", "DescribeTestExecution");
    assert_eq!(get(&second.client, &name).await.unwrap(), done);
    assert_eq!(place.world.calls("lex", "DescribeTestExecution"), before);
}

#[tokio::test]
async fn an_end_that_was_shown_survives_a_kill_at_that_moment() {
    let place = Place::new().await;
    let first = place.process().await;
    let name = name_of(&first.client, &LEX.parent(&place.world).await, "once").await;
    let request = v1::WatchExecutionsRequest { names: vec![name.clone()], ..Default::default() };
    let mut stream = snapshot(&first.client, request).await.stream;
    let shown = loop {
        if let Some(Event::Update(update)) = next(&mut stream).await.unwrap().event
            && let Some(execution) = update.execution.filter(|execution| execution.done)
        {
            break execution;
        }
    };
    first.kill().await;
    // What is not on disk could not be read again.
    place.world.sandbox.inject("lex", Fault::new("*", FaultKind::Status { status: 500 })).unwrap();
    let second = place.process().await;
    assert_eq!(get(&second.client, &name).await.unwrap(), shown);
}

/// Where in a start's life the process is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// So many milliseconds after the request was sent.
    After(u64),
    /// When upstream has the request and holds it back.
    Arrived,
    /// When upstream has the run and the reply is on its way or lost.
    Effective,
}

#[tokio::test]
async fn row_28_a_kill_at_any_point_of_a_start_starts_nothing_twice() {
    let points = [
        Point::After(0),
        Point::After(2),
        Point::After(5),
        Point::After(9),
        Point::After(15),
        Point::After(30),
        Point::Arrived,
        Point::Effective,
    ];
    for kind in KINDS {
        for point in points {
            let place = Place::new().await;
            let mut process = place.process().await;
            let parent = kind.parent(&place.world).await;
            let (calls, runs) = (place.world.calls(kind.upstream, kind.operation), kind.runs(&place.world));
            let id = "killed";
            let context = format!("{} {point:?}", kind.backend);
            match point {
                Point::Arrived => kind.inject(&place.world, FaultKind::Delay { ms: 200 }),
                // No reply can come before the kill.
                Point::Effective => kind.inject(&place.world, FaultKind::Truncate),
                Point::After(_) => {}
            }
            let client = process.client.clone();
            let sent = tokio::spawn({
                let parent = parent.clone();
                async move { start(&client, &parent, id).await }
            });
            match point {
                Point::After(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Point::Arrived => {
                    until(|| place.world.calls(kind.upstream, kind.operation) > calls).await;
                }
                Point::Effective => until(|| kind.runs(&place.world) > runs).await,
            }
            process.kill().await;
            let answered = sent.await.unwrap();
            place.world.sandbox.clear_faults(kind.upstream).unwrap();

            process = place.process().await;
            let retried = start(&process.client, &parent, id).await;
            // A request that the dead process left in the socket may be acted on only now; ask once more.
            let retried = match retried {
                Err(_) => start(&process.client, &parent, id).await,
                retried => retried,
            };
            let sends = place.world.calls(kind.upstream, kind.operation) - calls;
            let ran = kind.runs(&place.world) - runs;
            assert!(ran <= 1, "{context}: {ran} runs");
            assert!(sends <= 1 || kind.backend == "connect", "{context}: sent {sends} times");
            match &retried {
                Ok(retried) => {
                    assert_eq!(ran, 1, "{context}");
                    if let Ok(answered) = answered {
                        assert_eq!(
                            answered.execution.unwrap().name,
                            retried.execution.as_ref().unwrap().name,
                            "{context}"
                        );
                    }
                }
                Err(unknown) => {
                    assert_eq!(
                        told(unknown),
                        (Code::Unknown, "START_OUTCOME_UNKNOWN".into()),
                        "{context}: {unknown}"
                    );
                    assert_eq!(ran, 0, "{context}: a run was there and was not found: {unknown}");
                }
            }
            if matches!(point, Point::Effective) {
                retried.expect(&context);
            }
        }
    }
}

#[tokio::test]
async fn a_terminated_gateway_ends_streams_and_goes_in_time() {
    let place = Place::new().await;
    let mut process = place.process().await;
    let name = name_of(&process.client, &CONNECT.parent(&place.world).await, "once").await;
    let request = v1::WatchExecutionsRequest { names: vec![name], ..Default::default() };
    let mut stream = snapshot(&process.client, request).await.stream;
    // A connection that never says anything.
    let mute = tokio::net::TcpStream::connect(&process.address).await.unwrap();
    let begun = Instant::now();
    process.terminate();
    let ended = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!(told(&ended), (Code::Unavailable, "GATEWAY_DRAINING".into()), "{ended}");
    assert!(ended.get_details_retry_info().is_some());
    assert!(process.exit().await.success());
    assert!(begun.elapsed() < Duration::from_secs(6), "longer than drain_timeout: {:?}", begun.elapsed());
    drop(mute);
}

#[tokio::test]
async fn row_28_a_lost_reply_before_a_kill_is_adopted_after_it() {
    let place = Place::new().await;
    let mut process = place.process().await;
    for kind in [LEX, QUALITY] {
        let parent = kind.parent(&place.world).await;
        let fault = Fault::new(kind.operation, FaultKind::ResetAfter).times(1);
        place.world.sandbox.inject(kind.upstream, fault).unwrap();
        let lost = start(&process.client, &parent, "lost").await.unwrap_err();
        assert_eq!(told(&lost), (Code::Unknown, "START_OUTCOME_UNKNOWN".into()));
        process.kill().await;
        process = place.process().await;
        let adopted = start(&process.client, &parent, "lost").await.unwrap();
        assert!(adopted.deduplicated && adopted.execution.unwrap().reconciled);
        assert_eq!(kind.runs(&place.world), 1);
    }
}
