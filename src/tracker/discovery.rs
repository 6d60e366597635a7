//! Finds executions that were started elsewhere, for as long as somebody watches their parent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::lists::row_is_news;
use super::{Error, Inner, Managed};
use crate::backend::{Call, ListHint, Listed, PageRequest, Priority};
use crate::model::{BackendId, ExecutionName, State, TestId, TestName, Timestamp};

/// The pause between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// The most pages of one look.
const MAX_PAGES: usize = 20;
/// What one look may take, its waits for the budget included.
const PATIENCE: Duration = Duration::from_secs(60);

type Key = (BackendId, Option<TestId>);

/// The looks under way: one for each place, however many watch it.
#[derive(Debug, Default)]
pub(super) struct Discoveries(Mutex<HashMap<Key, Weak<Discovery>>>);

/// Keeps a place under observation while it is held.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) backend: BackendId,
    looks: Arc<Looks>,
    _stop: tokio_util::sync::DropGuard,
}

/// What the looks at a place have shown, and what they are to show.
#[derive(Debug)]
struct Looks {
    seen: watch::Sender<Seen>,
    /// What ended since this moment is wanted too.
    wanted_from: Mutex<Timestamp>,
    /// A look is wanted before its time.
    early: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// `None` before the first look ended, then whether the last one succeeded.
    healthy: Option<bool>,
    /// All that ended between these two moments was seen.
    covered: Option<(Timestamp, Timestamp)>,
}

impl Seen {
    fn reaches_back_to(&self, since: Timestamp) -> bool {
        self.covered.is_some_and(|(from, _)| from <= since)
    }
}

impl Looks {
    fn wanted_from(&self) -> MutexGuard<'_, Timestamp> {
        self.wanted_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what ended since a moment looked for, if it was not yet.
    fn reach_back_to(&self, since: Timestamp) {
        if self.seen.borrow().reaches_back_to(since) {
            return;
        }
        let mut wanted = self.wanted_from();
        if since < *wanted {
            *wanted = since;
            self.early.notify_one();
        }
    }
}

impl Discovery {
    /// Waits until what ended since a moment was looked for, or a look failed.
    pub(super) async fn first_look(&self, since: Timestamp) {
        let mut seen = self.looks.seen.subscribe();
        let looked = seen.wait_for(|seen| seen.reaches_back_to(since) || seen.healthy == Some(false)).await;
        // Its task ends with the process only.
        drop(looked);
    }

    /// Whether the last look succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.looks.seen.borrow().healthy == Some(true)
    }

    /// Up to when everything that ended was seen, for somebody who saw what ended before `since`.
    pub(super) fn covered(&self, since: Timestamp) -> Timestamp {
        let seen = *self.looks.seen.borrow();
        match seen.covered {
            Some((_, until)) if seen.reaches_back_to(since) => until.max(since),
            _ => since,
        }
    }
}

/// How far looks reach back for a stream that begins at `since`, or, resumed, has seen what ended before: upstream
/// may show an end a little later, and the many that come back after a restart should want the same.
pub(super) fn reach(since: Timestamp, resumed: bool) -> Timestamp {
    if !resumed {
        return since - INTERVAL;
    }
    let reach = since - 2 * INTERVAL;
    reach.replace_second(0).and_then(|reach| reach.replace_nanosecond(0)).unwrap_or(reach)
}

impl Inner {
    /// Observes a place for as long as the answer is held, and looks for what ended there since a moment.
    pub(super) fn discover(
        self: &Arc<Self>,
        managed: &Arc<Managed>,
        test: Option<&TestId>,
        reach: Timestamp,
    ) -> Arc<Discovery> {
        let key = (managed.id.clone(), test.cloned());
        let mut discoveries = self.discoveries.0.lock().unwrap_or_else(PoisonError::into_inner);
        discoveries.retain(|_, discovery| discovery.strong_count() > 0);
        if let Some(discovery) = discoveries.get(&key).and_then(Weak::upgrade) {
            discovery.looks.reach_back_to(reach);
            return discovery;
        }
        let stop = self.tasks.token().child_token();
        let looks = Arc::new(Looks {
            seen: watch::Sender::default(),
            wanted_from: Mutex::new(reach),
            early: Notify::new(),
        });
        let discovery = Arc::new(Discovery {
            backend: managed.id.clone(),
            looks: looks.clone(),
            _stop: stop.clone().drop_guard(),
        });
        discoveries.insert(key, Arc::downgrade(&discovery));
        let (inner, managed, test) = (self.clone(), managed.clone(), test.cloned());
        self.tasks.spawn(format!("discovery {}", managed.id), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = inner.keep_looking(&managed, test.as_ref(), &looks) => {}
            }
        });
        discovery
    }

    async fn keep_looking(self: &Arc<Self>, managed: &Managed, test: Option<&TestId>, looks: &Looks) {
        loop {
            let began = self.clock.now();
            let from = *looks.wanted_from();
            let hint = ListHint { unfinished_only: false, created_from: None, ended_from: Some(from) };
            let looked = self.look(managed, test, &hint, Instant::now() + PATIENCE).await;
            self.keep_watched(managed, test);
            match looked {
                Ok(()) => {
                    let mut wanted = looks.wanted_from();
                    // Somebody may have asked for more meanwhile.
                    if *wanted >= from {
                        *wanted = began - 2 * INTERVAL;
                    }
                    drop(wanted);
                    looks.seen.send_modify(|seen| {
                        seen.healthy = Some(true);
                        let first = seen.covered.map_or(from, |(first, _)| first.min(from));
                        seen.covered = Some((first, began));
                    });
                }
                Err(error) => {
                    tracing::debug!(backend = %managed.id, %error, "a look for executions failed");
                    looks.seen.send_modify(|seen| seen.healthy = Some(false));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.max(managed.setup.poll_interval)) => {}
                () = looks.early.notified() => {}
            }
        }
    }

    /// Lists a place and takes in what was found.
    pub(super) async fn look(
        self: &Arc<Self>,
        managed: &Managed,
        test: Option<&TestId>,
        hint: &ListHint,
        deadline: Instant,
    ) -> Result<(), Error> {
        let call = Call { deadline, priority: Priority::Followed, caller: Arc::from("") };
        let mut page = PageRequest { size: 100, token: None };
        for _ in 0..MAX_PAGES {
            let listed = managed.setup.backend.list_executions(&call, test, &page, hint).await;
            let listed = self.ask(managed, listed)?;
            let taken: Vec<_> = listed
                .items
                .into_iter()
                .filter_map(|row| self.take_in(managed, row, hint.ended_from))
                .collect();
            for name in taken {
                // What a row ended is being saved.
                self.shown(&name).await;
            }
            match listed.next {
                Some(next) => page.token = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes a listed row in: what is new and unfinished is followed from now on. Returns what it said something of.
    fn take_in(
        self: &Arc<Self>,
        managed: &Managed,
        row: Listed,
        ended_from: Option<Timestamp>,
    ) -> Option<ExecutionName> {
        let outline = row.is_outline();
        let test = TestName { backend: managed.id.clone(), test: row.test };
        let name = self.canonical(&test.execution(row.execution)).ok()?;
        let known = self.known(&name).ok()?;
        if known.as_ref().is_some_and(|known| known.is_done()) {
            return None;
        }
        let ended_long_ago = match (row.observation.end_time, ended_from) {
            (Some(end), Some(from)) => end < from,
            _ => false,
        };
        if known.is_none() && ended_long_ago {
            return None;
        }
        let settling = row.observation.state == State::Settling;
        // How it ended is for a reading to tell, not for a list that only outlines it.
        let needs_reading = settling || outline;
        let news = known.as_ref().is_none_or(|known| row_is_news(known, &row.observation));
        if outline || !news || (settling && known.is_some()) {
            self.hold_entry(&name);
        } else {
            self.absorb(&name, row.observation, |_, _| false);
        }
        self.keep_followed(&name);
        self.follow_up(
            &name,
            if needs_reading || !news { Duration::ZERO } else { managed.setup.poll_interval },
        );
        Some(name)
    }

    pub(super) fn keep_followed(&self, name: &ExecutionName) {
        let now = Instant::now();
        if let Some(entry) = self.table().get_mut(name)
            && !entry.record.execution.is_done()
        {
            entry.idle_since = now;
            entry.followed_since.get_or_insert(now);
        }
    }

    /// Keeps what is followed at a watched place from being let go of, shown by upstream's list or not.
    fn keep_watched(&self, managed: &Managed, test: Option<&TestId>) {
        let now = Instant::now();
        self.table().keep_followed(now, |name| {
            name.backend == managed.id && test.is_none_or(|test| name.test == *test)
        });
    }
}
