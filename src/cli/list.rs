//! `backends`, `tests`, `executions`.

use clap::Args;

use super::client::{Gateway, ListRequest, read_list};
use super::exit::Exit;
use super::failure::Failure;
use super::names::{self, Level};
use super::render::{Format, Output};
use super::{Global, names::Resolved};
use crate::proto::v1::{ListBackendsRequest, ListExecutionsRequest, ListTestsRequest};

/// `testgate backends`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate backends\n  testgate backends -o json --server https://testgate:50051"
)]
pub(crate) struct BackendsArgs {
    /// Read at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// `testgate tests`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate tests connect-prod\n  testgate tests - --filter 'startable = true'"
)]
pub(crate) struct TestsArgs {
    /// The backend, as `connect-prod` or backends/connect-prod; `-` reads all
    backend: String,
    /// On display_name, startable, upstream_labels
    #[arg(long, default_value = "")]
    filter: String,
    /// Read at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// `testgate executions`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate executions --filter 'done = false'\n  testgate executions connect-prod/greeting \
                  --limit 10 -o jsonl"
)]
pub(crate) struct ExecutionsArgs {
    /// A backend or a test; everything where left out
    #[arg(default_value = "-")]
    parent: String,
    /// On state, verdict, done, create_time, end_time, labels.k, upstream_labels.k
    #[arg(long, default_value = "")]
    filter: String,
    /// Read at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Lists the backends.
pub(crate) async fn backends(args: BackendsArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let gateway = Gateway::connect(global).await?;
    print(&gateway, &ListBackendsRequest::default(), args.limit, "list backends", out).await
}

/// Lists the tests of a backend.
pub(crate) async fn tests(args: TestsArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let reference = names::parse(&args.backend)?;
    if reference.level() != Level::Backend {
        return Err(Failure::Usage(format!("{} is no backend", args.backend)));
    }
    let gateway = Gateway::connect(global).await?;
    let Resolved { name, .. } = names::resolve(&gateway, reference).await?;
    let what = format!("list the tests of {name}");
    let request = ListTestsRequest { parent: name, filter: args.filter, ..Default::default() };
    print(&gateway, &request, args.limit, &what, out).await
}

/// Lists executions.
pub(crate) async fn executions(
    args: ExecutionsArgs,
    global: &Global,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let reference = names::parse(&args.parent)?;
    if reference.level() == Level::Execution {
        return Err(Failure::Usage(format!("{} is an execution; `testgate get` shows it", args.parent)));
    }
    let gateway = Gateway::connect(global).await?;
    let parent = names::resolve(&gateway, reference).await?.into_execution_parent();
    let what = format!("list the executions of {parent}");
    let request = ListExecutionsRequest { parent, filter: args.filter, ..Default::default() };
    print(&gateway, &request, args.limit, &what, out).await
}

/// Prints a list; lines go out page by page, while a table or a document needs all of it first.
pub(crate) async fn print<R: ListRequest>(
    gateway: &Gateway,
    request: &R,
    limit: Option<usize>,
    what: &str,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let unreachable = match out.format() {
        Format::Jsonl | Format::Name => {
            read_list(gateway, request, limit, what, |items| {
                out.rows(&items)?;
                out.flush()
            })
            .await?
        }
        Format::Table | Format::Json => {
            let mut all = Vec::new();
            let unreachable = read_list(gateway, request, limit, what, |items| {
                all.extend(items);
                Ok(())
            })
            .await?;
            if out.format() == Format::Table {
                out.rows(&all)?;
            } else {
                out.json(&R::join(all, String::new(), unreachable.clone()))?;
            }
            unreachable
        }
    };
    // A list with a hole in it must not look whole to a script.
    Ok(if unreachable.is_empty() { Exit::Passed } else { Exit::Trouble })
}
