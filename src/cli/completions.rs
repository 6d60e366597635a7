//! `completions`: what a shell needs to complete our command line.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::exit::Exit;
use super::failure::Failure;
use super::render::Output;

/// `testgate completions`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate completions bash > ~/.local/share/bash-completion/completions/testgate\n  \
                  testgate completions zsh > \"${fpath[1]}/_testgate\"\n  testgate completions fish > \
                  ~/.config/fish/completions/testgate.fish"
)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "testgate", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Passed)
}
