//! A client that follows executions as the contract tells clients to, and a ledger of everything that anybody was told.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;

use testgate::model::Timestamp;
use testgate::proto::v1;
use testgate::proto::v1::execution_update::Type;
use testgate::proto::v1::watch_executions_response::Event;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::gateway::{Gateway, Line, Messages, Opening};

/// Each revision of each execution, as anybody saw it.
#[derive(Default)]
pub(crate) struct Ledger(BTreeMap<String, BTreeMap<i64, v1::Execution>>);

impl Ledger {
    /// A revision is one state for ever, and a final one is the last.
    pub(crate) fn note(&mut self, execution: &v1::Execution) {
        let state = v1::Execution { observe_time: None, ..execution.clone() };
        let seen = self.0.entry(state.name.clone()).or_default();
        let known = seen.entry(state.revision).or_insert_with(|| state.clone());
        assert_eq!(*known, state, "one revision, two states");
        let ends: Vec<_> =
            seen.iter().filter(|(_, state)| state.done).map(|(revision, _)| *revision).collect();
        if let Some(first) = ends.first() {
            let last = seen.keys().next_back();
            assert_eq!(Some(first), last, "a final state was left: {seen:#?}");
        }
    }
}

/// What a stream selects.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Names(Vec<String>, bool),
    Parent(String),
}

impl Selection {
    fn request(&self, resume_token: String) -> v1::WatchExecutionsRequest {
        let mut request = v1::WatchExecutionsRequest { resume_token, ..Default::default() };
        match self {
            Self::Names(names, until_done) => {
                (request.names, request.until_done) = (names.clone(), *until_done);
            }
            Self::Parent(parent) => request.parent.clone_from(parent),
        }
        request
    }
}

enum Link {
    Closed,
    Opening(Opening),
    Open(Line),
    /// Ended with `complete`.
    Complete,
}

/// A client with one selection, over any number of streams.
pub(crate) struct Reader {
    pub(crate) selection: Selection,
    pub(crate) token: String,
    /// When its first stream opened; later ends belong to a selection by parent.
    pub(crate) since: Timestamp,
    link: Link,
    /// What it believes.
    pub(crate) known: BTreeMap<String, v1::Execution>,
    /// What the stream told before `snapshot_complete`.
    snapshot: Vec<v1::Execution>,
    opened: bool,
    resuming: bool,
    /// The last revision of each execution on the stream that is open.
    revisions: BTreeMap<String, i64>,
    completed: bool,
}

impl Reader {
    pub(crate) fn open(gateway: &Gateway, selection: Selection, now: Timestamp) -> Self {
        let link = Link::Opening(gateway.watch(selection.request(String::new())));
        Self {
            selection,
            token: String::new(),
            since: now,
            link,
            known: BTreeMap::new(),
            snapshot: Vec::new(),
            opened: false,
            resuming: false,
            revisions: BTreeMap::new(),
            completed: false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.link, Link::Complete)
    }

    pub(crate) fn close(&mut self) {
        if !self.is_complete() {
            self.link = Link::Closed;
        }
    }

    /// Opens again, with what it has: a token, or nothing.
    pub(crate) fn resume(&mut self, gateway: &Gateway, now: Timestamp) {
        if self.is_closed() {
            self.resuming = !self.token.is_empty();
            if !self.resuming {
                self.since = now;
            }
            self.link = Link::Opening(gateway.watch(self.selection.request(self.token.clone())));
            (self.opened, self.snapshot, self.revisions) = (false, Vec::new(), BTreeMap::new());
        }
    }

    /// Goes on with an opening; a client does that whether or not it reads.
    pub(crate) async fn connect(&mut self) {
        let Link::Opening(opening) = &mut self.link else { return };
        let Poll::Ready(opened) = futures_util::poll!(opening) else { return };
        self.link = match opened {
            Ok(messages) => Link::Open(Line::new(messages)),
            Err(status) => {
                assert_may_end(&status);
                Link::Closed
            }
        };
    }

    /// Reads at most so many messages that are there now.
    pub(crate) async fn read(&mut self, most: usize, ledger: &mut Ledger) {
        self.connect().await;
        // As time stands still, each execution can have one state beside the snapshot's.
        let mut live = BTreeSet::new();
        for _ in 0..most {
            let Link::Open(line) = &mut self.link else { return };
            match line.next().await {
                None => return,
                Some(Some(Ok(message))) => {
                    if let Some(Event::Update(update)) = &message.event
                        && update.r#type() != Type::Snapshot
                    {
                        let name = update.execution.as_ref().unwrap().name.clone();
                        assert!(live.insert(name), "two unsent states of one execution: {message:?}");
                    }
                    self.take(message, ledger);
                }
                Some(Some(Err(status))) => {
                    assert_may_end(&status);
                    self.link = Link::Closed;
                }
                Some(None) => {
                    assert!(self.completed, "OK without `complete`");
                    self.link = Link::Complete;
                }
            }
        }
    }

    fn take(&mut self, message: v1::WatchExecutionsResponse, ledger: &mut Ledger) {
        assert!(!self.completed, "something after `complete`: {message:?}");
        assert_eq!(message.resume_token.is_empty(), self.is_before_mark(&message), "{message:?}");
        match message.event.unwrap() {
            Event::Update(update) => {
                let kind = update.r#type();
                let execution = update.execution.unwrap();
                if execution.observe_time.is_some() {
                    ledger.note(&execution);
                }
                let last = self.revisions.insert(execution.name.clone(), execution.revision);
                assert!(
                    last.is_none_or(|last| last < execution.revision),
                    "revision {last:?}, then {}: {execution:?}",
                    execution.revision
                );
                assert!(kind != Type::Snapshot || !self.opened, "a snapshot after the mark: {execution:?}");
                match kind {
                    Type::Snapshot => self.snapshot.push(execution),
                    Type::Changed => self.learn(execution),
                    Type::Removed => drop(self.known.remove(&execution.name)),
                    Type::Unspecified => panic!("an update of no type"),
                }
            }
            Event::SnapshotComplete(mark) => {
                assert!(!self.opened, "two marks");
                self.opened = true;
                if mark.reset || !self.resuming {
                    self.known.clear();
                }
                assert!(!mark.reset || self.resuming, "a reset without a token");
                for execution in std::mem::take(&mut self.snapshot) {
                    self.learn(execution);
                }
            }
            Event::Heartbeat(_) => {}
            Event::Complete(_) => {
                let Selection::Names(names, true) = &self.selection else {
                    panic!("`complete` without `until_done`")
                };
                for name in names {
                    assert!(self.known.get(name).is_some_and(|known| known.done), "{name} is not done");
                }
                self.completed = true;
            }
        }
        if !message.resume_token.is_empty() {
            self.token = message.resume_token;
        }
    }

    /// Up to the mark there is no token.
    fn is_before_mark(&self, message: &v1::WatchExecutionsResponse) -> bool {
        !self.opened && !matches!(message.event, Some(Event::SnapshotComplete(_)))
    }

    /// Drops what is no newer than what is known.
    fn learn(&mut self, execution: v1::Execution) {
        let known = self.known.get(&execution.name);
        if known.is_some_and(|known| known.revision >= execution.revision) {
            return;
        }
        assert!(!known.is_some_and(|known| known.done), "{known:?} was final, then {execution:?}");
        self.known.insert(execution.name.clone(), execution);
    }
}

/// A stream may end for reasons that a client resumes after.
fn assert_may_end(status: &Status) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let may = matches!(
        (status.code(), reason.as_str()),
        (Code::Unavailable, "GATEWAY_DRAINING") | (Code::ResourceExhausted, "WATCH_CONSUMER_TOO_SLOW")
    );
    assert!(may, "{status:?}");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
}

/// Whether a stream begins with everything, as for one that knows nothing.
pub(crate) async fn begins_anew(messages: Messages) -> bool {
    let mut line = Line::new(messages);
    while let Some(Some(Ok(message))) = line.next().await {
        if let Some(Event::SnapshotComplete(mark)) = message.event {
            return mark.reset;
        }
    }
    false
}
