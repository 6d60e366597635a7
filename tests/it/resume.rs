//! Streams that go on where an earlier one ended, in the same process or a later one.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::execution_update::Type;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::proto::v1::{SnapshotComplete, Verdict, WatchExecutionsRequest};
use tonic::Code;

use crate::place::{Place, snapshot};
use crate::rig::{
    Stream, begin_endless, finish, hurried, id_of, is, quick, shown, start_elsewhere, unthrottled, watching,
    watching_parent,
};
use crate::start::{CONNECT, name_of};
use crate::support::{Setup, World, blamed, state, told, verdict};

/// A world whose gateway keeps its store in a folder.
async fn durable(folder: &Path) -> World {
    unthrottled(World::with(kept(folder)).await)
}

fn kept(folder: &Path) -> Setup {
    Setup { store: Some(folder.join("store.redb")), ..hurried(1.0) }
}

/// Ends the gateway in good order and starts another one over the same store; `meanwhile` runs in between.
async fn restarted(
    world: World,
    folder: &Path,
    meanwhile: impl FnOnce(&testgate::sandbox::Sandbox),
) -> World {
    let World { sandbox, gateway, client, skew: _ } = world;
    drop(client);
    gateway.drain().await.unwrap();
    meanwhile(&sandbox);
    World::over(sandbox, kept(folder)).await
}

/// Goes on with a token; what comes before `snapshot_complete`, and that.
async fn resume(
    world: &World,
    token: &str,
    request: WatchExecutionsRequest,
) -> (Stream, Vec<v1::ExecutionUpdate>, SnapshotComplete) {
    let request = WatchExecutionsRequest { resume_token: token.to_owned(), ..request };
    let mut stream = Stream::open(world, request).await.unwrap();
    let (missed, mark) = stream.opening().await;
    (stream, missed, mark)
}

/// Ends an execution upstream while no gateway runs.
fn finish_at(sandbox: &testgate::sandbox::Sandbox, upstream: &str, name: &str) {
    let finish = json!({"command": "finish", "execution": id_of(name), "outcome": "passed"});
    sandbox.control(upstream, &finish).unwrap();
}

#[tokio::test]
async fn a_token_by_names_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = durable(folder.path()).await;
    let [before, during, still] = [
        begin_endless(&world).await.name,
        begin_endless(&world).await.name,
        begin_endless(&world).await.name,
    ];
    for name in [&before, &during, &still] {
        world.reach(name, State::Running).await;
    }
    let request = watching([&before, &during, &still]);
    let mut stream = Stream::open(&world, request.clone()).await.unwrap();
    stream.opening().await;
    let token = stream.token.clone();
    drop(stream);
    finish(&world, &before);
    let ended = world.follow(&before).await.pop().unwrap();

    let world = restarted(world, folder.path(), |sandbox| finish_at(sandbox, "connect", &during)).await;
    let (mut stream, missed, mark) = resume(&world, &token, request).await;
    assert!(!mark.reset);
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert!(is(&missed[0], Type::Changed, &before), "{missed:?}");
    assert_eq!(shown(&missed[0]), &ended, "what is done is what it was before the restart");
    let next = stream.until(|update| shown(update).done).await;
    assert!(is(&next, Type::Changed, &during), "{next:?}");
    assert!(shown(&next).revision > ended.revision);
}

#[tokio::test]
async fn a_token_by_parent_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = durable(folder.path()).await;
    let seen = start_elsewhere(&world, "connect", "greeting");
    world.control("connect", json!({"command": "hang", "execution": id_of(&seen)}));
    let request = watching_parent("backends/connect/tests/-");
    let mut stream = Stream::open(&world, request.clone()).await.unwrap();
    let (first, _) = stream.opening().await;
    assert_eq!(first.len(), 1);
    let token = stream.token.clone();
    drop(stream);

    let mut unseen = String::new();
    let world = restarted(world, folder.path(), |sandbox| {
        finish_at(sandbox, "connect", &seen);
        let started = sandbox.control("connect", &json!({"command": "start", "test": "greeting"})).unwrap();
        let id = |member: &str| started[member].as_str().unwrap().to_owned();
        unseen = format!("backends/connect/tests/{}/executions/{}", id("test"), id("execution"));
        finish_at(sandbox, "connect", &unseen);
    })
    .await;
    let request = WatchExecutionsRequest { resume_token: token, ..request };
    let mut stream = Stream::open(&world, request).await.unwrap();
    let mut awaited = vec![seen, unseen];
    while !awaited.is_empty() {
        match stream.event().await {
            Event::Update(update) => {
                assert_eq!(update.r#type(), Type::Changed, "{update:?}");
                if shown(&update).done {
                    assert_eq!(verdict(shown(&update)), Verdict::Passed);
                    awaited.retain(|name| *name != shown(&update).name);
                }
            }
            Event::SnapshotComplete(mark) => assert!(!mark.reset),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_token_by_parent_learns_after_a_restart_what_left() {
    let folder = tempfile::tempdir().unwrap();
    let world = durable(folder.path()).await;
    let [leaves, stays] = [begin_endless(&world).await.name, begin_endless(&world).await.name];
    world.reach(&stays, State::Running).await;
    let unfinished = WatchExecutionsRequest {
        filter: "done = false".to_owned(),
        ..watching_parent("backends/connect/tests/-")
    };
    let mut stream = Stream::open(&world, unfinished.clone()).await.unwrap();
    stream.opening().await;
    let token = stream.token.clone();
    drop(stream);
    finish(&world, &leaves);
    world.follow(&leaves).await;

    let world = restarted(world, folder.path(), |_| {}).await;
    let (_stream, missed, mark) = resume(&world, &token, unfinished).await;
    assert!(!mark.reset);
    let left = missed.iter().find(|update| shown(update).name == leaves).expect("the end was missed");
    assert_eq!(left.r#type(), Type::Removed);
    assert!(shown(left).done);
    assert!(!missed.iter().any(|update| is(update, Type::Removed, &stays)), "{missed:?}");
}

#[tokio::test]
async fn after_a_kill_what_may_have_been_shown_is_shown_again() {
    let place = Place::new().await;
    let first = place.process().await;
    let name = name_of(&first.client, &CONNECT.parent(&place.world).await, "once").await;
    place.world.control("connect", json!({"command": "hang", "execution": id_of(&name)}));
    let request = v1::WatchExecutionsRequest { names: vec![name.clone()], ..Default::default() };
    let before = snapshot(&first.client, request.clone()).await;
    first.kill().await;

    let second = place.process().await;
    let resumed = v1::WatchExecutionsRequest { resume_token: before.resume_token, ..request };
    let after = snapshot(&second.client, resumed).await;
    assert!(!after.reset);
    assert_eq!(after.shown.len(), 1, "its state before the kill may not be the one that is stored");
    assert!(after.shown[0].revision > before.shown[0].revision);
}

#[tokio::test]
async fn row_09_a_token_older_than_the_tombstones_is_told_reset_and_what_ended_since_its_first_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = durable(folder.path()).await;
    let ends = begin_endless(&world).await.name;
    let request = watching_parent("backends/connect/tests/-");
    let mut stream = Stream::open(&world, request.clone()).await.unwrap();
    stream.opening().await;
    let token = stream.token.clone();
    drop(stream);
    finish(&world, &ends);
    let ended = world.follow(&ends).await.pop().unwrap();

    // In the process that saw it, and in one that has it from its store.
    for restart in [false, true] {
        if restart {
            world = restarted(world, folder.path(), |_| {}).await;
        }
        // What was still to be written got the time of its writing, after the first step forward.
        world.skew.forward(Duration::from_secs(if restart { 7400 } else { 3700 }));
        let (stream, snapshot, mark) = resume(&world, &token, request.clone()).await;
        assert!(mark.reset);
        assert_eq!(snapshot.len(), 1, "{snapshot:?}");
        assert!(is(&snapshot[0], Type::Snapshot, &ends));
        assert_eq!(shown(&snapshot[0]), &ended);
        // The token of the new stream is honoured again.
        let (_, missed, mark) = resume(&world, &stream.token, request.clone()).await;
        assert!(!mark.reset && missed.is_empty(), "{missed:?}");
    }
}

#[tokio::test]
async fn a_resumed_stream_tells_only_what_changed_meanwhile() {
    let world = quick(1.0).await;
    let (still, moving) = (begin_endless(&world).await, begin_endless(&world).await);
    let names = [still.name.clone(), moving.name.clone()];
    let mut stream = Stream::open(&world, watching(&names)).await.unwrap();
    stream.opening().await;
    // Until both run and stand still.
    let mut running: Vec<&str> = Vec::new();
    for name in &names {
        let get = v1::GetExecutionRequest {
            name: name.clone(),
            max_staleness: Some(prost_types::Duration::default()),
        };
        let got = world.client.clone().get_execution(get).await.unwrap().into_inner().execution.unwrap();
        if state(&got) == State::Running {
            running.push(name);
        }
    }
    // Another stream sees everything; the token of its last message is where the first one goes on from.
    let mut stream = Stream::open(&world, watching(&names)).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    let token = stream.token.clone();
    let known: HashMap<_, _> =
        snapshot.iter().map(|update| (shown(update).name.clone(), shown(update).revision)).collect();
    drop(stream);
    finish(&world, &moving.name);
    world.follow(&moving.name).await;

    let backwards = [moving.name.clone(), still.name.clone()];
    let request = WatchExecutionsRequest { resume_token: token, ..watching(&backwards) };
    let mut resumed = Stream::open(&world, request.clone()).await.unwrap();
    let (missed, mark) = {
        let mut missed = Vec::new();
        loop {
            match resumed.event().await {
                Event::Update(update) => missed.push(update),
                Event::SnapshotComplete(mark) => break (missed, mark),
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(!mark.reset);
    assert!(missed.iter().all(|update| update.r#type() == Type::Changed), "{missed:?}");
    let ended = missed.iter().find(|update| shown(update).name == moving.name).expect("the end was missed");
    assert!(shown(ended).done && shown(ended).revision > known[&moving.name]);
    assert!(missed.iter().all(|update| shown(update).revision > known[&shown(update).name]), "{missed:?}");

    // With `until_done` what ended before the resumption counts as well.
    let resumed_from = resumed.token.clone();
    finish(&world, &still.name);
    let request = WatchExecutionsRequest { resume_token: resumed_from, until_done: true, ..request };
    let mut last = Stream::open(&world, request).await.unwrap();
    loop {
        if let Event::Complete(mark) = last.event().await {
            assert_eq!(mark.done_count, 2);
            break;
        }
    }
}

#[tokio::test]
async fn a_resumed_parent_learns_what_ended_and_what_left() {
    let world = quick(1.0).await;
    let parent = "backends/connect/tests/-";
    let (first, second) = (begin_endless(&world).await, begin_endless(&world).await);
    let request = WatchExecutionsRequest { filter: "done = false".to_owned(), ..watching_parent(parent) };
    let mut stream = Stream::open(&world, request.clone()).await.unwrap();
    let (snapshot, _) = stream.opening().await;
    assert_eq!(snapshot.len(), 2);
    let token = stream.token.clone();
    drop(stream);
    finish(&world, &first.name);
    world.follow(&first.name).await;
    let started = begin_endless(&world).await;

    let request = WatchExecutionsRequest { resume_token: token, ..request };
    let mut resumed = Stream::open(&world, request).await.unwrap();
    let mut news: HashMap<String, Type> = HashMap::new();
    while !(news.contains_key(&first.name) && news.contains_key(&started.name)) {
        if let Event::Update(update) = resumed.event().await {
            news.insert(shown(&update).name.clone(), update.r#type());
        }
    }
    assert_eq!(news[&first.name], Type::Removed);
    assert_eq!(news[&started.name], Type::Changed);
    assert_ne!(news.get(&second.name), Some(&Type::Removed));
}

#[tokio::test]
async fn row_09_a_token_of_a_store_that_is_gone_is_told_reset() {
    let world = quick(1.0).await;
    let started = begin_endless(&world).await;
    let mut stream = Stream::open(&world, watching([&started.name])).await.unwrap();
    stream.opening().await;
    let other = unthrottled(World::over(world.sandbox.clone(), hurried(1.0)).await);
    let request = WatchExecutionsRequest { resume_token: stream.token, ..watching([&started.name]) };
    let (snapshot, mark) = Stream::open(&other, request).await.unwrap().opening().await;
    assert!(mark.reset);
    assert_eq!(snapshot.len(), 1);
    assert_eq!(snapshot[0].r#type(), Type::Snapshot);
}

#[tokio::test]
async fn row_10_tokens_that_are_forged_or_of_another_selection_are_refused() {
    let world = quick(1.0).await;
    let (one, two) = (begin_endless(&world).await.name, begin_endless(&world).await.name);
    let mut stream = Stream::open(&world, watching([&one])).await.unwrap();
    stream.opening().await;
    let token = stream.token.clone();
    let mut forged = token.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    let mut middle = token.clone().into_bytes();
    let at = middle.len() - 8;
    middle[at] = if middle[at] == b'A' { b'B' } else { b'A' };
    let refused = [
        WatchExecutionsRequest { resume_token: String::from_utf8(middle).unwrap(), ..watching([&one]) },
        WatchExecutionsRequest { resume_token: forged, ..watching([&one]) },
        WatchExecutionsRequest { resume_token: format!("{token}A"), ..watching([&one]) },
        WatchExecutionsRequest { resume_token: token[..10].to_owned(), ..watching([&one]) },
        WatchExecutionsRequest { resume_token: token.clone(), ..watching([&two]) },
        WatchExecutionsRequest { resume_token: token.clone(), ..watching([&one, &two]) },
        WatchExecutionsRequest { resume_token: token.clone(), ..watching_parent("backends/connect/tests/-") },
    ];
    for (at, request) in refused.into_iter().enumerate() {
        let status =
            Stream::open(&world, request).await.err().unwrap_or_else(|| panic!("row {at} was taken"));
        assert_eq!(told(&status), (Code::InvalidArgument, "RESUME_TOKEN_INVALID".to_owned()), "row {at}");
        assert_eq!(blamed(&status), ["resume_token"]);
    }
    let parent = watching_parent("backends/connect/tests/-");
    let mut stream = Stream::open(&world, parent.clone()).await.unwrap();
    stream.opening().await;
    let filtered =
        WatchExecutionsRequest { filter: "done = false".to_owned(), resume_token: stream.token, ..parent };
    let status = Stream::open(&world, filtered).await.err().unwrap();
    assert_eq!(told(&status).1, "RESUME_TOKEN_INVALID");
}
