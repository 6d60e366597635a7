//! Reads of one execution, many at a time.

use std::time::{Duration, Instant};

use testgate::proto::v1::GetExecutionRequest;
use tokio::task::JoinSet;

use crate::process::{Client, Server};

/// Reads under way at a time, over all connections.
const IN_FLIGHT: usize = 128;
const CONNECTIONS: usize = 4;

/// What some reads took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The server's CPU time, in microseconds a read.
    pub(crate) cpu: f64,
    /// Wall time, in microseconds a read. The client's own work is in it.
    pub(crate) wall: f64,
}

/// A server and the connections to it.
#[derive(Debug)]
pub(crate) struct Target {
    server: Server,
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

    /// Reads an execution about `reads` times.
    pub(crate) async fn read(&self, name: &str, reads: usize) -> anyhow::Result<Cost> {
        let each = reads / IN_FLIGHT;
        let (cpu, start) = (self.server.cpu()?, Instant::now());
        let mut callers = JoinSet::new();
        for client in self.clients.iter().cycle().take(IN_FLIGHT) {
            callers.spawn(repeat(client.clone(), name.to_owned(), each));
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        let (cpu, wall) = (self.server.cpu()? - cpu, start.elapsed());
        let a_read = |time: Duration| time.as_secs_f64() * 1e6 / (each * IN_FLIGHT) as f64;
        Ok(Cost { cpu: a_read(cpu), wall: a_read(wall) })
    }

    /// Lets go of the connections and stops the server.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.clients);
        self.server.stop().await
    }
}

async fn repeat(mut client: Client, name: String, times: usize) -> Result<(), tonic::Status> {
    for _ in 0..times {
        let request = GetExecutionRequest { name: name.clone(), max_staleness: None };
        client.get_execution(request).await?;
    }
    Ok(())
}
