//! `sandbox`: runs the simulated upstreams, or drives them through their control endpoint.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::failure::Failure;
use super::render::Output;
use crate::app::SandboxOptions;

/// A control endpoint's answer that is longer is not read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// `testgate sandbox`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate sandbox serve\n  testgate sandbox fault connect StartTestCaseExecution throttle \
                  --times 3 --retry-after 2\n  testgate sandbox clock 10\n  testgate sandbox clear"
)]
pub(crate) struct SandboxArgs {
    /// The sandbox's control endpoint
    #[arg(
        long,
        global = true,
        env = "TESTGATE_SANDBOX",
        default_value = "http://127.0.0.1:4570",
        value_name = "URL"
    )]
    control: String,
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Run only the simulated upstreams
    Serve(SandboxServeArgs),
    /// Show what the simulated upstreams hold
    #[command(after_help = "Example:\n  testgate sandbox state")]
    State,
    /// Make an upstream misbehave
    Fault(FaultArgs),
    /// Take back injected faults
    #[command(after_help = "Examples:\n  testgate sandbox clear\n  testgate sandbox clear lex")]
    Clear {
        /// Only those of one upstream
        upstream: Option<UpstreamName>,
    },
    /// Show the calls an upstream got
    #[command(after_help = "Example:\n  testgate sandbox calls connect StartTestCaseExecution")]
    Calls {
        /// Whose
        upstream: UpstreamName,
        /// Only of one operation
        operation: Option<String>,
    },
    /// Set the pace of simulated time
    #[command(after_help = "Example:\n  testgate sandbox clock 10")]
    Clock {
        /// How many simulated seconds pass in a second
        #[arg(value_parser = clock_scale)]
        scale: f64,
    },
    /// Send an upstream a command as JSON, as '{"command":"state"}'
    #[command(
        after_help = "Example:\n  testgate sandbox send connect '{\"command\": \"start\", \"test\": \"greeting\"}'"
    )]
    Send {
        /// To whom
        upstream: UpstreamName,
        /// The command
        #[arg(value_parser = object)]
        json: Value,
    },
}

/// `testgate sandbox serve`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  testgate sandbox serve --clock-scale 10")]
pub(crate) struct SandboxServeArgs {
    /// How many simulated seconds pass in a second
    #[arg(long, value_name = "X", default_value = "1", value_parser = clock_scale)]
    clock_scale: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate sandbox fault connect StartTestCaseExecution throttle --times 3 --retry-after \
                  2\n  testgate sandbox fault lex '*' delay --delay 500"
)]
struct FaultArgs {
    /// Who misbehaves
    upstream: UpstreamName,
    /// In which operation; * for all
    operation: String,
    /// How
    kind: Kind,
    /// So many times; until cleared where left out
    #[arg(long, value_name = "N")]
    times: Option<u32>,
    /// Let so many requests through first
    #[arg(long, value_name = "N")]
    skip: Option<u32>,
    /// With throttle: the Retry-After header
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// With delay: how long
    #[arg(long, value_name = "MS")]
    delay: Option<u64>,
    /// With status and html: the status code
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// With redirect: where to
    #[arg(long, value_name = "URL")]
    location: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UpstreamName {
    Connect,
    Lex,
    Openmetadata,
}

impl UpstreamName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Lex => "lex",
            Self::Openmetadata => "openmetadata",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// 429 [--retry-after]
    Throttle,
    /// 402
    Quota,
    /// Any status --status
    Status,
    /// A proxy's HTML page [--status]
    Html,
    /// A body cut short
    Truncate,
    /// JSON of the wrong shape
    WrongJson,
    /// Reset, nothing happened
    ResetBefore,
    /// Reset after the effect
    ResetAfter,
    /// A late answer --delay
    Delay,
    /// 307 [--location]
    Redirect,
    /// Success, but nothing happened
    Swallow,
    /// No answer at all
    Silent,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Quota => "quota",
            Self::Status => "status",
            Self::Html => "html",
            Self::Truncate => "truncate",
            Self::WrongJson => "wrong_json",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::Delay => "delay",
            Self::Redirect => "redirect",
            Self::Swallow => "swallow",
            Self::Silent => "silent",
        }
    }
}

/// A pace that time can have.
pub(crate) fn clock_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=100_000.0).contains(&scale) { Ok(scale) } else { Err("expected 0 to 100000".into()) }
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("expected a JSON object".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A fault as the control endpoint takes it; a member that its kind does not have is refused there and here.
fn fault_body(args: FaultArgs) -> Result<Value, Failure> {
    let FaultArgs { upstream, operation, kind, times, skip, retry_after, delay, status, location } = args;
    let mut body = Map::new();
    body.insert("upstream".into(), upstream.as_str().into());
    body.insert("operation".into(), operation.into());
    body.insert("kind".into(), kind.as_str().into());
    let mut member = |flag: &str, key: &str, value: Option<Value>, kinds: &[Kind]| match value {
        Some(_) if !kinds.is_empty() && !kinds.contains(&kind) => {
            Err(Failure::Usage(format!("--{flag} does not go with {}", kind.as_str())))
        }
        Some(value) => {
            body.insert(key.into(), value);
            Ok(())
        }
        None => Ok(()),
    };
    member("times", "times", times.map(Value::from), &[])?;
    member("skip", "skip", skip.map(Value::from), &[])?;
    member("retry-after", "retry_after", retry_after.map(Value::from), &[Kind::Throttle])?;
    member("delay", "ms", delay.map(Value::from), &[Kind::Delay])?;
    member("status", "status", status.map(Value::from), &[Kind::Status, Kind::Html])?;
    member("location", "location", location.map(Value::from), &[Kind::Redirect])?;
    match kind {
        Kind::Status if status.is_none() => Err(Failure::Usage("status needs --status".into())),
        Kind::Delay if delay.is_none() => Err(Failure::Usage("delay needs --delay".into())),
        _ => Ok(Value::Object(body)),
    }
}

/// Runs or drives the simulated upstreams.
pub(crate) async fn sandbox(args: SandboxArgs, out: &mut Output) -> Result<Exit, Failure> {
    let SandboxArgs { control, command } = args;
    let endpoint = Endpoint::new(&control)?;
    let answer = match command {
        SandboxCommand::Serve(args) => {
            run_sandbox(args).await.map_err(|error| Failure::Trouble(format!("{error:#}")))?;
            return Ok(Exit::Passed);
        }
        SandboxCommand::State => endpoint.call("GET", "/", None).await?,
        SandboxCommand::Fault(fault) => endpoint.call("POST", "/faults", Some(fault_body(fault)?)).await?,
        SandboxCommand::Clear { upstream } => {
            let query =
                upstream.map_or_else(String::new, |upstream| format!("?upstream={}", upstream.as_str()));
            endpoint.call("DELETE", &format!("/faults{query}"), None).await?
        }
        SandboxCommand::Calls { upstream, operation } => {
            let operation = operation.map_or_else(String::new, |operation| {
                let set = percent_encoding::NON_ALPHANUMERIC;
                format!("&operation={}", percent_encoding::utf8_percent_encode(&operation, set))
            });
            endpoint.call("GET", &format!("/calls?upstream={}{operation}", upstream.as_str()), None).await?
        }
        SandboxCommand::Clock { scale } => {
            endpoint.call("POST", "/clock", Some(json!({ "scale": scale }))).await?
        }
        SandboxCommand::Send { upstream, json } => {
            endpoint.call("POST", &format!("/{}", upstream.as_str()), Some(json)).await?
        }
    };
    out.value(&answer)?;
    Ok(Exit::Passed)
}

async fn run_sandbox(args: SandboxServeArgs) -> anyhow::Result<()> {
    let options = SandboxOptions { clock_scale: args.clock_scale, ..SandboxOptions::default() };
    crate::app::serve_sandbox(&options).await
}

struct Endpoint {
    base: String,
    client: reqwest::Client,
}

impl Endpoint {
    fn new(control: &str) -> Result<Self, Failure> {
        let base = control.trim_end_matches('/');
        if !base.starts_with("http://") {
            return Err(Failure::Usage(format!("--control {control}: expected http://HOST:PORT")));
        }
        // The sandbox is on this machine as a rule; a proxy from the environment would only be in the way.
        #[expect(
            clippy::disallowed_methods,
            reason = "talks to the sandbox's control endpoint, not to an upstream"
        )]
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| Failure::Trouble(format!("no HTTP client: {error}")))?;
        Ok(Self { base: base.to_owned(), client })
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base);
        let method = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|error| Failure::Trouble(format!("{method}: {error}")))?;
        let mut request = self.client.request(method, &url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let away = |error: reqwest::Error| {
            Failure::Trouble(format!(
                "can't reach the sandbox at {}: {error}; hint: `testgate serve --sandbox` and `testgate sandbox serve` \
                 start one",
                self.base
            ))
        };
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::Trouble(format!("the answer of {url} is too long")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| {
            Failure::Trouble(format!("{url} answered {status}, and not with JSON: is it a sandbox?"))
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let error = answer.get("error").and_then(Value::as_str).unwrap_or_default();
        Err(Failure::Trouble(format!("the sandbox refused: {status}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind) -> FaultArgs {
        FaultArgs {
            upstream: UpstreamName::Connect,
            operation: "*".into(),
            kind,
            times: None,
            skip: None,
            retry_after: None,
            delay: None,
            status: None,
            location: None,
        }
    }

    #[test]
    fn a_fault_holds_only_what_was_given() {
        let args = FaultArgs { times: Some(3), retry_after: Some(2), ..fault(Kind::Throttle) };
        assert_eq!(
            fault_body(args).unwrap(),
            json!({"upstream": "connect", "operation": "*", "kind": "throttle", "times": 3, "retry_after": 2})
        );
        let args = FaultArgs { delay: Some(50), ..fault(Kind::Delay) };
        assert_eq!(fault_body(args).unwrap()["ms"], 50);
    }

    #[test]
    fn members_of_another_kind_and_missing_ones_are_usage_errors() {
        for args in [
            FaultArgs { retry_after: Some(2), ..fault(Kind::Quota) },
            FaultArgs { status: Some(500), ..fault(Kind::Throttle) },
            fault(Kind::Status),
            fault(Kind::Delay),
        ] {
            assert!(matches!(fault_body(args), Err(Failure::Usage(_))));
        }
    }

    #[test]
    fn a_pace_is_a_finite_number_not_below_zero() {
        assert_eq!(clock_scale("2.5"), Ok(2.5));
        for wrong in ["-1", "NaN", "inf", "x", ""] {
            assert!(clock_scale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_is_a_json_object() {
        assert!(object(r#"{"command":"state"}"#).is_ok());
        assert!(object("[]").is_err());
        assert!(object("{").is_err());
    }
}
