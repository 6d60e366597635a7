//! testgate's own listener with all its layers, in front of a service that a test makes up.

use std::net::SocketAddr;

use testgate::config::ListenAddr;
use testgate::server::{Options, Service, bind, serve};
use testgate::tasks::Lifecycle;

/// Serves until it is dropped.
pub struct Listening {
    pub address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Listening {
    pub async fn start(options: Options, service: impl Service) -> Self {
        let bound = bind(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
        let ListenAddr::Tcp(address) = *bound.address() else { panic!("a TCP address") };
        let lifecycle = Lifecycle::new();
        lifecycle.serve();
        tokio::spawn(serve(vec![bound], service, options, lifecycle.clone()));
        Self { address, lifecycle }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.lifecycle.drain();
    }
}

/// A tool that the test command installs and names in a variable.
pub fn tool(variable: &str) -> std::path::PathBuf {
    let path = std::env::var_os(variable).map(std::path::PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: run the tests by tests/run, which installs it"))
}
