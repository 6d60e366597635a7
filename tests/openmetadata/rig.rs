//! A simulated server with a frozen clock and an adapter that reads the same clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testgate::backend::Shared;
use testgate::backend::openmetadata::OpenMetadata;
use testgate::backend::{
    Backend, BackendError, Call, PageRequest, Priority, StartIntent, StartOptions, Started, Target,
};
use testgate::config::backend::{ApiStyle, BackendConfig, OpenMetadataConfig, SecretSource, SystemConfig};
use testgate::metrics::Metrics;
use testgate::model::{BackendId, Clock, ExecutionId, Labels, Observation, TestId, Timestamp};
use testgate::sandbox::clock::Clock as SandboxClock;
use testgate::sandbox::fault::{Fault, FaultKind};
use testgate::sandbox::openmetadata::{OpenMetadata as Simulated, Options, Runner, Style};
use testgate::sandbox::{self, Sandbox};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const SERVER: &str = "openmetadata";

pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) backend: OpenMetadata,
    pub(crate) clock: Arc<SandboxClock>,
}

pub(crate) fn airflow() -> Options {
    Options::default()
}

pub(crate) fn kubernetes() -> Options {
    Options { runner: Runner::Kubernetes, ..Options::default() }
}

pub(crate) fn documented() -> Options {
    Options { api: Style::Documented, ..Options::default() }
}

impl Rig {
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_with(options, |_, _| ()).await
    }

    pub(crate) async fn start_with(
        options: Options,
        adjust: impl FnOnce(&mut BackendConfig, &mut OpenMetadataConfig),
    ) -> Self {
        let clock = Arc::new(SandboxClock::new(0.0));
        let token = options.token.clone();
        let server = Arc::new(Simulated::new(Arc::clone(&clock), options));
        let options =
            sandbox::Options::new(Arc::clone(&clock)).with(sandbox::local(0), server).on_free_ports();
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut openmetadata = OpenMetadataConfig {
            base_url: format!("http://{}/api", sandbox.address(SERVER).unwrap()),
            token: Some(SecretSource::Fixed(token)),
            api: ApiStyle::Auto,
            settle_time: Duration::from_secs(30),
        };
        let mut config = BackendConfig {
            id: BackendId::new("om").unwrap(),
            display_name: "OM".to_owned(),
            labels: Labels::new(),
            max_requests_per_second: 10_000.0,
            poll_interval: Duration::from_secs(1),
            tracking_deadline: Duration::from_secs(86_400),
            request_timeout: Duration::from_secs(10),
            max_response_size: 16 << 20,
            ca_file: None,
            quota_group: None,
            system: SystemConfig::OpenMetadata(openmetadata.clone()),
        };
        adjust(&mut config, &mut openmetadata);
        let gateway = {
            let clock = Arc::clone(&clock);
            Clock::from_fn(move || moment(clock.now_ms()))
        };
        let backend = OpenMetadata::new(&config, &openmetadata, &Shared::new(gateway, Metrics::new()));
        Self { sandbox, backend, clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        moment(self.clock.now_ms())
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn control(&self, command: Value) -> Value {
        self.sandbox.control(SERVER, &command).unwrap()
    }

    pub(crate) fn inject(&self, operation: &str, kind: FaultKind, times: u32) {
        self.sandbox.inject(SERVER, Fault::new(operation, kind).times(times)).unwrap();
    }

    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.sandbox.calls(SERVER, operation).len()
    }

    pub(crate) async fn trigger(&self, test: &TestId) -> Result<(StartIntent, Started), BackendError> {
        let plan = self.backend.plan_start(&call(), test, &StartOptions::default()).await?;
        let intent = StartIntent { test: test.clone(), plan, token: String::new(), time: self.now() };
        let started = self.backend.start(&call(), &intent).await?;
        Ok((intent, started))
    }

    /// Starts a pipeline and names the execution as the gateway would.
    pub(crate) async fn run(&self, test: &TestId) -> Target {
        let (_, started) = self.trigger(test).await.unwrap();
        let mut target = target(test, started.execution.unwrap_or_else(ExecutionId::mint));
        target.create_time = Some(self.now());
        target.first_seen = Some(self.now());
        target
    }

    /// Reads a target and takes what is to be remembered into it.
    pub(crate) async fn observe(&self, target: &mut Target) -> Observation {
        let observation = self.backend.observe(&call(), target).await.unwrap();
        target.settling.clone_from(&observation.settling);
        if target.execution.is_minted() && !observation.upstream_id.is_empty() {
            target.upstream_id = Some(observation.upstream_id.clone());
        }
        observation
    }

    /// Lets a run end and settle.
    pub(crate) async fn settle(&self, target: &mut Target) -> Observation {
        self.wait(10);
        self.observe(target).await;
        self.wait(31);
        self.observe(target).await
    }

    pub(crate) fn script(&self, pipeline: Uuid, mut script: Value) {
        script["do"] = json!("script_pipeline");
        script["pipeline"] = json!(pipeline.to_string());
        self.control(script);
    }
}

pub(crate) fn call() -> Call {
    Call {
        deadline: Instant::now() + Duration::from_secs(30),
        priority: Priority::Write,
        caller: "tests".into(),
    }
}

pub(crate) fn moment(milliseconds: i64) -> Timestamp {
    Timestamp::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).unwrap()
}

pub(crate) fn pipeline(id: Uuid) -> TestId {
    TestId::new(&format!("pipeline-{id}")).unwrap()
}

pub(crate) fn case(id: Uuid) -> TestId {
    TestId::new(&format!("case-{id}")).unwrap()
}

pub(crate) fn target(test: &TestId, execution: ExecutionId) -> Target {
    Target {
        test: Some(test.clone()),
        execution,
        upstream_id: None,
        create_time: None,
        end_time: None,
        stop_requested: false,
        settling: None,
        claimed: Arc::from([]),
        want_counts: false,
        first_seen: None,
        counts: None,
    }
}

pub(crate) fn page(size: usize) -> PageRequest {
    PageRequest { size, token: None }
}
