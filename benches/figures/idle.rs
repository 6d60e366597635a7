//! What streams cost that have nothing to say, and how soon a server with many of them is gone.

use std::time::{Duration, Instant};

use crate::lex;
use crate::load;
use crate::process::Server;
use crate::report;
use crate::streams::Streams;
use crate::upstream::Upstream;

const STREAMS: usize = 10_000;
const CONNECTIONS: usize = 100;
const KIB_A_STREAM: f64 = 4.0;
const KIB_AFTER_FAN_OUT: f64 = 5.0;
/// Two heartbeats of the default interval.
const BEATING: Duration = Duration::from_secs(30);
const BEATING_PERCENT: f64 = 1.0;
const DRAIN_SECONDS: f64 = 5.0;

/// Streams with many names, to tell what one more of them costs.
const WIDE_STREAMS: usize = 1_000;
const NAMES: usize = 100;
const BYTES_A_NAME: f64 = 350.0;

/// Memory and CPU of idle streams, and the drain.
pub(crate) async fn streams() -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(1)?);
    let name = lex::name(0, 0);
    println!("idle streams, {STREAMS} over {CONNECTIONS} connections");

    let gateway = lex::start(folder.path(), upstream.address, 1, "").await?;
    let like = load::read(&mut gateway.client().await?, &name, true).await?;
    let before = gateway.memory("VmRSS")?;
    let mut ours = open(&gateway, &name).await?;
    report::goal("gateway", kib_a_stream(&gateway, before)?, KIB_A_STREAM, "KiB a stream");
    let (cpu, start) = (gateway.cpu()?, Instant::now());
    tokio::time::sleep(BEATING).await;
    let busy = (gateway.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    report::goal("gateway, heartbeats", busy * 100.0, BEATING_PERCENT, "% of a core");
    upstream.change_all();
    load::read(&mut gateway.client().await?, &name, true).await?;
    ours.wait_for(STREAMS).await?;
    report::goal(
        "gateway, after a fan-out",
        kib_a_stream(&gateway, before)?,
        KIB_AFTER_FAN_OUT,
        "KiB a stream",
    );
    let start = Instant::now();
    gateway.stop().await?;
    report::goal("drain", start.elapsed().as_secs_f64(), DRAIN_SECONDS, "s");
    drop(ours);

    let bare = lex::start_bare(folder.path(), upstream.address, 1, like).await?;
    load::read(&mut bare.client().await?, &name, true).await?;
    let before = bare.memory("VmRSS")?;
    let mut theirs = open(&bare, &name).await?;
    report::line("bare", kib_a_stream(&bare, before)?, "KiB a stream");
    upstream.change_all();
    load::read(&mut bare.client().await?, &name, true).await?;
    theirs.wait_for(STREAMS).await?;
    report::line("bare, after a fan-out", kib_a_stream(&bare, before)?, "KiB a stream");
    println!();
    Ok(())
}

/// What one more name costs a stream.
pub(crate) async fn names() -> anyhow::Result<()> {
    let upstream = Upstream::start(NAMES)?;
    let narrow = wide_streams(&upstream, 1).await?;
    let wide = wide_streams(&upstream, NAMES).await?;
    println!("{WIDE_STREAMS} idle streams with {NAMES} names each");
    report::line("gateway, one name", narrow / 1024.0, "KiB a stream");
    report::line(format!("gateway, {NAMES} names"), wide / 1024.0, "KiB a stream");
    report::goal("for each further name", (wide - narrow) / (NAMES - 1) as f64, BYTES_A_NAME, "bytes");
    println!();
    Ok(())
}

async fn open(server: &Server, name: &str) -> anyhow::Result<Streams> {
    let names = vec![name.to_owned()];
    Streams::open(server, CONNECTIONS, (0..STREAMS).map(|_| names.clone())).await
}

fn kib_a_stream(server: &Server, before: u64) -> anyhow::Result<f64> {
    Ok(server.memory("VmRSS")?.saturating_sub(before) as f64 / 1024.0 / STREAMS as f64)
}

/// Bytes for each of some streams with so many names.
async fn wide_streams(upstream: &Upstream, names: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let gateway = lex::start(folder.path(), upstream.address, 1, "").await?;
    let mut client = gateway.client().await?;
    let names: Vec<_> = (0..names).map(|number| lex::name(0, number)).collect();
    for name in &names {
        load::read(&mut client, name, true).await?;
    }
    let before = gateway.memory("VmRSS")?;
    let selections = (0..WIDE_STREAMS).map(|_| names.clone());
    let streams = Streams::open(&gateway, CONNECTIONS / 10, selections).await?;
    let bytes = gateway.memory("VmRSS")?.saturating_sub(before) as f64 / WIDE_STREAMS as f64;
    drop(streams);
    Ok(bytes)
}
