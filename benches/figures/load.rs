//! Reads, many at a time.

use std::time::{Duration, Instant};

use testgate::proto::v1::{Execution, GetExecutionRequest};
use tokio::task::JoinSet;

use crate::process::{Client, Server};

const CONNECTIONS: usize = 4;

/// What some reads took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The server's CPU time, in microseconds a read.
    pub(crate) cpu: f64,
    /// Wall time, in microseconds a read. The client's own work is in it.
    pub(crate) wall: f64,
}

/// What is read, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// One for each read under way, in turns.
    pub(crate) names: &'a [String],
    /// Reads under way at a time, over all connections.
    pub(crate) in_flight: usize,
    /// About how many reads.
    pub(crate) reads: usize,
    /// Whether each must go to upstream.
    pub(crate) forced: bool,
}

/// A server and the connections to it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) server: Server,
    clients: Vec<Client>,
}

impl Target {
    pub(crate) async fn new(server: Server) -> anyhow::Result<Self> {
        let mut clients = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            clients.push(server.client().await?);
        }
        Ok(Self { server, clients })
    }

    /// One of the connections.
    pub(crate) fn client(&self) -> Client {
        self.clients.first().expect("there are several").clone()
    }

    /// Reads as much as the load says, each of the callers the same name again and again.
    pub(crate) async fn read(&self, load: Load<'_>) -> anyhow::Result<Cost> {
        let each = load.reads / load.in_flight;
        let (cpu, start) = (self.server.cpu()?, Instant::now());
        let mut callers = JoinSet::new();
        let names = load.names.iter().cycle();
        for (client, name) in self.clients.iter().cycle().zip(names).take(load.in_flight) {
            callers.spawn(repeat(client.clone(), name.clone(), each, load.forced));
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        let (cpu, wall) = (self.server.cpu()? - cpu, start.elapsed());
        let a_read = |time: Duration| time.as_secs_f64() * 1e6 / (each * load.in_flight) as f64;
        Ok(Cost { cpu: a_read(cpu), wall: a_read(wall) })
    }

    /// Lets go of the connections and stops the server.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.clients);
        self.server.stop().await
    }
}

/// Reads an execution once.
pub(crate) async fn read(client: &mut Client, name: &str, forced: bool) -> Result<Execution, tonic::Status> {
    let max_staleness = forced.then(prost_types::Duration::default);
    let request = GetExecutionRequest { name: name.to_owned(), max_staleness };
    Ok(client.get_execution(request).await?.into_inner().execution.unwrap_or_default())
}

async fn repeat(mut client: Client, name: String, times: usize, forced: bool) -> Result<(), tonic::Status> {
    for _ in 0..times {
        read(&mut client, &name, forced).await?;
    }
    Ok(())
}
