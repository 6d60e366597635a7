//! What happens when the file is taken, torn, foreign, or can't be written.

use super::*;
use crate::store::file::StoreFile;

/// Opens a store whose disk is full or has room, which can change, and which tries again at once.
fn open_on_a_disk(
    path: &Path,
    is_full: bool,
) -> Result<(Store, Arc<std::sync::atomic::AtomicBool>), StoreError> {
    let file = StoreFile::open(path)?;
    let full = Arc::clone(&file.refuse_writes);
    full.store(is_full, Ordering::SeqCst);
    let pace = Pace { linger: Duration::ZERO, retry_after: Duration::ZERO };
    let store = Store::open_at_pace(Source::File(path.to_owned(), file), clock(), pace)?;
    Ok((store, full))
}

/// A store with fifty executions, each in a commit of its own.
async fn with_fifty(path: &Path) -> Store {
    let store = open(path);
    for n in 0..50 {
        store.save_durably(vec![record(&format!("e{n}"))]).await.unwrap();
    }
    store
}

fn assert_names_the_file(error: &StoreError, path: &Path) {
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn a_second_opening_is_refused_and_told_which_file() {
    let (_folder, path) = folder();
    let _first = open(&path);
    let error = Store::open(Some(path.clone()), clock()).unwrap_err();
    assert_eq!(error, StoreError::Locked { path: path.clone() });
    assert_names_the_file(&error, &path);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(open(&path));
    set_meta(&path, "format", &2u64.to_le_bytes());
    for _ in 0..2 {
        let error = Store::open(Some(path.clone()), clock()).unwrap_err();
        assert_eq!(error, StoreError::NewerFormat { path: path.clone(), found: 2, known: 1 });
    }
}

#[test]
fn a_malformed_epoch_is_damage() {
    let (_folder, path) = folder();
    drop(open(&path));
    set_meta(&path, "epoch", b"short");
    let error = Store::open(Some(path.clone()), clock()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

fn set_meta(path: &Path, name: &str, value: &[u8]) {
    let database = redb::Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(tables::META).unwrap().insert(name, value).unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_file_of_another_program_is_damage() {
    let (_folder, path) = folder();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "not a database, but long enough to look at".repeat(1000)).unwrap();
    let error = Store::open(Some(path.clone()), clock()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_names_the_file(&error, &path);

    fs::remove_file(&path).unwrap();
    let database = redb::Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<u8, u8>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = Store::open(Some(path), clock()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_torn_file_is_an_error_that_names_it_or_has_what_was_written() {
    let (_folder, path) = folder();
    let store = with_fifty(&path).await;
    let unclosed = fs::read(&path).unwrap();
    drop(store);
    let closed = fs::read(&path).unwrap();
    for (whole, part) in [unclosed, closed].iter().flat_map(|whole| (1..16).map(move |part| (whole, part))) {
        let torn = path.with_extension(format!("torn{part}"));
        let rest = &whole[..whole.len() * part / 16];
        fs::write(&torn, rest).unwrap();
        match Store::open(Some(torn.clone()), clock()) {
            Err(error) => {
                assert_names_the_file(&error, &torn);
                assert!(fs::read(&torn).unwrap() == rest, "{part}/16 of it stay as they are");
            }
            Ok(store) => match store.load_unfinished() {
                Err(error) => assert_names_the_file(&error, &torn),
                Ok(records) => assert_eq!(records.len(), 50),
            },
        }
    }
}

#[tokio::test]
async fn bytes_that_were_overwritten_never_take_the_process_down() {
    let (_folder, path) = folder();
    let store = with_fifty(&path).await;
    drop(store);
    let whole = fs::read(&path).unwrap();
    for part in 0..32 {
        let damaged = path.with_extension(format!("damaged{part}"));
        let mut bytes = whole.clone();
        let at = bytes.len() * part / 32;
        bytes[at..at + 600].fill(0xa5);
        fs::write(&damaged, bytes).unwrap();
        match Store::open(Some(damaged.clone()), clock()) {
            Err(error) => assert_names_the_file(&error, &damaged),
            Ok(store) => {
                if let Err(error) = store.load_unfinished() {
                    assert_names_the_file(&error, &damaged);
                }
            }
        }
    }
}

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    let (_folder, path) = folder();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![0; 1_000_000]).unwrap();
    assert!(open(&path).load_unfinished().unwrap().is_empty());
}

#[test]
fn a_path_that_is_no_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(Some(folder.path().to_owned()), clock()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_names_the_file(&error, folder.path());
}

#[test]
fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    drop(open(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_full_disk_stops_writes_only_and_until_there_is_room() {
    let (_folder, path) = folder();
    let (store, full) = open_on_a_disk(&path, false).unwrap();
    store.save_durably(vec![record("before")]).await.unwrap();
    assert_eq!(store.status(), Ok(()));

    full.store(true, Ordering::SeqCst);
    for request_id in ["r1", "r2"] {
        let error = store.journal_start(start(request_id)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert_names_the_file(&error, &path);
        assert!(store.status().is_err());
        assert_eq!(ids(&store.load_unfinished().unwrap()), ["before"]);
        assert_eq!(store.start(&start(request_id).key).unwrap(), None);
    }
    let revision = store.next_revision();
    store.save(record("meanwhile"));
    assert!(store.flush().await.is_err());
    assert!(store.get(&execution_name("meanwhile")).unwrap().is_some());

    full.store(false, Ordering::SeqCst);
    store.journal_start(start("r1")).await.unwrap();
    assert_eq!(store.status(), Ok(()));
    store.flush().await.unwrap();
    assert!(store.next_revision() > revision);
    let (_copy, killed) = after_kill(&path);
    assert_eq!(ids(&killed.load_unfinished().unwrap()), ["before", "meanwhile"]);
    assert_eq!(killed.start(&start("r1").key).unwrap(), Some(start("r1")));
    assert_eq!(killed.start(&start("r2").key).unwrap(), None);
}

#[tokio::test]
async fn a_store_that_is_full_when_it_opens_can_be_read() {
    let (_folder, path) = folder();
    let store = open(&path);
    let epoch = store.epoch();
    store.save_durably(vec![record("before")]).await.unwrap();
    let last = store.next_revision();
    drop(store);

    let (store, full) = open_on_a_disk(&path, true).unwrap();
    assert!(store.status().is_err());
    assert_eq!(store.epoch(), epoch);
    assert_eq!(ids(&store.load_unfinished().unwrap()), ["before"]);
    assert!(store.next_revision() > last);
    assert!(store.journal_start(start("r")).await.is_err());

    full.store(false, Ordering::SeqCst);
    store.journal_start(start("r")).await.unwrap();
    let revision = store.next_revision();
    let (_copy, killed) = after_kill(&path);
    assert_eq!(killed.start(&start("r").key).unwrap(), Some(start("r")));
    assert!(killed.next_revision() > revision);
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_from_a_store_that_was_killed() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.save_durably(vec![record("before")]).await.unwrap();
    let killed = path.with_extension("killed");
    fs::copy(&path, &killed).unwrap();
    let as_it_was = fs::read(&killed).unwrap();

    let (store, full) = open_on_a_disk(&killed, true).unwrap();
    assert!(store.status().is_err());
    assert_eq!(ids(&store.load_unfinished().unwrap()), ["before"]);
    assert!(fs::read(&killed).unwrap() == as_it_was);

    full.store(false, Ordering::SeqCst);
    store.save_durably(vec![record("after")]).await.unwrap();
    let (_copy, killed) = after_kill(&killed);
    assert_eq!(ids(&killed.load_unfinished().unwrap()), ["after", "before"]);
}

#[tokio::test]
async fn a_repair_that_was_held_back_leaves_what_one_at_once_would() {
    let (_folder, path) = folder();
    let _open = with_fifty(&path).await;
    let repaired = ["once", "held"].map(|how| {
        let killed = path.with_extension(how);
        fs::copy(&path, &killed).unwrap();
        let source = Source::open(Some(killed.clone())).unwrap();
        let database = match how {
            "held" => source.identified().unwrap().0,
            _ => source.database().unwrap(),
        };
        let repaired = fs::read(killed).unwrap();
        drop(database);
        repaired
    });
    let [once, held] = repaired;
    assert!(once == held && once != fs::read(&path).unwrap());
}

#[test]
fn a_new_store_that_can_not_be_written_is_not_opened() {
    let (_folder, path) = folder();
    let error = open_on_a_disk(&path, true).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_names_the_file(&error, &path);
}

#[tokio::test]
async fn the_numbers_of_a_store_that_could_only_be_read_are_reserved_once_it_can_be_written() {
    let (_folder, path) = folder();
    drop(open(&path));
    let (store, full) = open_on_a_disk(&path, true).unwrap();
    let revision = store.next_revision();
    full.store(false, Ordering::SeqCst);
    store.journal_start(start("r")).await.unwrap();
    let (_copy, killed) = after_kill(&path);
    assert!(killed.next_revision() > revision);
}
