//! The one thread that writes: it groups what is waiting into a transaction, and comes back after a failure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::counter::Counter;
use super::database::{self, Source};
use super::error::StoreError;
use super::record::{Record, StartKey, StartOutcome, StartRecord, Swept};
use super::tables;
use crate::model::{Clock, Timestamp};

/// The most saves in one transaction.
const BATCH: usize = 512;

/// So many saves don't wait for more.
const ENOUGH: usize = 5_000;

/// How long a reservation of numbers may wait: not at all would have a start wait for it.
const RESERVED_WITHIN: Duration = Duration::from_millis(20);

/// The most executions that wait to be saved.
const MAX_SAVES: usize = 20_000;

/// A change that somebody waits for.
#[derive(Debug)]
pub(super) enum Change {
    Save(Vec<Record>),
    Journal(Box<StartRecord>),
    Settle { key: StartKey, outcome: StartOutcome, execution: Option<Box<Record>> },
    Forget(StartKey),
    Sweep { now: Timestamp, retention: Duration },
    Flush,
}

/// A change with who waits for it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<Swept, StoreError>>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Records by name, as they wait to be written, each with when it was queued.
pub(super) type Saves = BTreeMap<String, (u64, Arc<Record>)>;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In the order of their numbers, which saves share.
    tasks: VecDeque<(u64, Task)>,
    last: u64,
    saves: Saves,
    /// Saves of the transaction under way: no longer waiting, not yet to be read from the database.
    writing: Arc<Saves>,
    reserve: bool,
    closed: bool,
    /// Something was not queued and will not be written.
    lost: bool,
}

impl Queue {
    /// An empty queue; `reserve` has the first transaction reserve numbers.
    pub(super) fn new(reserve: bool) -> Self {
        Self { reserve, ..Self::default() }
    }

    /// The newest record of a name that the database does not show yet.
    pub(super) fn record(&self, name: &str) -> Option<&Arc<Record>> {
        self.saves.get(name).or_else(|| self.writing.get(name)).map(|(_, record)| record)
    }

    /// All records that the database does not show yet, older ones first.
    pub(super) fn records(&self) -> [&Saves; 2] {
        [&self.writing, &self.saves]
    }
}

/// How the threads' sides of the store meet.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Source,
    pub(super) clock: Clock,
    pub(super) open: RwLock<Open>,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    /// Why it can't be written, if it can't.
    pub(super) trouble: Mutex<Option<String>>,
    pub(super) revisions: Counter,
    pub(super) positions: Counter,
    pub(super) pace: Pace,
}

/// The database as it is open now.
#[derive(Debug)]
pub(super) struct Open {
    /// `None` while it could not even be opened for reading.
    pub(super) database: Option<Database>,
    /// What is written is lost: only reads make sense.
    pub(super) shadow: bool,
    /// How often it was opened.
    pub(super) generation: u64,
}

/// How patient the writer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long saves wait for more of them, where nobody waits for the write.
    pub(super) linger: Duration,
    /// How long a failed write is believed to fail again.
    pub(super) retry_after: Duration,
}

impl Shared {
    /// The queue. Nothing panics while it is held, and if something did, each entry is whole by itself.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; the last one of a name wins.
    pub(super) fn save(&self, record: Record) {
        let name = record.execution.name.text();
        let mut queue = self.queue();
        if queue.saves.len() >= MAX_SAVES && !queue.saves.contains_key(&name) {
            queue.lost = true;
            drop(queue);
            tracing::warn!(%name, "the store is too far behind: an execution's state was not queued");
            return;
        }
        queue.last += 1;
        let number = queue.last;
        let is_new = queue.saves.insert(name, (number, Arc::new(record))).is_none();
        let waiting = queue.saves.len();
        drop(queue);
        // A writer that gathers saves looks again by itself.
        if is_new && (waiting == 1 || waiting == ENOUGH) {
            self.wake.notify_one();
        }
    }

    /// Queues a change that somebody waits for.
    pub(super) fn submit(&self, task: Task) {
        let mut queue = self.queue();
        queue.last += 1;
        let number = queue.last;
        queue.tasks.push_back((number, task));
        drop(queue);
        self.wake.notify_one();
    }

    /// Asks for further blocks of numbers.
    pub(super) fn ask_for_numbers(&self) {
        self.queue().reserve = true;
        self.wake.notify_one();
    }

    /// Opens the database anew for writing, if it is open for reading only.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if !open.shadow {
            return Ok(());
        }
        open.generation += 1;
        // The old one must be gone first: it writes when it closes.
        open.database = None;
        match self.source.database() {
            Ok(database) => {
                open.database = Some(database);
                open.shadow = false;
                Ok(())
            }
            Err(error) => {
                self.open_shadow(&mut open);
                Err(error)
            }
        }
    }

    /// After an I/O error the database has to be opened anew even to be read. Does nothing if that was done since
    /// the given generation.
    pub(super) fn fall_back(&self, generation: u64) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.generation == generation && !self.source.is_memory() {
            open.generation += 1;
            open.database = None;
            self.open_shadow(&mut open);
        }
    }

    fn open_shadow(&self, open: &mut Open) {
        open.shadow = true;
        match self.source.shadow() {
            Ok(database) => open.database = Some(database),
            Err(error) => tracing::error!(store = %self.source, %error, "the store can't be read"),
        }
    }

    /// Lets the writer finish what is queued and end.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.wake.notify_one();
    }
}

impl Queue {
    fn take(&mut self) -> Batch {
        let tasks: Vec<_> = self.tasks.drain(..).collect();
        let rest = match self.saves.keys().nth(BATCH).cloned() {
            Some(first_left) => self.saves.split_off(&first_left),
            None => Saves::new(),
        };
        let saves = Arc::new(std::mem::replace(&mut self.saves, rest));
        self.writing = Arc::clone(&saves);
        Batch { tasks, saves, reserve: std::mem::take(&mut self.reserve) }
    }
}

/// What goes into one transaction.
struct Batch {
    tasks: Vec<(u64, Task)>,
    saves: Arc<Saves>,
    reserve: bool,
}

impl Batch {
    /// The names that its tasks write, with the numbers of those tasks.
    fn waited_for(&self) -> HashMap<String, u64> {
        let mut names = HashMap::new();
        for (number, task) in &self.tasks {
            let records = match &task.change {
                Change::Save(records) => records.as_slice(),
                Change::Settle { execution: Some(record), .. } => std::slice::from_ref(&**record),
                _ => &[],
            };
            names.extend(records.iter().map(|record| (record.execution.name.to_string(), *number)));
        }
        names
    }
}

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    failed_at: Option<Instant>,
    /// What the last batch had no room for has waited as long as that.
    due: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let failed_at = shared.trouble().is_some().then(Instant::now);
        Self { shared, failed_at, due: false }
    }

    /// Writes until the store is closed and nothing is left.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let result = self.write(&batch);
            self.finish(batch, result);
        }
        if self.failed_at.is_none() && !self.shared.queue().lost {
            self.complete();
        }
    }

    /// Notes at the end that everything was written, so that the next process need not doubt what it finds.
    fn complete(&self) {
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = open.database.as_ref().filter(|_| !open.shadow) else { return };
        let written = catch_unwind(AssertUnwindSafe(|| database::write_complete(database)));
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(store = %self.shared.source, "that everything was saved could not be noted");
        }
    }

    /// Waits for something to write; `None` once all is done.
    fn next_batch(&mut self) -> Option<Batch> {
        let Shared { wake, pace, .. } = &*self.shared;
        let mut queue = self.shared.queue();
        let mut until: Option<Instant> = None;
        loop {
            let quiet = queue.saves.is_empty() && !queue.reserve;
            let waited = until.is_some_and(|until| until <= Instant::now());
            // What failed waits to be tried again, however much it is.
            let due = waited || (self.failed_at.is_none() && (self.due || queue.saves.len() >= ENOUGH));
            if !queue.tasks.is_empty() || (!quiet && (due || queue.closed)) {
                let batch = queue.take();
                self.due = due && !queue.saves.is_empty();
                return Some(batch);
            }
            if queue.closed {
                return None;
            }
            if quiet {
                until = None;
                queue = wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let patience = match self.failed_at {
                    Some(_) => pace.retry_after,
                    None if queue.reserve => pace.linger.min(RESERVED_WITHIN),
                    None => pace.linger,
                };
                // Whoever wakes it early does not make it wait for longer.
                let now = Instant::now();
                let end = until.map_or(now + patience, |until| until.min(now + patience));
                until = Some(end);
                queue = wake.wait_timeout(queue, end - now).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<Swept>, StoreError> {
        if self.failed_at.is_some_and(|failed_at| failed_at.elapsed() < self.shared.pace.retry_after) {
            let reason = self.shared.trouble().clone().unwrap_or_default();
            return Err(StoreError::Unavailable(reason));
        }
        let result = self.shared.reopen().and_then(|()| self.transaction(batch));
        match result {
            Ok(swept) => {
                if self.failed_at.take().is_some() {
                    *self.shared.trouble() = None;
                    tracing::info!(store = %self.shared.source, "the store can be written again");
                }
                Ok(swept)
            }
            Err(error) => {
                let reason = match error {
                    StoreError::Unavailable(reason) => reason,
                    other => other.to_string(),
                };
                if self.failed_at.is_none() {
                    tracing::error!(store = %self.shared.source, reason, "the store can't be written");
                }
                *self.shared.trouble() = Some(reason.clone());
                self.failed_at = Some(Instant::now());
                Err(StoreError::Unavailable(reason))
            }
        }
    }

    /// One transaction for the whole batch.
    fn transaction(&self, batch: &Batch) -> Result<Vec<Swept>, StoreError> {
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.database.as_ref().filter(|_| !open.shadow);
        let database = database.ok_or_else(|| StoreError::Unavailable("an earlier read failed".into()))?;
        let generation = open.generation;
        let numbers = [&self.shared.revisions, &self.shared.positions].map(Counter::to_reserve);
        let now = self.shared.clock.now();
        let written = catch_unwind(AssertUnwindSafe(|| -> Result<Vec<Swept>, redb::Error> {
            let txn = database.begin_write()?;
            let swept = apply(&mut tables::Writer::open(&txn)?, batch, now)?;
            if batch.reserve {
                database::write_numbers(&txn, numbers)?;
            }
            txn.commit()?;
            Ok(swept)
        }));
        drop(open);
        let path = self.shared.source.path();
        let swept = match written {
            Ok(result) => result.map_err(|error| StoreError::writing(path, error)),
            // The database checks itself by panicking; the file may be damaged, and reads will tell.
            Err(_) => Err(StoreError::Unavailable(format!("{}: a write broke off", path.display()))),
        };
        let swept = swept.inspect_err(|_| self.shared.fall_back(generation))?;
        if batch.reserve {
            let [revisions, positions] = numbers;
            self.shared.revisions.note_reserved(revisions);
            self.shared.positions.note_reserved(positions);
        }
        Ok(swept)
    }

    /// Answers everybody who waits, and keeps what could not be saved.
    fn finish(&self, batch: Batch, result: Result<Vec<Swept>, StoreError>) {
        let written = if result.is_ok() { batch.waited_for() } else { HashMap::new() };
        let Batch { tasks, saves, reserve } = batch;
        let mut queue = self.shared.queue();
        for (name, number) in written {
            if queue.saves.get(&name).is_some_and(|(saved, _)| *saved < number) {
                queue.saves.remove(&name);
            }
        }
        queue.writing = Arc::default();
        if let Err(error) = &result {
            if queue.closed {
                tracing::error!(%error, lost = saves.len(), "executions were not saved at the end");
            } else {
                queue.reserve |= reserve;
                for (name, save) in &*saves {
                    // What was saved since then is newer.
                    queue.saves.entry(name.clone()).or_insert_with(|| save.clone());
                }
            }
        }
        drop(queue);
        let mut answers = match result {
            Ok(swept) => Ok(swept.into_iter()),
            Err(error) => Err(error),
        };
        for (_, Task { change: _, done, permit }) in tasks {
            let answer = match &mut answers {
                Ok(swept) => Ok(swept.next().unwrap_or_default()),
                Err(error) => Err(error.clone()),
            };
            // Who no longer waits does not need the answer.
            drop(done.send(answer));
            drop(permit);
        }
    }
}

/// Applies a batch: what is waited for, in its order, and the saves that are newer. One answer for each task.
fn apply(tables: &mut tables::Writer<'_>, batch: &Batch, now: Timestamp) -> Result<Vec<Swept>, redb::Error> {
    let mut answers = Vec::with_capacity(batch.tasks.len());
    for (_, task) in &batch.tasks {
        let mut swept = Swept::default();
        match &task.change {
            Change::Save(records) => {
                for record in records {
                    tables.put(record, now)?;
                }
            }
            Change::Journal(start) => tables.put_start(start)?,
            Change::Settle { key, outcome, execution } => {
                tables.settle(key, outcome)?;
                if let Some(record) = execution {
                    tables.put(record, now)?;
                }
            }
            Change::Forget(key) => tables.forget_start(key)?,
            Change::Sweep { now, retention } => swept = tables.sweep(*now, *retention)?,
            Change::Flush => {}
        }
        answers.push(swept);
    }
    let waited_for = batch.waited_for();
    for (name, (number, record)) in &*batch.saves {
        if waited_for.get(name).is_none_or(|task| task < number) {
            tables.put_as(name, record, now)?;
        }
    }
    Ok(answers)
}
