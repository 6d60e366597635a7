//! Walks through lists: one call refreshes all that it shows, and finds what was started elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::Look;
use super::lists::row_is_news;
use super::planner::{Failed, View, Walk};
use super::{Error, Inner, Managed};
use crate::backend::{BackendError, Call, ErrorKind, ListHint, Listed, PageRequest, Polling, Priority};
use crate::model::{ExecutionName, State, TestId, TestName};

/// What one walk may take, its waits for the budget included.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most pages of one walk.
const MAX_PAGES: usize = 20;
/// The most pages of a list that does not end with what is unfinished.
const MAX_NEWEST_PAGES: usize = 5;
/// A page that is to show few executions need not be larger than this.
const SMALL_PAGE: usize = 100;
/// So few that a list is missing are read by themselves: another page costs as much.
const FEW: usize = 1;
/// From so many names on that nothing is known of, lists are asked first.
const MANY: usize = 3;

impl Inner {
    /// Walks through a list, and tells the agenda and those who look for what was started elsewhere.
    pub(super) async fn walk(self: &Arc<Self>, managed: &Arc<Managed>, view: View, depth: usize) {
        let began = Instant::now();
        let look = managed.lookout.look(self.clock.now(), managed.setup.backend.polling().upstream_now);
        let result = self.walk_pages(managed, &view, depth, &look, began).await;
        managed.note(&result, self.clock.now());
        managed.setup.metrics.polled(began.elapsed());
        let (pages, complete, failed) = match &result {
            Ok((pages, complete)) => (*pages, *complete, None),
            Err(error) => {
                let unusable = error.kind == ErrorKind::UpstreamInvalidResponse;
                if unusable {
                    // What reading them shows stays theirs to tell.
                    tracing::warn!(backend = %managed.id, ?view, %error, "a list can't be used");
                } else {
                    tracing::debug!(backend = %managed.id, ?view, %error, "a list could not be walked through");
                    self.note_trouble_of(managed, &view, error);
                }
                (0, false, Some(Failed { retry_after: error.retry_after, unusable }))
            }
        };
        if result.is_ok() && matches!(view, View::Recent | View::Newest) {
            managed.lookout.looked(&look);
            self.keep_all_watched(managed);
        }
        let walk = Walk { began, pages, failed, complete };
        let polling = managed.setup.backend.polling();
        managed.schedule.change(|agenda| agenda.walked(&view, &walk, &polling, Instant::now()));
        managed.lookout.tell(|since| managed.schedule.agenda().swept(since));
    }

    /// How many pages there were, and whether they showed all.
    async fn walk_pages(
        self: &Arc<Self>,
        managed: &Managed,
        view: &View,
        depth: usize,
        look: &Look,
        began: Instant,
    ) -> Result<(usize, bool), BackendError> {
        let call = Call { deadline: began + PATIENCE, priority: Priority::Followed, caller: Arc::from("") };
        let polling = managed.setup.backend.polling();
        let (hint, test) = (hint_of(view, look), test_of(view));
        let mut page = PageRequest { size: self.page_size(managed, view, depth, &polling), token: None };
        let most = if *view == View::Newest { MAX_NEWEST_PAGES } else { MAX_PAGES };
        let mut begun_with = Vec::new();
        for pages in 1..=most {
            let listed = managed.setup.backend.list_executions(&call, test, &page, &hint).await?;
            if let Some(first) = listed.items.first().map(|row| row.execution.clone()) {
                if begun_with.contains(&first) {
                    let text = "a page token of the list leads to a page that was there before";
                    return Err(BackendError::new(ErrorKind::UpstreamInvalidResponse, text));
                }
                begun_with.push(first);
            }
            for row in listed.items {
                // What a row ended is saved before it is shown; a walk need not wait for that.
                drop(self.take_in(managed, row, view, look, began));
            }
            let Some(next) = listed.next else { return Ok((pages, true)) };
            let wanted = || managed.schedule.agenda().unseen(view, began) > FEW;
            if *view == View::Newest && pages >= depth && !wanted() {
                return Ok((pages, false));
            }
            page.token = Some(next);
        }
        Ok((most, false))
    }

    fn page_size(&self, managed: &Managed, view: &View, depth: usize, polling: &Polling) -> usize {
        let few = *view == View::Newest
            && depth == 0
            && managed.schedule.agenda().members(view).len() <= SMALL_PAGE / 2;
        if few { SMALL_PAGE.min(polling.page_size) } else { polling.page_size }
    }

    /// Takes a listed row in, if somebody follows it or looks for it. Returns what it said something of.
    fn take_in(
        self: &Arc<Self>,
        managed: &Managed,
        row: Listed,
        view: &View,
        look: &Look,
        began: Instant,
    ) -> Option<ExecutionName> {
        let name = self.wanted(managed, &row, look)?;
        let known = self.known(&name).ok()?;
        if known.as_ref().is_some_and(|known| known.is_done()) {
            return None;
        }
        // How it ended is for a reading to tell, not for a list that only outlines it.
        let settling = row.observation.state == State::Settling && *view != View::Newest;
        let outline = row.is_outline() || settling;
        let news = known.as_ref().is_none_or(|known| row_is_news(known, &row.observation));
        if outline || !news {
            self.hold_entry(&name);
        } else {
            self.absorb(&name, row.observation, |_, _| false);
            self.lose_overdue(managed, &name, |_| true);
        }
        if look.selects(&name.test) {
            self.keep_followed(&name);
        }
        let now = Instant::now();
        let facts = self.facts(&name, now);
        managed.schedule.change(|agenda| match facts {
            None => agenda.release(&name, now),
            Some(facts) => {
                agenda.seen(&name, facts, began, now);
                if outline {
                    agenda.hurry(&name, now);
                }
            }
        });
        Some(name)
    }

    /// The name of a row that is known here, or that somebody selects by parent and that has not ended long ago.
    fn wanted(&self, managed: &Managed, row: &Listed, look: &Look) -> Option<ExecutionName> {
        let test = TestName { backend: managed.id.clone(), test: row.test.clone() };
        let name = test.execution(row.execution.clone());
        {
            let table = self.table();
            if let Some(minted) = table.alias(&name) {
                return Some(minted);
            }
            if table.get(&name).is_some() {
                return Some(name);
            }
        }
        if !look.selects(&row.test) || row.observation.end_time.is_some_and(|end| look.is_past(end)) {
            return None;
        }
        self.canonical(&name).ok()
    }

    /// Leaves the reason why a list failed in the state of what it keeps fresh.
    fn note_trouble_of(self: &Arc<Self>, managed: &Managed, view: &View, error: &BackendError) {
        if matches!(error.kind, ErrorKind::DeadlineExceeded | ErrorKind::BackendBudgetExhausted) {
            return;
        }
        let members = managed.schedule.agenda().members(view);
        let wall = self.clock.now();
        for name in members {
            let change = self.table().publish(&name, &self.store, |record| {
                record.execution.note_trouble(error.kind.reason(), &error.message, wall)
            });
            self.conclude(change);
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
        let (look, began) = (Look::at(test, hint.ended_from), Instant::now());
        for _ in 0..MAX_PAGES {
            let listed = managed.setup.backend.list_executions(&call, test, &page, hint).await;
            let listed = self.ask(managed, listed)?;
            let rows = listed.items.into_iter();
            let taken: Vec<_> =
                rows.filter_map(|row| self.take_in(managed, row, &View::Recent, &look, began)).collect();
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

    /// Makes sure that executions exist, by what is known, by lists where there are many, or by a read each.
    pub(super) async fn require_all_known(
        self: &Arc<Self>,
        names: &[ExecutionName],
        call: &Call,
    ) -> Vec<Result<(), Error>> {
        let sweeps = self.backends.iter().map(|managed| self.sweep_for(managed, names, call.deadline));
        futures_util::future::join_all(sweeps).await;
        futures_util::future::join_all(names.iter().map(|name| self.require_known(name, call))).await
    }

    /// Has lists show those of many names of which nothing is known.
    async fn sweep_for(&self, managed: &Managed, names: &[ExecutionName], deadline: Instant) {
        let mut unknown: Vec<_> = names
            .iter()
            .filter(|name| name.backend == managed.id && !name.execution.is_minted())
            .filter(|name| {
                let known = self.known(name).ok().flatten();
                known.is_none_or(|known| known.observe_time.is_none())
            })
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        let now = Instant::now();
        if unknown.len() < MANY || !managed.schedule.change(|agenda| agenda.sweep(1, now)) {
            return;
        }
        for name in unknown {
            self.hold_entry(name);
        }
        let swept = managed.lookout.until(|| managed.schedule.agenda().swept(now));
        drop(tokio::time::timeout_at(deadline, swept).await);
    }
}

/// What a list may leave out.
fn hint_of(view: &View, look: &Look) -> ListHint {
    match view {
        View::Waiting => ListHint { state: Some(State::Pending), ..ListHint::default() },
        View::Running => ListHint { state: Some(State::Running), ..ListHint::default() },
        View::Recent => ListHint { created_from: Some(look.begun_from()), ..ListHint::default() },
        View::Newest | View::Test(_) => ListHint::default(),
    }
}

fn test_of(view: &View) -> Option<&TestId> {
    match view {
        View::Test(test) => Some(test),
        View::Waiting | View::Running | View::Recent | View::Newest => None,
    }
}
