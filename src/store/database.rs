//! Opening the database: in memory, in its file, or over a file that can't be written.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use super::error::StoreError;
use super::file::{Direct, StoreFile};
use super::shadow::{Held, Shadow};
use super::tables::{self, FORMAT, META};

/// Pages kept in memory. The system's own cache stands behind it.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// Where the database is.
#[derive(Debug)]
pub(super) enum Source {
    Memory,
    File(PathBuf, StoreFile),
}

impl Source {
    /// Opens or creates the file and takes its lock.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, StoreError> {
        match path {
            None => Ok(Self::Memory),
            Some(path) => {
                let file = StoreFile::open(&path)?;
                Ok(Self::File(path, file))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Memory => Path::new(":memory:"),
            Self::File(path, _) => path,
        }
    }

    /// Opens the database for reading and writing, and reads what identifies it. A file that is refused stays as it is:
    /// to open one that was not closed is to repair it, which writes.
    pub(super) fn identified(&self) -> Result<(Database, Option<Identity>), StoreError> {
        let reading = |error: std::io::Error| StoreError::reading(self.path(), error);
        let held = match self {
            Self::File(path, file) if file.is_unclosed() => {
                Some(file.for_writing(path).and_then(Held::new).map_err(reading)?)
            }
            Self::File(..) | Self::Memory => None,
        };
        let database = match &held {
            Some(held) => self.guarded(|builder| builder.create_with_backend(held.clone()))?,
            None => self.database()?,
        };
        let identity = identity(self.path(), &database)?;
        held.map_or(Ok(()), |held| held.release()).map_err(reading)?;
        Ok((database, identity))
    }

    /// Opens the database for reading and writing.
    pub(super) fn database(&self) -> Result<Database, StoreError> {
        match self {
            Self::Memory => {
                self.guarded(|builder| builder.create_with_backend(redb::backends::InMemoryBackend::new()))
            }
            Self::File(path, file) => {
                self.guarded(|builder| builder.create_with_backend(Direct(file.for_writing(path)?)))
            }
        }
    }

    /// Opens the database over the file as it is; what is written goes to memory and is lost.
    pub(super) fn shadow(&self) -> Result<Database, StoreError> {
        match self {
            Self::Memory => self.database(),
            Self::File(_, file) => {
                self.guarded(|builder| builder.create_with_backend(Shadow::new(file.clone())?))
            }
        }
    }

    /// Whether there is no file, so that opening it again would lose everything.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory)
    }

    /// Opens with our settings. The database panics on some damage, which is no reason to take the process down.
    fn guarded(
        &self,
        open: impl FnOnce(&redb::Builder) -> Result<Database, redb::DatabaseError>,
    ) -> Result<Database, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        match catch_unwind(AssertUnwindSafe(|| open(&builder))) {
            Ok(opened) => opened.map_err(|error| StoreError::reading(self.path(), error)),
            Err(_) => Err(StoreError::corrupt(self.path(), "it could not be read as a database")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

/// Under which it is kept whether everything was written before the end.
const COMPLETE: &str = "complete";

/// What is fixed when a store is created, and the numbers that are reserved.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) epoch: [u8; 16],
    pub(super) token_key: [u8; 32],
    /// Reserved revisions and positions.
    pub(super) numbers: [u64; 2],
    /// The process that wrote it last wrote all that it knew.
    pub(super) complete: bool,
}

/// Reads what identifies the store; `None` if it is new.
pub(super) fn identity(path: &Path, database: &Database) -> Result<Option<Identity>, StoreError> {
    let reading = |error: redb::Error| StoreError::reading(path, error);
    let txn = database.begin_read().map_err(|error| reading(error.into()))?;
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            let foreign = txn.list_tables().map_err(|error| reading(error.into()))?.next().is_some();
            return if foreign {
                Err(StoreError::corrupt(path, "another program wrote it"))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(reading(error.into())),
    };
    let format = u64::from_le_bytes(value(path, &table, "format")?);
    if format > FORMAT {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found: format, known: FORMAT });
    }
    Ok(Some(Identity {
        epoch: value(path, &table, "epoch")?,
        token_key: value(path, &table, "token_key")?,
        numbers: [
            u64::from_le_bytes(value(path, &table, "revisions")?),
            u64::from_le_bytes(value(path, &table, "positions")?),
        ],
        complete: table
            .get(COMPLETE)
            .map_err(|error| StoreError::reading(path, error))?
            .is_some_and(|flag| flag.value() == [1]),
    }))
}

fn value<const N: usize>(
    path: &Path,
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<[u8; N], StoreError> {
    let value = table.get(name).map_err(|error| StoreError::reading(path, error))?;
    value
        .and_then(|bytes| bytes.value().try_into().ok())
        .ok_or_else(|| StoreError::corrupt(path, format!("its {name} is missing or malformed")))
}

/// Makes up what identifies a new store.
pub(super) fn new_identity() -> Result<Identity, StoreError> {
    let mut identity = Identity { epoch: [0; 16], token_key: [0; 32], numbers: [0; 2], complete: true };
    // AWS-LC's generator would first gather entropy of its own, which takes most of a quick start's time.
    getrandom::fill(&mut identity.epoch)
        .and_then(|()| getrandom::fill(&mut identity.token_key))
        .map_err(|_| StoreError::Unavailable("the system gives no random numbers".into()))?;
    Ok(identity)
}

/// Writes what identifies the store, with every table.
pub(super) fn write_identity(database: &Database, identity: &Identity) -> Result<(), redb::Error> {
    let Identity { epoch, token_key, numbers, complete: _ } = identity;
    let txn = database.begin_write()?;
    tables::create(&txn)?;
    {
        let mut table = txn.open_table(META)?;
        table.insert("format", FORMAT.to_le_bytes().as_slice())?;
        table.insert("epoch", epoch.as_slice())?;
        table.insert("token_key", token_key.as_slice())?;
    }
    write_numbers(&txn, *numbers)?;
    txn.commit()?;
    Ok(())
}

/// Writes up to where revisions and positions are reserved. From then on there is something to lose.
pub(super) fn write_numbers(txn: &WriteTransaction, numbers: [u64; 2]) -> Result<(), redb::Error> {
    let mut table = txn.open_table(META)?;
    table.insert(COMPLETE, [0].as_slice())?;
    for (name, number) in ["revisions", "positions"].into_iter().zip(numbers) {
        table.insert(name, number.to_le_bytes().as_slice())?;
    }
    Ok(())
}

/// Writes that nothing is missing.
pub(super) fn write_complete(database: &Database) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    txn.open_table(META)?.insert(COMPLETE, [1].as_slice())?;
    txn.commit()?;
    Ok(())
}
