//! The figures that the gateway has to reach, each against a bare tonic service in the same run.
//!
//! `cargo bench --bench figures`, or with the names of some: `-- reads start memory`. docs/performance.md says
//! what the lines mean. The gateway is the built binary; the bare service is this program, started again with
//! arguments of its own.

mod bare;
mod cap;
mod cli;
mod fanout;
mod forwarded;
#[path = "../support/gateway.rs"]
mod gateway;
mod idle;
#[path = "../../tests/it/large_store.rs"]
#[allow(dead_code, reason = "the tests ask for names as well")]
mod large_store;
mod lex;
mod load;
#[path = "../support/process.rs"]
mod process;
mod reads;
mod report;
mod signed;
mod staleness;
mod start;
mod store;
mod streams;
mod upstream;

use anyhow::bail;

/// The figures, in the order in which they are taken.
const FIGURES: [&str; 14] = [
    "start",
    "store",
    "memory",
    "reads",
    "forwarded",
    "idle",
    "names",
    "fanout",
    "changes",
    "cap",
    "connect",
    "lex",
    "get",
    "watch",
];

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.first().is_some_and(|first| first == bare::ARGUMENT) {
        arguments.remove(0);
        return runtime.block_on(bare::serve(&arguments));
    }
    // `cargo test --all-targets` runs this without it, and unoptimised figures mean nothing.
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| !argument.starts_with("--"));
    if let Some(unknown) = arguments.iter().find(|argument| !FIGURES.contains(&argument.as_str())) {
        bail!("{unknown} is not a figure; there are {}", FIGURES.join(", "));
    }
    if !measuring {
        println!("run it with `cargo bench --bench figures`");
        return Ok(());
    }
    let wanted =
        |figure: &&&str| arguments.is_empty() || arguments.iter().any(|argument| argument == **figure);
    FIGURES.iter().filter(wanted).try_for_each(|figure| runtime.block_on(take(figure)))
}

async fn take(figure: &str) -> anyhow::Result<()> {
    match figure {
        "start" => start::first_reply().await,
        "store" => store::first_reply().await,
        "memory" => start::idle_memory().await,
        "reads" => reads::tracked().await,
        "forwarded" => forwarded::forwarded().await,
        "idle" => idle::streams().await,
        "names" => idle::names().await,
        "fanout" => fanout::one_change().await,
        "changes" => fanout::many_changes().await,
        "cap" => cap::refused().await,
        "connect" => staleness::connect().await,
        "lex" => staleness::lex().await,
        "get" => cli::get().await,
        "watch" => cli::watch().await,
        _ => bail!("{figure} is not a figure"),
    }
}
