//! The store under a gateway process: what it refuses, what it survives, and how soon a large one serves.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testgate::proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::large_store;
use crate::place::{Place, Process, get, output, until_done};
use crate::start::{LEX, name_of, start};
use crate::support::{PATIENCE, told};

#[tokio::test]
async fn a_second_process_on_the_same_store_is_told_which_file_is_taken() {
    let place = Place::new().await;
    let first = place.process().await;
    let mut second = place.command().spawn().unwrap();
    let status = tokio::time::timeout(PATIENCE, second.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    let text = output(&mut second).await;
    assert!(text.contains(&place.store().canonicalize().unwrap().display().to_string()), "{text}");
    start(&first.client, &LEX.parent(&place.world).await, "").await.unwrap();
}

#[tokio::test]
async fn row_48_a_full_disk_refuses_starts_and_nothing_else() {
    let place = Place::new().await;
    let process = place.process().await;
    let parent = LEX.parent(&place.world).await;
    let name = name_of(&process.client, &parent, "before").await;
    let sent = place.world.calls("lex", LEX.operation);

    process.limit_files("4096");
    let refused = start(&process.client, &parent, "full").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{refused}");
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(place.world.calls("lex", LEX.operation), sent, "nothing is sent that can't be journalled");
    assert!(!get(&process.client, &name).await.unwrap().name.is_empty());
    let list = v1::ListExecutionsRequest { parent: parent.clone(), ..Default::default() };
    let rows = process.client.clone().list_executions(list).await.unwrap().into_inner().executions;
    assert_eq!(rows.len(), 1);
    assert!(until_done(&process.client, &name).await.done, "what is followed is followed on");

    process.limit_files("unlimited");
    let started = start_in_time(&process, &parent, "full").await;
    assert!(!started.deduplicated);
    let before = started.execution.unwrap().name;
    process.kill().await;
    let process = place.process().await;
    assert_eq!(name_of(&process.client, &parent, "full").await, before);
}

#[tokio::test]
async fn row_48_a_store_that_can_only_be_read_refuses_starts_and_serves_reads() {
    let place = Place::new().await;
    let mut first = place.process().await;
    let parent = LEX.parent(&place.world).await;
    let name = name_of(&first.client, &parent, "before").await;
    let done = until_done(&first.client, &name).await;
    first.terminate();
    assert!(first.exit().await.success());
    // From its first byte on the process can't write to the file. Permissions would not keep root from it.
    let second = Place::connected(place.command_after("ulimit -f 0")).await;
    assert_eq!(get(&second.client, &name).await.unwrap(), done);
    let sent = place.world.calls("lex", LEX.operation);
    let refused = start(&second.client, &parent, "after").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{refused}");
    assert_eq!(place.world.calls("lex", LEX.operation), sent);
    let repeat = start(&second.client, &parent, "before").await.unwrap();
    assert!(repeat.deduplicated, "what is known needs no write");
}

#[tokio::test]
async fn a_store_that_is_lost_costs_memory_and_no_meaning() {
    let place = Place::new().await;
    let first = place.process().await;
    let name = name_of(&first.client, &LEX.parent(&place.world).await, "once").await;
    let before = until_done(&first.client, &name).await;
    first.kill().await;
    std::fs::remove_file(place.store()).unwrap();
    let second = place.process().await;
    let read = until_done(&second.client, &name).await;
    assert_eq!((read.state, read.verdict), (before.state, before.verdict));
    assert!(read.revision > before.revision, "a new store's revisions begin above the old one's");
    assert!(read.request_id.is_empty());
}

/// A file system of 1 MiB of its own; unmounted where it is dropped.
struct Volume(PathBuf);

impl Volume {
    /// `None`, and a word about it, where this user may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "testgate"]).arg(&at).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(at))
        } else {
            eprintln!("SKIPPED: a file system can't be mounted here, which takes root");
            None
        }
    }

    fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }

    fn store(&self) -> PathBuf {
        self.0.join("testgate.redb")
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[0xa5; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A process that was killed a moment ago may hold it still.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Starts until the store takes it.
async fn start_in_time(process: &Process, parent: &str, id: &str) -> v1::StartExecutionResponse {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match start(&process.client, parent, id).await {
            Ok(started) => return started,
            Err(refused) => assert_eq!(told(&refused).1, "STORE_UNAVAILABLE", "{refused}"),
        }
        assert!(Instant::now() < deadline, "writes did not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn row_48_a_full_volume_refuses_starts_until_there_is_room() {
    let place = Place::new().await;
    let Some(volume) = Volume::mount(place.folder.path().join("volume")) else { return };
    let process = place.process_on(&volume.store()).await;
    let parent = LEX.parent(&place.world).await;
    let name = name_of(&process.client, &parent, "before").await;
    let ballast = volume.fill();
    // What has its room in the file already may still be written.
    let mut count = 0;
    let refused = loop {
        match start(&process.client, &parent, &format!("full-{count}")).await {
            Ok(_) => count += 1,
            Err(refused) => break refused,
        }
        assert!(count < 10_000, "the volume never fills up");
    };
    assert_eq!(told(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{refused}");
    assert!(refused.get_details_retry_info().is_some());
    let sent = place.world.calls("lex", LEX.operation);
    let full = start(&process.client, &parent, "not sent").await.unwrap_err();
    assert_eq!(told(&full), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{full}");
    assert_eq!(place.world.calls("lex", LEX.operation), sent);
    assert!(until_done(&process.client, &name).await.done, "reads and polls go on");

    std::fs::remove_file(ballast).unwrap();
    let started = start_in_time(&process, &parent, "not sent").await;
    assert!(!started.deduplicated);
    process.kill().await;
    let process = place.process_on(&volume.store()).await;
    assert_eq!(name_of(&process.client, &parent, "not sent").await, started.execution.unwrap().name);
    assert_eq!(get(&process.client, &name).await.unwrap().name, name);
}

#[tokio::test]
async fn row_48_a_read_only_volume_refuses_starts_until_it_can_be_written() {
    let place = Place::new().await;
    let Some(volume) = Volume::mount(place.folder.path().join("volume")) else { return };
    let mut first = place.process_on(&volume.store()).await;
    let parent = LEX.parent(&place.world).await;
    let name = name_of(&first.client, &parent, "before").await;
    let done = until_done(&first.client, &name).await;
    first.terminate();
    assert!(first.exit().await.success());
    volume.remount("ro");
    let process = place.process_on(&volume.store()).await;
    assert_eq!(get(&process.client, &name).await.unwrap(), done);
    let sent = place.world.calls("lex", LEX.operation);
    let refused = start(&process.client, &parent, "after").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{refused}");
    assert_eq!(place.world.calls("lex", LEX.operation), sent);
    let nowhere = place.refused_on(&volume.0.join("new/testgate.redb")).await;
    assert!(nowhere.contains("new/testgate.redb") && nowhere.contains("ead-only"), "{nowhere}");

    volume.remount("rw");
    assert!(!start_in_time(&process, &parent, "after").await.deduplicated);
}

#[tokio::test]
async fn a_store_that_makes_no_sense_is_refused_by_name_with_what_to_do() {
    let place = Place::new().await;
    let process = place.process().await;
    name_of(&process.client, &LEX.parent(&place.world).await, "once").await;
    process.kill().await;
    let whole = std::fs::read(place.store()).unwrap();

    let torn = place.folder.path().join("torn.redb");
    std::fs::write(&torn, &whole[..whole.len() / 3]).unwrap();
    let foreign = place.folder.path().join("foreign.redb");
    std::fs::write(&foreign, "no database, but long enough to look at ".repeat(1000)).unwrap();
    let newer = place.folder.path().join("newer.redb");
    std::fs::write(&newer, &whole).unwrap();
    set_format(&newer, 9);
    for (path, says) in [(&torn, "damaged"), (&foreign, "damaged"), (&newer, "format 9")] {
        let line = place.refused_on(path).await;
        assert!(line.contains(path.to_str().unwrap()) && line.contains(says), "{line}");
        assert!(line.contains("store.path") || line.contains("move the file away"), "what to do: {line}");
    }
    // The whole one still serves.
    place.process().await;
}

/// Makes a store look like one of another version.
fn set_format(path: &Path, format: u64) {
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    let database = redb::Database::open(path).unwrap();
    let change = database.begin_write().unwrap();
    change.open_table(meta).unwrap().insert("format", format.to_le_bytes().as_slice()).unwrap();
    change.commit().unwrap();
}

#[tokio::test]
async fn a_large_store_serves_soon_after_a_clean_end_and_after_a_kill() {
    let place = Place::new().await;
    // A fifth of what is promised, or filling it would take longer than all else here; `cargo bench` has the whole.
    large_store::build(&place.store(), "lex", 20_000, 1_000).await;
    for after in ["a clean end", "a kill"] {
        let mut process = place.process().await;
        process.serves().await;
        // Its own time, whoever else is on the machine: ten times the promise, for a build that is not optimised.
        let took = process.cpu();
        assert!(took < Duration::from_secs(3), "{took:?} to SERVING after {after}");
        let kept = get(&process.client, &large_store::name("lex", 19_999)).await.unwrap();
        assert!(kept.done);
        if after == "a clean end" {
            // It has written since it was opened, so what is found next is not what was closed.
            name_of(&process.client, &LEX.parent(&place.world).await, "dirty").await;
            process.kill().await;
        } else {
            process.terminate();
            assert!(process.exit().await.success());
        }
    }
}
