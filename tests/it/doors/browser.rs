//! What a browser has: `fetch`, with the clients that pages use for gRPC-Web and Connect.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::permission::guarded;
use crate::process::isolate;
use crate::support::PATIENCE;

#[tokio::test]
async fn pages_call_follow_and_read_errors_over_grpc_web_and_connect() {
    let gateway = guarded(false).await;
    let folder = tempfile::tempdir().unwrap();
    let sets =
        [("contract", testgate::proto::DESCRIPTOR_SET), ("errors", tonic_types::pb::FILE_DESCRIPTOR_SET)];
    for (name, set) in sets {
        std::fs::write(folder.path().join(name), set).unwrap();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web");
    assert!(
        here.join("node_modules").is_dir(),
        "tests/web has no node_modules: run the tests by tests/run, which installs them"
    );
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", "doors.test.mjs"]).current_dir(here);
    isolate(&mut node);
    node.env("TESTGATE_SERVER", format!("http://{}", gateway.address()))
        .env("TESTGATE_TOKEN", "operator-s3cret")
        .env("TESTGATE_DESCRIPTORS", folder.path())
        .stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, node.output()).await.expect("it does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("pass 12"), "{said}");
}
