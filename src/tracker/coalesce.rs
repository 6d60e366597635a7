//! Identical reads that callers make at the same time are one upstream call. Readings of one execution, which the
//! table remembers, are joined in `reader`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::{Error, Inner, Managed};
use crate::backend::{Backend, BackendError, Call, ErrorKind, ListHint, Listed, Page, PageRequest, TestHint};
use crate::model::{Artifact, ExecutionName, ItemKind, ResultItem, Test, TestId};

/// The reads of one backend that are under way.
#[derive(Default)]
pub(super) struct Reads {
    /// How many writes have ended: whoever reads after one doesn't join a read from before it.
    writes: AtomicU64,
    test: Coalescer<TestId, Test>,
    tests: Coalescer<(PageRequest, TestHint), Page<Test>>,
    executions: Coalescer<(Option<TestId>, PageRequest, ListHint), Page<Listed>>,
    items: Coalescer<(ExecutionName, Option<ItemKind>, PageRequest), Page<ResultItem>>,
    artifacts: Coalescer<ExecutionName, Vec<Artifact>>,
}

impl Reads {
    /// Notes that something was changed upstream.
    pub(super) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}

type Reading<T> = BoxFuture<'static, Result<T, BackendError>>;

/// The reads of one sort that are under way, by what they ask for and since which write.
struct Coalescer<K, T>(Mutex<UnderWay<K, T>>);

struct UnderWay<K, T> {
    reads: HashMap<(u64, K), Numbered<T>>,
    last_id: u64,
}

/// A read with a number that tells it from a later one in its place.
type Numbered<T> = (u64, WeakShared<Reading<T>>);

impl<K, T> Default for Coalescer<K, T> {
    fn default() -> Self {
        Self(Mutex::new(UnderWay { reads: HashMap::new(), last_id: 0 }))
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Coalescer<K, T> {
    /// Joins the read that is under way, or begins it. It ends when nobody waits any more.
    async fn join(
        &self,
        key: (u64, K),
        call: &Call,
        begin: impl Fn() -> Reading<T>,
    ) -> Result<T, BackendError> {
        loop {
            let (id, joined, reading) = self.join_once(&key, &begin);
            match tokio::time::timeout_at(call.deadline, reading).await {
                Err(_) => return Err(BackendError::new(ErrorKind::DeadlineExceeded, "the deadline passed")),
                // Another caller's deadline or budget is not ours.
                Ok(Err(error)) if joined && error.kind.is_of_one_call() => self.forget(&key, id),
                Ok(result) => return result,
            }
        }
    }

    fn join_once(&self, key: &(u64, K), begin: impl Fn() -> Reading<T>) -> (u64, bool, Shared<Reading<T>>) {
        let mut under_way = self.lock();
        if let Some((id, reading)) = under_way.reads.get(key)
            && let Some(reading) = reading.upgrade()
        {
            return (*id, true, reading);
        }
        under_way.reads.retain(|_, (_, reading)| reading.upgrade().is_some());
        under_way.last_id += 1;
        let id = under_way.last_id;
        let reading = begin().shared();
        under_way.reads.extend(reading.downgrade().map(|weak| (key.clone(), (id, weak))));
        (id, false, reading)
    }

    /// Lets go of a read, unless another has taken its place.
    fn forget(&self, key: &(u64, K), id: u64) {
        let mut under_way = self.lock();
        if under_way.reads.get(key).is_some_and(|(known, _)| *known == id) {
            under_way.reads.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay<K, T>> {
        // Nothing panics while the lock is held, so a poisoned one still guards a whole map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Managed {
    /// What a read needs to live on its own: the key's part that tells reads before a write from those after, the
    /// adapter, and the call.
    fn apart(&self, call: &Call) -> (u64, Arc<dyn Backend>, Call) {
        let writes = self.reads.writes.load(Ordering::Relaxed);
        (writes, Arc::clone(&self.setup.backend), call.clone())
    }
}

impl Inner {
    pub(super) async fn get_test(
        &self,
        managed: &Managed,
        call: &Call,
        test: &TestId,
    ) -> Result<Test, Error> {
        let (writes, backend, begun) = managed.apart(call);
        let read = || {
            let (backend, call, test) = (Arc::clone(&backend), begun.clone(), test.clone());
            async move { backend.get_test(&call, &test).await }.boxed()
        };
        self.ask(managed, managed.reads.test.join((writes, test.clone()), call, read).await)
    }

    pub(super) async fn find_tests(
        &self,
        managed: &Managed,
        call: &Call,
        hint: &TestHint,
        page: &PageRequest,
    ) -> Result<Page<Test>, Error> {
        let (writes, backend, begun) = managed.apart(call);
        let read = || {
            let (backend, call, hint, page) =
                (Arc::clone(&backend), begun.clone(), hint.clone(), page.clone());
            async move { page.answered(backend.find_tests(&call, &hint, &page).await?) }.boxed()
        };
        let key = (writes, (page.clone(), hint.clone()));
        self.ask(managed, managed.reads.tests.join(key, call, read).await)
    }

    pub(super) async fn list_page(
        &self,
        managed: &Managed,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, Error> {
        let (writes, backend, begun) = managed.apart(call);
        let key = (test.cloned(), page.clone(), hint.clone());
        let read = || {
            let (backend, call, (test, page, hint)) = (Arc::clone(&backend), begun.clone(), key.clone());
            async move { page.answered(backend.list_executions(&call, test.as_ref(), &page, &hint).await?) }
                .boxed()
        };
        self.ask(managed, managed.reads.executions.join((writes, key.clone()), call, read).await)
    }

    pub(super) async fn list_items(
        &self,
        managed: &Managed,
        call: &Call,
        name: &ExecutionName,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, Error> {
        let (writes, backend, begun) = managed.apart(call);
        let target = self.target(name);
        let read = || {
            let (backend, call, target, page) =
                (Arc::clone(&backend), begun.clone(), target.clone(), page.clone());
            async move { page.answered(backend.list_items(&call, &target, kind, &page).await?) }.boxed()
        };
        let key = (writes, (name.clone(), kind, page.clone()));
        self.ask(managed, managed.reads.items.join(key, call, read).await)
    }

    pub(super) async fn list_artifacts(
        &self,
        managed: &Managed,
        call: &Call,
        name: &ExecutionName,
    ) -> Result<Vec<Artifact>, Error> {
        let (writes, backend, begun) = managed.apart(call);
        let target = self.target(name);
        let read = || {
            let (backend, call, target) = (Arc::clone(&backend), begun.clone(), target.clone());
            async move { backend.list_artifacts(&call, &target).await }.boxed()
        };
        self.ask(managed, managed.reads.artifacts.join((writes, name.clone()), call, read).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::backend::Priority;

    type Numbers = Coalescer<&'static str, usize>;

    fn within(seconds: u64) -> Call {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        Call { deadline, priority: Priority::Read, caller: Arc::from("") }
    }

    /// A read that takes a second and answers which one it was.
    fn counting(made: &Arc<AtomicUsize>) -> impl Fn() -> Reading<usize> {
        let made = Arc::clone(made);
        move || {
            let number = made.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_secs(1)).await;
                Ok(number)
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn identical_reads_at_the_same_time_are_one_and_others_are_not() {
        let (reads, made, call) = (Numbers::default(), Arc::default(), within(10));
        let read = counting(&made);
        let (a, b, other, later) = tokio::join!(
            reads.join((0, "a"), &call, &read),
            reads.join((0, "a"), &call, &read),
            reads.join((0, "b"), &call, &read),
            reads.join((1, "a"), &call, &read),
        );
        assert_eq!([a, b, other, later].map(Result::unwrap), [0, 0, 1, 2]);
        assert_eq!(reads.join((0, "a"), &call, &read).await.unwrap(), 3, "an answer is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_goes_on_without_the_caller_who_began_it() {
        let (reads, made) = (Numbers::default(), Arc::default());
        let read = counting(&made);
        let (hurried, patient) = (within(10), within(10));
        let (first, second) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(300), reads.join((0, "a"), &hurried, &read)),
            reads.join((0, "a"), &patient, &read),
        );
        assert!(first.is_err());
        assert_eq!((second.unwrap(), made.load(Ordering::Relaxed)), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn anothers_lack_of_time_or_budget_is_not_ours() {
        for kind in [ErrorKind::DeadlineExceeded, ErrorKind::BackendBudgetExhausted] {
            let (reads, made, call) = (Numbers::default(), AtomicUsize::new(0), within(10));
            let read = || {
                let number = made.fetch_add(1, Ordering::Relaxed);
                async move {
                    sleep(Duration::from_secs(1)).await;
                    if number == 0 { Err(BackendError::new(kind, "too late")) } else { Ok(number) }
                }
                .boxed()
            };
            let (first, second, third) = tokio::join!(
                reads.join((0, "a"), &call, read),
                reads.join((0, "a"), &call, read),
                reads.join((0, "a"), &call, read),
            );
            assert_eq!(first.unwrap_err().kind, kind);
            assert_eq!((second.unwrap(), third.unwrap()), (1, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_everybodys() {
        let (reads, made, call) = (Numbers::default(), AtomicUsize::new(0), within(10));
        let read = || {
            made.fetch_add(1, Ordering::Relaxed);
            async { Err(BackendError::new(ErrorKind::UpstreamThrottled, "slower")) }.boxed()
        };
        let (first, second) =
            tokio::join!(reads.join((0, "a"), &call, read), reads.join((0, "a"), &call, read));
        assert!(first.is_err() && second.is_err());
    }
}
