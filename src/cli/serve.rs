//! `serve` and `check`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::exit::Exit;
use super::failure::Failure;

/// `testgate serve`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["config", "sandbox"]),
    after_help = "Examples:\n  testgate serve --sandbox\n  testgate serve --config testgate.toml"
)]
pub(crate) struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Simulate all three upstreams in this process instead
    #[arg(long)]
    sandbox: bool,
    /// Keep state in this file; in memory where left out
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    store: Option<PathBuf>,
    /// Where to serve gRPC; port 0 picks one
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    listen: Option<String>,
    /// Where to serve health over HTTP; `off` does not
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin_listen: Option<String>,
    /// How many simulated seconds pass in a second
    #[arg(long, value_name = "X", value_parser = super::sandbox::clock_scale, conflicts_with = "config")]
    clock_scale: Option<f64>,
}

/// `testgate check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Call each backend too, and say what it may do there
    #[arg(long)]
    probe: bool,
}

/// What `serve` was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServeOptions {
    /// The configuration file; the sandbox where there is none.
    pub(crate) config: Option<PathBuf>,
    /// Where the sandbox's gateway keeps its state; in memory where there is none.
    pub(crate) store: Option<PathBuf>,
    /// Overrides the default address.
    pub(crate) listen: Option<String>,
    /// Overrides the default address.
    pub(crate) admin_listen: Option<String>,
    /// The sandbox's pace.
    pub(crate) clock_scale: f64,
}

impl From<ServeArgs> for ServeOptions {
    fn from(args: ServeArgs) -> Self {
        let ServeArgs { config, sandbox: _, store, listen, admin_listen, clock_scale } = args;
        Self { config, store, listen, admin_listen, clock_scale: clock_scale.unwrap_or(1.0) }
    }
}

/// Runs the gateway until it is told to stop.
pub(crate) async fn serve(args: ServeArgs) -> Result<Exit, Failure> {
    let options = ServeOptions::from(args);
    run_gateway(options).await.map_err(|error| Failure::Trouble(format!("{error:#}")))?;
    Ok(Exit::Passed)
}

async fn run_gateway(options: ServeOptions) -> anyhow::Result<()> {
    anyhow::bail!("serve is not wired yet: {options:?}") // becomes crate::app::serve(options).await
}

/// Checks a configuration file; a wrong one is a usage error.
pub(crate) async fn check(args: CheckArgs) -> Result<Exit, Failure> {
    let sound = check_file(args).await.map_err(|error| Failure::Trouble(format!("{error:#}")))?;
    Ok(if sound { Exit::Passed } else { Exit::Usage })
}

/// Whether the file is sound; its problems are printed there.
async fn check_file(args: CheckArgs) -> anyhow::Result<bool> {
    anyhow::bail!("check is not wired yet: {args:?}") // becomes crate::app::check(&args.config, args.probe).await
}
