//! Lists: what upstream's lists say, bettered by what the gateway knows, merged over backends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::{Error, Inner, Managed, Published, Tracker};
use crate::backend::{Call, ErrorKind, ListHint, Listed, PageRequest, TestHint};
use crate::model::filter::Filter;
use crate::model::{BackendId, Execution, Observation, Scope, State, Test, TestId, TestName};

/// What one backend may take where several are asked.
const PATIENCE_EACH: Duration = Duration::from_secs(5);
/// What settling the rows of a page may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
/// How many rows are settled at once.
const RESOLVE_CONCURRENCY: usize = 8;
/// How many upstream pages without a match are read before a page comes back empty.
const MAX_EMPTY_PAGES: usize = 10;

/// Begins a position among the executions that upstream does not show; no upstream's own token begins so.
const UNSHOWN: char = '\0';

/// Where a list goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListPosition {
    /// In which backend.
    pub backend: BackendId,
    /// Upstream's own token there; `None` at its beginning.
    pub upstream: Option<String>,
}

/// A request for a page of executions.
#[derive(Clone, Debug)]
pub struct ExecutionsQuery {
    /// Where.
    pub scope: Scope,
    /// Which of it.
    pub filter: Option<Filter>,
    /// The most that come.
    pub page_size: usize,
    /// Where the last page ended.
    pub position: Option<ListPosition>,
}

/// A page of executions.
#[derive(Debug, Default)]
pub struct ExecutionsPage {
    /// May be fewer than asked for, or none.
    pub executions: Vec<Arc<Published>>,
    /// `None` at the end.
    pub next: Option<ListPosition>,
    /// Backends that did not answer.
    pub unreachable: Vec<BackendId>,
}

/// A request for a page of tests.
#[derive(Clone, Debug)]
pub struct TestsQuery {
    /// Where; the test is none of it.
    pub scope: Scope,
    /// Which of them.
    pub filter: Option<Filter>,
    /// The most that come.
    pub page_size: usize,
    /// Where the last page ended.
    pub position: Option<ListPosition>,
}

/// A page of tests.
#[derive(Debug, Default)]
pub struct TestsPage {
    /// May be fewer than asked for, or none.
    pub tests: Vec<(BackendId, Test)>,
    /// `None` at the end.
    pub next: Option<ListPosition>,
    /// Backends that did not answer.
    pub unreachable: Vec<BackendId>,
}

/// What one backend contributes to a page.
struct Part<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// What all backends contribute to a page.
struct Merged<T> {
    items: Vec<T>,
    next: Option<ListPosition>,
    unreachable: Vec<BackendId>,
}

impl Tracker {
    /// A page of executions.
    ///
    /// # Errors
    /// No such backend, or the one backend's own failure.
    pub async fn list_executions(
        &self,
        query: &ExecutionsQuery,
        call: &Call,
    ) -> Result<ExecutionsPage, Error> {
        let inner = &self.0;
        let page = inner
            .merge(&query.scope, query.page_size, query.position.as_ref(), call, |managed, page, call| {
                inner.executions_part(managed, query, page, call)
            })
            .await?;
        Ok(ExecutionsPage { executions: page.items, next: page.next, unreachable: page.unreachable })
    }

    /// A page of tests.
    ///
    /// # Errors
    /// No such backend, or the one backend's own failure.
    pub async fn list_tests(&self, query: &TestsQuery, call: &Call) -> Result<TestsPage, Error> {
        let inner = &self.0;
        let page = inner
            .merge(&query.scope, query.page_size, query.position.as_ref(), call, |managed, page, call| {
                inner.tests_part(managed, query, page, call)
            })
            .await?;
        Ok(TestsPage { tests: page.items, next: page.next, unreachable: page.unreachable })
    }
}

impl Inner {
    /// Walks the backends in their order until the page is full. With one backend its failure is the answer; with
    /// all of them a failing one is named and passed over.
    async fn merge<'a, T, F>(
        &'a self,
        scope: &Scope,
        page_size: usize,
        position: Option<&ListPosition>,
        call: &Call,
        part: impl Fn(&'a Arc<Managed>, PageRequest, Call) -> F,
    ) -> Result<Merged<T>, Error>
    where
        F: Future<Output = Result<Part<T>, Error>> + 'a,
    {
        let mut merged = Merged { items: Vec::new(), next: None, unreachable: Vec::new() };
        let only = scope.backend.is_some();
        let backends = self.within(scope)?;
        // A backend that left the configuration meanwhile ends the list.
        let first = position
            .map_or(Some(0), |position| backends.iter().position(|managed| managed.id == position.backend));
        let backends = first.map_or(&[][..], |first| backends.get(first..).unwrap_or_default());
        let mut upstream = position.and_then(|position| position.upstream.clone());
        for (at, managed) in backends.iter().enumerate() {
            let page = PageRequest { size: page_size - merged.items.len(), token: upstream.take() };
            let mut call = call.clone();
            if !only {
                call.deadline = call.deadline.min(Instant::now() + PATIENCE_EACH);
            }
            match part(managed, page, call).await {
                Ok(found) => {
                    merged.items.extend(found.items);
                    if found.next.is_some() {
                        merged.next =
                            Some(ListPosition { backend: managed.id.clone(), upstream: found.next });
                        break;
                    }
                }
                Err(error) if only => return Err(error),
                Err(error) => {
                    tracing::debug!(backend = %managed.id, %error, "a backend could not be listed");
                    merged.unreachable.push(managed.id.clone());
                }
            }
            if merged.items.len() >= page_size {
                let next = backends.get(at + 1);
                merged.next = next.map(|next| ListPosition { backend: next.id.clone(), upstream: None });
                break;
            }
        }
        Ok(merged)
    }

    async fn tests_part(
        &self,
        managed: &Managed,
        query: &TestsQuery,
        mut page: PageRequest,
        call: Call,
    ) -> Result<Part<(BackendId, Test)>, Error> {
        let hint = query.filter.as_ref().map_or_else(TestHint::default, |filter| TestHint {
            reads_labels: filter.mentions_upstream_labels(),
            labels: filter.required_upstream_labels(),
        });
        for _ in 0..MAX_EMPTY_PAGES {
            let found = self.find_tests(managed, &call, &hint, &page).await?;
            let items: Vec<_> = found
                .items
                .into_iter()
                .filter(|test| query.filter.as_ref().is_none_or(|filter| filter.matches(test)))
                .map(|test| (managed.id.clone(), test))
                .collect();
            if !items.is_empty() || found.next.is_none() {
                return Ok(Part { items, next: found.next });
            }
            page.token = found.next;
        }
        Ok(Part { items: Vec::new(), next: page.token })
    }

    async fn executions_part(
        self: &Arc<Self>,
        managed: &Managed,
        query: &ExecutionsQuery,
        mut page: PageRequest,
        call: Call,
    ) -> Result<Part<Arc<Published>>, Error> {
        let test = query.scope.test.as_ref();
        let hint = query.filter.as_ref().map_or_else(ListHint::default, hint_of);
        let matches =
            |execution: &Execution| query.filter.as_ref().is_none_or(|filter| filter.matches(execution));
        // What upstream's list does not show comes first.
        let mut items = Vec::new();
        if let Some(sent) = unshown_sent(page.token.as_deref()) {
            page.token = None;
            self.correlate(managed, test, &call).await;
            items = self.not_shown_upstream(managed, test, &hint);
            items.retain(|execution| matches(execution));
            items.drain(..sent.min(items.len()));
            if items.len() >= page.size {
                items.truncate(page.size);
                return Ok(Part { items, next: Some(format!("{UNSHOWN}{}", sent + page.size)) });
            }
        }
        for _ in 0..MAX_EMPTY_PAGES {
            page.size -= items.len();
            let found = self.list_page(managed, &call, test, &page, &hint).await?;
            // A run that upstream shows by now is to appear under its minted name, and once.
            self.correlate(managed, test, &call).await;
            let mut rows: Vec<_> =
                found.items.into_iter().filter_map(|row| self.better(managed, row)).collect();
            for (execution, open) in &mut rows {
                // What a row ended is being saved.
                if let Some(shown) = self.shown(&execution.name).await
                    && shown.is_done()
                {
                    (*execution, *open) = (shown, false);
                }
            }
            let rows = self.resolve_rows(rows, &call).await;
            items.retain(|known: &Arc<Published>| !rows.iter().any(|row| row.name == known.name));
            items.extend(rows.into_iter().filter(|execution| matches(execution)));
            page.token = found.next;
            if !items.is_empty() || page.token.is_none() {
                break;
            }
        }
        Ok(Part { items, next: page.token })
    }

    /// Looks for the runs of minted executions, as far as time and budget allow.
    async fn correlate(self: &Arc<Self>, managed: &Managed, test: Option<&TestId>, call: &Call) {
        let unshown = self.not_shown_upstream(managed, test, &ListHint::default());
        let open = unshown.into_iter().filter(|execution| !execution.is_done());
        drop(self.resolve_rows(open.map(|execution| (execution, true)).collect(), call).await);
    }

    /// What upstream's list does not show: runs that were started here and are not found there yet, and, where
    /// only unfinished ones are asked for, those that have ended there while their verdict is being settled.
    fn not_shown_upstream(
        &self,
        managed: &Managed,
        test: Option<&TestId>,
        hint: &ListHint,
    ) -> Vec<Arc<Published>> {
        let table = self.table();
        let mut found: Vec<_> = table
            .entries()
            .filter(|(name, entry)| {
                let execution = &entry.record.execution;
                let not_found_yet = name.execution.is_minted() && execution.upstream_id.is_empty();
                not_found_yet || (hint.unfinished_only && execution.state == State::Settling)
            })
            .filter(|(name, _)| name.backend == managed.id && test.is_none_or(|test| name.test == *test))
            .map(|(_, entry)| entry.execution())
            .collect();
        found.sort_by_key(|execution| std::cmp::Reverse(execution.create_time));
        found
    }

    /// A listed row with what is known here, and whether it needs a reading of its own to be final.
    fn better(self: &Arc<Self>, managed: &Managed, row: Listed) -> Option<(Arc<Published>, bool)> {
        let outline = row.is_outline();
        let test = TestName { backend: managed.id.clone(), test: row.test };
        let name = self.canonical(&test.execution(row.execution)).ok()?;
        let settling = |execution: &Execution| execution.state == State::Settling;
        Some(match self.known(&name).ok()? {
            Some(known) if known.is_done() => (known, false),
            Some(known) if outline || !row_is_news(&known, &row.observation) => (known, true),
            None if outline => {
                let mut shown = Execution::first_seen(name, row.observation, self.clock.now());
                shown.revision = self.store.next_revision();
                (Published::new(shown), false)
            }
            _ => {
                let execution = self.absorb(&name, row.observation, |_, _| false);
                let open = settling(&execution);
                (execution, open)
            }
        })
    }

    /// Settles the rows that need another call, as far as time and budget allow.
    async fn resolve_rows(
        self: &Arc<Self>,
        rows: Vec<(Arc<Published>, bool)>,
        call: &Call,
    ) -> Vec<Arc<Published>> {
        if rows.iter().all(|(_, open)| !open) {
            return rows.into_iter().map(|(row, _)| row).collect();
        }
        let deadline = (Instant::now() + RESOLVE_WITHIN).min(call.deadline - Duration::from_millis(500));
        let call = Call { deadline, ..call.clone() };
        let (mut rows, open): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let mut open: Vec<usize> = (0..rows.len()).rev().filter(|at| open[*at]).collect();
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < RESOLVE_CONCURRENCY
                && Instant::now() < deadline
                && let Some(at) = open.pop()
            {
                let (name, call) = (rows[at].name.clone(), call.clone());
                reads.push(async move { (at, self.read(&name, &call).await) });
            }
            match reads.next().await {
                Some((at, Ok(execution))) => rows[at] = execution,
                Some((_, Err(error))) if matches!(error.kind, ErrorKind::BackendBudgetExhausted) => {
                    open.clear()
                }
                Some((_, Err(_))) => {}
                None => return rows,
            }
        }
    }
}

/// Whether a listed row says more than what is known. It does not of what is done or settling here, nor where it shows
/// an earlier state; and how a run that was stopped here has ended, a list can't tell.
pub(super) fn row_is_news(known: &Execution, row: &Observation) -> bool {
    let stopped_here = known.stop_request_time.is_some() && row.state.is_done();
    !known.is_done() && known.state != State::Settling && !stopped_here && !is_earlier(row.state, known.state)
}

/// Whether an execution passes one state before the other, so that a list which shows it is a stale one. What a value
/// that nobody knows stands for can't be said.
fn is_earlier(one: State, other: State) -> bool {
    let rank = |state| match state {
        State::Pending => Some(0),
        State::Running => Some(1),
        State::Stopping => Some(2),
        State::Settling => Some(3),
        State::Completed | State::Errored | State::Stopped | State::Lost => Some(4),
        State::UpstreamUnknown => None,
    };
    rank(one).zip(rank(other)).is_some_and(|(one, other)| one < other)
}

/// How many of the executions that upstream does not show were sent, where a list has not come to upstream's own yet.
fn unshown_sent(token: Option<&str>) -> Option<usize> {
    token.map_or(Some(0), |token| token.strip_prefix(UNSHOWN)?.parse().ok())
}

/// What a filter allows upstream to leave out.
pub(super) fn hint_of(filter: &Filter) -> ListHint {
    ListHint {
        unfinished_only: filter.unfinished_only(),
        created_from: filter.created_lower_bound(),
        ended_from: filter.end_time_lower_bound(),
        state: None,
    }
}
