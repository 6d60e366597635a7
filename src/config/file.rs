//! Files that the configuration names, read with a bound, and read again when they change.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The longest certificate, key, token or key set that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads a whole text file, unless its size alone says that it is something else.
pub(super) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let text = String::from_utf8(read(std::fs::File::open(path)?, max)?);
    text.map_err(|_| io::Error::other("is not UTF-8"))
}

fn read(file: std::fs::File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// A file that is looked at now and then.
///
/// It is read at each look: neither notifications nor times tell of every change, as when a folder is swapped by
/// its link, or a file is written twice within a tick of the clock. Another content counts once two looks in a row
/// found it, since whoever writes in place shows parts of it first.
pub struct Watched {
    path: PathBuf,
    content: Vec<u8>,
    candidate: Option<Vec<u8>>,
}

impl Watched {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// It can't be read, or is too large.
    pub fn open(path: &Path) -> io::Result<Self> {
        let content = std::fs::File::open(path)
            .and_then(|file| read(file, MAX_BYTES))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), content, candidate: None })
    }

    /// What it held when it was last looked at.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at it; says whether its content is another one. A file that can't be read keeps its last content.
    ///
    /// # Errors
    /// It can't be read, or is too large.
    pub fn look(&mut self) -> io::Result<bool> {
        let candidate = self.candidate.take();
        let found = read(std::fs::File::open(&self.path)?, MAX_BYTES)?;
        if found == self.content {
            return Ok(false);
        }
        if candidate.as_ref() == Some(&found) {
            self.content = found;
            return Ok(true);
        }
        self.candidate = Some(found);
        Ok(false)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content may be a secret.
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_and_through_a_link_that_is_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("one"), "1").unwrap();
        std::fs::write(at("two"), "2").unwrap();
        std::os::unix::fs::symlink(at("one"), at("link")).unwrap();
        let mut watched = Watched::open(&at("link")).unwrap();
        assert_eq!(watched.content(), b"1");
        assert!(!watched.look().unwrap());

        std::os::unix::fs::symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("link")).unwrap();
        assert_eq!([watched.look().unwrap(), watched.look().unwrap()], [false, true]);
        assert_eq!(watched.content(), b"2");
        assert!(!watched.look().unwrap());
    }

    #[test]
    fn what_is_seen_only_once_while_it_is_written_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut watched = Watched::open(&path).unwrap();
        for part in ["", "n", "ne"] {
            std::fs::write(&path, part).unwrap();
            assert!(!watched.look().unwrap());
            assert_eq!(watched.content(), b"old");
        }
        std::fs::write(&path, "new").unwrap();
        assert_eq!([watched.look().unwrap(), watched.look().unwrap()], [false, true]);
    }

    #[test]
    fn a_file_that_is_gone_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "1").unwrap();
        let mut watched = Watched::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(watched.look().is_err());
        assert_eq!(watched.content(), b"1");
        std::fs::write(&path, "1").unwrap();
        assert_eq!([watched.look().unwrap(), watched.look().unwrap()], [false, false]);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(Watched::open(&path).unwrap_err().to_string().contains("larger than"));
    }

    #[test]
    fn no_content_is_in_debug() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "canary").unwrap();
        assert!(!format!("{:?}", Watched::open(&path).unwrap()).contains("canary"));
    }
}
