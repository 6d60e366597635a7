//! The figures that the gateway has to reach, each against a bare tonic service in the same run.
//!
//! `cargo bench --bench figures`, or with the names of some: `-- reads start memory`. docs/performance.md says
//! what the lines mean. The gateway is the built binary; the bare service is this program, started again with
//! arguments of its own.

mod bare;
#[path = "../support/gateway.rs"]
mod gateway;
mod load;
#[path = "../support/process.rs"]
mod process;
mod reads;
mod start;

use anyhow::bail;

/// The figures, in the order in which they are taken.
const FIGURES: [&str; 3] = ["start", "memory", "reads"];

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
    let wanted = |figure| arguments.is_empty() || arguments.iter().any(|argument| argument == figure);
    runtime.block_on(async {
        if wanted("start") {
            start::first_reply().await?;
        }
        if wanted("memory") {
            start::idle_memory().await?;
        }
        if wanted("reads") {
            reads::tracked().await?;
        }
        Ok(())
    })
}

/// The middle one of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whether a figure is within its goal, in a word.
fn verdict(figure: f64, goal: f64) -> &'static str {
    if figure <= goal { "reached" } else { "MISSED" }
}
