//! The clients in other languages, each with its language's own test runner, against a gateway over the sandbox.
//!
//! `tests/run` installs what they need and compiles them beforehand.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests may panic and spawn, and use a part of what tests/it shares"
)]

#[path = "clients/flaky.rs"]
mod flaky;
#[path = "it/guard.rs"]
mod guard;
#[path = "it/rig.rs"]
mod rig;
#[path = "it/support.rs"]
mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use flaky::FlakyProxy;
use guard::{Authority, Files, Guarded};
use support::World;
use testgate::sandbox::fault::{Fault, FaultKind};
use tokio::process::Command;

/// A runner brings its own patience for each test; this only ends one that hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// The gateway itself tries three times, so a caller who asks once is told that it is unavailable.
const UNAVAILABLE: u32 = 4;
/// Longer than a caller waits.
const THROTTLED_SECONDS: u32 = 120;

const TLS: &str = r#"
[server.tls]
cert_file = "tls.crt"
key_file = "tls.key"
[[auth.token]]
subject = "clients"
token_file = "token"
[[auth.grant]]
subjects = ["token:clients"]
role = "operator"
backends = ["*"]
"#;

/// A gateway that takes calls over TLS, from who has the token.
async fn guarded() -> Guarded {
    let authority = Authority::new("clients");
    let files = Files::new();
    files.write_pair(&authority.issue("localhost"));
    files.write("ca.pem", &authority.pem());
    files.write("token", "a-s3cret-of-clients\n");
    Guarded::start(files, TLS).await
}

/// Runs a client's tests and shows what they said where they fail.
async fn pass(mut command: Command, folder: &str) {
    let world = World::start().await;
    let moment = Fault::new("GetTestCase", FaultKind::Status { status: 503 }).times(UNAVAILABLE);
    let throttle = FaultKind::Throttle { retry_after: Some(THROTTLED_SECONDS) };
    for fault in [moment, Fault::new("GetPipeline", throttle)] {
        world.sandbox.inject("openmetadata", fault).unwrap();
    }
    let proxy = FlakyProxy::start(world.gateway.addresses()[0].to_string()).await;
    let guarded = guarded().await;
    command
        .env("TESTGATE_TLS_SERVER", guarded.address().replace("127.0.0.1", "localhost"))
        .env("TESTGATE_CA_FILE", guarded.files.path("ca.pem"))
        .env("TESTGATE_TOKEN_FILE", guarded.files.path("token"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(folder))
        .env("TESTGATE_SERVER", world.gateway.addresses()[0].to_string())
        .env("TESTGATE_FLAKY_SERVER", proxy.address.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(proxy.cuts() > 0, "no connection was cut, so nothing was resumed");
    let asked = world.calls("openmetadata", "GetTestCase");
    assert!(asked > UNAVAILABLE as usize, "nobody asked again: {asked} calls");
    assert!(world.calls("openmetadata", "GetPipeline") > 0, "nobody was throttled");
    let started = guarded.sandbox.calls("connect", "StartTestCaseExecution").len();
    assert_eq!(started, 1, "one run is started over TLS");
}

/// A command that `tests/run` gives by a variable.
fn given(variable: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or_else(|| {
        panic!(
            "{variable} is not set: run the README's test command, tests/run, which installs what it names"
        )
    }))
}

fn command<const N: usize>(program: &str, arguments: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[tokio::test]
async fn the_python_client_starts_once_follows_through_cuts_and_reads_errors() {
    let mut pytest = given("TESTGATE_PYTHON_CLIENTS");
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).env("PYTHONDONTWRITEBYTECODE", "1");
    pass(pytest, "python").await;
}

#[tokio::test]
async fn the_go_client_starts_once_follows_through_cuts_and_reads_errors() {
    pass(command("go", ["test", "-count=1", "./..."]), "go").await;
}

#[tokio::test]
async fn the_node_client_starts_once_follows_through_cuts_and_reads_errors() {
    pass(command("node", ["--test", "--test-concurrency=4", "dist/test/sandbox.test.js"]), "node").await;
}

#[tokio::test]
async fn the_java_client_starts_once_follows_through_cuts_and_reads_errors() {
    // Only what was compiled before is run.
    pass(command("mvn", ["-B", "-q", "surefire:test"]), "java").await;
}

#[tokio::test]
async fn the_checked_in_code_is_what_the_contract_generates() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/generate");
    let mut check = Command::new(script);
    let output = check.arg("--check").stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_client_says_what_a_registry_asks_for() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let read = |name: &str| std::fs::read_to_string(clients.join(name)).unwrap();
    let version = env!("CARGO_PKG_VERSION");

    let python: toml::Table = toml::from_str(&read("python/pyproject.toml")).unwrap();
    let project = python["project"].as_table().unwrap();
    assert_eq!(project["version"].as_str(), Some(version));
    let asked = "name description readme requires-python license license-files authors keywords classifiers dependencies urls";
    for key in asked.split(' ') {
        assert!(project.contains_key(key), "pyproject.toml: {key}");
    }

    let node: serde_json::Value = serde_json::from_str(&read("node/package.json")).unwrap();
    assert_eq!(node["version"], version);
    for key in
        "name description keywords homepage license author engines main types exports files dependencies"
            .split(' ')
    {
        assert!(!node[key].is_null(), "package.json: {key}");
    }

    let pom = read("java/pom.xml");
    let (head, _) = pom.split_once("<properties>").unwrap();
    assert!(head.contains(&format!("<version>{version}</version>")));
    for element in "groupId artifactId name description url licenses developers scm".split(' ') {
        assert!(head.contains(&format!("<{element}>")), "pom.xml: {element}");
    }

    assert!(read("go/go.mod").starts_with("module testgate.dev\n\ngo 1."));
    for client in ["python", "node", "java", "go"] {
        assert_eq!(read(&format!("{client}/LICENSE")), read("../LICENSE"), "{client}");
        assert!(read(&format!("{client}/README.md")).contains("```"), "{client}: its README shows no code");
    }
}
