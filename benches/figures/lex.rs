//! Both servers in front of an account that costs next to nothing.

use std::net::SocketAddr;
use std::path::Path;

use testgate::proto::v1;
use testgate::sandbox::lex;

use crate::bare::Bare;
use crate::gateway;
use crate::process::{Server, free_port};
use crate::upstream;

/// The name of one of the account's executions, in one of the backends that lead there.
pub(crate) fn name(backend: usize, execution: usize) -> String {
    let (test, id) = (upstream::TEST, upstream::id(execution));
    format!("backends/lex-{backend}/tests/{test}/executions/{id}")
}

/// Starts the gateway with so many backends that lead to one account, each with a quota of its own that nothing
/// here uses up, and polled so seldom that nothing changes but what is asked for. `server` is more of the section
/// of that name.
pub(crate) async fn start(
    folder: &Path,
    upstream: SocketAddr,
    backends: usize,
    server: &str,
) -> anyhow::Result<Server> {
    let backend = |number| {
        format!(
            r#"
[[backend]]
id = "lex-{number}"
kind = "amazon-lex-v2"
region = "{region}"
endpoint_url = "http://{upstream}"
max_requests_per_second = 10000
quota_group = "group-{number}"
poll_interval = "1h"
"#,
            region = lex::DEFAULT_REGION,
        )
    };
    let port = free_port()?;
    let configuration = format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"
{server}

[store]
path = "testgate.redb"
{backends}"#,
        backends = (0..backends).map(backend).collect::<String>(),
    );
    gateway::launch(folder, port, &configuration).await
}

/// Starts the bare service over the same account, with executions like the one that the gateway has.
pub(crate) async fn start_bare(
    folder: &Path,
    upstream: SocketAddr,
    executions: usize,
    like: v1::Execution,
) -> anyhow::Result<Server> {
    let reply = &v1::GetExecutionResponse { execution: Some(like) };
    Bare { reply, upstream: Some((upstream, executions)) }.start(folder).await
}
