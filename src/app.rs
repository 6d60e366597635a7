//! The composition root: builds the parts, starts them in order, and takes them down again.

mod access;
mod banner;
mod files;
mod health;
mod probe;
mod reload;
mod sandbox;
mod service_manager;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::time::Instant;

pub use files::problems_of_files;
pub use probe::{ProbedBackend, probe};
pub use sandbox::{SandboxOptions, backends as sandbox_backends, start_sandbox};

use reload::Reload;

use crate::audit::Audit;
use crate::auth::Auth;
use crate::backend::{Shared, registry};
use crate::config::{Config, Overrides, Problem, StorePath};
use crate::doors::Doors;
use crate::grpc;
use crate::metrics::Metrics;
use crate::model::{Clock, Timestamp};
use crate::proto::DESCRIPTOR_SET;
use crate::server::{self, Bound, GrpcOnly, Records};
use crate::store::Store;
use crate::tasks::{Lifecycle, Signals, Tasks, Unfinished};
use crate::telemetry;
use crate::token::{Epoch, TokenKey};
use crate::trace::Tracer;
use crate::tracker::{BackendSetup, Tracker};

/// How long readiness waits for the first answers of the backends.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long the last log lines may take to get out.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The largest request, in bytes.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// What is served, and what stands in the details of errors, so that grpcurl and curl can show ErrorInfo in words.
const DESCRIPTOR_SETS: [&[u8]; 3] =
    [DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET];

/// What to serve.
#[derive(Debug)]
pub enum Source {
    /// The systems that a file names.
    File(PathBuf),
    /// Three simulated ones in this process.
    Sandbox(SandboxOptions),
}

/// A start that failed before anything was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has problems; all of them.
    #[error("the configuration has {} problem(s)", .0.len())]
    Config(Vec<Problem>),
    /// Something else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Runs only the simulated upstreams until SIGTERM or SIGINT.
///
/// # Errors
/// A port is taken.
pub async fn serve_sandbox(options: &SandboxOptions) -> anyhow::Result<()> {
    let simulated = start_sandbox(options).await?;
    banner::print_sandbox(&simulated);
    let lifecycle = Lifecycle::new();
    let signals = Signals::install()?;
    tokio::select! {
        () = lifecycle.draining() => {}
        () = signals.run(lifecycle.clone(), || {}) => {}
    }
    simulated.shutdown().await;
    Ok(())
}

/// Reads the configuration from a file, flags and the process's environment.
///
/// # Errors
/// Every problem at once.
pub fn load(path: &std::path::Path, flags: &Overrides) -> Result<Config, Vec<Problem>> {
    Config::load(path, flags, &|name| std::env::var(name).ok())
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// It could not start, or one of its critical tasks ended.
pub async fn serve(source: Source, flags: &Overrides) -> Result<(), StartError> {
    let inherited = server::inherited().context("the service manager's sockets can't be used")?;
    let file = match &source {
        Source::File(path) => Some(path.clone()),
        Source::Sandbox(_) => None,
    };
    let (config, simulated) = match source {
        Source::File(path) => (load(&path, flags).map_err(StartError::Config)?, None),
        Source::Sandbox(options) => {
            let simulated = start_sandbox(&options).await?;
            let backends = sandbox_backends(&simulated).context("the sandbox lacks an upstream")?;
            let config = Config::without_file(backends, flags, &|name| std::env::var(name).ok());
            (config.map_err(StartError::Config)?, Some(simulated))
        }
    };
    let logs = telemetry::init(config.telemetry.log_format, &config.telemetry.log_level)
        .map_err(|error| anyhow::anyhow!("logging could not start: {error}"))?;
    let read_again = || match &file {
        Some(path) => load(path, flags),
        None => {
            let message = "there is no file to read again".to_owned();
            Err(vec![Problem { line: None, key: String::new(), message }])
        }
    };
    let served = async {
        let gateway = Gateway::start_on(inherited, config, Some(logs), Clock::system()).await?;
        banner::print(&gateway, simulated.as_ref());
        gateway.run_until_signal(read_again).await
    };
    let result = served.await;
    if let Some(simulated) = simulated {
        simulated.shutdown().await;
    }
    telemetry::flush(LAST_WORDS);
    Ok(result?)
}

/// A gateway that is serving. Also what tests start in their own process.
#[derive(Debug)]
pub struct Gateway {
    reload: Arc<Reload>,
    addresses: Vec<crate::config::ListenAddr>,
    admin: Option<std::net::SocketAddr>,
    lifecycle: Lifecycle,
    tasks: Tasks,
    server: tokio::sync::oneshot::Receiver<Result<(), Unfinished>>,
}

impl Gateway {
    /// Binds, opens the store, and serves. Waits for no upstream.
    ///
    /// # Errors
    /// An address is taken, or the store can't be opened.
    pub async fn start(
        config: Config,
        logs: Option<telemetry::LogHandle>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        Self::start_on(Vec::new(), config, logs, clock).await
    }

    /// Serves on sockets that were opened by others; binds the configured addresses only where there are none.
    async fn start_on(
        inherited: Vec<Bound>,
        config: Config,
        logs: Option<telemetry::LogHandle>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let lifecycle = Lifecycle::new();
        let tasks = Tasks::new();
        let guard = access::Guard::start(&config, &clock, &tasks)?;
        let metrics = Metrics::new();
        let listeners = listeners(inherited, &config).await?;
        let addresses = listeners.iter().map(|bound| bound.address().clone()).collect();

        let location = match &config.store.path {
            StorePath::Memory => None,
            StorePath::File(path) => Some(path.clone()),
        };
        let store = Store::open(location, clock.clone())?;
        let shared = Shared::new(clock.clone(), metrics.clone());
        let records = records(&config, &shared, &tasks)?;
        let backends = backend_setups(&config, &shared, &records.tracer);
        let (key, epoch) = (TokenKey::from_bytes(store.token_key()), Epoch(store.epoch()));
        let tracker = Tracker::new(backends, store, config.store.retention, clock.clone(), tasks.clone())?;
        let (services, health) = services(&tracker, &lifecycle, &key, epoch, &metrics)?;

        metrics.started_at(seconds_since_1970(clock.now()));
        let (draining, streams) = (lifecycle.draining(), tracker.clone());
        tasks.spawn("end of streams", async move {
            draining.await;
            streams.wake_streams();
        });
        let tracer = records.tracer.clone();
        let server = spawn_server(listeners, services, &config, guard.clone(), &lifecycle, &tasks, records)?;
        let (logs, current) = (logs.map(Arc::new), ArcSwap::from_pointee(config));
        let reload = Arc::new(Reload { current, shared, tracer, guard, tracker: tracker.clone(), logs });
        let admin = health::serve_admin(&reload, &lifecycle, &tasks).await?;
        lifecycle.serve();
        tasks.spawn(
            "health",
            health::keep_told(tracker.clone(), health, lifecycle.clone(), Instant::now() + PROBE_WITHIN),
        );
        Ok(Self { reload, addresses, admin, lifecycle, tasks, server })
    }

    /// Where gRPC is served, with the ports that the system picked.
    pub fn addresses(&self) -> &[crate::config::ListenAddr] {
        &self.addresses
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin
    }

    /// Who may call.
    pub fn auth(&self) -> &Auth {
        &self.reload.guard.auth
    }

    /// The configuration that holds.
    pub fn config(&self) -> Arc<Config> {
        self.reload.current.load_full()
    }

    /// Takes another configuration while it serves, whole or not at all.
    ///
    /// # Errors
    /// What can't change while it serves; nothing has changed then.
    pub fn reconfigure(&self, config: Config) -> Result<(), Vec<Problem>> {
        self.reload.take(Ok(config))
    }

    /// Begins the drain and waits until everything has ended, at most `drain_timeout`.
    ///
    /// # Errors
    /// Something did not end in time and was cut.
    pub async fn drain(mut self) -> anyhow::Result<()> {
        // Less what it takes to leave.
        let deadline = Instant::now() + self.config().server.drain_timeout.mul_f64(0.95);
        self.lifecycle.drain();
        let served = tokio::time::timeout_at(deadline, &mut self.server).await;
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = self.tasks.shutdown(left).await;
        if !matches!(served, Ok(Ok(Ok(())))) {
            tracing::warn!("connections were cut at the end of the drain");
        }
        ended.map_err(|unfinished| anyhow::anyhow!("{unfinished}"))
    }

    /// Serves until SIGTERM, SIGINT or `/drain`, then drains; a second signal ends the process at once.
    /// SIGHUP takes what `read_again` finds.
    async fn run_until_signal(
        self,
        read_again: impl Fn() -> Result<Config, Vec<Problem>>,
    ) -> anyhow::Result<()> {
        let signals = Signals::install()?;
        service_manager::spawn_watchdog(&self.tasks);
        service_manager::ready();
        let (tasks, lifecycle, reload) = (self.tasks.clone(), self.lifecycle.clone(), self.reload.clone());
        // How it went is logged and counted there.
        let hang_up = || drop(reload.take(read_again()));
        let serving = async {
            tokio::select! {
                () = lifecycle.draining() => {}
                failure = tasks.failed() => anyhow::bail!("{failure}"),
            }
            service_manager::stopping();
            end_after(self.config().server.drain_timeout)?;
            if let Err(error) = self.drain().await {
                tracing::warn!(%error, "the drain was cut short");
            }
            Ok(())
        };
        tokio::select! {
            result = serving => result,
            () = signals.run(lifecycle.clone(), hang_up) => Ok(()),
        }
    }
}

/// Where calls are noted; begins to export traces where there is a collector.
fn records(config: &Config, shared: &Shared, tasks: &Tasks) -> anyhow::Result<Records> {
    let (metrics, clock) = (shared.metrics.clone(), shared.clock.clone());
    let telemetry = &config.telemetry;
    let audit = telemetry.audit.clone().map(|settings| {
        let file = settings.file.display().to_string();
        Audit::open(settings, metrics.clone())
            .with_context(|| format!("the audit log {file} can't be opened"))
    });
    let tracer = match &telemetry.otlp_endpoint {
        None => Tracer::new(clock, metrics.clone()),
        Some(endpoint) => {
            let endpoint = tonic::transport::Endpoint::from_shared(endpoint.clone())
                .context("telemetry.otlp_endpoint is no address")?;
            let (tracer, exporter) = Tracer::exporting(clock, metrics.clone());
            tasks.spawn("traces", exporter.run(endpoint, tasks.token()));
            tracer
        }
    };
    Ok(Records { metrics, tracer, audit: audit.transpose()? })
}

/// The adapters of a configuration, with what the tracker needs to know of each.
fn backend_setups(config: &Config, shared: &Shared, tracer: &Tracer) -> Vec<BackendSetup> {
    let adapters = registry::build(&config.backends, shared).into_iter();
    adapters
        .zip(&config.backends)
        .map(|(backend, config)| BackendSetup {
            backend,
            poll_interval: config.poll_interval,
            tracking_deadline: config.tracking_deadline,
            metrics: shared.metrics.backend(config.id.as_str()),
            tracer: tracer.clone(),
        })
        .collect()
}

/// The sockets to serve on.
async fn listeners(inherited: Vec<Bound>, config: &Config) -> anyhow::Result<Vec<Bound>> {
    for bound in &inherited {
        if let Some(problem) = config.exposure(bound.address()) {
            anyhow::bail!("the service manager's socket {problem}");
        }
    }
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let mut listeners = Vec::new();
    for address in &config.server.listen {
        listeners.push(server::bind(address).await?);
    }
    Ok(listeners)
}

/// Ends the process after a while, whatever becomes of the drain: not even something that blocks the runtime's
/// thread makes `drain_timeout` a lie.
fn end_after(timeout: Duration) -> std::io::Result<()> {
    let end = move || {
        std::thread::sleep(timeout.mul_f64(0.99));
        tracing::error!("the drain hangs: ending at once");
        telemetry::flush(timeout.mul_f64(0.01));
        std::process::exit(0);
    };
    std::thread::Builder::new().name("drain deadline".to_owned()).spawn(end).map(drop)
}

fn seconds_since_1970(moment: Timestamp) -> f64 {
    (moment - Timestamp::UNIX_EPOCH).as_seconds_f64()
}

/// Runs the accept loops as a task; the answer says how it ended.
fn spawn_server(
    listeners: Vec<Bound>,
    services: grpc::Services,
    config: &Config,
    guard: access::Guard,
    lifecycle: &Lifecycle,
    tasks: &Tasks,
    records: Records,
) -> anyhow::Result<tokio::sync::oneshot::Receiver<Result<(), Unfinished>>> {
    let doors = Doors::open(&config.server.doors, &DESCRIPTOR_SETS, MAX_REQUEST_BYTES)
        .context("the compiled contract can't be read")?
        .map(Arc::new);
    let options = server::Options {
        max_connections: config.server.max_connections,
        max_connection_age: config.server.max_connection_age,
        drain_timeout: config.server.drain_timeout,
        records,
        auth: guard.auth,
        doors,
        tls: guard.tls,
        ..server::Options::default()
    };
    let (ended, server) = tokio::sync::oneshot::channel();
    let lifecycle = lifecycle.clone();
    tasks.spawn("server", async move {
        // Nobody waits for it where the process ends at once.
        drop(ended.send(server::serve(listeners, GrpcOnly::new(services), options, lifecycle).await));
    });
    Ok(server)
}

/// The contract's service, health, and reflection in both of its versions.
fn services(
    tracker: &Tracker,
    lifecycle: &Lifecycle,
    key: &TokenKey,
    epoch: Epoch,
    metrics: &Metrics,
) -> anyhow::Result<(grpc::Services, tonic_health::server::HealthReporter)> {
    let service = grpc::Service::new(tracker.clone(), lifecycle.clone(), key, epoch, metrics.clone());
    let reporter = tonic_health::server::HealthReporter::new();
    let health = grpc::health(reporter.clone());
    let reflection = || {
        DESCRIPTOR_SETS.into_iter().fold(
            tonic_reflection::server::Builder::configure(),
            tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
        )
    };
    let others = tonic::service::Routes::new(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok((grpc::Services::new(service, MAX_REQUEST_BYTES, others), reporter))
}
