//! `serve` and `check`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::exit::Exit;
use super::failure::Failure;
use crate::app::{self, SandboxOptions, Source, StartError};
use crate::config::{Overrides, Problem};

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
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Where to serve gRPC; port 0 picks one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to serve health over HTTP; `off` does not
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// How long calls under way may take once it is told to stop
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<String>,
    /// `auto`, `text` or `json`
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// A level, or directives as info,testgate=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How many simulated seconds pass in a second
    #[arg(long, value_name = "X", value_parser = super::sandbox::clock_scale, conflicts_with = "config")]
    clock_scale: Option<f64>,
}

/// `testgate check`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate check --config testgate.toml\n  testgate check --config testgate.toml --probe"
)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Call each backend too, and say what it may do there
    #[arg(long)]
    probe: bool,
}

impl ServeArgs {
    fn source(&self) -> Source {
        match &self.config {
            Some(path) => Source::File(path.clone()),
            None => Source::Sandbox(SandboxOptions {
                clock_scale: self.clock_scale.unwrap_or(1.0),
                ..SandboxOptions::default()
            }),
        }
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.iter().cloned().collect(),
            admin_listen: self.admin_listen.clone(),
            store: self.store.as_ref().map(|path| path.display().to_string()),
            drain_timeout: self.drain_timeout.clone(),
            log_format: self.log_format.clone(),
            log_level: self.log_level.clone(),
        }
    }
}

/// Runs the gateway until it is told to stop.
pub(crate) async fn serve(args: ServeArgs) -> Result<Exit, Failure> {
    match app::serve(args.source(), &args.overrides()).await {
        Ok(()) => Ok(Exit::Passed),
        Err(StartError::Config(problems)) => {
            print_problems(args.config.as_deref(), &problems);
            Ok(Exit::Usage)
        }
        Err(error) => Err(Failure::Trouble(error.to_string())),
    }
}

/// Checks a configuration file and the files that it names; a wrong one is a usage error.
pub(crate) async fn check(args: CheckArgs) -> Result<Exit, Failure> {
    let config = match app::load(&args.config, &Overrides::default()) {
        Ok(config) => config,
        Err(problems) => {
            print_problems(Some(&args.config), &problems);
            return Ok(Exit::Usage);
        }
    };
    let problems = app::problems_of_files(&config);
    if !problems.is_empty() {
        print_problems(Some(&args.config), &problems);
        return Ok(Exit::Usage);
    }
    let count = config.backends.len();
    eprintln!("{}: no problems, {count} backend{}", args.config.display(), if count == 1 { "" } else { "s" });
    if !args.probe {
        return Ok(Exit::Passed);
    }
    let mut exit = Exit::Passed;
    for backend in app::probe(&config).await {
        for (what, finding) in backend.findings {
            match finding {
                Ok(()) => eprintln!("backends/{}: can {what}", backend.id),
                Err(error) => {
                    eprintln!("backends/{}: can't {what}: {}: {error}", backend.id, error.kind.reason());
                    exit = Exit::Trouble;
                }
            }
        }
    }
    Ok(exit)
}

/// Every problem with the file and line it is in, as compilers do.
fn print_problems(file: Option<&Path>, problems: &[Problem]) {
    for problem in problems {
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        let elsewhere = problem.key.starts_with("--") || problem.key.starts_with("TESTGATE_");
        if file.is_empty() || elsewhere {
            eprintln!("error: {problem}");
        } else if problem.message.starts_with(&file) {
            eprintln!("{problem}");
        } else {
            eprintln!("{file}: {problem}");
        }
    }
}
