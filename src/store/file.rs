//! The file under the database, and its lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::error::StoreError;

/// What a database begins with. The byte after it holds flags.
const MAGIC_BYTES: usize = 9;

/// The most bytes that a file has before its creation is complete.
const UNBORN_BYTES: u64 = 8 * 1024 * 1024;

/// The store's file, locked against other processes for as long as this lives.
#[derive(Clone, Debug)]
pub(super) struct StoreFile {
    file: Arc<File>,
    /// The file that was opened first has the lock, whichever is written.
    lock: Arc<File>,
    /// Whether the system let us open it for writing.
    writable: bool,
    #[cfg(test)]
    pub(super) refuse_writes: Arc<std::sync::atomic::AtomicBool>,
}

impl StoreFile {
    /// Opens and locks the file, with its folder where that is missing. A file that may only be read is opened too.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::Io { path: path.to_owned(), reason: error.to_string() };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        // Nobody else may read it: it holds the key of the tokens.
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let (file, writable) = match opened {
            Ok(file) => (file, true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                (File::open(path).map_err(|_| failed(error))?, false)
            }
            Err(error) => return Err(failed(error)),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if writable {
            discard_unborn(&file).map_err(failed)?;
        }
        if writable && let Some(parent) = parent {
            // A new file's name has to survive a crash as much as what is in it.
            File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        let file = Arc::new(file);
        Ok(Self {
            lock: Arc::clone(&file),
            file,
            writable,
            #[cfg(test)]
            refuse_writes: Arc::default(),
        })
    }

    /// The file for writing: opened once more if it could only be read when the store was opened.
    pub(super) fn for_writing(&self, path: &Path) -> io::Result<Self> {
        if self.writable {
            return Ok(self.clone());
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (ours, theirs) = (self.lock.metadata()?, file.metadata()?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            return Err(io::Error::other("another file has taken its place"));
        }
        Ok(Self { file: Arc::new(file), writable: true, ..self.clone() })
    }

    /// Whether it was not closed, so that opening it as a database repairs it, which writes.
    pub(super) fn is_unclosed(&self) -> bool {
        const REPAIR: u8 = 2;
        let mut flags = [0];
        self.file.read_exact_at(&mut flags, MAGIC_BYTES as u64).is_ok() && flags[0] & REPAIR != 0
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    #[cfg(test)]
    fn check_fault(&self) -> io::Result<()> {
        if self.refuse_writes.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    #[cfg(not(test))]
    fn check_fault(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Empties a file whose creation was cut off. The database writes the first bytes last, once the rest is on disk,
/// so a small file without them never held anything.
fn discard_unborn(file: &File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut first = [0xff; MAGIC_BYTES];
    if len > UNBORN_BYTES || len < MAGIC_BYTES as u64 {
        return Ok(());
    }
    file.read_exact_at(&mut first, 0)?;
    if first == [0; MAGIC_BYTES] { file.set_len(0) } else { Ok(()) }
}

/// The file itself: what is written is written.
#[derive(Debug)]
pub(super) struct Direct(pub(super) StoreFile);

impl StorageBackend for Direct {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.check_fault()?;
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.check_fault()?;
        self.0.file.write_all_at(data, offset)
    }

    // `StoreFile` holds the one lock, also across a reopening.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}
