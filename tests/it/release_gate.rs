//! The release gate of `examples/ci`, as a CI job runs it.

use std::path::Path;

use tokio::process::Command;

use crate::guard::{Authority, Files, Guarded, Pair};
use crate::process::{Ended, finish, isolate};
use crate::support::World;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ci/release-gate.sh");
/// One test of each system, all of which pass.
const PASSING: &str = "connect/greeting\nlex/booking\nquality/Orders, daily";

/// A job with these variables, in a folder of its own.
fn job(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_testgate"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.arg(SCRIPT).current_dir(folder);
    isolate(&mut command);
    command.env("PATH", path).envs(variables.iter().copied());
    command
}

fn report(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("testgate.xml")).unwrap()
}

async fn gate(world: &World, folder: &Path, tests: &str, id: &str) -> Ended {
    let address = world.gateway.addresses()[0].to_string();
    finish(job(folder, &[("TESTGATE_SERVER", &address), ("GATE_TESTS", tests), ("GATE_ID", id)])).await
}

#[tokio::test]
async fn the_gate_opens_only_if_the_tests_of_all_three_systems_pass() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let passed = gate(&world, folder.path(), PASSING, "one").await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let text = report(folder.path());
    assert_eq!(text.matches("<testsuite ").count(), 3, "{text}");
    assert!(!text.contains("<failure"), "{text}");

    // The same attempt once more takes up its runs; only the new test starts.
    let tests = format!("{PASSING}\nlex/booking-mismatch");
    let failed = gate(&world, folder.path(), &tests, "one").await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let text = report(folder.path());
    assert_eq!(text.matches("<testsuite ").count(), 4, "{text}");
    assert!(text.contains("<failure"), "{text}");
    assert_eq!(world.calls("connect", "StartTestCaseExecution"), 1);
    assert_eq!(world.calls("lex", "StartTestExecution"), 2);
    assert_eq!(world.calls("openmetadata", "Trigger"), 1);
}

#[tokio::test]
async fn a_gate_that_is_told_too_little_or_finds_no_gateway_stays_shut() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = ("TESTGATE_SERVER", "127.0.0.1:1");
    for (variables, told) in
        [(&[("GATE_TESTS", "a/b")] as &[_], "TESTGATE_SERVER"), (&[nowhere], "GATE_TESTS names no test")]
    {
        let refused = finish(job(folder.path(), variables)).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.complaint().contains(told), "{refused:?}");
    }
    let variables = [nowhere, ("GATE_TESTS", "a/b"), ("GATE_TIMEOUT", "1s")];
    let away = finish(job(folder.path(), &variables)).await;
    assert!(matches!(away.code, Some(3 | 4)), "{away:?}");
}

#[tokio::test]
async fn the_gate_shows_a_token_that_it_was_given_as_a_variable_and_leaves_none_behind() {
    let authority = Authority::new("ours");
    let Pair { certificate, key } = authority.issue("localhost");
    let files = Files::new();
    for (name, content) in
        [("tls.crt", &*certificate), ("tls.key", &*key), ("ca.pem", &*authority.pem()), ("ci", "ci-s3cret")]
    {
        files.write(name, content);
    }
    let text = "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"ci\"\n\
                [[auth.grant]]\nsubjects = [\"token:ci\"]\nrole = \"operator\"\nbackends = [\"lex\"]\n";
    let guarded = Guarded::start(files, text).await;
    let server = format!("https://{}", guarded.address().replace("127.0.0.1", "localhost"));
    let ca = guarded.files.path("ca.pem");
    let folder = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let variables = [
        ("TESTGATE_SERVER", &*server),
        ("TESTGATE_CA_FILE", ca.to_str().unwrap()),
        ("GATE_TESTS", "lex/booking"),
        ("TMPDIR", temporary.path().to_str().unwrap()),
    ];
    let with = |token| [&variables[..], &[("TESTGATE_TOKEN", token)]].concat();
    let passed = finish(job(folder.path(), &with("ci-s3cret"))).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let refused = finish(job(folder.path(), &with("wrong"))).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("CALLER_UNAUTHENTICATED"), "{refused:?}");
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0, "the token's file is gone");
}
