//! What a flood of connections costs once there are as many as there may be.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::lex;
use crate::load;
use crate::report;
use crate::streams::Streams;
use crate::upstream::Upstream;

const CONNECTIONS: usize = 100;
const REFUSED_A_SECOND: u32 = 100;
const FLOOD: Duration = Duration::from_secs(10);
const PERCENT: f64 = 5.0;

/// CPU while connections are refused, and whether those who are connected notice.
pub(crate) async fn refused() -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(1)?);
    let cap = format!("max_connections = {}", CONNECTIONS + 1);
    let gateway = lex::start(folder.path(), upstream.address, 1, &cap).await?;
    let mut client = gateway.client().await?;
    let name = lex::name(0, 0);
    load::read(&mut client, &name, true).await?;
    let names = vec![name.clone()];
    let mut streams = Streams::open(&gateway, CONNECTIONS, (0..CONNECTIONS).map(|_| names.clone())).await?;

    let (cpu, start) = (gateway.cpu()?, Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / REFUSED_A_SECOND);
    let mut refused = 0;
    while start.elapsed() < FLOOD {
        ticks.tick().await;
        let mut extra = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port)).await?;
        // A reset is a refusal too.
        ensure!(extra.read(&mut [0; 16]).await.unwrap_or(0) == 0, "a connection over the cap was served");
        refused += 1;
    }
    let busy = (gateway.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    upstream.change_all();
    load::read(&mut client, &name, true).await?;
    streams.wait_for(CONNECTIONS).await?;
    ensure!(streams.ended() == 0, "streams were lost");
    println!("{CONNECTIONS} connections at the cap, {REFUSED_A_SECOND} a second refused, {refused} in all");
    report::goal("gateway", busy * 100.0, PERCENT, "% of a core");
    println!();
    Ok(())
}
