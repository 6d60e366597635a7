//! The baseline's executions: states that are encoded once, and streams that copy them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use testgate::proto::encoded::{Event, ExecutionUpdate, WatchExecutionsResponse};
use testgate::proto::v1;
use testgate::proto::v1::execution::Details;
use testgate::proto::v1::execution_update::Type;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use crate::signed::Signed;
use crate::upstream;

/// A stream's messages.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<WatchExecutionsResponse, Status>> + Send>>;

/// All executions, each made from one message.
#[derive(Debug)]
pub(super) struct Hub {
    template: v1::Execution,
    states: Vec<watch::Sender<Bytes>>,
    upstream: Signed,
    /// How often all were changed without asking upstream.
    round: AtomicI64,
}

impl Hub {
    pub(super) fn new(
        template: v1::Execution,
        executions: usize,
        upstream: SocketAddr,
    ) -> anyhow::Result<Arc<Self>> {
        let first = Bytes::from(template.encode_to_vec());
        let states = (0..executions).map(|_| watch::Sender::new(first.clone())).collect();
        Ok(Arc::new(Self { template, states, upstream: Signed::new(upstream)?, round: AtomicI64::new(0) }))
    }

    /// Reads an execution from upstream, and tells its streams if it has changed.
    pub(super) async fn read(&self, name: &str) -> anyhow::Result<Bytes> {
        let number = upstream::number(name).context("a name of another kind")?;
        let row = self.upstream.describe(&upstream::id(number)).await?;
        let state = self.state(name.to_owned(), row.test_execution_status, row.last_updated_date_time);
        self.publish(number, state.clone());
        Ok(state)
    }

    /// Changes all executions.
    pub(super) fn change_all(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        for number in 0..self.states.len() {
            let state = self.state(upstream::id(number), "InProgress".to_owned(), round);
            self.publish(number, state);
        }
    }

    /// Follows one execution.
    pub(super) fn watch(&self, name: &str) -> Option<Messages> {
        let mut states = self.states.get(upstream::number(name)?)?.subscribe();
        let first = states.borrow_and_update().clone();
        let opening = [
            update(Type::Snapshot, first),
            WatchExecutionsResponse {
                resume_token: String::new(),
                event: Some(Event::SnapshotComplete(v1::SnapshotComplete::default())),
            },
        ];
        let changes = WatchStream::from_changes(states).map(|state| update(Type::Changed, state));
        Some(Box::pin(stream::iter(opening).chain(changes).map(Ok)))
    }

    fn state(&self, name: String, upstream_status: String, updated: i64) -> Bytes {
        let mut state = v1::Execution { name, upstream_status, ..self.template.clone() };
        if let Some(Details::Lex(details)) = &mut state.details {
            details.update_time = Some(prost_types::Timestamp { seconds: updated, nanos: 0 });
        }
        state.encode_to_vec().into()
    }

    fn publish(&self, number: usize, state: Bytes) {
        if let Some(sender) = self.states.get(number) {
            sender.send_if_modified(|known| {
                let changed = *known != state;
                *known = state;
                changed
            });
        }
    }
}

fn update(kind: Type, execution: Bytes) -> WatchExecutionsResponse {
    let update = ExecutionUpdate { r#type: kind.into(), execution, coalesced_count: 0 };
    WatchExecutionsResponse { resume_token: String::new(), event: Some(Event::Update(update)) }
}
