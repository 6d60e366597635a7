//! What the gateway told anybody, and whether everybody else was told it too.
//!
//! Time proves nothing on a busy machine; order does. A heartbeat says that all that was published before it has been
//! sent. So once somebody has seen a revision, whoever gets a heartbeat that was sent after that must have seen it as
//! well: if not, it is lost, and not just late.

use std::collections::HashMap;
use std::time::Duration;

use testgate::model::Timestamp;
use testgate::proto::v1;

/// Clocks may be set meanwhile, by so much.
const SLACK: Duration = Duration::from_secs(1);

/// A revision that somebody saw.
#[derive(Debug)]
struct Seen {
    run: usize,
    revision: i64,
    at: Timestamp,
}

/// A run that was started here.
#[derive(Debug)]
struct Run {
    name: String,
    revision: i64,
    /// When somebody first saw that it is done.
    done: Option<Timestamp>,
}

/// All runs that were started here, and all that was seen of them, in the order in which it was seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: Vec<Run>,
    index: HashMap<String, usize>,
    log: Vec<Seen>,
    /// What is older may have been forgotten by a gateway that was killed before it was on disk.
    floor: usize,
}

impl Ledger {
    /// Notes a run that was started.
    pub(crate) fn started(&mut self, execution: &v1::Execution, at: Timestamp) {
        if !self.index.contains_key(&execution.name) {
            self.index.insert(execution.name.clone(), self.runs.len());
            self.runs.push(Run { name: execution.name.clone(), revision: 0, done: None });
        }
        self.seen(execution, at);
    }

    /// Notes what somebody saw just now. Only of runs that were started here it is known who must see it.
    pub(crate) fn seen(&mut self, execution: &v1::Execution, at: Timestamp) {
        let Some(&run) = self.index.get(&execution.name) else { return };
        let Some(known) = self.runs.get_mut(run) else { return };
        if execution.revision > known.revision {
            known.revision = execution.revision;
            self.log.push(Seen { run, revision: execution.revision, at });
        }
        if execution.done && known.done.is_none() {
            known.done = Some(at);
        }
    }

    /// The gateway was killed: what was seen before may not have been on disk, all but what is done.
    pub(crate) fn killed(&mut self) {
        self.floor = self.log.len();
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// How many of them were seen to end.
    pub(crate) fn ended(&self) -> usize {
        self.runs.iter().filter(|run| run.done.is_some()).count()
    }

    /// The names of those that were not seen to end.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.runs.iter().filter(|run| run.done.is_none()).map(|run| run.name.clone()).collect()
    }

    /// A run by its number, which may be any.
    pub(crate) fn name(&self, number: u64) -> Option<String> {
        let count = u64::try_from(self.runs.len()).ok().filter(|count| *count > 0)?;
        let at = usize::try_from(number % count).ok()?;
        self.runs.get(at).map(|run| run.name.clone())
    }

    /// When a run was first seen to be done.
    pub(crate) fn done_since(&self, name: &str) -> Option<Timestamp> {
        self.index.get(name).and_then(|run| self.runs.get(*run)).and_then(|run| run.done)
    }
}

/// What one client knows.
#[derive(Debug, Default)]
pub(crate) struct View {
    known: HashMap<String, Known>,
    /// The first run that this client must be told of, once it follows at all.
    first: Option<usize>,
    /// What of the ledger's log was checked.
    cursor: usize,
    stream: u64,
}

#[derive(Debug)]
struct Known {
    revision: i64,
    done: bool,
    /// The stream that told it.
    stream: u64,
}

/// What an update means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is the first word of this run's end.
    End,
    /// It is news, or nothing new.
    Fine,
    /// It contradicts what this client was told before.
    Reverted,
}

impl View {
    /// A stream opened.
    pub(crate) fn opened(&mut self) {
        self.stream += 1;
    }

    /// An update came.
    pub(crate) fn update(&mut self, execution: &v1::Execution) -> News {
        let now = Known { revision: execution.revision, done: execution.done, stream: self.stream };
        let Some(known) = self.known.get_mut(&execution.name) else {
            self.known.insert(execution.name.clone(), now);
            return if execution.done { News::End } else { News::Fine };
        };
        // Delivery is at least once: another stream may begin with what the last one told already.
        let repeats = known.stream != self.stream && execution.revision == known.revision;
        if repeats && execution.done == known.done {
            known.stream = self.stream;
            return News::Fine;
        }
        if execution.revision <= known.revision || (known.done && !execution.done) {
            return News::Reverted;
        }
        let ends = execution.done && !known.done;
        *known = now;
        if ends { News::End } else { News::Fine }
    }

    /// The opening is over: from now on this client must be told of each run that starts.
    pub(crate) fn opening_is_over(&mut self, ledger: &Ledger, reset: bool) {
        if self.first.is_none() || reset {
            self.first = Some(ledger.runs.len());
            self.cursor = ledger.log.len();
        }
    }

    /// A heartbeat came on a stream whose opening was over; returns what of that which was seen before it was sent
    /// this client has not been told.
    pub(crate) fn heartbeat(&mut self, ledger: &Ledger, sent: Timestamp) -> Vec<String> {
        let Some(first) = self.first else { return Vec::new() };
        self.cursor = self.cursor.max(ledger.floor);
        let mut lost = Vec::new();
        while let Some(seen) = ledger.log.get(self.cursor).filter(|seen| seen.at + SLACK < sent) {
            self.cursor += 1;
            let Some(run) = ledger.runs.get(seen.run).filter(|_| seen.run >= first) else { continue };
            let known = self.known.get(&run.name).map_or(0, |known| known.revision);
            if known < seen.revision {
                lost.push(format!("{} at revision {}, known is {known}", run.name, seen.revision));
            }
        }
        lost
    }

    /// Whether it was told of an end.
    pub(crate) fn knows_an_end(&self) -> bool {
        self.known.values().any(|known| known.done)
    }

    /// Whether everything in the ledger was checked by a heartbeat.
    pub(crate) fn is_checked(&self, ledger: &Ledger) -> bool {
        self.first.is_some() && self.cursor >= ledger.log.len()
    }

    /// The runs whose end this client has not been told.
    pub(crate) fn untold(&self, ledger: &Ledger) -> Vec<String> {
        let Some(first) = self.first else { return Vec::new() };
        let ended = ledger.runs.iter().skip(first).filter(|run| run.done.is_some());
        let untold = ended.filter(|run| !self.known.get(&run.name).is_some_and(|known| known.done));
        untold.map(|run| run.name.clone()).collect()
    }
}
