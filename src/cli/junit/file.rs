//! A file that is replaced in one step, so that nobody ever reads half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;

/// Where a report goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was given.
    shown: String,
    /// The file itself, behind links.
    file: PathBuf,
}

impl Target {
    /// Finds out whether a file can be written there, before anything that takes long or costs money.
    pub(crate) fn check(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let target = file(path).map(|file| Self { shown: shown.clone(), file });
        target.and_then(|target| target.begin().map(|_removed| target)).map_err(|error| {
            let text = format!("can't write --junit {shown}: {error}");
            // A full disk is no mistake of the command line's.
            if is_full(&error) { Failure::Trouble(text) } else { Failure::Usage(text) }
        })
    }

    /// Puts a text in the place of whatever is there.
    pub(super) fn replace(&self, text: &str) -> Result<(), Failure> {
        let replace = || {
            let mut draft = self.begin()?;
            draft.file.write_all(text.as_bytes())?;
            // Some file systems find out only now that there is no room.
            draft.file.sync_all()?;
            fs::rename(&draft.path, &self.file)
        };
        replace().map_err(|error| Failure::Trouble(format!("can't write --junit {}: {error}", self.shown)))
    }

    /// A new file beside it: only within a folder is a rename one step.
    fn begin(&self) -> io::Result<Draft> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let path = self.file.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Draft { path, file })
    }
}

/// Gone when dropped, unless it was renamed.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
    file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

fn file(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        // What can't be replaced, as /dev/stdout or a pipe, can't be written whole either.
        Ok(there) if !there.is_file() => {
            Err(io::Error::new(ErrorKind::InvalidInput, "it is there and no regular file"))
        }
        Ok(_) => fs::canonicalize(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name =
                path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "no file name"))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(fs::canonicalize(folder.unwrap_or(Path::new(".")))?.join(name))
        }
        Err(error) => Err(error),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn checking_leaves_nothing_and_replacing_leaves_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.xml");
        let target = Target::check(&path).unwrap();
        assert_eq!(content(folder.path()), [""; 0]);
        target.replace("one").unwrap();
        target.replace("two").unwrap();
        assert_eq!(content(folder.path()), ["report.xml"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.xml"), folder.path().join("link.xml"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Target::check(&link).unwrap().replace("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    }

    #[test]
    fn what_can_not_be_written_is_known_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let beside_nothing = folder.path().join("none").join("report.xml");
        for wrong in [folder.path(), Path::new("/dev/null"), Path::new(""), Path::new("/"), &beside_nothing] {
            assert!(matches!(Target::check(wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_draft_that_is_given_up_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::check(&folder.path().join("report.xml")).unwrap();
        let draft = target.begin().unwrap();
        assert_eq!(content(folder.path()).len(), 1);
        drop(draft);
        assert_eq!(content(folder.path()), [""; 0]);
    }
}
