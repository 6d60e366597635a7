//! The command line.
//!
//! The commands that talk to a gateway are plain gRPC clients: they use the contract and nothing else of this crate.
//! Data goes to stdout, everything else to stderr.

mod args;
mod client;
mod completions;
mod contexts;
mod exit;
mod failure;
mod follow;
mod interrupt;
mod json;
mod junit;
mod list;
mod live;
mod names;
mod read;
mod render;
mod rows;
mod run;
mod sandbox;
mod serve;
mod suggest;
mod tally;
mod usage;
mod watch;
mod write;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::exit::Exit;
use self::failure::Failure;
use self::render::{Format, Output};

const EXAMPLES: &str = r#"Examples:
  testgate serve --sandbox
  testgate backends --context prod
  testgate tests connect-prod
  testgate run connect-prod/greeting --label build=42
  testgate run connect-prod --filter 'upstream_labels.suite = "smoke"' --junit report.xml
  testgate executions --filter 'done = true AND NOT verdict = PASSED'

Exit codes of run and watch:
  0 passed   1 failed   2 usage   3 trouble (gateway away, a call failed, ERRORED, LOST)
  4 --timeout passed   5 stopped   6 otherwise inconclusive, or nothing ran   130 interrupted
The other commands: 0, 2, 3."#;

/// One gRPC service over the test runs of Amazon Connect, Amazon Lex V2 and OpenMetadata.
#[derive(Debug, Parser)]
#[command(name = "testgate", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command that talks to a gateway accepts.
#[derive(Debug, Args)]
struct Global {
    /// The gateway to talk to: https://HOST:PORT, http://HOST:PORT, HOST:PORT or unix:/PATH [default:
    /// http://127.0.0.1:50051]
    #[arg(long, global = true, env = "TESTGATE_SERVER", value_name = "ADDRESS")]
    server: Option<String>,
    /// A set of what follows by its name in ~/.config/testgate/contexts.toml; flags beat it
    #[arg(long, global = true, env = "TESTGATE_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// A file with the bearer token to show; read for each call
    #[arg(long, global = true, env = "TESTGATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Trust these authorities (PEM) instead of the system's; makes HOST:PORT mean https
    #[arg(long, global = true, env = "TESTGATE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Show this certificate (PEM)
    #[arg(long, global = true, env = "TESTGATE_CERT_FILE", value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, global = true, env = "TESTGATE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How to print data; JSON is the JSON mapping of the contract's messages
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// How long one call may take
    #[arg(
        long,
        global = true,
        default_value = "60s",
        value_parser = humantime::parse_duration,
        value_name = "DURATION"
    )]
    request_timeout: Duration,
    /// Which of these were given, and how.
    #[arg(skip)]
    sources: contexts::Sources,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Report every problem of a configuration file
    Check(serve::CheckArgs),
    /// List the backends
    Backends(list::BackendsArgs),
    /// List the tests of a backend
    Tests(list::TestsArgs),
    /// List executions, of everything or of one backend or test
    Executions(list::ExecutionsArgs),
    /// Show a backend, a test or an execution
    Get(read::GetArgs),
    /// Start tests and follow them to their verdicts
    Run(run::RunArgs),
    /// Follow executions; ends by itself when all that were named are done
    Watch(watch::WatchArgs),
    /// Stop an execution
    Stop(write::StopArgs),
    /// Record a result that was made elsewhere
    Record(write::RecordArgs),
    /// Run or drive the simulated upstreams
    Sandbox(sandbox::SandboxArgs),
    /// List the contexts: gateways by name
    Contexts(contexts::ContextsArgs),
    /// Print what a shell needs to complete these commands
    Completions(completions::CompletionsArgs),
}

/// Parses the arguments of the process, does what they say and gives the exit code.
pub fn main() -> ExitCode {
    ExitCode::from(run_with(env::args_os()))
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            match usage::complaint(&error) {
                Some(complaint) => render::note(complaint),
                // A reader that has gone away misses the help text; there is nobody left to tell.
                None => drop(error.print()),
            }
            return u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            render::note(format!("error: the runtime did not start: {error}"));
            return Exit::Trouble.code();
        }
    };
    let exit = runtime.block_on(dispatch(cli));
    // A blocking task (a name look-up that hangs, say) must not hold up the exit.
    runtime.shutdown_background();
    exit.code()
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let color = if live::is_able(&std::io::stdout()) { ColorChoice::Auto } else { ColorChoice::Never };
    let matches = Cli::command().color(color).try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.sources = contexts::Sources::of(&matches);
    Ok(cli)
}

async fn dispatch(cli: Cli) -> Exit {
    let Cli { global, command } = cli;
    let mut out = Output::stdout(global.output);
    let result = match command {
        Command::Serve(args) => serve::serve(args).await,
        Command::Check(args) => serve::check(args).await,
        Command::Backends(args) => list::backends(args, &global, &mut out).await,
        Command::Tests(args) => list::tests(args, &global, &mut out).await,
        Command::Executions(args) => list::executions(args, &global, &mut out).await,
        Command::Get(args) => read::get(args, &global, &mut out).await,
        Command::Run(args) => run::run(args, &global, &mut out).await,
        Command::Watch(args) => watch::watch(args, &global, &mut out).await,
        Command::Stop(args) => write::stop(args, &global, &mut out).await,
        Command::Record(args) => write::record(args, &global, &mut out).await,
        Command::Sandbox(args) => sandbox::sandbox(args, &mut out).await,
        Command::Contexts(args) => contexts::contexts(&args, &mut out),
        Command::Completions(args) => completions::completions(&args, &mut out),
    };
    match result.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(Failure::Closed) => Exit::Passed,
        Err(failure) => {
            let more = suggest::more(&failure, &global).await;
            render::note(format!("error: {failure}{more}"));
            failure.exit()
        }
    }
}

#[cfg(test)]
mod tests;
