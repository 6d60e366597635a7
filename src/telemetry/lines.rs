//! Log lines on their way out. A thread of its own writes them, so that a reader who does not read holds up no call:
//! what does not fit into the queue is dropped and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// What may wait, in bytes. A burst of some thousand lines fits.
const MAX_WAITING: usize = 1024 * 1024;
/// How long lines are gathered once there is one: to wake a thread and to write cost more than to say a line.
const GATHERING: Duration = Duration::from_millis(5);
/// What is kept of a buffer that a burst made large.
const KEPT: usize = 64 * 1024;

/// Takes lines for a writer. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines, one after another.
    waiting: Vec<u8>,
    lines: u64,
    /// The writer has lines of which nobody knows yet whether they got out.
    writing: bool,
    /// Somebody waits for all of it to be written.
    hurried: bool,
    dropped: u64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes all of them, in exchange for an empty buffer.
    fn take(&self, empty: Vec<u8>) -> (Vec<u8>, u64) {
        let queue = self.queue();
        let queue = self
            .changed
            .wait_while(queue, |queue| queue.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let gathering = |queue: &mut Queue| !queue.hurried && queue.waiting.len() < MAX_WAITING / 2;
        let gathered = self.changed.wait_timeout_while(queue, GATHERING, gathering);
        let (mut queue, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        queue.writing = true;
        (std::mem::replace(&mut queue.waiting, empty), std::mem::take(&mut queue.lines))
    }

    /// Notes what became of them; returns how many were dropped so far.
    fn written(&self, lines: u64, written: bool) -> u64 {
        let mut queue = self.queue();
        queue.writing = false;
        if !written {
            queue.dropped += lines;
        }
        let dropped = queue.dropped;
        drop(queue);
        self.changed.notify_all();
        dropped
    }
}

impl Lines {
    /// Lines that a thread of their own writes there.
    pub(super) fn to(mut writer: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let write = move || {
            let (mut told, mut empty) = (0, Vec::new());
            loop {
                let (mut bytes, count) = shared.take(empty);
                // There is nowhere to say that it failed, but in the count.
                let written = writer.write_all(&bytes).and_then(|()| writer.flush()).is_ok();
                let dropped = shared.written(count, written);
                if written && dropped > told {
                    tracing::warn!(lines = dropped - told, "the log has a gap: nobody took these lines");
                    told = dropped;
                }
                bytes.clear();
                bytes.shrink_to(KEPT);
                empty = bytes;
            }
        };
        std::thread::Builder::new().name("logs".to_owned()).spawn(write)?;
        Ok(lines)
    }

    /// Takes a line, which `write` puts behind those that wait and leaves as they are.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut queue = self.0.queue();
        let before = queue.waiting.len();
        write(&mut queue.waiting);
        if queue.waiting.len() > MAX_WAITING {
            queue.waiting.truncate(before);
            queue.dropped += 1;
            return;
        }
        queue.lines += 1;
        // The writer is woken by the first line only, and when there is no more room to gather in.
        let wakes = before == 0 || (before < MAX_WAITING / 2 && queue.waiting.len() >= MAX_WAITING / 2);
        drop(queue);
        if wakes {
            self.0.changed.notify_all();
        }
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.queue().dropped
    }

    /// Waits until everything is written, but no longer than this; says whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let mut queue = self.0.queue();
        queue.hurried = true;
        self.0.changed.notify_all();
        let busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(queue, within, busy);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.hurried = false;
        !waited.timed_out()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(|waiting| waiting.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A pipe that takes what its reader lets it take.
    struct Pipe {
        out: SyncSender<Vec<u8>>,
        entered: SyncSender<()>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.try_send(()).ok();
            self.out.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines into a pipe, what comes out of it, and a word when its writer has begun.
    fn piped() -> (Lines, Receiver<Vec<u8>>, Receiver<()>) {
        let ((out, reader), (entered, begun)) = (sync_channel(0), sync_channel(1));
        (Lines::to(Pipe { out, entered }).unwrap(), reader, begun)
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_what_is_dropped_is_counted() {
        let (mut lines, reader, begun) = piped();
        lines.write_all(b"first\n").unwrap();
        begun.recv_timeout(LONG).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..1030 {
            lines.write_all(&line).unwrap();
        }
        assert_eq!(lines.dropped(), 6);
        assert!(!lines.flush(Duration::from_millis(1)));
        assert_eq!(reader.recv_timeout(LONG).unwrap(), b"first\n");
        assert_eq!(reader.recv_timeout(LONG).unwrap().len(), MAX_WAITING);
        // There is room again.
        lines.write_all(b"last\n").unwrap();
        assert_eq!(reader.recv_timeout(LONG).unwrap(), b"last\n");
        assert!(lines.flush(LONG));
        assert_eq!(lines.dropped(), 6);
    }

    #[test]
    fn lines_of_one_moment_are_written_together() {
        let (mut lines, reader, begun) = piped();
        lines.write_all(b"first\n").unwrap();
        begun.recv_timeout(LONG).unwrap();
        for _ in 0..3 {
            lines.write_all(b"later\n").unwrap();
        }
        assert_eq!(reader.recv_timeout(LONG).unwrap(), b"first\n");
        assert_eq!(reader.recv_timeout(LONG).unwrap(), b"later\nlater\nlater\n");
        assert!(lines.flush(LONG));
    }

    #[test]
    fn lines_that_nobody_takes_any_more_are_counted_too() {
        let (mut lines, reader, _begun) = piped();
        drop(reader);
        lines.write_all(b"one\n").unwrap();
        assert!(lines.flush(LONG));
        assert_eq!(lines.dropped(), 1);
    }
}
