//! The official OpenMetadata client as a judge of the simulated server. The test command sets up the interpreter.

use std::sync::Arc;

use testgate::sandbox::clock::Clock;
use testgate::sandbox::openmetadata::DEFAULT_TOKEN;
use testgate::sandbox::{Options, Sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_accepts_every_reply() {
    let Ok(python) = std::env::var("TESTGATE_PYTHON_OM") else {
        panic!(
            "TESTGATE_PYTHON_OM is not set: run tests/run, which installs the OpenMetadata client and sets it"
        );
    };
    let options = Options::standard(Arc::new(Clock::new(1.0))).on_free_ports();
    let sandbox = Sandbox::start(options).await.unwrap();
    // The client keeps a folder of its own below the home folder; it gets one that goes with the test.
    let home = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(python)
        .arg("openmetadata_client.py")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire"))
        .env("TESTGATE_OPENMETADATA_URL", format!("http://{}", sandbox.address("openmetadata").unwrap()))
        .env("TESTGATE_OPENMETADATA_TOKEN", DEFAULT_TOKEN)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", home.path())
        .env("NO_PROXY", "127.0.0.1")
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
