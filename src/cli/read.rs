//! `get`.

use clap::Args;

use super::Global;
use super::args::ItemKind;
use super::client::Gateway;
use super::exit::Exit;
use super::failure::Failure;
use super::names::{self, Level};
use super::render::Output;
use super::{list, run};
use crate::proto::v1::result_item;
use crate::proto::v1::{
    GetBackendRequest, GetExecutionRequest, GetTestRequest, ListArtifactsRequest, ListResultItemsRequest,
};

/// `testgate get`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate get connect-prod\n  testgate get connect-prod/greeting -o json\n  testgate get \
                  connect-prod/greeting/EXECUTION --items"
)]
pub(crate) struct GetArgs {
    /// A backend, a test or an execution: BACKEND[/TEST[/EXECUTION]] or its full name
    name: String,
    /// The result items of an execution
    #[arg(long, conflicts_with = "artifacts")]
    items: bool,
    /// Which items; Lex keeps its levels apart
    #[arg(long, value_enum, requires = "items")]
    kind: Option<ItemKind>,
    /// Which items by verdict, as 'verdict = FAILED'
    #[arg(long, requires = "items", default_value = "")]
    filter: String,
    /// Read at most so many items
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The links to an execution's artifacts
    #[arg(long)]
    artifacts: bool,
    /// How old an execution's state may be; 0s reads upstream now
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    max_staleness: Option<std::time::Duration>,
}

/// Shows one resource, or what belongs to it.
pub(crate) async fn get(args: GetArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let reference = names::parse(&args.name)?;
    if (args.items || args.artifacts) && reference.level() != Level::Execution {
        return Err(Failure::Usage(format!(
            "`{}` is no execution: only those have items and artifacts",
            args.name
        )));
    }
    let gateway = Gateway::connect(global).await?;
    let resolved = names::resolve(&gateway, reference).await?;
    let name = resolved.name;
    if args.items {
        let what = format!("list the result items of {name}");
        let kind = args.kind.map_or(0, |kind| result_item::Kind::from(kind).into());
        let request =
            ListResultItemsRequest { parent: name, kind, filter: args.filter, ..Default::default() };
        return list::print(&gateway, &request, args.limit, &what, out).await;
    }
    if args.artifacts {
        let what = format!("list the artifacts of {name}");
        let request = ListArtifactsRequest { parent: name, ..Default::default() };
        return list::print(&gateway, &request, args.limit, &what, out).await;
    }
    let what = format!("get {name}");
    let failed = |status| Failure::call(&what, status);
    let empty = || Failure::Trouble(format!("can't {what}: the reply is empty"));
    match resolved.level {
        Level::Backend => {
            let request = gateway.request(GetBackendRequest { name });
            let reply = gateway.client().get_backend(request).await.map_err(failed)?.into_inner();
            out.resource(&reply.backend.ok_or_else(empty)?)?;
        }
        Level::Test => {
            let request = gateway.request(GetTestRequest { name });
            let reply = gateway.client().get_test(request).await.map_err(failed)?.into_inner();
            out.resource(&reply.test.ok_or_else(empty)?)?;
        }
        Level::Execution => {
            let max_staleness = args.max_staleness.map(run::to_proto).transpose()?;
            let request = gateway.request(GetExecutionRequest { name, max_staleness });
            let reply = gateway.client().get_execution(request).await.map_err(failed)?.into_inner();
            out.resource(&reply.execution.ok_or_else(empty)?)?;
        }
    }
    Ok(Exit::Passed)
}
