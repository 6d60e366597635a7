//! What the tests of the reading half share: worlds without throttles, and streams read event by event.

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution_update::Type;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::proto::v1::{SnapshotComplete, WatchExecutionsRequest, WatchExecutionsResponse};
use tonic::{Status, Streaming};

use crate::support::{Client, PATIENCE, Setup, World};

/// A world whose upstreams throttle nobody and whose gateway is in a hurry.
pub(crate) async fn quick(clock_scale: f64) -> World {
    unthrottled(World::with(hurried(clock_scale)).await)
}

/// The setup of [`quick`], to be changed further.
pub(crate) fn hurried(clock_scale: f64) -> Setup {
    Setup { clock_scale, adjust: |backends| backends.iter_mut().for_each(hurry), ..Setup::default() }
}

/// Gives a backend a budget that nothing here uses up.
pub(crate) fn hurry(backend: &mut testgate::config::backend::BackendConfig) {
    backend.max_requests_per_second = 1000.0;
    backend.poll_interval = std::time::Duration::from_millis(100);
}

/// Switches the upstreams' own throttles off.
pub(crate) fn unthrottled(world: World) -> World {
    for upstream in ["connect", "lex"] {
        world.control(upstream, json!({"command": "rate_limit", "enabled": false}));
    }
    world
}

/// Starts a run at the upstream, as somebody else would, and gives its name here.
pub(crate) fn start_elsewhere(world: &World, upstream: &str, test: &str) -> String {
    let started = world.control(upstream, json!({"command": "start", "test": test}));
    let id = |member: &str| started[member].as_str().unwrap().to_owned();
    format!("backends/{upstream}/tests/{}/executions/{}", id("test"), id("execution"))
}

/// The last part of a name.
pub(crate) fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

/// Ends a Connect execution well.
pub(crate) fn finish(world: &World, name: &str) {
    let finish = json!({"command": "finish", "execution": id_of(name), "outcome": "passed"});
    world.control("connect", finish);
}

/// Starts a Connect execution that ends only when it is told to.
pub(crate) async fn begin_endless(world: &World) -> v1::Execution {
    let started = world.begin("connect", "greeting").await;
    world.control("connect", json!({"command": "hang", "execution": id_of(&started.name)}));
    started
}

/// A request to follow these names.
pub(crate) fn watching<'a>(names: impl IntoIterator<Item = &'a String>) -> WatchExecutionsRequest {
    WatchExecutionsRequest { names: names.into_iter().cloned().collect(), ..Default::default() }
}

/// A request to follow a parent.
pub(crate) fn watching_parent(parent: &str) -> WatchExecutionsRequest {
    WatchExecutionsRequest { parent: parent.to_owned(), ..Default::default() }
}

/// An open stream.
pub(crate) struct Stream {
    inner: Streaming<WatchExecutionsResponse>,
    /// The last token that was not empty.
    pub(crate) token: String,
    /// The token of the last message, whatever it was.
    pub(crate) last_token: String,
}

impl Stream {
    pub(crate) async fn open(world: &World, request: WatchExecutionsRequest) -> Result<Self, Status> {
        Self::open_on(&world.client, request).await
    }

    /// A stream on a client of one's own.
    pub(crate) async fn open_on(client: &Client, request: WatchExecutionsRequest) -> Result<Self, Status> {
        let mut client = client.clone();
        let opening = client.watch_executions(request);
        let opened =
            tokio::time::timeout(PATIENCE, opening).await.expect("the stream did not open in time")?;
        Ok(Self { inner: opened.into_inner(), token: String::new(), last_token: String::new() })
    }

    /// The next event; `None` where the stream ended with OK.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Status> {
        let message =
            tokio::time::timeout(PATIENCE, self.inner.message()).await.expect("nothing came in time")?;
        Ok(message.map(|message| {
            self.last_token.clone_from(&message.resume_token);
            if !message.resume_token.is_empty() {
                self.token = message.resume_token;
            }
            message.event.unwrap()
        }))
    }

    /// The next event of a stream that goes on.
    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.unwrap().expect("the stream ended")
    }

    /// Everything up to `snapshot_complete`.
    pub(crate) async fn opening(&mut self) -> (Vec<v1::ExecutionUpdate>, SnapshotComplete) {
        let mut updates = Vec::new();
        loop {
            match self.event().await {
                Event::Update(update) => updates.push(update),
                Event::SnapshotComplete(complete) => return (updates, complete),
                other => panic!("{other:?} came before the snapshot was complete"),
            }
        }
    }

    /// Reads on to the first update that is wanted.
    pub(crate) async fn until(
        &mut self,
        mut wanted: impl FnMut(&v1::ExecutionUpdate) -> bool,
    ) -> v1::ExecutionUpdate {
        let search = async {
            loop {
                if let Event::Update(update) = self.event().await
                    && wanted(&update)
                {
                    return update;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the update did not come in time")
    }

    /// The next heartbeat.
    pub(crate) async fn beat(&mut self) -> v1::Heartbeat {
        loop {
            if let Event::Heartbeat(beat) = self.event().await {
                return beat;
            }
        }
    }
}

/// The execution of an update.
pub(crate) fn shown(update: &v1::ExecutionUpdate) -> &v1::Execution {
    update.execution.as_ref().unwrap()
}

/// Whether an update is of this execution and says this.
pub(crate) fn is(update: &v1::ExecutionUpdate, kind: Type, name: &str) -> bool {
    update.r#type() == kind && shown(update).name == name
}
