//! A proxy that cuts connections: what a bad network or a restarting balancer does to clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long a connection lives. A run of the sandbox takes several seconds, so it sees several cuts.
const LIFE: Duration = Duration::from_millis(1500);

/// Forwards to a gateway until it is dropped; no connection lives long.
pub struct FlakyProxy {
    pub address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FlakyProxy {
    pub async fn start(gateway: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = cuts.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let (gateway, counter) = (gateway.clone(), counter.clone());
                tokio::spawn(async move {
                    if tokio::time::timeout(LIFE, forward(caller, &gateway)).await.is_err() {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, cuts, accepting }
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for FlakyProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut caller: TcpStream, gateway: &str) {
    if let Ok(mut gateway) = TcpStream::connect(gateway).await {
        // How a connection ends is of no interest here.
        drop(tokio::io::copy_bidirectional(&mut caller, &mut gateway).await);
    }
}
