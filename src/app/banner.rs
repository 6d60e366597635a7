//! What a person reads at the start: where everything listens, and what to try next.

use std::fmt::Write as _;
use std::io::Write as _;

use super::Gateway;
use crate::sandbox::Sandbox;

/// Prints to standard output. A reader that went away is no reason not to serve.
pub(super) fn print(gateway: &Gateway, sandbox: Option<&Sandbox>) {
    let text = text(gateway, sandbox).unwrap_or_default();
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Prints where the simulated upstreams are and what their keys are.
pub(super) fn print_sandbox(sandbox: &Sandbox) {
    let mut out = String::new();
    let written = upstreams(&mut out, sandbox).and_then(|()| writeln!(out, "\nCtrl-C ends it."));
    if written.is_ok() {
        drop(std::io::stdout().write_all(out.as_bytes()));
    }
}

/// The simulated upstreams with all that their own clients need.
fn upstreams(out: &mut String, sandbox: &Sandbox) -> std::fmt::Result {
    writeln!(out, "Three simulated upstreams, driven by http://{}:", sandbox.control_address())?;
    for upstream in sandbox.banner().upstreams {
        write!(out, "  {:<13} http://{:<15}", upstream.name, upstream.address)?;
        let details = upstream.details.as_object().into_iter().flatten();
        for (key, value) in details.filter_map(|(key, value)| value.as_str().map(|value| (key, value))) {
            write!(out, " {key}={value}")?;
        }
        out.push('\n');
    }
    Ok(())
}

fn text(gateway: &Gateway, sandbox: Option<&Sandbox>) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for address in gateway.addresses() {
        writeln!(out, "testgate {} serves gRPC on {address}", env!("CARGO_PKG_VERSION"))?;
    }
    if let Some(admin) = gateway.admin_address() {
        writeln!(out, "health and metrics on http://{admin} (/readyz?verbose, /metrics, /config)")?;
    }
    let Some(sandbox) = sandbox else { return Ok(out) };
    out.push('\n');
    upstreams(&mut out, sandbox)?;
    let Some(server) = gateway.addresses().first() else { return Ok(out) };
    let server = server.to_string().replace("unix:", "unix://");
    writeln!(out, "\nTry next, in another terminal:")?;
    for (method, message) in CALLS {
        let data = if message.is_empty() { String::new() } else { format!(" -d '{message}'") };
        writeln!(out, "  grpcurl -plaintext{data} {server} testgate.v1.TestExecutionService/{method}")?;
    }
    writeln!(out, "\nor, with the command line:")?;
    // As it was called, so that the lines can be pasted wherever the binary lies.
    let program = std::env::args_os().next().map(|program| program.display().to_string());
    let program = program.unwrap_or_else(|| "testgate".to_owned());
    let flag = if server == DEFAULT_SERVER { String::new() } else { format!(" --server {server}") };
    for command in COMMANDS {
        writeln!(out, "  {program}{flag} {command}")?;
    }
    writeln!(out, "\nCtrl-C ends it.")?;
    Ok(out)
}

const CALLS: &[(&str, &str)] = &[
    ("ListBackends", ""),
    ("ListTests", r#"{"parent": "backends/-"}"#),
    ("WatchExecutions", r#"{"parent": "backends/-/tests/-"}"#),
];

/// Where clients look for a gateway unless they are told.
const DEFAULT_SERVER: &str = "127.0.0.1:50051";

const COMMANDS: &[&str] =
    &["tests connect", "run connect/greeting", "run lex/booking-mismatch", "executions"];
