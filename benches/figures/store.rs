//! How soon the gateway answers over a large store.

use crate::start::{start_gateway, times};
use crate::{large_store, report};

const FINISHED: usize = 100_000;
const UNFINISHED: usize = 1_000;
const STARTS: usize = 7;
const FIRST_REPLY_MS: f64 = 300.0;

/// From the start of the process to its first reply, after clean ends and after kills.
pub(crate) async fn first_reply() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    large_store::build(&folder.path().join("testgate.redb"), "lex", FINISHED, UNFINISHED).await;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut server = start_gateway(folder.path()).await?;
        clean.push(times(&server));
        server.kill().await?;
        let server = start_gateway(folder.path()).await?;
        killed.push(times(&server));
        server.stop().await?;
    }
    println!("store: start to first reply over {FINISHED} finished and {UNFINISHED} unfinished executions");
    for (after, times) in [("after a clean end", clean), ("after a kill", killed)] {
        let median = |part: fn(&[f64; 2]) -> f64| report::median(times.iter().map(part));
        report::goal(format!("{after}, wall"), median(|[wall, _]| *wall), FIRST_REPLY_MS, "ms");
        report::line(format!("{after}, CPU"), median(|[_, cpu]| *cpu), "ms");
    }
    println!();
    Ok(())
}
