//! Adapters wired to a sandbox whose time only the test moves. The gateway's own clock is the machine's, as the
//! sandbox's signature check is; what the adapters remember ages along with the sandbox.

use std::sync::Arc;
use std::time::Duration;

use testgate::backend::Shared;
use testgate::backend::connect::Connect;
use testgate::backend::lex::Lex;
use testgate::backend::{Backend, Call, PageRequest, Priority, StartIntent, StartOptions, Started, Target};
use testgate::config::backend::{
    AwsConfig, BackendConfig, ConnectConfig, LexConfig, StaticCredentials, SystemConfig,
};
use testgate::metrics::Metrics;
use testgate::model::LexStartOptions;
use testgate::model::{BackendId, Clock, ExecutionId, Labels, LexApiMode, Observation, TestId, Timestamp};
use testgate::sandbox::clock::Clock as SandboxClock;
use testgate::sandbox::{Options, Sandbox, connect, lex, local, sigv4};
use tokio::time::Instant;

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) connect: Connect,
    pub(crate) lex: Lex,
}

/// Upstreams without their rate limits, time at a standstill.
pub(crate) async fn world() -> World {
    let simulated = Arc::new(SandboxClock::new(0.0));
    let connect = connect::Options { rate_limit: false, ..connect::Options::default() };
    let lex = lex::Options { rate_limit: false, ..lex::Options::default() };
    let options = Options::new(Arc::clone(&simulated))
        .with(local(0), Arc::new(connect::Connect::new(Arc::clone(&simulated), connect)))
        .with(local(0), Arc::new(lex::Lex::new(Arc::clone(&simulated), lex)))
        .on_free_ports();
    let sandbox = Sandbox::start(options).await.unwrap();
    let url = |name| format!("http://{}", sandbox.address(name).unwrap());
    let connect = connect_at(&url("connect"), Clock::system());
    let lex = lex_at(&url("lex"), Clock::system());
    World { sandbox, connect, lex }
}

fn aws(url: &str, region: &str) -> AwsConfig {
    AwsConfig {
        region: Some(region.into()),
        endpoint_url: Some(url.into()),
        static_credentials: Some(StaticCredentials {
            access_key_id: sigv4::DEFAULT_ACCESS_KEY_ID.into(),
            secret_access_key: sigv4::DEFAULT_SECRET_ACCESS_KEY.into(),
        }),
        ..AwsConfig::default()
    }
}

pub(crate) fn config(id: &str, system: SystemConfig) -> BackendConfig {
    BackendConfig {
        id: BackendId::new(id).unwrap(),
        display_name: id.into(),
        labels: Labels::new(),
        max_requests_per_second: 1000.0,
        poll_interval: Duration::from_millis(500),
        tracking_deadline: Duration::from_secs(86_400),
        request_timeout: Duration::from_secs(10),
        max_response_size: 16 << 20,
        ca_file: None,
        quota_group: None,
        system,
    }
}

pub(crate) fn connect_at(url: &str, clock: Clock) -> Connect {
    let aws = aws(url, connect::DEFAULT_REGION);
    let connect = ConnectConfig { aws, instance_id: connect::DEFAULT_INSTANCE_ID.into() };
    let config = config("connect", SystemConfig::Connect(connect.clone()));
    Connect::new(&config, &connect, &Shared::new(clock, Metrics::new()))
}

pub(crate) fn lex_at(url: &str, clock: Clock) -> Lex {
    let (bot, alias, locale) = lex::DEFAULT_BOT;
    let start_defaults = LexStartOptions {
        bot_id: Some(bot.into()),
        bot_alias_id: Some(alias.into()),
        locale_id: Some(locale.into()),
        api_mode: Some(LexApiMode::NonStreaming),
        modality: None,
    };
    let lex = LexConfig { aws: aws(url, lex::DEFAULT_REGION), start_defaults };
    let config = config("lex", SystemConfig::Lex(lex.clone()));
    Lex::new(&config, &lex, &Shared::new(clock, Metrics::new()))
}

pub(crate) fn call() -> Call {
    Call { deadline: Instant::now() + Duration::from_secs(30), priority: Priority::Write, caller: "".into() }
}

pub(crate) fn page(size: usize, token: Option<String>) -> PageRequest {
    PageRequest { size, token }
}

pub(crate) fn target(test: &str, execution: &ExecutionId) -> Target {
    Target {
        test: Some(TestId::new(test).unwrap()),
        execution: execution.clone(),
        upstream_id: None,
        create_time: None,
        end_time: None,
        stop_requested: false,
        settling: None,
        claimed: Arc::new([]),
        want_counts: false,
        first_seen: None,
        counts: None,
    }
}

impl World {
    pub(crate) async fn intent(&self, backend: &dyn Backend, test: &str, token: &str) -> StartIntent {
        let test = TestId::new(test).unwrap();
        let plan = backend.plan_start(&call(), &test, &StartOptions::default()).await.unwrap();
        StartIntent { test, plan, token: token.into(), time: Clock::system().now() }
    }

    pub(crate) async fn start(&self, backend: &dyn Backend, test: &str) -> (Target, Started) {
        let intent = self.intent(backend, test, &format!("token-{test}")).await;
        let started = backend.start(&call(), &intent).await.unwrap();
        (target(test, started.execution.as_ref().unwrap()), started)
    }

    /// The present upstream.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix_timestamp_nanos(i128::from(self.sandbox.clock().now_ms()) * 1_000_000).unwrap()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.sandbox.clock().advance(Duration::from_secs(seconds));
    }

    /// Lets a second pass for upstream and for what is remembered of it.
    pub(crate) fn pass_over(&self, target: &mut Target, observation: Observation) {
        target.end_time = observation.end_time;
        target.settling = observation.settling.map(|mut settling| {
            settling.since -= time::Duration::SECOND;
            settling
        });
        self.pass(1);
    }

    /// Polls once a simulated second until done, and gives the last observation and how many seconds it took.
    pub(crate) async fn follow(&self, backend: &dyn Backend, mut target: Target) -> (Observation, u64) {
        for second in 0..900 {
            let observation = backend.observe(&call(), &target).await.unwrap();
            if observation.state.is_done() {
                return (observation, second);
            }
            self.pass_over(&mut target, observation);
        }
        panic!("{target:?} never ended");
    }
}
