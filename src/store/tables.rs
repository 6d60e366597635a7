//! The tables, and every change and reading of them inside one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::persist::{
    Head, Nonsense, decode_head, decode_record, decode_start, encode_record, encode_start, micros, moment,
};
use super::record::{
    ChangeRow, Changes, Record, StartKey, StartOutcome, StartRecord, Swept, TOMBSTONES, claim_of,
};
use crate::model::{ExecutionName, Timestamp};

/// The newest format that is known here.
pub(super) const FORMAT: u64 = 1;

/// How long the outcome of a start is kept, and with it the execution that it led to.
const START_LIFETIME: Duration = Duration::from_hours(24);

/// The most rows that one sweep deletes of each table.
const SWEEP_BATCH: usize = 500;

/// Single values by name.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Records by execution name.
const EXECUTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("executions");
/// Names of what is not done.
const UNFINISHED: TableDefinition<'_, &str, ()> = TableDefinition::new("unfinished");
/// Names of what is done, by whether a start of ours made it, and by when it was first stored as done.
const DONE: TableDefinition<'_, (bool, i64, &str), ()> = TableDefinition::new("done");
/// For what was started here: the name that upstream's id would have -> the execution's name.
const CLAIMS: TableDefinition<'_, &str, &str> = TableDefinition::new("claims");
/// Starts by key.
const STARTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("starts");
/// What changed, by position: when it was written, and its name. Only the latest position of each execution.
const CHANGES: TableDefinition<'_, u64, (i64, &str)> = TableDefinition::new("changes");
/// Keys of starts by time.
const STARTS_BY_TIME: TableDefinition<'_, (i64, &[u8; 32]), ()> = TableDefinition::new("starts_by_time");

/// Under which the highest position is kept whose change was deleted.
const FORGOTTEN: &str = "forgotten";

/// A reading failed: the database itself, or what was found in it.
#[derive(Debug)]
pub(super) enum ReadError {
    Database(redb::Error),
    Nonsense(Nonsense),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// A range of names: everything below a prefix, after a name.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) after: Bound<String>,
    pub(super) before: String,
}

impl Span {
    /// Every name that begins with a prefix, which ends in `/`.
    pub(super) fn below(prefix: &str) -> Self {
        // `0` is the character after `/`.
        let before = format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix));
        Self { after: Bound::Included(prefix.to_owned()), before }
    }

    /// What of it comes after a name.
    pub(super) fn after(mut self, name: Option<&ExecutionName>) -> Self {
        if let Some(name) = name.map(ToString::to_string)
            && matches!(&self.after, Bound::Included(first) if *first <= name)
        {
            self.after = Bound::Excluded(name);
        }
        self
    }

    /// Whether nothing can lie within; ranges of maps panic on those.
    pub(super) fn is_empty(&self) -> bool {
        match &self.after {
            Bound::Included(first) | Bound::Excluded(first) => *first >= self.before,
            Bound::Unbounded => false,
        }
    }

    fn bounds(&self) -> (Bound<&str>, Bound<&str>) {
        (self.after.as_ref().map(String::as_str), Bound::Excluded(self.before.as_str()))
    }
}

/// Creates the tables, so that every later reading finds them.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::Error> {
    Writer::open(txn).map(drop)
}

/// Reads a record.
pub(super) fn record(txn: &ReadTransaction, name: &str) -> Result<Option<Record>, ReadError> {
    let table = txn.open_table(EXECUTIONS)?;
    let Some(bytes) = table.get(name)? else { return Ok(None) };
    decode_record(bytes.value()).map(|(record, _)| Some(record)).map_err(ReadError::Nonsense)
}

/// Reads up to `limit` records in the order of their names.
pub(super) fn records(
    txn: &ReadTransaction,
    span: &Span,
    limit: usize,
) -> Result<BTreeMap<String, Record>, ReadError> {
    let mut found = BTreeMap::new();
    if span.is_empty() {
        return Ok(found);
    }
    for row in txn.open_table(EXECUTIONS)?.range::<&str>(span.bounds())?.take(limit) {
        let (name, bytes) = row?;
        let (record, _) = decode_record(bytes.value()).map_err(ReadError::Nonsense)?;
        found.insert(name.value().to_owned(), record);
    }
    Ok(found)
}

/// Reads every record that is not done.
pub(super) fn unfinished(txn: &ReadTransaction) -> Result<Vec<Record>, ReadError> {
    let executions = txn.open_table(EXECUTIONS)?;
    let mut found = Vec::new();
    for row in txn.open_table(UNFINISHED)?.iter()? {
        let (name, _) = row?;
        if let Some(bytes) = executions.get(name.value())? {
            found.push(decode_record(bytes.value()).map_err(ReadError::Nonsense)?.0);
        }
    }
    Ok(found)
}

/// Reads what changed lately, in the order of the positions.
pub(super) fn changes(txn: &ReadTransaction) -> Result<Changes, ReadError> {
    let forgotten = txn.open_table(META)?.get(FORGOTTEN)?.and_then(|bytes| bytes.value().try_into().ok());
    let mut changes =
        Changes { rows: Vec::new(), forgotten: forgotten.map_or(0, u64::from_le_bytes), complete: false };
    for row in txn.open_table(CHANGES)?.iter()? {
        let (position, value) = row?;
        let (at, name) = value.value();
        changes.rows.push(ChangeRow {
            position: position.value(),
            name: ExecutionName::parse(name).map_err(|error| ReadError::Nonsense(error.to_string()))?,
            time: moment(at).ok_or_else(|| ReadError::Nonsense("a change without a time".into()))?,
        });
    }
    Ok(changes)
}

/// Reads which execution has claimed the id of a name.
pub(super) fn claim(txn: &ReadTransaction, name: &str) -> Result<Option<String>, ReadError> {
    Ok(txn.open_table(CLAIMS)?.get(name)?.map(|owner| owner.value().to_owned()))
}

/// Reads every claim within a span.
pub(super) fn claims(txn: &ReadTransaction, span: &Span) -> Result<Vec<String>, ReadError> {
    let mut found = Vec::new();
    for row in txn.open_table(CLAIMS)?.range::<&str>(span.bounds())? {
        found.push(row?.0.value().to_owned());
    }
    Ok(found)
}

/// Reads a start.
pub(super) fn start(txn: &ReadTransaction, key: &StartKey) -> Result<Option<StartRecord>, ReadError> {
    let table = txn.open_table(STARTS)?;
    let Some(bytes) = table.get(&key.0)? else { return Ok(None) };
    decode_start(*key, bytes.value()).map(Some).map_err(ReadError::Nonsense)
}

/// Reads every start that is still being sent.
pub(super) fn unsettled_starts(txn: &ReadTransaction) -> Result<Vec<StartRecord>, ReadError> {
    let mut found = Vec::new();
    for row in txn.open_table(STARTS)?.iter()? {
        let (key, bytes) = row?;
        let start = decode_start(StartKey(*key.value()), bytes.value()).map_err(ReadError::Nonsense)?;
        if start.outcome == StartOutcome::Sending {
            found.push(start);
        }
    }
    Ok(found)
}

/// The tables of one write transaction.
pub(super) struct Writer<'txn> {
    executions: Table<'txn, &'static str, &'static [u8]>,
    unfinished: Table<'txn, &'static str, ()>,
    done: Table<'txn, (bool, i64, &'static str), ()>,
    claims: Table<'txn, &'static str, &'static str>,
    changes: Table<'txn, u64, (i64, &'static str)>,
    meta: Table<'txn, &'static str, &'static [u8]>,
    starts: Table<'txn, &'static [u8; 32], &'static [u8]>,
    starts_by_time: Table<'txn, (i64, &'static [u8; 32]), ()>,
}

impl<'txn> Writer<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            executions: txn.open_table(EXECUTIONS)?,
            unfinished: txn.open_table(UNFINISHED)?,
            done: txn.open_table(DONE)?,
            claims: txn.open_table(CLAIMS)?,
            changes: txn.open_table(CHANGES)?,
            meta: txn.open_table(META)?,
            starts: txn.open_table(STARTS)?,
            starts_by_time: txn.open_table(STARTS_BY_TIME)?,
        })
    }

    /// Writes a record and everything that leads to it, as far as that is not there already.
    pub(super) fn put(&mut self, record: &Record, now: Timestamp) -> Result<(), redb::Error> {
        self.put_as(&record.execution.name.to_string(), record, now)
    }

    /// As [`Self::put`], where the name's text is at hand.
    pub(super) fn put_as(&mut self, key: &str, record: &Record, now: Timestamp) -> Result<(), redb::Error> {
        let name = &record.execution.name;
        let known = self.head(name, key)?;
        let known_done = known.as_ref().and_then(|known| known.done_at);
        let done_at = record.execution.is_done().then(|| known_done.unwrap_or_else(|| micros(now)));
        let head = Head::of(record, done_at);
        if let Some(known) = &known
            && known.position != head.position
        {
            self.changes.remove(known.position)?;
        }
        if head.position > 0 {
            self.changes.insert(head.position, (micros(now), key))?;
        }
        self.link(name, key, known.as_ref(), Some(&head))?;
        self.executions.insert(key, encode_record(record, done_at).as_slice())?;
        Ok(())
    }

    /// Deletes a record and what leads to it, but for its change.
    fn delete(&mut self, name: &ExecutionName) -> Result<(), redb::Error> {
        let key = name.to_string();
        let known = self.head(name, &key)?;
        self.link(name, &key, known.as_ref(), None)?;
        self.executions.remove(key.as_str())?;
        Ok(())
    }

    /// The head of a record. One that can't be read is like one that isn't there, lest it stops every write.
    fn head(&self, name: &ExecutionName, key: &str) -> Result<Option<Head>, redb::Error> {
        Ok(self.executions.get(key)?.and_then(|bytes| decode_head(name, bytes.value()).ok()))
    }

    /// Has the indexes lead to a record where they led to an earlier one of its name.
    fn link(
        &mut self,
        name: &ExecutionName,
        key: &str,
        from: Option<&Head>,
        to: Option<&Head>,
    ) -> Result<(), redb::Error> {
        let place = |head: &Head| (head.done_at, head.done_at.is_some() && head.started_here);
        let (old, new) = (from.map(place), to.map(place));
        if old != new {
            match old {
                Some((Some(done_at), started_here)) => {
                    drop(self.done.remove((started_here, done_at, key))?)
                }
                Some((None, _)) => drop(self.unfinished.remove(key)?),
                None => {}
            }
            match new {
                Some((Some(done_at), started_here)) => {
                    self.done.insert((started_here, done_at, key), ())?;
                }
                Some((None, _)) => drop(self.unfinished.insert(key, ())?),
                None => {}
            }
        }
        let claimed = |head: &Head| head.started_here.then(|| claim_of(name, &head.upstream_id)).flatten();
        let (old, new) = (from.and_then(claimed), to.and_then(claimed));
        if old != new {
            if let Some(old) = old.map(|claim| claim.to_string())
                && self.claims.get(old.as_str())?.is_some_and(|owner| owner.value() == key)
            {
                self.claims.remove(old.as_str())?;
            }
            if let Some(new) = new {
                self.claims.insert(new.to_string().as_str(), key)?;
            }
        }
        Ok(())
    }

    /// Writes a start.
    pub(super) fn put_start(&mut self, start: &StartRecord) -> Result<(), redb::Error> {
        self.forget_start(&start.key)?;
        self.starts.insert(&start.key.0, encode_start(start).as_slice())?;
        self.starts_by_time.insert((micros(start.time), &start.key.0), ())?;
        Ok(())
    }

    /// Writes a start's outcome; a start that is not known stays so.
    pub(super) fn settle(&mut self, key: &StartKey, outcome: &StartOutcome) -> Result<(), redb::Error> {
        let known = self.starts.get(&key.0)?.and_then(|bytes| decode_start(*key, bytes.value()).ok());
        match known {
            Some(start) => self.put_start(&StartRecord { outcome: outcome.clone(), ..start }),
            None => Ok(()),
        }
    }

    /// Removes a start.
    pub(super) fn forget_start(&mut self, key: &StartKey) -> Result<(), redb::Error> {
        let known = self.starts.remove(&key.0)?.and_then(|bytes| decode_start(*key, bytes.value()).ok());
        if let Some(start) = known {
            self.starts_by_time.remove((micros(start.time), &key.0))?;
        }
        Ok(())
    }

    /// Deletes what is past its time, a bounded number of rows.
    pub(super) fn sweep(&mut self, now: Timestamp, retention: Duration) -> Result<Swept, redb::Error> {
        let mut swept = Swept::default();
        // A start's repeat has to be answered with the execution for as long as the start is remembered.
        for (started_here, kept) in [(false, retention), (true, retention.max(START_LIFETIME))] {
            let mut expired = Vec::new();
            let range = (started_here, i64::MIN, "")..(started_here, before(now, kept), "");
            for row in self.done.range(range)?.take(SWEEP_BATCH) {
                expired.push(row?.0.value().2.to_owned());
            }
            swept.more |= expired.len() == SWEEP_BATCH;
            for name in expired.iter().filter_map(|name| ExecutionName::parse(name).ok()) {
                self.delete(&name)?;
                swept.executions.push(name);
            }
        }
        let mut expired = Vec::new();
        let range = (i64::MIN, &[0; 32])..(before(now, START_LIFETIME), &[0; 32]);
        for row in self.starts_by_time.range(range)?.take(SWEEP_BATCH) {
            let (entry, _) = row?;
            let (time, key) = entry.value();
            expired.push((time, *key));
        }
        swept.more |= expired.len() == SWEEP_BATCH;
        swept.starts = expired.len();
        for (time, key) in expired {
            self.starts.remove(&key)?;
            self.starts_by_time.remove((time, &key))?;
        }
        swept.more |= self.sweep_changes(now)?;
        Ok(swept)
    }

    /// Deletes changes that are too old to resume from, and with them what was only watched and moves no more: it
    /// would be read afresh. Returns whether there is more.
    fn sweep_changes(&mut self, now: Timestamp) -> Result<bool, redb::Error> {
        let bound = before(now, TOMBSTONES);
        let mut expired = Vec::new();
        for row in self.changes.iter()?.take(SWEEP_BATCH) {
            let (position, value) = row?;
            let (time, name) = value.value();
            if time >= bound {
                break;
            }
            expired.push((position.value(), name.to_owned()));
        }
        for (position, key) in &expired {
            self.changes.remove(position)?;
            let Ok(name) = ExecutionName::parse(key) else { continue };
            let moves_no_more = |head: &Head| head.position == *position && head.done_at.is_none();
            if self.head(&name, key)?.is_some_and(|head| moves_no_more(&head) && !head.followed) {
                self.delete(&name)?;
            }
        }
        if let Some((position, _)) = expired.last() {
            self.meta.insert(FORGOTTEN, position.to_le_bytes().as_slice())?;
        }
        Ok(expired.len() == SWEEP_BATCH)
    }
}

/// The moment so long before another, as indexes order it.
fn before(now: Timestamp, age: Duration) -> i64 {
    micros(now).saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}
