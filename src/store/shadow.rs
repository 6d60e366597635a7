//! The file while it can't be written, or must not be yet: writes are kept in memory, on top of it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::file::{Direct, StoreFile};

const BLOCK: u64 = 4096;

/// The file as it is, with all that is written on top kept in memory and lost at the end.
///
/// After a failed write the database has to be opened again before it can be read, and opening it repairs it,
/// which writes. Here that works on a disk that is full or read-only too.
#[derive(Debug)]
pub(super) struct Shadow {
    file: Direct,
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
        Ok(Self { file: Direct(file), state })
    }

    fn state(&self) -> MutexGuard<'_, ShadowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the file has, zeros where it ends.
    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(file_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_file, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.read(offset, from_file)
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

/// The file with its writes held back until they are let through: who opens a database that was not closed can look
/// into it before the repair changes anything.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Hold>);

#[derive(Debug)]
struct Hold {
    file: Direct,
    shadow: Shadow,
    /// What was held back, in its order: a crash amid it leaves what a crash amid the repair itself would.
    held: Mutex<Vec<Change>>,
    released: AtomicBool,
}

/// One change of a file.
#[derive(Debug)]
enum Change {
    Write(u64, Box<[u8]>),
    SetLen(u64),
    Sync,
}

impl Held {
    pub(super) fn new(file: StoreFile) -> io::Result<Self> {
        let shadow = Shadow::new(file.clone())?;
        let (held, released) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self(Arc::new(Hold { file: Direct(file), shadow, held, released })))
    }

    /// Writes what was held back, and from now on everything at once. Nobody may use the database meanwhile.
    pub(super) fn release(&self) -> io::Result<()> {
        for change in std::mem::take(&mut *self.0.held()) {
            match change {
                Change::Write(offset, data) => self.0.file.write(offset, &data),
                Change::SetLen(len) => self.0.file.set_len(len),
                Change::Sync => self.0.file.sync_data(),
            }?;
        }
        self.0.released.store(true, Ordering::Release);
        self.0.shadow.state().blocks.clear();
        Ok(())
    }
}

impl Hold {
    fn held(&self) -> MutexGuard<'_, Vec<Change>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where reads and writes go now.
    fn backend(&self) -> &dyn StorageBackend {
        if self.is_released() { &self.file } else { &self.shadow }
    }

    fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    fn note(&self, change: impl FnOnce() -> Change) {
        if !self.is_released() {
            self.held().push(change());
        }
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        self.0.backend().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.backend().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.note(|| Change::SetLen(len));
        self.0.backend().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.note(|| Change::Sync);
        self.0.backend().sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.note(|| Change::Write(offset, data.into()));
        self.0.backend().write(offset, data)
    }

    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend().try_lock_range(from, to)
    }

    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend().unlock_range(from, to)
    }
}
