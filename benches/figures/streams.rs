//! Many open streams, and what arrives on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http::uri::PathAndQuery;
use testgate::proto::codec::Codec;
use testgate::proto::encoded::{Event, WatchExecutionsResponse};
use testgate::proto::v1::WatchExecutionsRequest;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::process::Server;

/// Openings under way at a time.
const OPENING: usize = 64;
/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Streams that are open until this is dropped.
#[derive(Debug)]
pub(crate) struct Streams {
    seen: Arc<Seen>,
    tasks: JoinSet<Result<(), Status>>,
}

/// What has arrived on all of them.
#[derive(Debug, Default)]
struct Seen {
    opened: AtomicUsize,
    updates: AtomicUsize,
    ended: AtomicUsize,
    /// The count that somebody waits for.
    wanted: AtomicUsize,
    arrived: Notify,
}

impl Seen {
    fn count(&self, counter: &AtomicUsize) {
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if count >= self.wanted.load(Ordering::Relaxed) {
            self.arrived.notify_one();
        }
    }
}

impl Streams {
    /// Opens one stream for each list of names, dealt out among so many connections, and waits for their snapshots.
    pub(crate) async fn open(
        server: &Server,
        connections: usize,
        names: impl ExactSizeIterator<Item = Vec<String>>,
    ) -> anyhow::Result<Self> {
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(connect(server.port).await?);
        }
        let count = names.len();
        let (seen, openings) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(OPENING)));
        let mut tasks = JoinSet::new();
        for (channel, names) in channels.iter().cycle().zip(names) {
            tasks.spawn(follow(channel.clone(), names, Arc::clone(&openings), Arc::clone(&seen)));
        }
        let mut streams = Self { seen, tasks };
        streams.wait(|seen| &seen.opened, count).await?;
        Ok(streams)
    }

    /// How many updates have come so far.
    pub(crate) fn updates(&self) -> usize {
        self.seen.updates.load(Ordering::Relaxed)
    }

    /// How many streams have ended so far.
    pub(crate) fn ended(&self) -> usize {
        self.seen.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many updates have come in all. Returns when the last one did.
    pub(crate) async fn wait_for(&mut self, updates: usize) -> anyhow::Result<Instant> {
        self.wait(|seen| &seen.updates, updates).await?;
        Ok(Instant::now())
    }

    async fn wait(&mut self, counter: fn(&Seen) -> &AtomicUsize, wanted: usize) -> anyhow::Result<()> {
        self.seen.wanted.store(wanted, Ordering::Relaxed);
        let arrived = async {
            loop {
                let arrived = self.seen.arrived.notified();
                if counter(&self.seen).load(Ordering::Relaxed) >= wanted {
                    return Ok(());
                }
                tokio::select! {
                    () = arrived => {}
                    ended = self.tasks.join_next() => bail!("a stream ended: {ended:?}"),
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, arrived).await;
        waited.with_context(|| format!("{} of {wanted} came", counter(&self.seen).load(Ordering::Relaxed)))?
    }
}

/// A connection with windows that many streams fit into.
async fn connect(port: u16) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    let endpoint = endpoint.initial_connection_window_size(4 << 20).initial_stream_window_size(64 << 10);
    Ok(endpoint.connect().await?)
}

async fn follow(
    channel: Channel,
    names: Vec<String>,
    openings: Arc<Semaphore>,
    seen: Arc<Seen>,
) -> Result<(), Status> {
    let mut opening = openings.acquire_owned().await.ok();
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    // The bytes are not decoded: the clients share a machine with the server.
    let codec: Codec<WatchExecutionsRequest, WatchExecutionsResponse> = Codec::default();
    let path = PathAndQuery::from_static("/testgate.v1.TestExecutionService/WatchExecutions");
    let request = Request::new(WatchExecutionsRequest { names, ..Default::default() });
    let mut messages = client.server_streaming(request, path, codec).await?.into_inner();
    loop {
        match messages.message().await {
            Ok(Some(message)) => match message.event {
                Some(Event::SnapshotComplete(_)) => {
                    opening = None;
                    seen.count(&seen.opened);
                }
                Some(Event::Update(_)) if opening.is_none() => seen.count(&seen.updates),
                _ => {}
            },
            ended => {
                seen.count(&seen.ended);
                return ended.map(|_| ());
            }
        }
    }
}
