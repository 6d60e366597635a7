//! The file under the database: its lock, and a way to read it while it can't be written.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::error::StoreError;

const BLOCK: u64 = 4096;

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

/// The file as it is, with all that is written on top kept in memory and lost at the end.
///
/// After a failed write the database has to be opened again before it can be read, and opening it repairs it,
/// which writes. Here that works on a disk that is full or read-only too.
#[derive(Debug)]
pub(super) struct Shadow {
    file: StoreFile,
    state: Mutex<ShadowState>,
}

#[derive(Debug)]
struct ShadowState {
    len: u64,
    /// The file counts up to here; beyond are only blocks.
    file_len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Shadow {
    pub(super) fn new(file: StoreFile) -> io::Result<Self> {
        let len = file.len()?;
        let state = Mutex::new(ShadowState { len, file_len: len, blocks: BTreeMap::new() });
        Ok(Self { file, state })
    }

    fn state(&self) -> MutexGuard<'_, ShadowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the file has, zeros where it ends.
    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(file_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_file, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.file.read_exact_at(from_file, offset)
    }

    /// Calls `each` with every block that the range touches: its start, the range within it, and within the buffer.
    fn blocks(
        offset: u64,
        len: usize,
        mut each: impl FnMut(u64, usize, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0usize;
        while done < len {
            let at = offset + done as u64;
            let start = at - at % BLOCK;
            let within = usize::try_from(at % BLOCK).unwrap_or(0);
            let count = (len - done).min(usize::try_from(BLOCK).unwrap_or(4096) - within);
            each(start, within, done, count)?;
            done += count;
        }
        Ok(())
    }
}

impl StorageBackend for Shadow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(state.file_len, offset, out)?;
        Self::blocks(offset, out.len(), |start, within, done, count| {
            if let Some(block) = state.blocks.get(&start)
                && let (Some(to), Some(from)) =
                    (out.get_mut(done..done + count), block.get(within..within + count))
            {
                to.copy_from_slice(from);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.file_len = state.file_len.min(len);
        state.blocks.retain(|start, _| *start < len);
        let cut = len % BLOCK;
        if len < state.len
            && let Some(block) = state.blocks.get_mut(&(len - cut))
            && let Some(tail) = block.get_mut(usize::try_from(cut).unwrap_or(0)..)
        {
            tail.fill(0);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let file_len = state.file_len;
        Self::blocks(offset, data.len(), |start, within, done, count| {
            let block = match state.blocks.entry(start) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(4096)].into_boxed_slice();
                    self.read_file(file_len, start, &mut block)?;
                    vacant.insert(block)
                }
            };
            if let (Some(to), Some(from)) =
                (block.get_mut(within..within + count), data.get(done..done + count))
            {
                to.copy_from_slice(from);
            }
            Ok(())
        })?;
        state.len = state.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}
