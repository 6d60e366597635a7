//! The contract by buf's rules: well formed, and compatible with the one that was published.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

const PUBLISHED: &str = "proto/testgate-v0.1.binpb";

fn buf(folder: &Path, arguments: &[&str]) -> Output {
    let program = std::env::var_os("TESTGATE_BUF").expect(
        "TESTGATE_BUF is not set: run the README's test command, tests/run, which installs buf and sets it",
    );
    Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_contract_follows_the_usual_rules() {
    let lint = buf(Path::new(env!("CARGO_MANIFEST_DIR")), &["lint"]);
    assert!(lint.status.success(), "{}", said(&lint));
}

#[test]
fn the_contract_breaks_no_client_of_the_published_one() {
    let breaking = buf(Path::new(env!("CARGO_MANIFEST_DIR")), &["breaking", "--against", PUBLISHED]);
    assert!(breaking.status.success(), "{}", said(&breaking));
}

#[test]
fn a_renamed_field_would_be_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(copy.path().join("proto/testgate/v1")).unwrap();
    std::fs::copy(root.join("buf.yaml"), copy.path().join("buf.yaml")).unwrap();
    let file = "proto/testgate/v1/testgate.proto";
    let contract = std::fs::read_to_string(root.join(file)).unwrap();
    std::fs::write(copy.path().join(file), contract.replace("string upstream_status", "string raw_status"))
        .unwrap();
    let published = root.join(PUBLISHED);
    let breaking = buf(copy.path(), &["breaking", "--against", published.to_str().unwrap()]);
    assert!(!breaking.status.success());
    assert!(said(&breaking).contains("upstream_status"), "{}", said(&breaking));
}
