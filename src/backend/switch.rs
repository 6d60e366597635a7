//! A backend whose adapter can be exchanged or taken away while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{
    Backend, BackendError, Call, ErrorKind, Found, ListHint, Listed, Page, PageRequest, Polling, ProbeResult,
    Record, StartIntent, StartOptions, StartPlan, Started, Target, TestHint,
};
use crate::model::{Artifact, BackendInfo, ItemKind, Observation, ResultItem, Test, TestId};

/// Hands each call to the adapter of the moment. A call that is under way stays with the one it began with.
#[derive(Debug)]
pub struct Switch {
    adapter: ArcSwap<Arc<dyn Backend>>,
    on: AtomicBool,
}

impl Switch {
    /// Begins with an adapter.
    pub fn new(adapter: Arc<dyn Backend>) -> Self {
        Self { adapter: ArcSwap::from_pointee(adapter), on: AtomicBool::new(true) }
    }

    /// Puts another adapter in its place.
    pub fn set(&self, adapter: Arc<dyn Backend>) {
        self.adapter.store(Arc::new(adapter));
        self.on.store(true, Ordering::Relaxed);
    }

    /// Takes the adapter away: whoever calls from now on is told that there is no such backend.
    pub fn turn_off(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// Whether there is an adapter.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn adapter(&self) -> Result<Arc<dyn Backend>, BackendError> {
        let adapter = Arc::clone(&**self.adapter.load());
        if self.is_on() {
            return Ok(adapter);
        }
        let text = format!("backends/{} is not configured any more", adapter.info().id);
        Err(BackendError::new(ErrorKind::ResourceNotFound, text))
    }
}

/// Every method is handed on, those with a body in the trait too.
#[async_trait]
impl Backend for Switch {
    fn info(&self) -> BackendInfo {
        self.adapter.load().info()
    }

    fn polling(&self) -> Polling {
        self.adapter.load().polling()
    }

    async fn probe(&self, call: &Call) -> ProbeResult {
        self.adapter()?.probe(call).await
    }

    async fn list_tests(&self, call: &Call, page: &PageRequest) -> Result<Page<Test>, BackendError> {
        self.adapter()?.list_tests(call, page).await
    }

    async fn find_tests(
        &self,
        call: &Call,
        hint: &TestHint,
        page: &PageRequest,
    ) -> Result<Page<Test>, BackendError> {
        self.adapter()?.find_tests(call, hint, page).await
    }

    async fn get_test(&self, call: &Call, test: &TestId) -> Result<Test, BackendError> {
        self.adapter()?.get_test(call, test).await
    }

    async fn plan_start(
        &self,
        call: &Call,
        test: &TestId,
        options: &StartOptions,
    ) -> Result<StartPlan, BackendError> {
        self.adapter()?.plan_start(call, test, options).await
    }

    async fn start(&self, call: &Call, intent: &StartIntent) -> Result<Started, BackendError> {
        self.adapter()?.start(call, intent).await
    }

    async fn find_started(&self, call: &Call, intent: &StartIntent) -> Result<Vec<Found>, BackendError> {
        self.adapter()?.find_started(call, intent).await
    }

    async fn stop(&self, call: &Call, target: &Target, token: &str) -> Result<(), BackendError> {
        self.adapter()?.stop(call, target, token).await
    }

    async fn record(&self, call: &Call, test: &TestId, record: &Record) -> Result<Found, BackendError> {
        self.adapter()?.record(call, test, record).await
    }

    async fn observe(&self, call: &Call, target: &Target) -> Result<Observation, BackendError> {
        self.adapter()?.observe(call, target).await
    }

    async fn list_executions(
        &self,
        call: &Call,
        test: Option<&TestId>,
        page: &PageRequest,
        hint: &ListHint,
    ) -> Result<Page<Listed>, BackendError> {
        self.adapter()?.list_executions(call, test, page, hint).await
    }

    async fn list_items(
        &self,
        call: &Call,
        target: &Target,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<ResultItem>, BackendError> {
        self.adapter()?.list_items(call, target, kind, page).await
    }

    async fn list_artifacts(&self, call: &Call, target: &Target) -> Result<Vec<Artifact>, BackendError> {
        self.adapter()?.list_artifacts(call, target).await
    }
}
