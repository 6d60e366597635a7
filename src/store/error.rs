//! What can go wrong with the store, in words that name the file and what to do.

use std::path::{Path, PathBuf};

/// Why the store could not be opened, read or written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {} is in use by another process: stop that one, or set store.path to another file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "the store {} has format {found} and this version knows formats up to {known}: \
         run the version that wrote it, or set store.path to another file",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format in it.
        found: u64,
        /// The newest format that is known here.
        known: u64,
    },
    /// The file can't be reached.
    #[error("the store {} can't be used: {reason}: check the path, its permissions and the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// What is in the file makes no sense.
    #[error("the store {} is damaged: {reason}: restore a copy, or move the file away to begin anew", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It can't be written now; reads go on, and so do writes once the cause is gone.
    #[error("the store can't be written: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// A failure to open or read.
    pub(super) fn reading(path: &Path, error: impl Into<redb::Error>) -> Self {
        let path = path.to_owned();
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Locked { path },
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Corrupt { path, reason: error.to_string() }
            }
            redb::Error::Io(error) => Self::Io { path, reason: error.to_string() },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                Self::Io { path, reason: "an earlier read or write failed".into() }
            }
            other => Self::Corrupt { path, reason: other.to_string() },
        }
    }

    /// A failure to write.
    pub(super) fn writing(path: &Path, error: impl Into<redb::Error>) -> Self {
        Self::Unavailable(format!("{}: {}", path.display(), error.into()))
    }

    /// What was stored can't be read back.
    pub(super) fn corrupt(path: &Path, reason: impl ToString) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.to_string() }
    }
}
