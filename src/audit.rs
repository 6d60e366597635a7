//! The audit log: who started, stopped and recorded what, and who was refused.
//!
//! One JSON object a line, in a file that is only ever appended to and is put aside when it is full. A thread of its
//! own writes it, so that a slow or full disk holds up no call: what can't be written is counted, and said once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::metrics::Metrics;

/// Lines that wait for the disk.
const MAX_WAITING: usize = 1024;

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The file that is written now.
    pub file: PathBuf,
    /// It is put aside when a line would make it longer than this, in bytes.
    pub max_size: u64,
    /// How many are kept that were put aside: `file.1` is the youngest.
    pub keep: usize,
}

/// One line. An empty member is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// When the call ended, RFC 3339.
    pub time: String,
    /// `started`, `stopped`, `recorded`, `failed` or `refused`.
    pub event: &'static str,
    /// The RPC.
    pub method: &'static str,
    /// Who called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// What it was about, or made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The caller's id of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Why the caller wanted it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The gRPC code, by name.
    pub code: String,
    /// Upstream's id of the last request that was made for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upstream_request_id: String,
    /// Its trace.
    pub trace_id: String,
}

/// The log. Cheap to clone; dropping the last one writes what waits.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Mutex<Option<SyncSender<Entry>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    metrics: Metrics,
}

impl Audit {
    /// Opens the file, which shows early whether it can be written at all.
    ///
    /// # Errors
    /// It can't.
    pub fn open(settings: Settings, metrics: Metrics) -> io::Result<Self> {
        let mut log = Log::open(settings)?;
        let (sender, lines) = sync_channel(MAX_WAITING);
        let of_writer = metrics.clone();
        let writer = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(&mut log, &lines, &of_writer))?;
        let inner = Inner { lines: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)), metrics };
        Ok(Self(Arc::new(inner)))
    }

    /// Queues a line. Never waits.
    pub fn write(&self, entry: Entry) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.as_ref().is_none_or(|lines| lines.try_send(entry).is_err()) {
            self.0.metrics.audit_lines_lost(1);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender the writer ends once it has written what waits.
        drop(self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the audit log's writer broke off");
        }
    }
}

fn write_all(log: &mut Log, lines: &Receiver<Entry>, metrics: &Metrics) {
    let mut broken = false;
    for entry in lines {
        let written = serde_json::to_vec(&entry).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            log.append(&line)
        });
        match written {
            Ok(()) if broken => {
                broken = false;
                tracing::info!("the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                metrics.audit_lines_lost(1);
                if !std::mem::replace(&mut broken, true) {
                    tracing::error!(file = %log.settings.file.display(), %error, "the audit log can't be written");
                }
            }
        }
    }
}

/// The files.
#[derive(Debug)]
struct Log {
    settings: Settings,
    file: File,
    size: u64,
    /// Whether the last line was cut short, so that the next must not go on in it.
    torn: bool,
}

impl Log {
    fn open(settings: Settings) -> io::Result<Self> {
        let file = append_to(&settings.file)?;
        let size = file.metadata()?.len();
        Ok(Self { settings, file, size, torn: false })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.settings.max_size {
            self.rotate()?;
        }
        if std::mem::take(&mut self.torn) {
            self.torn = true;
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        self.torn = true;
        self.file.write_all(line)?;
        self.torn = false;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Settings { file, keep, .. } = &self.settings;
        for number in (1..*keep).rev() {
            let from = put_aside(file, number);
            if from.exists() {
                std::fs::rename(from, put_aside(file, number + 1))?;
            }
        }
        if *keep == 0 {
            std::fs::remove_file(file)?;
        } else {
            std::fs::rename(file, put_aside(file, 1))?;
        }
        self.file = append_to(file)?;
        self.size = 0;
        self.torn = false;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    // Who may do what, and under which names, is for the operator alone.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn put_aside(file: &Path, number: usize) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::metrics::Levels;

    fn entry(number: usize) -> Entry {
        Entry { event: "started", resource: format!("r{number:03}"), ..Entry::default() }
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["resource"].to_string())
            .collect()
    }

    #[test]
    fn lines_come_in_order_and_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let length = serde_json::to_vec(&entry(0)).unwrap().len() as u64 + 1;
        let settings = Settings { file: file.clone(), max_size: length * 3, keep: 2 };
        let audit = Audit::open(settings.clone(), Metrics::new()).unwrap();
        (0..10).for_each(|number| audit.write(entry(number)));
        drop(audit);
        assert_eq!(lines(&file), ["\"r009\""]);
        assert_eq!(lines(&put_aside(&file, 1)), ["\"r006\"", "\"r007\"", "\"r008\""]);
        assert_eq!(lines(&put_aside(&file, 2)), ["\"r003\"", "\"r004\"", "\"r005\""]);
        assert!(!put_aside(&file, 3).exists());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        // The next process goes on where this one ended.
        let audit = Audit::open(settings, Metrics::new()).unwrap();
        audit.write(entry(10));
        drop(audit);
        assert_eq!(lines(&file), ["\"r009\"", "\"r010\""]);
    }

    #[test]
    fn a_file_that_can_never_be_written_is_said_at_the_start() {
        let settings = Settings { file: "/nonexistent/audit.log".into(), max_size: 1000, keep: 1 };
        assert!(Audit::open(settings, Metrics::new()).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_counted_and_holds_nobody_up() {
        let metrics = Metrics::new();
        let settings = Settings { file: "/dev/full".into(), max_size: 1 << 20, keep: 1 };
        let audit = Audit::open(settings, metrics.clone()).unwrap();
        (0..5).for_each(|number| audit.write(entry(number)));
        drop(audit);
        let text = metrics.render(Levels::default());
        assert!(text.contains("testgate_audit_lines_lost_total 5"), "{text}");
    }
}
