//! Finds executions that were started elsewhere, for as long as somebody watches their parent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
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
    /// `None` before the first look ended, then whether the last one succeeded.
    healthy: watch::Sender<Option<bool>>,
    _stop: tokio_util::sync::DropGuard,
}

impl Discovery {
    /// Waits until the first look has ended; says whether the last one succeeded.
    pub(super) async fn first_look(&self) -> bool {
        let mut healthy = self.healthy.subscribe();
        healthy.wait_for(Option::is_some).await.is_ok_and(|value| *value == Some(true))
    }

    /// Whether the last look succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        *self.healthy.borrow() == Some(true)
    }
}

impl Inner {
    /// Observes a place for as long as the answer is held.
    pub(super) fn discover(
        self: &Arc<Self>,
        managed: &Arc<Managed>,
        test: Option<&TestId>,
    ) -> Arc<Discovery> {
        let key = (managed.id.clone(), test.cloned());
        let mut discoveries = self.discoveries.0.lock().unwrap_or_else(PoisonError::into_inner);
        discoveries.retain(|_, discovery| discovery.strong_count() > 0);
        if let Some(discovery) = discoveries.get(&key).and_then(Weak::upgrade) {
            return discovery;
        }
        let stop = self.tasks.token().child_token();
        let healthy = watch::Sender::new(None);
        let discovery = Arc::new(Discovery {
            backend: managed.id.clone(),
            healthy: healthy.clone(),
            _stop: stop.clone().drop_guard(),
        });
        discoveries.insert(key, Arc::downgrade(&discovery));
        let (inner, managed, test) = (self.clone(), managed.clone(), test.cloned());
        self.tasks.spawn(format!("discovery {}", managed.id), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = inner.keep_looking(&managed, test.as_ref(), &healthy) => {}
            }
        });
        discovery
    }

    async fn keep_looking(
        self: &Arc<Self>,
        managed: &Managed,
        test: Option<&TestId>,
        healthy: &watch::Sender<Option<bool>>,
    ) {
        let mut ended_from = self.clock.now() - INTERVAL;
        loop {
            let began = self.clock.now();
            let hint = ListHint { unfinished_only: false, created_from: None, ended_from: Some(ended_from) };
            match self.look(managed, test, &hint, Instant::now() + PATIENCE).await {
                Ok(()) => {
                    ended_from = began - 2 * INTERVAL;
                    healthy.send_replace(Some(true));
                }
                Err(error) => {
                    tracing::debug!(backend = %managed.id, %error, "a look for executions failed");
                    healthy.send_replace(Some(false));
                }
            }
            tokio::time::sleep(INTERVAL.max(managed.setup.poll_interval)).await;
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
            for row in listed.items {
                self.take_in(managed, row, hint.ended_from);
            }
            match listed.next {
                Some(next) => page.token = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes a listed row in: what is new and unfinished is followed from now on.
    fn take_in(&self, managed: &Managed, row: Listed, ended_from: Option<Timestamp>) {
        let outline = row.is_outline();
        let test = TestName { backend: managed.id.clone(), test: row.test };
        let Ok(name) = self.canonical(&test.execution(row.execution)) else { return };
        let Ok(known) = self.known(&name) else { return };
        if known.as_ref().is_some_and(|known| known.is_done()) {
            return;
        }
        let ended_long_ago = match (row.observation.end_time, ended_from) {
            (Some(end), Some(from)) => end < from,
            _ => false,
        };
        if known.is_none() && ended_long_ago {
            return;
        }
        let settling = row.observation.state == State::Settling;
        // How it ended is for a reading to tell, not for a list that only outlines it.
        let needs_reading = settling || outline;
        let news = known.as_ref().is_none_or(|known| row_is_news(known, &row.observation));
        if outline || !news || (settling && known.is_some()) {
            self.hold_entry(&name);
        } else {
            self.absorb(&name, row.observation, |_, _| {});
        }
        self.keep_followed(&name);
        self.follow_up(
            &name,
            if needs_reading || !news { Duration::ZERO } else { managed.setup.poll_interval },
        );
    }

    fn keep_followed(&self, name: &ExecutionName) {
        let now = Instant::now();
        if let Some(entry) = self.table().get_mut(name)
            && !entry.record.execution.is_done()
        {
            entry.idle_since = now;
            entry.followed_since.get_or_insert(now);
        }
    }
}
