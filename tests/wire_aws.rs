//! boto3 as a judge of the simulated Amazon Connect and Lex V2. The test command sets up the interpreter.

use std::sync::Arc;

use testgate::sandbox::clock::Clock;
use testgate::sandbox::{Options, Sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_accepts_every_reply() {
    let Ok(python) = std::env::var("TESTGATE_PYTHON_AWS") else {
        panic!("TESTGATE_PYTHON_AWS is not set: run tests/run, which installs boto3 and sets it");
    };
    let options = Options::standard(Arc::new(Clock::new(1.0))).on_free_ports();
    let sandbox = Sandbox::start(options).await.unwrap();
    let url = |name| format!("http://{}", sandbox.address(name).unwrap());
    let output = tokio::process::Command::new(python)
        .arg("aws_boto3.py")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire"))
        .env("TESTGATE_CONNECT_URL", url("connect"))
        .env("TESTGATE_LEX_URL", url("lex"))
        .env("TESTGATE_CONTROL_URL", format!("http://{}", sandbox.control_address()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("AWS_PROFILE")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the Python side failed; its output is above");
    assert!(text.contains(" passed, 0 failed"));
    sandbox.shutdown().await;
}
