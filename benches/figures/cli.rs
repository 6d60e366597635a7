//! What the command line adds to a call, and what its live table costs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use pty_process::Size;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::fanout::list_all;
use crate::lex;
use crate::load::{self, Target};
use crate::process::Threads;
use crate::report;
use crate::upstream::Upstream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_testgate");
const ROUNDS: usize = 31;
/// From the start of the process to its end, above the call itself.
const ADDED_MS: f64 = 15.0;
const RUNS: usize = 1_000;
/// Of a core.
const WATCH_PERCENT: f64 = 10.0;
const WATCHED: u32 = 10;
/// A large window, in which most of the work is to be done.
const WINDOW: (u16, u16) = (60, 180);

/// `testgate get`, beside the call that it makes.
pub(crate) async fn get() -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(1)?);
    let gateway = Target::new(lex::start(folder.path(), upstream.address, 1, "").await?).await?;
    let (name, server) = (lex::name(0, 0), format!("127.0.0.1:{}", gateway.server.port));
    println!(
        "`testgate get` from start to end, above GetExecution on an open connection, median of {ROUNDS}"
    );
    for format in ["table", "json", "name"] {
        let mut added = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            let start = Instant::now();
            load::read(&mut gateway.client(), &name, false).await?;
            let call = start.elapsed();
            let start = Instant::now();
            let mut get = Command::new(PROGRAM);
            get.args(["get", &name, "-o", format, "--server", &server]).env_clear().stdin(Stdio::null());
            let ended = get.output().await?;
            let whole = start.elapsed();
            ensure!(ended.status.success(), "{ended:?}");
            // The first one brings the program into memory.
            if round > 0 {
                added.push((whole.as_secs_f64() - call.as_secs_f64()) * 1e3);
            }
        }
        report::goal(format!("-o {format}"), report::median(added), ADDED_MS, "ms");
    }
    println!();
    gateway.stop().await
}

/// `testgate watch -` of a thousand runs in a terminal: while nothing changes, and while all change each second.
pub(crate) async fn watch() -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start(RUNS)?);
    let gateway = Target::new(lex::start(folder.path(), upstream.address, 1, "").await?).await?;
    list_all(&gateway).await?;

    let (mut pty, pts) = pty_process::open()?;
    pty.resize(Size::new(WINDOW.0, WINDOW.1))?;
    let server = format!("127.0.0.1:{}", gateway.server.port);
    let command = pty_process::Command::new(PROGRAM).args(["watch", "-", "--server", &server]);
    let mut child = command.env_clear().env("TERM", "xterm-256color").kill_on_drop(true).spawn(pts)?;
    let threads = Threads::default();
    let pid = child.id().context("it has ended")?;
    println!("`testgate watch` of {RUNS} runs in a terminal of {} by {}", WINDOW.0, WINDOW.1);
    for (what, changes) in [("nothing changes", false), ("all change each second", true)] {
        let (mut written, mut frames) = (0, 0);
        let (mut cpu, mut begun) = (threads.cpu(pid)?, Instant::now());
        // The first second opens the stream, or takes the first change in.
        for second in 0..=WATCHED {
            if second == 1 {
                (written, frames, cpu, begun) = (0, 0, threads.cpu(pid)?, Instant::now());
            }
            let mut buffer = vec![0; 1 << 16];
            let reading = async {
                while let Ok(count) = pty.read(&mut buffer).await {
                    written += count;
                    frames += buffer[..count].windows(8).filter(|part| part == b"\x1b[?2026h").count();
                }
            };
            let changing = async {
                if changes {
                    upstream.change_all();
                    list_all(&gateway).await?;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, anyhow::Error>(())
            };
            tokio::select! {
                () = reading => anyhow::bail!("it has ended"),
                changed = changing => changed?,
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let percent = (threads.cpu(pid)? - cpu).as_secs_f64() / seconds * 100.0;
        ensure!(frames > 0, "nothing was drawn");
        report::goal(what, percent, WATCH_PERCENT, "% of a core");
        report::line("", f64::from(u32::try_from(frames)?) / seconds, "frames a second");
        report::line("", written as f64 / 1024.0 / seconds, "KiB a second");
    }
    println!();
    child.kill().await?;
    gateway.stop().await
}
