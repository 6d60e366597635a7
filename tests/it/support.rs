//! A gateway in front of a sandbox, both on ports of their own, and a client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use testgate::app::{Gateway, SandboxOptions, sandbox_backends, start_sandbox};
use testgate::config::backend::BackendConfig;
use testgate::config::{Config, Overrides};
use testgate::model::{Clock, Timestamp};
use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use testgate::proto::v1::watch_executions_response::Event;
use testgate::sandbox::Sandbox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Ten times what anything here should take.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub type Client = TestExecutionServiceClient<Channel>;

/// How to set a world up.
pub struct Setup {
    pub clock_scale: f64,
    /// Keeps the store in a file.
    pub store: Option<PathBuf>,
    /// Changes the backends' settings.
    pub adjust: fn(&mut Vec<BackendConfig>),
    /// The gateway's environment.
    pub env: fn(&str) -> Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { clock_scale: 1.0, store: None, adjust: |_| {}, env: |_| None }
    }
}

/// A sandbox, a gateway in front of it, and a client of the gateway.
pub struct World {
    pub sandbox: Arc<Sandbox>,
    pub gateway: Gateway,
    pub client: Client,
    /// Moves the gateway's clock forward.
    pub skew: Skew,
}

/// Moves a gateway's wall clock.
#[derive(Clone, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let skew = self.0.clone();
        Clock::from_fn(move || now() + time::Duration::milliseconds(skew.load(Ordering::SeqCst)))
    }
}

/// The machine's time.
pub fn now() -> Timestamp {
    Clock::system().now()
}

impl World {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let options = SandboxOptions { clock_scale: setup.clock_scale, free_ports: true };
        let sandbox = Arc::new(start_sandbox(&options).await.unwrap());
        Self::over(sandbox, setup).await
    }

    /// A new gateway over a sandbox that runs already.
    pub async fn over(sandbox: Arc<Sandbox>, setup: Setup) -> Self {
        let mut backends = sandbox_backends(&sandbox).unwrap();
        (setup.adjust)(&mut backends);
        let flags = Overrides {
            listen: vec!["127.0.0.1:0".to_owned()],
            admin_listen: Some("127.0.0.1:0".to_owned()),
            store: setup.store.map(|path| path.display().to_string()),
            ..Overrides::default()
        };
        let config = Config::without_file(backends, &flags, &setup.env).unwrap();
        let skew = Skew::default();
        let gateway = Gateway::start(config, None, skew.clock()).await.unwrap();
        let client = connect(&gateway.addresses()[0].to_string()).await;
        Self { sandbox, gateway, client, skew }
    }

    /// Finds a test by its display name.
    pub async fn test(&self, backend: &str, display_name: &str) -> v1::Test {
        let mut token = String::new();
        loop {
            let request = v1::ListTestsRequest {
                parent: format!("backends/{backend}"),
                page_size: 1000,
                page_token: token,
                ..Default::default()
            };
            let page = self.client.clone().list_tests(request).await.unwrap().into_inner();
            if let Some(test) = page.tests.into_iter().find(|test| test.display_name == display_name) {
                return test;
            }
            token = page.next_page_token;
            assert!(!token.is_empty(), "backends/{backend} has no test called {display_name:?}");
        }
    }

    /// Starts a test by its display name.
    pub async fn begin(&self, backend: &str, display_name: &str) -> v1::Execution {
        let parent = self.test(backend, display_name).await.name;
        let request = v1::StartExecutionRequest { parent, ..Default::default() };
        self.client.clone().start_execution(request).await.unwrap().into_inner().execution.unwrap()
    }

    /// Follows an execution to its end on a stream and returns every state that came.
    pub async fn follow(&self, name: &str) -> Vec<v1::Execution> {
        let request = v1::WatchExecutionsRequest {
            names: vec![name.to_owned()],
            until_done: true,
            ..Default::default()
        };
        let mut stream = self.client.clone().watch_executions(request).await.unwrap().into_inner();
        let mut states = Vec::new();
        let all = async {
            while let Some(message) = stream.message().await.unwrap() {
                match message.event.unwrap() {
                    Event::Update(update) => states.push(update.execution.unwrap()),
                    Event::Complete(_) => return,
                    _ => {}
                }
            }
            panic!("the stream ended without `complete`");
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the execution did not end in time");
        states
    }

    /// Waits until an execution is in a state.
    pub async fn reach(&self, name: &str, wanted: State) {
        let mut known = None;
        let reached = async {
            loop {
                let request = v1::WaitExecutionRequest {
                    name: name.to_owned(),
                    after_revision: Some(known.unwrap_or(0)),
                    ..Default::default()
                };
                let execution = self
                    .client
                    .clone()
                    .wait_execution(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .execution
                    .unwrap();
                if state(&execution) == wanted {
                    return;
                }
                known = Some(execution.revision);
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the execution did not reach the state in time");
    }

    /// Starts a test and follows it to its end.
    pub async fn run(&self, backend: &str, display_name: &str) -> v1::Execution {
        let started = self.begin(backend, display_name).await;
        self.follow(&started.name).await.pop().unwrap()
    }

    /// How many calls an upstream operation got.
    pub fn calls(&self, upstream: &str, operation: &str) -> usize {
        self.sandbox.calls(upstream, operation).len()
    }

    /// Gives an upstream a command.
    pub fn control(&self, upstream: &str, command: serde_json::Value) -> serde_json::Value {
        self.sandbox.control(upstream, &command).unwrap()
    }
}

pub async fn connect(address: &str) -> Client {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    TestExecutionServiceClient::new(channel)
}

/// The state of a message by its name, for assertions that read well.
pub fn state(execution: &v1::Execution) -> State {
    State::try_from(execution.state).unwrap()
}

/// The verdict of a message by its name.
pub fn verdict(execution: &v1::Execution) -> v1::Verdict {
    v1::Verdict::try_from(execution.verdict).unwrap()
}

/// Code and reason of a failure.
pub fn told(status: &Status) -> (Code, String) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    (status.code(), reason)
}

/// The fields that a failure blames.
pub fn blamed(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// One request to a gateway's admin port: status and body.
pub async fn admin(gateway: &Gateway, method: &str, target: &str, body: &str) -> (u16, String) {
    admin_at(gateway.admin_address().unwrap(), method, target, body).await
}

/// As [`admin`], at an address.
pub async fn admin_at(address: SocketAddr, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
