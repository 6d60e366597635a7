//! Following executions on a stream.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::execution_update::Type;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::proto::v1::{Verdict, WatchExecutionsRequest};
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Request};

use crate::rig::{
    Stream, begin_endless, finish, id_of, is, quick, shown, start_elsewhere, watching, watching_parent,
};
use crate::support::{blamed, state, told, verdict};

const SECOND: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 1, nanos: 0 });

#[tokio::test]
async fn a_stream_opens_with_a_snapshot_and_goes_on_with_rising_revisions_to_the_end() {
    let world = quick(10.0).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(world.begin("connect", "greeting").await.name);
    }
    names.push(names[0].clone());
    let request = WatchExecutionsRequest { until_done: true, ..watching(&names) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let mut known: HashMap<String, v1::Execution> = HashMap::new();
    let mut complete = false;
    loop {
        match stream.event().await {
            Event::Update(update) => {
                let expected = if complete { Type::Changed } else { Type::Snapshot };
                assert_eq!(update.r#type(), expected);
                if !complete {
                    assert_eq!(stream.last_token, "", "a token before the snapshot was complete");
                }
                let execution = update.execution.unwrap();
                if let Some(before) = known.get(&execution.name) {
                    assert!(complete, "{} came twice in the snapshot", execution.name);
                    assert!(execution.revision > before.revision);
                    assert!(!before.done, "{} changed after its end", execution.name);
                }
                assert_eq!(execution.done, verdict(&execution) != Verdict::Pending);
                known.insert(execution.name.clone(), execution);
            }
            Event::SnapshotComplete(mark) => {
                assert!(!complete && !mark.reset);
                assert_eq!(known.len(), 4, "duplicates count once");
                assert!(mark.unreachable.is_empty());
                assert_eq!(mark.heartbeat_interval.unwrap().seconds, 15);
                assert_eq!(mark.max_lag.unwrap().seconds, 30);
                complete = true;
            }
            Event::Heartbeat(_) => {}
            Event::Complete(mark) => {
                assert_eq!(mark.done_count, 4);
                break;
            }
        }
    }
    assert!(known.values().all(|execution| execution.done && verdict(execution) == Verdict::Passed));
    assert!(stream.next().await.unwrap().is_none(), "OK follows `complete`");
}

#[tokio::test]
async fn row_12_a_stream_on_what_is_done_is_one_snapshot_complete_and_ok() {
    let world = quick(20.0).await;
    let ended = world.run("connect", "greeting").await;
    let calls = world.calls("connect", "*");
    let request = WatchExecutionsRequest { until_done: true, ..watching([&ended.name]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (snapshot, mark) = stream.opening().await;
    assert_eq!(snapshot.len(), 1);
    assert_eq!(shown(&snapshot[0]), &ended);
    assert!(!mark.reset);
    assert!(matches!(stream.event().await, Event::Complete(v1::WatchComplete { done_count: 1 })));
    assert!(stream.next().await.unwrap().is_none());
    assert_eq!(world.calls("connect", "*"), calls, "what is done needs no upstream");
}

#[tokio::test]
async fn heartbeats_come_at_the_granted_interval_and_tell_the_age_of_what_is_seen() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let request = WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching([&started.name]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (_, mark) = stream.opening().await;
    assert_eq!(mark.heartbeat_interval, SECOND);
    let first = stream.beat().await;
    let began = std::time::Instant::now();
    let second = stream.beat().await;
    let elapsed = began.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(5)).contains(&elapsed), "{elapsed:?}");
    assert!(first.oldest_observe_time.is_some() && second.unreachable.is_empty());
    assert!(second.send_time.unwrap().seconds >= first.send_time.unwrap().seconds);

    for (asked, granted) in [(0, 1), (3600, 60)] {
        let heartbeat_interval = Some(prost_types::Duration { seconds: asked, nanos: 0 });
        let request = WatchExecutionsRequest { heartbeat_interval, ..watching([&started.name]) };
        let (_, mark) = Stream::open(&world, request).await.unwrap().opening().await;
        assert_eq!(mark.heartbeat_interval.unwrap().seconds, granted);
    }
}

#[tokio::test]
async fn names_that_are_missing_are_all_listed_before_anything_is_sent() {
    let world = quick(1.0).await;
    let started = world.begin("connect", "greeting").await;
    let test = world.test("connect", "greeting").await.name;
    let names = [
        format!("{test}/executions/nowhere"),
        started.name.clone(),
        "backends/nobody/tests/t/executions/e".to_owned(),
        format!("{test}/executions/g-00000000-0000-4000-8000-000000000000"),
    ];
    let status = Stream::open(&world, watching(&names)).await.err().unwrap();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert_eq!(blamed(&status), ["names[0]", "names[2]", "names[3]"]);
    let status = Stream::open(&world, watching_parent("backends/nobody/tests/-")).await.err().unwrap();
    assert_eq!(told(&status), (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_parent_shows_what_was_started_elsewhere_until_it_ends() {
    let world = quick(1.0).await;
    let before = start_elsewhere(&world, "connect", "greeting");
    let ended_before = start_elsewhere(&world, "connect", "greeting");
    finish(&world, &ended_before);
    world.control("connect", json!({"command": "hang", "execution": id_of(&before)}));
    // Ends are told apart by the second they fall into at the latest.
    world.sandbox.clock().advance(Duration::from_secs(60));
    world.skew.forward(Duration::from_secs(60));

    let mut stream = Stream::open(&world, watching_parent("backends/-/tests/-")).await.unwrap();
    let (snapshot, mark) = stream.opening().await;
    assert!(mark.unreachable.is_empty(), "{mark:?}");
    let names: Vec<_> = snapshot.iter().map(|update| shown(update).name.as_str()).collect();
    assert_eq!(names, [before.as_str()], "only what is unfinished is selected");

    let later = start_elsewhere(&world, "lex", "booking");
    let seen = stream.until(|update| is(update, Type::Changed, &later)).await;
    assert!(!shown(&seen).done);
    world.control("lex", json!({"command": "finish", "execution": id_of(&later), "outcome": "passed"}));
    let ended = stream.until(|update| is(update, Type::Changed, &later) && shown(update).done).await;
    assert_eq!(verdict(shown(&ended)), Verdict::Passed);

    // Seen for the first time after its end.
    let quickly = start_elsewhere(&world, "connect", "greeting");
    finish(&world, &quickly);
    finish(&world, &before);
    let mut left = vec![before, quickly];
    stream
        .until(|update| {
            if shown(update).done {
                assert!(shown(update).counts.is_some(), "an end without its counts");
                left.retain(|name| *name != shown(update).name);
            }
            left.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_filter_narrows_a_parent_and_what_leaves_it_is_removed() {
    let world = quick(1.0).await;
    let parent = world.test("connect", "greeting").await.name;
    let labelled = v1::StartExecutionRequest {
        parent: parent.clone(),
        labels: HashMap::from([("build".to_owned(), "42".to_owned())]),
        ..Default::default()
    };
    let started =
        world.client.clone().start_execution(labelled).await.unwrap().into_inner().execution.unwrap();
    let other = begin_endless(&world).await;
    world.control("connect", json!({"command": "hang", "execution": id_of(&started.name)}));
    let request = WatchExecutionsRequest {
        filter: "labels.build = \"42\" AND done = false".to_owned(),
        ..watching_parent(&parent)
    };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    assert_eq!(
        snapshot.iter().map(|update| shown(update).name.as_str()).collect::<Vec<_>>(),
        [&started.name]
    );
    finish(&world, &other.name);
    finish(&world, &started.name);
    let last = stream
        .until(|update| {
            assert_ne!(shown(update).name, other.name);
            update.r#type() == Type::Removed
        })
        .await;
    assert_eq!(shown(&last).name, started.name);
    assert!(shown(&last).done, "REMOVED carries the last state");
    assert_eq!(verdict(shown(&last)), Verdict::Passed);
}

#[tokio::test]
async fn upstream_trouble_is_a_condition_and_goes_away_again() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut stream = Stream::open(&world, watching([&started.name])).await.unwrap();
    stream.opening().await;
    world.sandbox.inject("connect", Fault::new("*", FaultKind::Status { status: 500 })).unwrap();
    let unwell = stream.until(|update| shown(update).condition.is_some()).await.execution.unwrap();
    assert_eq!(unwell.condition.unwrap().reason, "UPSTREAM_INTERNAL");
    assert_eq!(unwell.verdict, v1::Verdict::Pending as i32);
    assert!(!unwell.done);
    world.sandbox.clear_faults("connect").unwrap();
    finish(&world, &started.name);
    let well = stream.until(|update| shown(update).condition.is_none()).await.execution.unwrap();
    assert!(well.revision > unwell.revision);
    let ended =
        if well.done { well } else { stream.until(|update| shown(update).done).await.execution.unwrap() };
    assert_eq!(verdict(&ended), Verdict::Passed);
}

#[tokio::test]
async fn a_name_that_cant_be_read_in_time_opens_without_a_state_and_comes_later() {
    let world = quick(1.0).await;
    let name = start_elsewhere(&world, "lex", "slow");
    world.sandbox.inject("lex", Fault::new("DescribeTestExecution", FaultKind::Delay { ms: 3000 })).unwrap();
    let mut stream = Stream::open(&world, watching([&name])).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    let opened = shown(&snapshot[0]);
    assert_eq!(
        (opened.name.as_str(), state(opened), opened.done),
        (name.as_str(), State::Unspecified, false)
    );
    assert!(opened.condition.is_some(), "{opened:?}");
    let read = stream.until(|update| state(shown(update)) != State::Unspecified).await;
    assert_eq!(read.r#type(), Type::Changed);
    assert!(shown(&read).condition.is_none());
    assert!(shown(&read).revision > opened.revision);
}

#[tokio::test]
async fn a_name_found_missing_after_the_opening_is_removed_and_counts_as_ended() {
    let world = quick(1.0).await;
    let name = "backends/lex/tests/BOOKINGOK1/executions/NOWHERE001".to_owned();
    world.sandbox.inject("lex", Fault::new("DescribeTestExecution", FaultKind::Delay { ms: 3000 })).unwrap();
    let request = WatchExecutionsRequest { until_done: true, ..watching([&name]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    assert_eq!(state(shown(&snapshot[0])), State::Unspecified);
    let gone = stream.until(|update| update.r#type() == Type::Removed).await;
    assert_eq!(shown(&gone).condition.as_ref().unwrap().reason, "UPSTREAM_NOT_FOUND");
    assert!(shown(&gone).revision > shown(&snapshot[0]).revision);
    assert!(matches!(stream.event().await, Event::Complete(v1::WatchComplete { done_count: 1 })));
}

#[tokio::test]
async fn a_backend_that_cant_be_listed_is_named_and_its_executions_come_when_it_can() {
    let world = quick(1.0).await;
    let name = start_elsewhere(&world, "lex", "slow");
    world.sandbox.inject("lex", Fault::new("*", FaultKind::ResetBefore)).unwrap();
    let request =
        WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching_parent("backends/-/tests/-") };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let (snapshot, mark) = stream.opening().await;
    assert!(snapshot.is_empty());
    assert_eq!(mark.unreachable, ["backends/lex"]);
    assert_eq!(stream.beat().await.unreachable, ["backends/lex"]);
    world.sandbox.clear_faults("lex").unwrap();
    stream.until(|update| is(update, Type::Changed, &name)).await;
    while !stream.beat().await.unreachable.is_empty() {}
}

#[tokio::test]
async fn what_is_gone_twice_half_a_minute_apart_is_lost() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut stream = Stream::open(&world, watching([&started.name])).await.unwrap();
    stream.opening().await;
    world.control("connect", json!({"command": "delete", "execution": id_of(&started.name)}));
    let missing = stream.until(|update| shown(update).condition.is_some()).await.execution.unwrap();
    assert_eq!(missing.condition.unwrap().reason, "UPSTREAM_NOT_FOUND");
    assert!(!missing.done);
    // A read says what was seen last, with why that is old.
    let forced = || v1::GetExecutionRequest {
        name: started.name.clone(),
        max_staleness: Some(prost_types::Duration::default()),
    };
    let again = world.client.clone().get_execution(forced()).await.unwrap().into_inner().execution.unwrap();
    assert_eq!((again.done, again.condition.unwrap().reason.as_str()), (false, "UPSTREAM_NOT_FOUND"));
    world.skew.forward(Duration::from_secs(31));
    world.client.clone().get_execution(forced()).await.unwrap();
    let lost = stream.until(|update| shown(update).done).await.execution.unwrap();
    assert_eq!((state(&lost), verdict(&lost)), (State::Lost, Verdict::Inconclusive));
    assert_eq!(lost.failure.unwrap().kind(), v1::failure_reason::Kind::Lost);
    assert_eq!(lost.condition, None);
}

#[tokio::test]
async fn row_13_a_deadline_ends_a_stream_with_its_own_code() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut request = Request::new(watching([&started.name]));
    request.metadata_mut().insert("grpc-timeout", "1500m".parse().unwrap());
    let mut stream = world.client.clone().watch_executions(request).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(told(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
}

#[tokio::test]
async fn a_rate_floor_merges_changes_and_lets_the_end_through() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let request = WatchExecutionsRequest {
        min_update_interval: Some(prost_types::Duration { seconds: 50, nanos: 0 }),
        ..watching([&started.name])
    };
    let mut floored = Stream::open(&world, request).await.unwrap();
    floored.opening().await;
    let mut free = Stream::open(&world, watching([&started.name])).await.unwrap();
    free.opening().await;
    let id = id_of(&started.name);
    for passed in 1..=4 {
        let total = json!({"command": "set", "execution": id, "total": 9, "passed": passed, "failed": 0});
        world.control("connect", total);
        free.until(|update| shown(update).counts.and_then(|counts| counts.passed) == Some(passed)).await;
    }
    finish(&world, &started.name);
    let mut seen = Vec::new();
    loop {
        if let Event::Update(update) = floored.event().await {
            seen.push(update);
            if shown(seen.last().unwrap()).done {
                break;
            }
        }
    }
    assert!(seen.len() <= 2, "the floor let {} updates through", seen.len());
    assert!(seen.iter().map(|update| update.coalesced_count).sum::<i32>() >= 3, "{seen:?}");
}

#[tokio::test]
async fn a_wait_returns_at_the_end_at_a_later_revision_or_at_its_timeout() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let wait = async |timeout: Option<Duration>, after_revision: Option<i64>| {
        let request = v1::WaitExecutionRequest {
            name: started.name.clone(),
            timeout: timeout.map(|timeout| timeout.try_into().unwrap()),
            after_revision,
        };
        world.client.clone().wait_execution(request).await.unwrap().into_inner().execution.unwrap()
    };
    let brief = Some(Duration::from_millis(10));
    assert!(!wait(brief, None).await.done, "an expired wait is OK");
    let later = wait(None, Some(0)).await;
    assert!(later.revision > 0 && !later.done);
    let id = id_of(&started.name);
    let (changed, ()) = tokio::join!(wait(None, Some(i64::MAX - 1)), async {
        let counts = json!({"command": "set", "execution": id, "total": 9, "passed": 1, "failed": 0});
        world.control("connect", counts);
        let newer = wait(None, Some(later.revision)).await;
        assert!(newer.revision > later.revision);
        finish(&world, &started.name);
    });
    assert!(changed.done, "an end ends every wait");
    assert_eq!(wait(Some(Duration::ZERO), None).await.revision, changed.revision);
    let name = "backends/connect/tests/nope/executions/nope".to_owned();
    let missing = v1::WaitExecutionRequest { name, ..Default::default() };
    let status = world.client.clone().wait_execution(missing).await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "UPSTREAM_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_waiters_shorter_deadline_is_answered_before_it_passes() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut request = Request::new(v1::WaitExecutionRequest { name: started.name, ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "1S".parse().unwrap());
    let answer = world.client.clone().wait_execution(request).await.unwrap().into_inner();
    assert!(!answer.execution.unwrap().done);
}

#[tokio::test]
async fn a_parent_never_hears_of_a_name_that_turns_out_not_to_exist() {
    let world = quick(1.0).await;
    let request =
        WatchExecutionsRequest { heartbeat_interval: SECOND, ..watching_parent("backends/lex/tests/-") };
    let mut parent = Stream::open(&world, request).await.unwrap();
    parent.opening().await;
    world.sandbox.inject("lex", Fault::new("DescribeTestExecution", FaultKind::Delay { ms: 3000 })).unwrap();
    let nowhere = "backends/lex/tests/BOOKINGOK1/executions/NOWHERE001".to_owned();
    let request = WatchExecutionsRequest { until_done: true, ..watching([&nowhere]) };
    let mut stream = Stream::open(&world, request).await.unwrap();
    stream.opening().await;
    stream.until(|update| update.r#type() == Type::Removed).await;
    // What was queued before comes before the next heartbeat but one.
    for _ in 0..2 {
        let event = parent.event().await;
        assert!(matches!(event, Event::Heartbeat(_)), "{event:?}");
    }
}
