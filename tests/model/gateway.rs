//! The gateway of a case: the real store, tracker and service, over the simulated system and simulated time.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream};
use prost::Message as _;
use testgate::auth::{Auth, Caller, Peer};
use testgate::grpc::Service;
use testgate::metrics::Metrics;
use testgate::model::{Clock, Timestamp};
use testgate::proto::v1::test_execution_service_server::TestExecutionService;
use testgate::proto::{encoded, v1};
use testgate::store::Store;
use testgate::tasks::{Lifecycle, Tasks};
use testgate::token::{Epoch, TokenKey};
use testgate::tracker::{BackendSetup, Tracker};
use tonic::{Request, Status};

use crate::upstream::{BACKEND, Upstream};

/// The steps in which time passes.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// How often every task gets its turn before something counts as settled.
const TURNS: usize = 24;

pub(crate) type Messages =
    Pin<Box<dyn Stream<Item = Result<encoded::WatchExecutionsResponse, Status>> + Send>>;
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Messages, Status>> + Send>>;

/// Simulated wall time.
#[derive(Clone, Debug)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn clock(&self) -> Clock {
        let passed = Arc::clone(&self.0);
        let begin = time::macros::datetime!(2026-11-30 06:00:00 UTC);
        Clock::from_fn(move || begin + time::Duration::microseconds(passed.load(Ordering::SeqCst)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock().now()
    }
}

pub(crate) struct Gateway {
    service: Service,
    caller: Caller,
    store: Store,
    tasks: Tasks,
    lifecycle: Lifecycle,
    time: Time,
}

impl Gateway {
    pub(crate) fn start(path: PathBuf, upstream: &Upstream, time: &Time) -> Self {
        let store = Store::open(Some(path), time.clock()).unwrap();
        let metrics = Metrics::new();
        let setup = BackendSetup {
            backend: Arc::new(upstream.clone()),
            poll_interval: Duration::from_millis(500),
            tracking_deadline: Duration::from_hours(24),
            metrics: metrics.backend(BACKEND),
            tracer: testgate::trace::Tracer::default(),
        };
        let (tasks, lifecycle) = (Tasks::new(), Lifecycle::new());
        let (key, epoch) = (TokenKey::from_bytes(store.token_key()), Epoch(store.epoch()));
        let retention = Duration::from_hours(24 * 7);
        let tracker =
            Tracker::new(vec![setup], store.clone(), retention, time.clock(), tasks.clone()).unwrap();
        let service = Service::new(tracker, lifecycle.clone(), &key, epoch, metrics);
        lifecycle.serve();
        let identified = Auth::anonymous()
            .identify(&Peer::new(None), &http::HeaderMap::new())
            .now_or_never()
            .map(Result::ok);
        let caller = identified.flatten().unwrap();
        Self { service, caller, store, tasks, lifecycle, time: time.clone() }
    }

    /// Ends it as a process ends that was told to.
    pub(crate) async fn stop(self) {
        self.lifecycle.drain();
        // Tasks look at the drain when they next run; none waits for the simulated clock to end.
        drop(self.tasks.shutdown(Duration::ZERO).await);
        self.store.flush().await.unwrap();
    }

    /// Lets everything run that can, at this moment, the store's thread included.
    pub(crate) async fn settle(&self) {
        for _ in 0..2 {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            self.store.flush().await.unwrap();
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// One step of time.
    pub(crate) async fn step(&self) {
        self.advance().await;
        self.settle().await;
    }

    /// One step of time in which nobody waits for the store.
    pub(crate) async fn step_ahead_of_the_store(&self) {
        self.advance().await;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    async fn advance(&self) {
        self.time.0.fetch_add(i64::try_from(STEP.as_micros()).unwrap(), Ordering::SeqCst);
        tokio::time::advance(STEP).await;
    }

    /// Carries a call out, with as much time as it takes.
    pub(crate) async fn answer<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        for _ in 0..1_000 {
            if let Poll::Ready(answer) = futures_util::poll!(&mut call) {
                return answer;
            }
            self.settle().await;
            if let Poll::Ready(answer) = futures_util::poll!(&mut call) {
                return answer;
            }
            self.step().await;
        }
        panic!("a call has no end");
    }

    /// A request as the gate lets it through.
    fn as_caller<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(self.caller.clone());
        request
    }

    pub(crate) fn watch(&self, request: v1::WatchExecutionsRequest) -> Opening {
        let (service, request) = (self.service.clone(), self.as_caller(request));
        Box::pin(async move { service.watch(request).await.map(|feed| Box::pin(feed) as Messages) })
    }

    pub(crate) async fn get(&self, name: &str, forced: bool) -> Result<v1::Execution, Status> {
        let max_staleness = forced.then(prost_types::Duration::default);
        let request = v1::GetExecutionRequest { name: name.to_owned(), max_staleness };
        let reply = self.answer(self.service.get_execution(self.as_caller(request))).await?;
        Ok(v1::Execution::decode(reply.into_inner().execution).unwrap())
    }

    pub(crate) async fn begin(&self, parent: &str, id: &str) -> Result<v1::Execution, Status> {
        let request = v1::StartExecutionRequest {
            parent: parent.to_owned(),
            request_id: id.to_owned(),
            ..Default::default()
        };
        let reply = self.answer(self.service.start_execution(self.as_caller(request))).await?;
        Ok(reply.into_inner().execution.unwrap())
    }
}

/// A message as a client reads it.
pub(crate) fn as_client(message: &encoded::WatchExecutionsResponse) -> v1::WatchExecutionsResponse {
    v1::WatchExecutionsResponse::decode(message.encode_to_vec().as_slice()).unwrap()
}

/// An open stream.
pub(crate) struct Line(Messages);

impl Line {
    pub(crate) fn new(messages: Messages) -> Self {
        Self(messages)
    }

    /// What is there without waiting; `None` if nothing is.
    pub(crate) async fn next(&mut self) -> Option<Option<Result<v1::WatchExecutionsResponse, Status>>> {
        match futures_util::poll!(futures_util::StreamExt::next(&mut self.0)) {
            Poll::Ready(message) => Some(message.map(|message| message.map(|message| as_client(&message)))),
            Poll::Pending => None,
        }
    }
}
