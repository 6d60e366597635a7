//! The `testgate` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    testgate::cli::main()
}
