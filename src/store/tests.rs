use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use redb::TableDefinition;
use tempfile::TempDir;
use time::macros::datetime;

use super::*;
use crate::model::{
    ConnectDetails, Details, Execution, ExecutionId, Failure, FailureKind, Labels, Settling, State, Verdict,
};
use crate::proto::convert::tests::arbitrary;

mod failures;
mod gathering;

const NOW: Timestamp = datetime!(2026-11-21 12:00:00 UTC);
const HOUR: Duration = Duration::from_hours(1);

fn clock() -> Clock {
    Clock::from_fn(|| NOW)
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/testgate.redb");
    (folder, path)
}

fn open(path: &Path) -> Store {
    Store::open(Some(path.to_owned()), clock()).unwrap()
}

/// The store as another process would find it if this one were killed now.
fn after_kill(path: &Path) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.redb");
    fs::copy(path, &copy).unwrap();
    let store = open(&copy);
    (folder, store)
}

fn test_name() -> TestName {
    TestName::parse("backends/lex/tests/t").unwrap()
}

fn execution_name(id: &str) -> ExecutionName {
    test_name().execution(ExecutionId::new(id).unwrap())
}

fn record(id: &str) -> Record {
    Record {
        execution: Execution::unread(execution_name(id)).into(),
        settling: None,
        first_seen: NOW,
        gone_since: None,
        followed: false,
        position: 1,
        stop: None,
    }
}

fn done(id: &str) -> Record {
    let mut record = record(id);
    record.execution.state = State::Completed;
    record.execution.verdict = Verdict::Passed;
    record
}

fn start(request_id: &str) -> StartRecord {
    StartRecord {
        key: StartKey::new("ci", &test_name(), request_id),
        caller: "ci".into(),
        parent: test_name(),
        request_id: request_id.into(),
        fingerprint: [7; 32],
        labels: Labels::from([("k".into(), "v".into())]),
        token: "token".into(),
        time: NOW,
        details: Details::Connect(ConnectDetails { instance_id: "i".into(), test_case_id: "t".into() }),
        upstream_labels: Labels::new(),
        test_display_name: "T".into(),
        outcome: StartOutcome::Sending,
    }
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.execution.name.execution.as_str()).collect()
}

#[tokio::test]
async fn a_reopened_store_has_everything() {
    let (_folder, path) = folder();
    let store = open(&path);
    let (epoch, key) = (store.epoch(), store.token_key());
    let mut running = record("running");
    running.settling = Some(Settling { since: NOW, upstream_status: "Completed".into() });
    running.gone_since = Some(NOW);
    running.followed = true;
    store.save_durably(vec![running.clone(), done("done")]).await.unwrap();
    store.journal_start(start("r")).await.unwrap();
    store.save(record("queued"));
    drop(store);

    let store = open(&path);
    assert_eq!((store.epoch(), store.token_key()), (epoch, key));
    assert_eq!(store.get(&execution_name("running")).unwrap(), Some(running));
    assert_eq!(store.get(&execution_name("done")).unwrap(), Some(done("done")));
    assert_eq!(ids(&store.load_unfinished().unwrap()), ["queued", "running"]);
    assert_eq!(store.start(&start("r").key).unwrap(), Some(start("r")));
    assert_eq!(store.unsettled_starts().unwrap(), [start("r")]);
    assert!(store.file_size() > 0);
}

#[tokio::test]
async fn a_store_in_memory_works_and_keeps_nothing() {
    let store = Store::open(None, clock()).unwrap();
    let epoch = store.epoch();
    store.save_durably(vec![record("a")]).await.unwrap();
    assert_eq!(ids(&store.load_unfinished().unwrap()), ["a"]);
    drop(store);
    let store = Store::open(None, clock()).unwrap();
    assert_ne!(store.epoch(), epoch);
    assert!(store.load_unfinished().unwrap().is_empty());
}

#[tokio::test]
async fn a_journalled_start_is_on_disk_when_the_call_returns() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.journal_start(start("r")).await.unwrap();
    let (_copy, killed) = after_kill(&path);
    assert_eq!(killed.start(&start("r").key).unwrap(), Some(start("r")));
}

#[tokio::test]
async fn an_outcome_and_its_execution_are_on_disk_together() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.journal_start(start("r")).await.unwrap();
    let outcome = StartOutcome::Started(execution_name("e"));
    store.settle_start(&start("r").key, outcome.clone(), Some(record("e"))).await.unwrap();
    let (_copy, killed) = after_kill(&path);
    assert_eq!(killed.start(&start("r").key).unwrap().unwrap().outcome, outcome);
    assert_eq!(ids(&killed.load_unfinished().unwrap()), ["e"]);
    assert!(killed.unsettled_starts().unwrap().is_empty());
}

#[tokio::test]
async fn a_forgotten_start_frees_its_id() {
    let store = Store::open(None, clock()).unwrap();
    store.journal_start(start("r")).await.unwrap();
    store.forget_start(&start("r").key).await.unwrap();
    assert_eq!(store.start(&start("r").key).unwrap(), None);
    store.settle_start(&start("r").key, StartOutcome::NotConfirmed, None).await.unwrap();
    assert_eq!(store.start(&start("r").key).unwrap(), None, "an outcome brings no start back");
}

#[test]
fn numbers_rise_over_clean_and_unclean_ends_and_a_clock_set_back() {
    let (_folder, path) = folder();
    let store = open(&path);
    let first = store.next_revision();
    assert_eq!(first, i64::try_from(NOW.unix_timestamp_nanos() / 1000).unwrap());
    let mut last = (first, 0);
    for _ in 0..1000 {
        let next = (store.next_revision(), store.next_position());
        assert!(next.0 >= last.0 && next.1 > last.1);
        last = next;
    }

    let (_copy, killed) = after_kill(&path);
    assert!(killed.next_revision() > last.0);
    assert!(killed.next_position() > last.1);

    drop(store);
    let earlier = Clock::from_fn(|| NOW - HOUR);
    let reopened = Store::open(Some(path), earlier).unwrap();
    assert!(reopened.next_revision() > last.0);
    assert!(reopened.next_position() > last.1);
}

#[tokio::test]
async fn a_new_block_of_numbers_is_reserved_before_the_old_one_ends() {
    let (_folder, path) = folder();
    let store = open(&path);
    let mut last = 0;
    for _ in 0..3 {
        for _ in 0..600_000 {
            last = store.next_revision();
        }
        // Any write takes a reservation along that was asked for.
        store.journal_start(start("r")).await.unwrap();
    }
    let (_copy, killed) = after_kill(&path);
    assert!(killed.next_revision() > last);
}

#[tokio::test]
async fn the_last_of_several_saves_wins() {
    let (_folder, path) = folder();
    let store = open(&path);
    for revision in 1..=100 {
        let mut record = record("e");
        record.execution.revision = revision;
        store.save(record);
        assert_eq!(store.get(&execution_name("e")).unwrap().unwrap().execution.revision, revision);
    }
    store.flush().await.unwrap();
    let (_copy, killed) = after_kill(&path);
    assert_eq!(killed.get(&execution_name("e")).unwrap().unwrap().execution.revision, 100);
}

#[tokio::test]
async fn saves_and_durable_saves_keep_their_order() {
    let store = Store::open(None, clock()).unwrap();
    for revision in (1..=300).step_by(3) {
        let at = |revision| {
            let mut record = record("e");
            record.execution.revision = revision;
            record
        };
        store.save(at(revision));
        let durable = store.save_durably(vec![at(revision + 1)]);
        durable.await.unwrap();
        assert_eq!(store.get(&execution_name("e")).unwrap().unwrap().execution.revision, revision + 1);
        store.save(at(revision + 2));
        store.flush().await.unwrap();
        assert_eq!(store.get(&execution_name("e")).unwrap().unwrap().execution.revision, revision + 2);
    }
}

#[tokio::test]
async fn more_saves_than_one_transaction_takes_all_arrive() {
    let (_folder, path) = folder();
    let store = open(&path);
    for n in 0..1300 {
        store.save(record(&format!("e{n}")));
    }
    store.flush().await.unwrap();
    let (_copy, killed) = after_kill(&path);
    assert_eq!(killed.load_unfinished().unwrap().len(), 1300);
}

#[tokio::test]
async fn what_is_done_is_no_longer_unfinished() {
    let store = Store::open(None, clock()).unwrap();
    store.save_durably(vec![record("e")]).await.unwrap();
    store.save_durably(vec![done("e")]).await.unwrap();
    assert!(store.load_unfinished().unwrap().is_empty());
}

#[tokio::test]
async fn upstreams_id_leads_to_the_minted_name_and_is_claimed() {
    let store = Store::open(None, clock()).unwrap();
    let mut minted = record("g-6f2b1c1e-8d1d-4f0e-9c58-0f3c4a1b2d3e");
    store.save_durably(vec![minted.clone()]).await.unwrap();
    assert!(store.claimed_upstream_ids(&test_name()).unwrap().is_empty());

    minted.execution.upstream_id = "run/1".into();
    store.save(minted.clone());
    for _ in 0..2 {
        // Queued first, then stored: the answer is the same.
        let found = store.resolve_alias(&execution_name("run/1")).unwrap();
        assert_eq!(found.as_ref(), Some(&minted.execution.name));
        assert_eq!(store.claimed_upstream_ids(&test_name()).unwrap(), [execution_name("run/1")]);
        store.flush().await.unwrap();
    }

    minted.execution.upstream_id = "run/2".into();
    store.save_durably(vec![minted.clone()]).await.unwrap();
    assert_eq!(store.resolve_alias(&execution_name("run/1")).unwrap(), None);
    assert_eq!(store.claimed_upstream_ids(&test_name()).unwrap(), [execution_name("run/2")]);
}

#[tokio::test]
async fn only_what_was_started_here_is_claimed_and_it_is_no_alias() {
    let store = Store::open(None, clock()).unwrap();
    let mut ours = record("ours");
    ours.execution.request_id = "r".into();
    ours.execution.upstream_id = "ours".into();
    let mut elsewhere = record("elsewhere");
    elsewhere.execution.upstream_id = "elsewhere".into();
    let mut other_test = ours.clone();
    other_test.execution.name =
        ExecutionName::parse("backends/lex/tests/t%2Fexecutions/executions/ours").unwrap();
    store.save_durably(vec![ours, elsewhere, other_test]).await.unwrap();
    assert_eq!(store.claimed_upstream_ids(&test_name()).unwrap(), [execution_name("ours")]);
    assert_eq!(store.resolve_alias(&execution_name("ours")).unwrap(), None);
}

#[tokio::test]
async fn executions_come_by_name_in_pages_queued_or_stored() {
    let store = Store::open(None, clock()).unwrap();
    let named = |name: &str| {
        let mut record = record("x");
        record.execution.name = ExecutionName::parse(name).unwrap();
        record
    };
    store
        .save_durably(vec![
            record("b"),
            record("d"),
            named("backends/lex/tests/t2/executions/a"),
            named("backends/lex2/tests/t/executions/a"),
        ])
        .await
        .unwrap();
    store.save(record("a"));
    store.save(record("c"));
    let scope = Scope::parse("backends/lex/tests/t").unwrap();
    let first = store.executions_in(&scope, None, 2).unwrap();
    assert_eq!(ids(&first), ["a", "b"]);
    let rest = store.executions_in(&scope, Some(&first[1].execution.name), 10).unwrap();
    assert_eq!(ids(&rest), ["c", "d"]);
    assert!(store.executions_in(&scope, Some(&rest[1].execution.name), 10).unwrap().is_empty());
    assert_eq!(
        store.executions_in(&Scope::parse("backends/lex/tests/-").unwrap(), None, 10).unwrap().len(),
        5
    );
    assert_eq!(store.executions_in(&Scope::parse("backends/-/tests/-").unwrap(), None, 10).unwrap().len(), 6);
    let past = ExecutionName::parse("backends/z/tests/t/executions/a").unwrap();
    assert!(store.executions_in(&scope, Some(&past), 10).unwrap().is_empty());
}

#[tokio::test]
async fn a_sweep_deletes_what_is_past_its_time_and_nothing_else() {
    let store = Store::open(None, clock()).unwrap();
    let mut ours = done("ours");
    ours.execution.request_id = "r".into();
    ours.execution.upstream_id = "ours".into();
    store.save_durably(vec![done("old"), record("running"), ours]).await.unwrap();
    store.journal_start(start("r")).await.unwrap();
    assert_eq!(store.sweep(NOW + HOUR, HOUR).await.unwrap(), Swept::default());

    let swept = store.sweep(NOW + 2 * HOUR, HOUR).await.unwrap();
    assert_eq!(swept.executions, [execution_name("old")]);
    assert_eq!(swept.starts, 0);
    assert!(store.start(&start("r").key).unwrap().is_some());

    let swept = store.sweep(NOW + 25 * HOUR, HOUR).await.unwrap();
    assert_eq!((swept.executions, swept.starts), (vec![execution_name("ours")], 1));
    assert!(store.claimed_upstream_ids(&test_name()).unwrap().is_empty());
    assert_eq!(store.start(&start("r").key).unwrap(), None);
    let left = store.executions_in(&Scope::of_backend(None), None, 10).unwrap();
    assert_eq!(ids(&left), ["running"]);
}

#[tokio::test]
async fn a_sweep_does_a_bounded_amount_at_a_time() {
    let store = Store::open(None, clock()).unwrap();
    store.save_durably((0..700).map(|n| done(&format!("e{n}"))).collect()).await.unwrap();
    let first = store.sweep(NOW + 2 * HOUR, HOUR).await.unwrap();
    assert_eq!((first.executions.len(), first.more), (500, true));
    let second = store.sweep(NOW + 2 * HOUR, HOUR).await.unwrap();
    assert_eq!((second.executions.len(), second.more), (200, false));
}

fn positions(store: &Store) -> Vec<(u64, String)> {
    let rows = store.load_changes().unwrap().rows;
    rows.into_iter().map(|row| (row.position, row.name.execution.as_str().to_owned())).collect()
}

fn at(id: &str, position: u64) -> Record {
    Record { position, ..record(id) }
}

#[tokio::test]
async fn what_changed_is_known_after_a_restart_by_its_last_position() {
    let (_folder, path) = folder();
    let store = open(&path);
    let ended = Record { position: 9, ..done("b") };
    store.save_durably(vec![at("a", 5), at("b", 7), at("c", 8), ended]).await.unwrap();
    store.save_durably(vec![at("a", 11)]).await.unwrap();
    drop(store);
    let store = open(&path);
    let expected = [(8, "c"), (9, "b"), (11, "a")].map(|(position, id)| (position, id.to_owned()));
    assert_eq!(positions(&store), expected);
    assert_eq!(store.load_changes().unwrap().forgotten, 0);
}

#[tokio::test]
async fn a_sweep_forgets_changes_after_an_hour_and_with_them_what_was_only_watched() {
    let (_folder, path) = folder();
    let store = open(&path);
    let started_here = Record { followed: true, ..at("ours", 3) };
    let ended = Record { position: 4, ..done("ended") };
    store.save_durably(vec![at("watched", 2), started_here, ended]).await.unwrap();
    store.sweep(NOW + HOUR, HOUR * 24).await.unwrap();
    assert_eq!(positions(&store).len(), 3);
    store.sweep(NOW + HOUR + Duration::from_secs(1), HOUR * 24).await.unwrap();
    assert_eq!(positions(&store), []);
    assert_eq!(store.load_changes().unwrap().forgotten, 4);
    assert_eq!(store.get(&execution_name("watched")).unwrap(), None);
    assert!(store.get(&execution_name("ended")).unwrap().is_some());
    assert_eq!(ids(&store.load_unfinished().unwrap()), ["ours"]);
}

#[tokio::test]
async fn only_an_end_in_good_order_leaves_no_doubt() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.save_durably(vec![record("a")]).await.unwrap();
    assert!(!after_kill(&path).1.load_changes().unwrap().complete);
    drop(store);
    let store = open(&path);
    assert!(store.load_changes().unwrap().complete);
    assert!(!after_kill(&path).1.load_changes().unwrap().complete, "it was opened and then killed");
}

#[test]
fn keys_of_starts_tell_caller_parent_and_id_apart() {
    let key = |caller: &str, id: &str| StartKey::new(caller, &test_name(), id);
    assert_eq!(key("a", "b"), key("a", "b"));
    assert_ne!(key("a", "b"), key("b", "a"));
    assert_ne!(key("a", "b"), key("a", "bb"));
    assert_ne!(key("ab", ""), key("a", "b"));
}

#[test]
fn a_long_execution_is_stored_within_bounds() {
    let mut long = done("e");
    long.execution.failure = Some(Failure::new(FailureKind::Assertion, "", ["m".repeat(1024)]));
    long.execution.upstream_labels = (0..1000).map(|n| (format!("k{n}"), "v".repeat(1000))).collect();
    let bytes = persist::encode_record(&long, None);
    assert!((33_000..66_000).contains(&bytes.len()), "a reply has 7,000, this {}", bytes.len());
    assert!(persist::decode_record(&bytes).is_ok());
}

prop_compose! {
    fn any_stop()(
        request_id in "\\PC{0,10}", requester in "\\PC{0,10}", reason in "\\PC{0,10}",
        time in arbitrary::time(), accepted: bool,
    ) -> Stop {
        Stop { request_id, requester, reason, time, accepted }
    }
}

prop_compose! {
    fn any_record()(
        execution in arbitrary::execution(),
        settling in proptest::option::of((arbitrary::time(), "\\PC{0,10}")),
        first_seen in arbitrary::time(),
        gone_since in proptest::option::of(arbitrary::time()),
        followed: bool,
        position: u64,
        stop in proptest::option::of(any_stop()),
    ) -> Record {
        let settling = settling.map(|(since, upstream_status)| Settling { since, upstream_status });
        Record { execution: execution.into(), settling, first_seen, gone_since, followed, position, stop }
    }
}

prop_compose! {
    fn any_start()(
        name in arbitrary::name(),
        texts in proptest::array::uniform4("\\PC{0,20}"),
        fingerprint: [u8; 32],
        labels in arbitrary::labels(),
        upstream_labels in arbitrary::labels(),
        time in arbitrary::time(),
        details in arbitrary::details(),
        outcome in 0..3,
    ) -> StartRecord {
        let [caller, request_id, token, test_display_name] = texts;
        let parent = name.test_name();
        StartRecord {
            key: StartKey::new(&caller, &parent, &request_id),
            caller, parent, request_id, fingerprint, labels, token, time, details, upstream_labels,
            test_display_name,
            outcome: match outcome {
                0 => StartOutcome::Sending,
                1 => StartOutcome::Started(name),
                _ => StartOutcome::NotConfirmed,
            },
        }
    }
}

proptest! {
    #[test]
    fn a_record_survives_being_stored(record in any_record(), done_at: Option<i64>) {
        let bytes = persist::encode_record(&record, done_at);
        prop_assert_eq!(persist::decode_record(&bytes), Ok((record, done_at)));
    }

    #[test]
    fn a_start_survives_being_stored(start in any_start()) {
        let bytes = persist::encode_start(&start);
        prop_assert_eq!(persist::decode_start(start.key, &bytes), Ok(start));
    }

    #[test]
    fn no_stored_bytes_make_a_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(persist::decode_record(&bytes));
        drop(persist::decode_start(StartKey::new("", &test_name(), ""), &bytes));
    }
}
