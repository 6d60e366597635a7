//! Random interleavings of what upstream does, what clients do and what happens to the gateway, against a plain model:
//! the list of what really happened upstream.
//!
//! The store, the tracker and the service are the real ones; time is simulated. What must hold: each client that reads
//! on learns how every execution of its selection ended; a revision is one state and strictly rises on a stream; a
//! final state is never left; a stream has at most one unsent state of an execution; and no token opens what it was
//! not made for. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` do what they always do.
#![allow(clippy::unwrap_used, reason = "tests may panic, and are no part of the product")]

mod gateway;
mod pace;
mod reader;
mod regressions;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::{Gateway, STEP, Time};
use proptest::prelude::*;
use reader::{Ledger, Reader, Selection};
use testgate::backend::Lists;
use testgate::proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;
use upstream::{BACKEND, End, Mood, Stage, TESTS, Upstream, shown};

/// How many cases run where `PROPTEST_CASES` does not say.
const CASES: u32 = 100;
/// Where they begin unless `PROPTEST_RNG_SEED` says otherwise.
const SEED: u64 = 4;
const READERS: usize = 3;
/// How long the store may be behind when the process is killed.
const UNSAVED_STEPS: usize = 3;

/// One step of a case. Numbers that lead to nothing that exists do nothing.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Somebody else starts a run.
    Begin {
        test: usize,
    },
    /// A caller starts one here.
    Start {
        test: usize,
    },
    /// Upstream moves a run on.
    Move {
        run: usize,
        stage: Stage,
    },
    /// Upstream answers from before a run's end for a while.
    Stale {
        run: usize,
        answers: u32,
    },
    Feel(Mood),
    Pass {
        steps: u32,
    },
    /// A client begins to follow executions, by a bit for each.
    WatchNames {
        reader: usize,
        runs: u8,
        until_done: bool,
    },
    /// A client begins to follow a test, or all of them.
    WatchParent {
        reader: usize,
        test: Option<usize>,
    },
    Read {
        reader: usize,
        most: usize,
    },
    Close {
        reader: usize,
    },
    Resume {
        reader: usize,
    },
    /// A token is altered, or shown with another selection.
    Misuse {
        reader: usize,
        how: Misuse,
    },
    Get {
        run: usize,
        forced: bool,
    },
    /// The process ends, as told or by SIGKILL, and another one starts on the same store.
    Restart {
        kill: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Misuse {
    Flip { byte: usize },
    Cut { at: usize },
    OtherSelection,
    NoToken,
}

/// A case: how upstream's lists are, and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) lists: Lists,
    pub(crate) outlines: bool,
    pub(crate) ops: Vec<Op>,
}

fn stage() -> impl Strategy<Value = Stage> {
    let end = prop::sample::select(&[End::Passed, End::Failed, End::Broken, End::Stopped][..]);
    prop_oneof![
        2 => Just(Stage::Running),
        1 => Just(Stage::Settling),
        4 => end.prop_map(Stage::Ended),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let (run, reader, test) = (0usize..8, 0..READERS, 0..TESTS.len());
    let mood = prop::sample::select(
        &[Mood::Well, Mood::Well, Mood::Unreachable, Mood::Throttling, Mood::Silent][..],
    );
    let misuse = prop_oneof![
        any::<usize>().prop_map(|byte| Misuse::Flip { byte }),
        any::<usize>().prop_map(|at| Misuse::Cut { at }),
        Just(Misuse::OtherSelection),
        Just(Misuse::NoToken),
    ];
    prop_oneof![
        3 => test.clone().prop_map(|test| Op::Begin { test }),
        2 => test.clone().prop_map(|test| Op::Start { test }),
        6 => (run.clone(), stage()).prop_map(|(run, stage)| Op::Move { run, stage }),
        1 => (run.clone(), 1u32..6).prop_map(|(run, answers)| Op::Stale { run, answers }),
        2 => mood.prop_map(Op::Feel),
        8 => prop_oneof![4 => 1u32..10, 2 => 10u32..80, 1 => 80u32..400].prop_map(|steps| Op::Pass { steps }),
        3 => (reader.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(reader, runs, until_done)| Op::WatchNames { reader, runs, until_done }),
        3 => (reader.clone(), proptest::option::of(test))
            .prop_map(|(reader, test)| Op::WatchParent { reader, test }),
        6 => (reader.clone(), prop_oneof![1usize..4, Just(1000)])
            .prop_map(|(reader, most)| Op::Read { reader, most }),
        2 => reader.clone().prop_map(|reader| Op::Close { reader }),
        3 => reader.clone().prop_map(|reader| Op::Resume { reader }),
        1 => (reader, misuse).prop_map(|(reader, how)| Op::Misuse { reader, how }),
        2 => (run, any::<bool>()).prop_map(|(run, forced)| Op::Get { run, forced }),
        1 => any::<bool>().prop_map(|kill| Op::Restart { kill }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let lists = prop::sample::select(&[Lists::None, Lists::ByState, Lists::Newest, Lists::ByTest][..]);
    (lists, any::<bool>(), proptest::collection::vec(op(), 1..60)).prop_map(|(lists, outlines, ops)| Case {
        lists,
        outlines,
        ops,
    })
}

#[test]
fn whoever_follows_learns_every_end() {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    // The same cases each time, so that a failure is that of a change; other seeds are for looking further.
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = proptest::test_runner::RngSeed::Fixed(SEED);
    }
    proptest!(config, |(case in case())| run(&case));
}

/// Runs a case to its end, and panics where something does not hold.
pub(crate) fn run(case: &Case) {
    in_simulated_time(async { World::new(case).play(&case.ops).await });
}

/// Runs a simulation. Time passes when it says so: not, as tokio would have it, while the store's thread is waited for.
pub(crate) fn in_simulated_time(simulation: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // Paused time does not run ahead while a blocking task is under way.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let held = tokio::task::spawn_blocking(move || ended.recv().ok());
        simulation.await;
        drop(end);
        held.await.unwrap();
    });
}

/// Copies a file that is being written, as it is at one moment: two copies in a row are the same.
fn copy_at_a_moment(from: &Path, to: &Path) {
    let mut last = std::fs::read(from).unwrap();
    loop {
        let now = std::fs::read(from).unwrap();
        if now == last {
            return std::fs::write(to, now).unwrap();
        }
        last = now;
    }
}

struct World {
    upstream: Upstream,
    time: Time,
    /// `None` only between two processes.
    process: Option<Gateway>,
    store: PathBuf,
    readers: Vec<Option<Reader>>,
    ledger: Ledger,
    starts: usize,
    kills: usize,
    folder: tempfile::TempDir,
}

fn parent(test: usize) -> String {
    format!("backends/{BACKEND}/tests/{}", TESTS[test])
}

impl World {
    fn new(case: &Case) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let (time, store) = (Time::new(), folder.path().join("store.redb"));
        let upstream = Upstream::new(time.clock(), case.lists, case.outlines);
        let gateway = Gateway::start(store.clone(), &upstream, &time);
        Self {
            upstream,
            time,
            process: Some(gateway),
            store,
            readers: (0..READERS).map(|_| None).collect(),
            ledger: Ledger::default(),
            starts: 0,
            kills: 0,
            folder,
        }
    }

    fn name(&self, run: usize) -> Option<String> {
        let test = self.upstream.runs().get(run)?.test;
        Some(format!("{}/executions/{}", parent(test), Upstream::id(run)))
    }

    async fn pass(&mut self, steps: u32) {
        for _ in 0..steps {
            for reader in self.readers.iter_mut().flatten() {
                reader.connect().await;
            }
            self.gateway().step().await;
        }
    }

    async fn play(mut self, ops: &[Op]) {
        for op in ops {
            self.apply(op).await;
        }
        self.finish().await;
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Begin { test } => drop(self.upstream.begin(*test)),
            Op::Start { test } => {
                self.starts += 1;
                let id = format!("start-{}", self.starts);
                match self.gateway().begin(&parent(*test), &id).await {
                    Ok(execution) => self.ledger.note(&execution),
                    Err(status) => assert_ne!(status.code(), Code::Internal, "{status:?}"),
                }
            }
            Op::Move { run, stage } => self.upstream.move_to(*run, *stage),
            Op::Stale { run, answers } => self.upstream.make_stale(*run, *answers),
            Op::Feel(mood) => self.upstream.set_mood(*mood),
            Op::Pass { steps } => self.pass(*steps).await,
            Op::WatchNames { reader, runs, until_done } => {
                let chosen = (0..8).filter(|run| runs & (1 << run) != 0);
                let names: Vec<_> = chosen.filter_map(|run| self.name(run)).collect();
                if !names.is_empty() {
                    self.open(*reader, Selection::Names(names, *until_done));
                }
            }
            Op::WatchParent { reader, test } => {
                let parent = test.map_or_else(|| format!("backends/{BACKEND}/tests/-"), parent);
                self.open(*reader, Selection::Parent(parent));
            }
            Op::Read { reader, most } => {
                if let Some(reader) = &mut self.readers[*reader] {
                    reader.read(*most, &mut self.ledger).await;
                }
            }
            Op::Close { reader } => {
                if let Some(reader) = &mut self.readers[*reader] {
                    reader.close();
                }
            }
            Op::Resume { reader } => {
                let now = self.time.now();
                if let (Some(reader), Some(gateway)) = (&mut self.readers[*reader], &self.process) {
                    reader.resume(gateway, now);
                }
            }
            Op::Misuse { reader, how } => self.misuse(*reader, *how).await,
            Op::Get { run, forced } => self.get(*run, *forced).await,
            Op::Restart { kill } => self.restart(*kill).await,
        }
        self.gateway().settle().await;
    }

    fn open(&mut self, reader: usize, selection: Selection) {
        self.readers[reader] = Some(Reader::open(self.gateway(), selection, self.time.now()));
    }

    async fn misuse(&mut self, reader: usize, how: Misuse) {
        let Some(reader) = &self.readers[reader] else { return };
        if reader.token.is_empty() {
            return;
        }
        let mut token = reader.token.clone().into_bytes();
        let mut request = match &reader.selection {
            Selection::Names(names, _) => {
                v1::WatchExecutionsRequest { names: names.clone(), ..Default::default() }
            }
            Selection::Parent(parent) => {
                v1::WatchExecutionsRequest { parent: parent.clone(), ..Default::default() }
            }
        };
        match how {
            Misuse::Flip { byte } => {
                let at = byte % token.len();
                token[at] = if token[at] == b'A' { b'B' } else { b'A' };
            }
            Misuse::Cut { at } => token.truncate((at % token.len()).max(1)),
            Misuse::NoToken => token = b"no token at all".to_vec(),
            Misuse::OtherSelection => {
                (request.names, request.parent) = (Vec::new(), parent(0));
                if matches!(&reader.selection, Selection::Parent(own) if *own == request.parent) {
                    request.parent = parent(1);
                }
            }
        }
        request.resume_token = String::from_utf8(token).unwrap();
        let opened = self.gateway().answer(self.gateway().watch(request)).await;
        match opened {
            // An altered epoch looks like that of another store: everything comes anew.
            Ok(messages) if matches!(how, Misuse::Flip { .. }) => {
                assert!(reader::begins_anew(messages).await, "an altered token was honoured");
            }
            Ok(_) => panic!("{how:?} was let through"),
            Err(status) => {
                let reason = status.get_details_error_info().map(|info| info.reason);
                assert_eq!(
                    (status.code(), reason.as_deref()),
                    (Code::InvalidArgument, Some("RESUME_TOKEN_INVALID")),
                    "{status:?}"
                );
            }
        }
    }

    async fn get(&mut self, run: usize, forced: bool) {
        let Some(name) = self.name(run) else { return };
        match self.gateway().get(&name, forced).await {
            Ok(execution) => self.ledger.note(&execution),
            Err(status) => {
                let may = [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded];
                assert!(may.contains(&status.code()), "{status:?}");
            }
        }
    }

    fn gateway(&self) -> &Gateway {
        self.process.as_ref().unwrap()
    }

    async fn restart(&mut self, kill: bool) {
        if kill {
            // The store may fall behind, and what is on disk at this moment is all that the next process finds.
            for _ in 0..UNSAVED_STEPS {
                self.gateway().step_ahead_of_the_store().await;
            }
            self.kills += 1;
            let left = self.folder.path().join(format!("killed-{}.redb", self.kills));
            copy_at_a_moment(&self.store, &left);
            self.store = left;
        }
        for reader in self.readers.iter_mut().flatten() {
            reader.close();
        }
        if let Some(gateway) = self.process.take() {
            gateway.stop().await;
        }
        self.process = Some(Gateway::start(self.store.clone(), &self.upstream, &self.time));
    }

    /// Upstream is well, every run ends, every client reads on: now all of them have to know all ends.
    async fn finish(mut self) {
        self.upstream.set_mood(Mood::Well);
        let count = self.upstream.runs().len();
        for run in 0..count {
            self.upstream.make_stale(run, 0);
            self.upstream.move_to(run, Stage::Ended(End::Failed));
        }
        // A back-off after failures is a minute at most.
        let patience = Duration::from_secs(150).as_millis() / STEP.as_millis();
        for step in 0..patience {
            let Self { process, readers, ledger, time, .. } = &mut self;
            for reader in readers.iter_mut().flatten() {
                reader.resume(process.as_ref().unwrap(), time.now());
                reader.read(usize::MAX, ledger).await;
            }
            self.gateway().step().await;
            if step % 50 == 49 && self.unlearned().is_empty() {
                return;
            }
        }
        panic!("not everything was learned: {:#?}", self.unlearned());
    }

    /// What a client should know by now and does not.
    fn unlearned(&self) -> Vec<String> {
        let mut unlearned = Vec::new();
        for (number, reader) in self.readers.iter().enumerate() {
            let Some(reader) = reader else { continue };
            for (run, facts) in self.upstream.runs().iter().enumerate() {
                let name = self.name(run).unwrap();
                let selected = match &reader.selection {
                    Selection::Names(names, _) => names.contains(&name),
                    Selection::Parent(of) => {
                        let within = of.ends_with("/-") || name.starts_with(&format!("{of}/"));
                        within && facts.ended_at.is_none_or(|ended| ended > reader.since)
                    }
                };
                if !selected {
                    continue;
                }
                let (_, state, verdict) = shown(facts.stage);
                let expected = (v1::execution::State::from(state), v1::Verdict::from(verdict));
                let known = reader.known.get(&name);
                let knows = known.map(|known| (known.state(), known.verdict()));
                if knows != Some(expected) || !known.is_some_and(|known| known.done) {
                    unlearned.push(format!("reader {number} of {run}: {knows:?} instead of {expected:?}"));
                }
            }
            if matches!(reader.selection, Selection::Names(_, true)) && !reader.is_complete() {
                unlearned.push(format!("reader {number} was not told `complete`"));
            }
        }
        unlearned
    }
}
