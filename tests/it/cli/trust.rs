//! Gateways that can't be talked to: one line says what is wrong and what to do.

use crate::guard::{Authority, Files, Guarded};
use crate::process::{Ended, finish, program};
use crate::support::World;

const MUTUAL: &str =
    "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\nclient_ca_file = \"clients.pem\"\n";

async fn told(arguments: &[&str]) -> String {
    let ended: Ended = finish(program(arguments)).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{ended:?}");
    ended.complaint().to_owned()
}

#[tokio::test]
async fn ends_that_do_not_agree_on_tls_are_told_apart() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = Files::new();
    files.write_pair(&ours.issue("localhost"));
    files.write("clients.pem", &clients.pem());
    files.write("ca.pem", &ours.pem());
    let stranger = Authority::new("stranger").issue("laptop.example");
    files.write("client.crt", &stranger.certificate);
    files.write("client.key", &stranger.key);
    let gateway = Guarded::start(files, MUTUAL).await;
    let port = gateway.address().rsplit(':').next().unwrap().to_owned();
    let path = |file: &str| gateway.files.path(file).display().to_string();
    let (ca, other) = (path("ca.pem"), path("clients.pem"));
    let (certificate, key) = (path("client.crt"), path("client.key"));
    let (named, numbered) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));

    // By the full name, so that nothing is looked up before the start.
    let run = ["run", "backends/lex/tests/BOOKINGOK1", "--server"];
    let in_the_clear = format!("http://localhost:{port}");
    let line = told(&["backends", "--server", &in_the_clear]).await;
    assert!(line.ends_with("https:// is for one with TLS"), "{line}");
    // The port may end a connection before it is read why: then a start is asked for again, which is said.
    let ended = finish(program(run.iter().chain([&in_the_clear.as_str()]))).await;
    let last = ended.err.lines().last().unwrap_or_default();
    assert!(last.ends_with("https:// is for one with TLS"), "{ended:?}");
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{ended:?}");
    let line = told(&["backends", "--server", &named, "--ca-file", &other]).await;
    assert!(line.contains("hint: --ca-file names the authority"), "{line}");
    let line = told(&["backends", "--server", &numbered, "--ca-file", &ca]).await;
    assert!(line.contains("for another name"), "{line}");
    let line = told(&["backends", "--server", &named, "--ca-file", &ca]).await;
    assert!(line.contains("wants to see --cert-file"), "{line}");
    let shown = ["--cert-file", &certificate, "--key-file", &key];
    let line = told(&[&["backends", "--server", &named, "--ca-file", &ca][..], &shown].concat()).await;
    assert!(line.contains("who vouches for --cert-file"), "{line}");
}

#[tokio::test]
async fn tls_to_a_port_without_it_is_told() {
    let world = World::start().await;
    let server = format!("https://{}", world.gateway.addresses()[0]);
    let line = told(&["backends", "--server", &server]).await;
    assert!(line.contains("http:// talks to it in the clear"), "{line}");
}

#[tokio::test]
async fn a_wrong_token_is_told_and_never_shown() {
    let files = Files::new();
    files.write("ci", "s3cret\n");
    files.write("wrong", "can4ry\n");
    let rest = "[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"ci\"\n";
    let gateway = Guarded::start(files, rest).await;
    let token = gateway.files.path("wrong").display().to_string();
    let server = gateway.address();
    for command in [&["get", "connect"][..], &["run", "backends/lex/tests/BOOKINGOK1"], &["watch", "-"]] {
        let line = told(&[command, &["--server", &server, "--token-file", &token]].concat()).await;
        assert!(line.contains("CALLER_UNAUTHENTICATED") && line.contains("hint: --token-file"), "{line}");
        assert!(!line.contains("can4ry"), "{line}");
    }
}
