//! What it costs to know who calls and what they may do, counted in instructions: a figure that no other load on
//! the machine changes.
//!
//! `cargo bench --bench auth`. The gateway runs under callgrind, twice for each kind of caller with other numbers of
//! calls; the difference is what a call takes. It is compared with that of a gateway without `[auth]` whose calls carry
//! a header of the same length that means nothing, so that what HTTP/2 needs for a long header does not count.
//! `TESTGATE_BIN` names another binary than the one just built.

#[path = "../support/gateway.rs"]
#[expect(dead_code, reason = "the other benches need the rest")]
mod gateway;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "the other benches need the rest")]
mod process;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use testgate::sandbox::clock::Clock;
use testgate::sandbox::{Options, Sandbox};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use gateway::{Settings, Upstreams};

const FEW: usize = 500;
const MANY: usize = 2500;
const HEADER: &str = "authorization";
const ISSUER: &str = "https://login.example.com/";
/// Everything under callgrind takes fifty times as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who calls.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    /// What the configuration says of callers.
    settings: String,
    shown: Option<String>,
    /// The header in which it is shown.
    header: &'static str,
    /// How many per cent it may add.
    goal: f64,
}

fn main() -> anyhow::Result<()> {
    // `cargo test --all-targets` runs this without it.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run it with `cargo bench --bench auth`");
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(Options::standard(Arc::new(Clock::new(1.0))).on_free_ports()).await?;
    let upstreams = Upstreams::of(&sandbox).context("the sandbox lacks an upstream")?;
    println!("instructions a GetExecution of a run that is done");
    for kind in kinds(folder.path())? {
        let without = Kind { settings: String::new(), header: "x-carried-along", ..kind.clone() };
        let base = each(folder.path(), &upstreams, &without).await?;
        if kind.shown.is_none() {
            println!("  {:<10} {base:8.0}", kind.name);
            continue;
        }
        let each = each(folder.path(), &upstreams, &kind).await?;
        let more = (each / base - 1.0) * 100.0;
        let verdict = if more <= kind.goal { "reached" } else { "MISSED" };
        println!(
            "  {:<10} {each:8.0}, without [auth] {base:8.0}: {more:+5.1} %, goal {:+.0} %: {verdict}",
            kind.name, kind.goal
        );
    }
    sandbox.shutdown().await;
    Ok(())
}

/// How many instructions a call takes.
async fn each(folder: &Path, upstreams: &Upstreams, kind: &Kind) -> anyhow::Result<f64> {
    let few = run(folder, upstreams, kind, FEW).await?;
    let many = run(folder, upstreams, kind, MANY).await?;
    Ok((many - few) / (MANY - FEW) as f64)
}

fn kinds(folder: &Path) -> anyhow::Result<[Kind; 3]> {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
    std::fs::write(folder.join("token"), TOKEN)?;
    let grant = |subject: &str| {
        format!(
            "[[auth.grant]]\nsubjects = [\"token:other\", \"{subject}\"]\nrole = \"operator\"\n\
             backends = [\"lex-*\", \"*\"]\n"
        )
    };
    let token = "[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"token\"\n".to_owned();
    let jwt =
        format!("[[auth.jwt]]\nissuer = \"{ISSUER}\"\naudience = \"testgate\"\njwks_file = \"keys.json\"\n");
    Ok([
        Kind { name: "anonymous", settings: String::new(), shown: None, header: HEADER, goal: 0.0 },
        Kind {
            name: "token",
            settings: token + &grant("token:ci"),
            shown: Some(TOKEN.to_owned()),
            header: HEADER,
            goal: 5.0,
        },
        Kind {
            name: "JWT",
            settings: jwt + &grant(&format!("jwt:{ISSUER}#svc-*")),
            shown: Some(signed(folder)?),
            header: HEADER,
            goal: 10.0,
        },
    ])
}

/// A token of the usual length, and its issuer's keys in a file.
fn signed(folder: &Path) -> anyhow::Result<String> {
    let pair = KeyPair::generate()?;
    let (x, y) = pair.public_key_raw().get(1..).context("a point")?.split_at(32);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": text(x), "y": text(y)}]});
    std::fs::write(folder.join("keys.json"), keys.to_string())?;
    let claims = json!({
        "iss": ISSUER, "aud": "testgate", "sub": "svc-nightly", "exp": 4_000_000_000_u64,
        "scope": "x".repeat(400),
    });
    let header = jsonwebtoken::Header {
        kid: Some("one".to_owned()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
    };
    let key = jsonwebtoken::EncodingKey::from_ec_der(&pair.serialize_der());
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}

/// How many instructions a gateway takes from its start to its end with so many calls between.
async fn run(folder: &Path, upstreams: &Upstreams, kind: &Kind, calls: usize) -> anyhow::Result<f64> {
    let port = process::free_port()?;
    let settings = gateway::configuration(port, upstreams, &Settings::default());
    let mut command = Command::new("valgrind");
    let out = std::env::var("CALLGRIND_OUT").unwrap_or_else(|_| "/dev/null".to_owned());
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={out}")]);
    command.arg(std::env::var_os("TESTGATE_BIN").unwrap_or(env!("CARGO_BIN_EXE_testgate").into()));
    gateway::prepare(&mut command, folder, &format!("{settings}{}", kind.settings))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("valgrind is needed")?;
    let mut said = BufReader::new(child.stderr.take().context("its stderr")?).lines();
    let mut printed = BufReader::new(child.stdout.take().context("its stdout")?).lines();
    let serves = async {
        while let Some(line) = printed.next_line().await? {
            if line.contains("serves gRPC on ") {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before it served")
    };
    tokio::time::timeout(PATIENCE, serves).await??;
    make_calls(port, kind, calls).await?;
    let pid = child.id().context("it has ended")?.to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await?;
    let begun = Instant::now();
    let mut counted = None;
    while let Some(line) = tokio::time::timeout(PATIENCE, said.next_line()).await?? {
        if let Some((_, count)) = line.split_once("Collected : ") {
            counted = count.trim().parse().ok();
        }
        ensure!(begun.elapsed() < PATIENCE, "it does not end");
    }
    child.wait().await?;
    counted.context("callgrind counted nothing")
}

/// Reads something that is done again and again on one connection.
async fn make_calls(port: u16, kind: &Kind, calls: usize) -> anyhow::Result<()> {
    let mut shown: Option<MetadataValue<Ascii>> =
        kind.shown.as_ref().map(|token| format!("Bearer {token}").parse()).transpose()?;
    // So that each call carries all of it, whatever its name.
    shown.iter_mut().for_each(|value| value.set_sensitive(true));
    let header = kind.header;
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let mut client =
        TestExecutionServiceClient::with_interceptor(channel, move |mut request: tonic::Request<()>| {
            if let Some(shown) = &shown {
                request.metadata_mut().insert(header, shown.clone());
            }
            Ok(request)
        });
    let parent = "backends/quality/tests/-".to_owned();
    let list = v1::ListExecutionsRequest { parent, filter: "done = true".to_owned(), ..Default::default() };
    let listed = client.list_executions(list).await?.into_inner();
    let execution = listed
        .executions
        .first()
        .map(|execution| execution.name.clone())
        .context("the sandbox has no run that is done")?;
    for _ in 0..calls {
        let request = v1::GetExecutionRequest { name: execution.clone(), ..Default::default() };
        client.get_execution(request).await?;
    }
    Ok(())
}
