//! How long saves wait for more of them.

use super::*;

/// A store in which nothing that nobody waits for is written for an hour.
fn patient() -> (TempDir, Store) {
    let (folder, path) = folder();
    let pace = Pace { linger: HOUR, retry_after: HOUR };
    (folder, Store::open_at_pace(Source::open(Some(path)).unwrap(), clock(), pace).unwrap())
}

fn waiting(store: &Store) -> usize {
    store.0.shared.queue().records().iter().map(|saves| saves.len()).sum()
}

/// Until the writer has nothing left.
fn until_written(store: &Store) {
    let begun = std::time::Instant::now();
    while waiting(store) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} saves are left", waiting(store));
        std::thread::yield_now();
    }
}

#[test]
fn many_saves_do_not_wait_for_more_and_none_is_left_behind() {
    let (_folder, store) = patient();
    for number in 0..5_000 {
        store.save(record(&format!("e{number}")));
    }
    until_written(&store);
}

#[tokio::test]
async fn who_waits_for_a_write_has_what_waited_written_too() {
    let (_folder, store) = patient();
    store.save(record("gathered"));
    assert_eq!(waiting(&store), 1);
    store.save_durably(vec![done("awaited")]).await.unwrap();
    until_written(&store);
}

#[test]
fn a_state_that_keeps_changing_is_written_all_the_same() {
    let (_folder, path) = folder();
    let pace = Pace { linger: Duration::from_millis(200), retry_after: HOUR };
    let store = Store::open_at_pace(Source::open(Some(path)).unwrap(), clock(), pace).unwrap();
    let begun = std::time::Instant::now();
    while store.read(|txn| tables::record(txn, &record("e").execution.name.text())).unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never written");
        store.save(record("e"));
    }
}
