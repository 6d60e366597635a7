//! The gateway under a service manager that passes sockets and wants to be told.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use testgate::proto::v1;
use tokio::process::Command;

use crate::process::{Serving, isolate, keys, signal};
use crate::support::{PATIENCE, World, connect};

/// The gateway with a socket as its only inherited one, as systemd would pass it.
fn activated(serving: &Serving, socket: OwnedFd) -> Command {
    let mut shell = Command::new("sh");
    let line = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\"";
    shell.arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_testgate")).arg(serving.config());
    isolate(&mut shell);
    keys(&mut shell);
    shell.stdin(Stdio::from(socket));
    shell
}

#[tokio::test]
async fn an_inherited_socket_is_served_instead_of_the_configured_address() {
    let world = World::start().await;
    // Taken, so that the gateway could not bind it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let serving = Serving::before(&world.sandbox, &taken.local_addr().unwrap().to_string());
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    // A client that comes before the gateway waits in the socket's queue.
    let early = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut child = activated(&serving, socket.into()).spawn().unwrap();
    let listed = connect(&address).await.list_backends(v1::ListBackendsRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().backends.len(), 3);
    drop(early);
    signal(&child, "TERM").await;
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_inherited_unix_socket_is_served_and_its_file_stays() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let path = serving.folder().join("activated.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut child = activated(&serving, socket.into()).spawn().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = v1::test_execution_service_client::TestExecutionServiceClient::new(channel);
    assert!(client.list_backends(v1::ListBackendsRequest::default()).await.is_ok());
    signal(&child, "TERM").await;
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert!(path.exists());
}

#[tokio::test]
async fn an_inherited_socket_that_others_reach_needs_the_same_consent() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let child = activated(&serving, socket.into()).spawn().unwrap();
    let ended = crate::process::ended(child).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.complaint().contains("reachable from other machines"), "{ended:?}");
}

/// Listens until the gateway says this.
async fn told(manager: &tokio::net::UnixDatagram, wanted: &str) {
    while !heard(manager).await.iter().any(|line| line == wanted) {}
}

/// A manager's socket, and the command that is told of it.
fn managed(serving: &Serving) -> (tokio::net::UnixDatagram, Command) {
    let path = serving.folder().join("notify.sock");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let mut command = serving.command();
    command.env("NOTIFY_SOCKET", &path);
    (manager, command)
}

/// All that one message says, line by line.
async fn heard(manager: &tokio::net::UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 1024];
    let length = tokio::time::timeout(PATIENCE, manager.recv(&mut buffer)).await.expect("silence").unwrap();
    str::from_utf8(&buffer[..length]).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_reload_is_framed_for_the_service_manager_whatever_comes_of_it() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let (manager, mut command) = managed(&serving);
    let child = command.spawn().unwrap();
    assert_eq!(heard(&manager).await, ["READY=1"]);
    for more in ["", "nonsense = 1\n"] {
        serving.append(more);
        signal(&child, "HUP").await;
        let reloading = heard(&manager).await;
        assert_eq!(reloading[0], "RELOADING=1");
        // systemd drops a RELOADING without the time of it.
        let time = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time");
        assert!(time.parse::<u64>().unwrap() > 0, "{reloading:?}");
        assert_eq!(heard(&manager).await, ["READY=1"], "{more:?}");
    }
}

#[tokio::test]
async fn the_service_manager_hears_of_readiness_life_and_the_end() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let (manager, mut command) = managed(&serving);
    let watchdog = Duration::from_millis(200);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    let mut child = command.spawn().unwrap();
    told(&manager, "READY=1").await;
    told(&manager, "WATCHDOG=1").await;
    told(&manager, "WATCHDOG=1").await;
    signal(&child, "TERM").await;
    told(&manager, "STOPPING=1").await;
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}
