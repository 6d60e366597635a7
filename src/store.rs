//! The durable store: the journal of starts, executions with what is remembered of them, the epoch.
//!
//! One thread writes, in grouped transactions that are synced before anybody is told; reads are made where they
//! are asked for. A disk that is full or read-only stops writes with [`StoreError::Unavailable`] and nothing
//! else: reads go on, and writes come back with the first one that succeeds.
//!
//! The surface is small because a store that several replicas share will have to offer the same one day.

mod counter;
mod database;
mod error;
mod file;
mod persist;
mod record;
mod shadow;
mod tables;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{ReadTransaction, ReadableDatabase};
use tokio::sync::{Semaphore, oneshot};

use crate::model::{Clock, ExecutionName, Scope, TestName, Timestamp};
use counter::Counter;
use database::{Identity, Source};
use tables::{ReadError, Span};
use writer::{Change, Open, Pace, Queue, Shared, Task, Writer};

pub use error::StoreError;
pub use record::{ChangeRow, Changes, Record, StartKey, StartOutcome, StartRecord, Stop, Swept, TOMBSTONES};

/// The most changes that are waited for at a time; more wait for their turn.
const MAX_TASKS: usize = 1024;

/// Where the store keeps its data: a file, or, with `None`, memory only.
pub type Location = Option<PathBuf>;

/// The store. Cheap to clone; the last clone to go writes what is queued and closes the file.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    identity: Identity,
    room: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// How long a state that nobody waits for may wait to be written. After a SIGKILL upstream is asked for it anew; what must
/// not be lost has somebody who waits.
const LINGER: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the store, or creates it with the folders above it. Blocks.
    ///
    /// # Errors
    /// Another process has it, a newer version wrote it, it is damaged, or it can't be reached.
    pub fn open(location: Location, clock: Clock) -> Result<Self, StoreError> {
        let pace = Pace { linger: LINGER, retry_after: Duration::from_secs(1) };
        Self::open_at_pace(Source::open(location)?, clock, pace)
    }

    fn open_at_pace(source: Source, clock: Clock, pace: Pace) -> Result<Self, StoreError> {
        let path = source.path().to_owned();
        let mut trouble = None;
        let (mut database, known) = match source.identified() {
            Err(StoreError::Io { reason, .. }) if !source.is_memory() => {
                trouble = Some(format!("{}: {reason}", path.display()));
                // Only a store that exists can be read without being written.
                let database = source.shadow()?;
                let known = database::identity(&path, &database)?;
                (database, known)
            }
            opened => opened?,
        };
        if let (None, Some(reason)) = (&known, &trouble) {
            return Err(StoreError::Io { path, reason: reason.clone() });
        }
        let mut identity = known.map_or_else(database::new_identity, Ok)?;
        let now = persist::micros(clock.now());
        let [revisions, positions] = identity.numbers.map(|reserved| Counter::resume(reserved, now));
        identity.numbers = [revisions.to_reserve(), positions.to_reserve()];
        if let Err(error) = database::write_identity(&database, &identity) {
            let reason = format!("{}: {error}", path.display());
            // The file is opened a second time, which the first opening must not outlive.
            drop(database);
            // A new store that can't be written is of no use; a known one can still be read.
            database = source.shadow()?;
            if database::identity(&path, &database)?.is_none() {
                return Err(StoreError::Io { path, reason });
            }
            trouble = Some(reason);
        }
        if let Some(reason) = &trouble {
            tracing::error!(store = %source, reason, "the store can only be read");
        }
        let shared = Arc::new(Shared {
            source,
            clock,
            open: RwLock::new(Open { database: Some(database), shadow: trouble.is_some(), generation: 0 }),
            // The numbers of a store that could not be written are reserved when it can.
            queue: Mutex::new(Queue::new(trouble.is_some())),
            wake: std::sync::Condvar::new(),
            trouble: Mutex::new(trouble),
            revisions,
            positions,
            pace,
        });
        let writer = Writer::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io { path, reason: error.to_string() })?;
        let room = Arc::new(Semaphore::new(MAX_TASKS));
        Ok(Self(Arc::new(Inner { shared, identity, room, writer: Mutex::new(Some(thread)) })))
    }

    /// What tells this store from every other; it stays as long as the store.
    pub fn epoch(&self) -> [u8; 16] {
        self.0.identity.epoch
    }

    /// The key under which tokens are sealed; it stays as long as the store.
    pub fn token_key(&self) -> [u8; 32] {
        self.0.identity.token_key
    }

    /// A revision: higher than every one before it, in this process or an earlier one.
    pub fn next_revision(&self) -> i64 {
        i64::try_from(self.number(&self.0.shared.revisions)).unwrap_or(i64::MAX)
    }

    /// A position in the order of changes: higher than every one before it.
    pub fn next_position(&self) -> u64 {
        self.number(&self.0.shared.positions)
    }

    fn number(&self, counter: &Counter) -> u64 {
        let (number, more) = counter.next();
        if more {
            self.0.shared.ask_for_numbers();
        }
        number
    }

    /// Every execution that is not done: what to poll again after a restart.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn load_unfinished(&self) -> Result<Vec<Record>, StoreError> {
        self.read(tables::unfinished)
    }

    /// What changed lately in the processes before this one: what streams can resume from after a restart.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn load_changes(&self) -> Result<Changes, StoreError> {
        let changes = self.read(tables::changes)?;
        Ok(Changes { complete: self.0.identity.complete, ..changes })
    }

    /// Every start whose outcome is not known: what to look for upstream after a restart.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn unsettled_starts(&self) -> Result<Vec<StartRecord>, StoreError> {
        self.read(tables::unsettled_starts)
    }

    /// An execution, as last saved.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn get(&self, name: &ExecutionName) -> Result<Option<Record>, StoreError> {
        let name = name.to_string();
        if let Some(record) = self.0.shared.queue().record(&name) {
            return Ok(Some(Record::clone(record)));
        }
        self.read(|txn| tables::record(txn, &name))
    }

    /// The minted name behind the name that upstream's own id would have.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn resolve_alias(&self, name: &ExecutionName) -> Result<Option<ExecutionName>, StoreError> {
        let waiting: Option<ExecutionName> = {
            let queue = self.0.shared.queue();
            let mut newest_first = queue.records().into_iter().rev().flat_map(|saves| saves.values());
            let owner = newest_first.find(|(_, record)| record.claim().as_ref() == Some(name));
            owner.map(|(_, record)| record.execution.name.clone())
        };
        let owner = match waiting {
            Some(owner) => Some(owner),
            None => match self.read(|txn| tables::claim(txn, &name.to_string()))? {
                Some(owner) => Some(self.parse_name(&owner)?),
                None => None,
            },
        };
        Ok(owner.filter(|owner| owner != name))
    }

    /// Upstream ids that executions started here own, as names under the test: no other start may adopt them.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn claimed_upstream_ids(&self, test: &TestName) -> Result<Vec<ExecutionName>, StoreError> {
        let span = Span::below(&format!("{test}/executions/"));
        let mut claimed: Vec<_> = {
            let queue = self.0.shared.queue();
            let waiting = queue.records().into_iter().flat_map(|saves| saves.values());
            waiting
                .filter_map(|(_, record)| record.claim())
                .filter(|claim| claim.test_name() == *test)
                .collect()
        };
        for name in self.read(|txn| tables::claims(txn, &span))? {
            claimed.push(self.parse_name(&name)?);
        }
        claimed.sort_unstable();
        claimed.dedup();
        Ok(claimed)
    }

    /// Up to `limit` executions within a scope, in the order of their names as text, after a given one.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn executions_in(
        &self,
        scope: &Scope,
        after: Option<&ExecutionName>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let prefix = match (&scope.backend, &scope.test) {
            (Some(backend), Some(test)) => {
                let test = TestName { backend: backend.clone(), test: test.clone() };
                format!("{test}/executions/")
            }
            (Some(backend), None) => format!("backends/{backend}/"),
            (None, _) => "backends/".to_owned(),
        };
        let span = Span::below(&prefix).after(after);
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let waiting: BTreeMap<String, Arc<Record>> = {
            let queue = self.0.shared.queue();
            let range = (span.after.clone(), std::ops::Bound::Excluded(span.before.clone()));
            let within = queue.records().into_iter().flat_map(|saves| saves.range(range.clone()));
            within.map(|(name, (_, record))| (name.clone(), Arc::clone(record))).collect()
        };
        // Both are sorted and each holds all its names up to its end, so the first `limit` of both are right.
        let mut found = self.read(|txn| tables::records(txn, &span, limit))?;
        found.extend(waiting.into_iter().map(|(name, record)| (name, Record::clone(&record))));
        Ok(found.into_values().take(limit).collect())
    }

    /// A start, as last written.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn start(&self, key: &StartKey) -> Result<Option<StartRecord>, StoreError> {
        self.read(|txn| tables::start(txn, key))
    }

    /// Queues a record to be saved soon. Never waits; while one is queued, the last of its name wins.
    pub fn save(&self, record: Record) {
        self.0.shared.save(record);
    }

    /// Saves records; they are on disk when this returns.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn save_durably(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.change(Change::Save(records)).await.map(drop)
    }

    /// Writes down a start before it is sent; it is on disk when this returns. Callers see to it that only one
    /// start of a key is under way.
    ///
    /// # Errors
    /// The store can't be written: nothing must be sent.
    pub async fn journal_start(&self, start: StartRecord) -> Result<(), StoreError> {
        self.change(Change::Journal(Box::new(start))).await.map(drop)
    }

    /// Writes a start's outcome and its execution in one transaction; both are on disk when this returns.
    ///
    /// # Errors
    /// The store can't be written: the start stays as it was.
    pub async fn settle_start(
        &self,
        key: &StartKey,
        outcome: StartOutcome,
        execution: Option<Record>,
    ) -> Result<(), StoreError> {
        let execution = execution.map(Box::new);
        self.change(Change::Settle { key: *key, outcome, execution }).await.map(drop)
    }

    /// Frees the id of a start that upstream refused.
    ///
    /// # Errors
    /// The store can't be written: the start stays as it was.
    pub async fn forget_start(&self, key: &StartKey) -> Result<(), StoreError> {
        self.change(Change::Forget(*key)).await.map(drop)
    }

    /// Deletes a bounded number of executions that were done for longer than `retention`, and of starts older
    /// than a day. An execution that was started here is kept for a day at least, as its start is.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn sweep(&self, now: Timestamp, retention: Duration) -> Result<Swept, StoreError> {
        self.change(Change::Sweep { now, retention }).await
    }

    /// Waits until everything saved before is on disk.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn flush(&self) -> Result<(), StoreError> {
        while !self.0.shared.queue().records().iter().all(|saves| saves.is_empty()) {
            self.change(Change::Flush).await?;
        }
        Ok(())
    }

    /// Whether it can be written, as far as the last write showed.
    ///
    /// # Errors
    /// Why it can't.
    pub fn status(&self) -> Result<(), StoreError> {
        match &*self.0.shared.trouble() {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None => Ok(()),
        }
    }

    /// The size of the file in bytes; 0 in memory.
    pub fn file_size(&self) -> u64 {
        match &self.0.shared.source {
            Source::Memory => 0,
            Source::File(_, file) => file.len().unwrap_or(0),
        }
    }

    async fn change(&self, change: Change) -> Result<Swept, StoreError> {
        let closed = || StoreError::Unavailable("it is closing".into());
        let permit = Arc::clone(&self.0.room).acquire_owned().await.map_err(|_| closed())?;
        let (done, answer) = oneshot::channel();
        self.0.shared.submit(Task { change, done, permit });
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, ReadError>) -> Result<T, StoreError> {
        match self.read_once(&read) {
            // A write failed just now, or this reading found the disk failing: the file may still be readable.
            Err((StoreError::Io { .. }, generation)) => {
                self.0.shared.fall_back(generation);
                self.read_once(&read).map_err(|(error, _)| error)
            }
            result => result.map_err(|(error, _)| error),
        }
    }

    /// Reads, or says why not and which opening of the database that was.
    fn read_once<T>(
        &self,
        read: &impl Fn(&ReadTransaction) -> Result<T, ReadError>,
    ) -> Result<T, (StoreError, u64)> {
        let Shared { source, open, .. } = &*self.0.shared;
        let path = source.path();
        let open = open.read().unwrap_or_else(PoisonError::into_inner);
        // The database panics on some damage, which no caller could tell from a bug.
        let result = catch_unwind(AssertUnwindSafe(|| match &open.database {
            Some(database) => read(&database.begin_read()?),
            None => Err(redb::Error::DatabaseClosed.into()),
        }));
        let error = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(ReadError::Database(error))) => StoreError::reading(path, error),
            Ok(Err(ReadError::Nonsense(reason))) => StoreError::corrupt(path, reason),
            Err(_) => StoreError::corrupt(path, "a reading of it broke off"),
        };
        Err((error, open.generation))
    }

    fn parse_name(&self, text: &str) -> Result<ExecutionName, StoreError> {
        ExecutionName::parse(text).map_err(|error| StoreError::corrupt(self.0.shared.source.path(), error))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(store = %self.shared.source, "the store's writer broke off");
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.shared.source.path()).finish()
    }
}

#[cfg(test)]
mod tests;
