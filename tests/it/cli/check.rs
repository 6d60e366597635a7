//! `check`: a file's problems, and what the backends let us do.

use crate::guard::{Authority, Files, Pair};
use crate::process::{Ended, Serving, finish, keys, program};
use crate::support::World;

/// Checks a configuration whose secrets are there: those of `/run/secrets` are looked for beside it.
pub(crate) async fn check(text: &str) -> Ended {
    let files = Files::new();
    files.write("openmetadata", "a-token");
    let secrets = files.path("").display().to_string();
    files.write("testgate.toml", &text.replace("/run/secrets/", &secrets));
    check_file(&files).await
}

async fn check_file(files: &Files) -> Ended {
    let file = files.path("testgate.toml");
    finish(program(["check", "--config", file.to_str().unwrap()])).await
}

#[tokio::test]
async fn every_problem_of_a_file_is_reported_at_once_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    let text = r#"[server]
listen = "localhost"
colour = "red"

[limits]
watched_names = 0
[[backend]]
id = "Connect"
kind = "amazon-connect"
region = "us-west-2"

[[backend]]
id = "lex"
kind = "lex-v9"

[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "https://openmetadata.example.com/api"
token = "secret-in-the-file"
"#;
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    for command in ["check", "serve"] {
        let ended = finish(program([command, "--config", &path])).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        for (line, key) in [
            (2, "server.listen"),
            (3, "server.colour"),
            (6, "limits.watched_names"),
            (8, "backend[0].id"),
            (7, "instance_id"),
            (14, "backend[1].kind"),
            (20, "backend[2].token"),
        ] {
            let told = ended.err.lines().any(|told| {
                told.starts_with(&path) && told.contains(key) && told.contains(&format!(":{line}:"))
                    || told.contains(key) && told.contains(&format!("line {line}"))
            });
            assert!(told, "{key} in line {line}: {}", ended.err);
        }
        assert!(!ended.err.contains("secret-in-the-file"), "{}", ended.err);
    }
}

#[tokio::test]
async fn the_example_file_has_no_problems() {
    let ended = check(include_str!("../../../examples/testgate.toml")).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.complaint().contains("no problems, 3 backends"), "{ended:?}");
}

#[tokio::test]
async fn every_file_that_is_named_is_opened_and_each_problem_told() {
    const SECRET: &str = "canary-in-a-file";
    let files = Files::new();
    let authority = Authority::new("ours");
    let (Pair { certificate, key }, other) =
        (authority.issue("gateway.example"), authority.issue("other.example"));
    let text = r#"
[server.tls]
cert_file = "tls.crt"
key_file = "tls.key"
client_ca_file = "clients.pem"
[[auth.token]]
subject = "ci"
token_file = "ci"
[[auth.token]]
subject = "other"
token_file = "other"
[[auth.jwt]]
issuer = "https://login.example.com/"
audience = "testgate"
jwks_file = "keys.json"
[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "https://openmetadata.example.com/api"
token_file = "openmetadata"
ca_file = "corporate.pem"
"#;
    files.write("testgate.toml", text);
    files.write("ci", &format!("{SECRET} and more"));
    files.write("tls.crt", SECRET);
    files.write("clients.pem", "");
    files.write("keys.json", "{}");
    files.write("openmetadata", "\n");
    files.write("corporate.pem", SECRET);
    let ended = check_file(&files).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for (key, file) in [
        ("server.tls.cert_file", "tls.crt"),
        ("server.tls.key_file", "tls.key"),
        ("server.tls.client_ca_file", "clients.pem"),
        ("auth.token[0]", "ci"),
        ("auth.token[1]", "other"),
        ("auth.jwt[0]", "keys.json"),
        ("backend[0].token_file", "openmetadata"),
        ("backend[0].ca_file", "corporate.pem"),
    ] {
        let file = files.path(file).display().to_string();
        let told = ended.err.lines().any(|line| line.contains(&format!("{key}: ")) && line.contains(&file));
        assert!(told, "{key} of {file}: {}", ended.err);
    }
    assert_eq!(ended.err.lines().count(), 8, "{}", ended.err);
    assert!(!ended.err.contains(SECRET), "{}", ended.err);

    // Each good by itself, and yet no pair.
    files.write("tls.crt", &certificate);
    files.write("tls.key", &other.key);
    files.write("clients.pem", &authority.pem());
    files.write("ci", SECRET);
    files.write("other", "another");
    files.write("keys.json", KEYS);
    files.write("openmetadata", "a-token");
    files.write("corporate.pem", &authority.pem());
    let ended = check_file(&files).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.complaint().contains("make no pair"), "{ended:?}");

    files.write("tls.key", &key);
    let ended = check_file(&files).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "one",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

#[tokio::test]
async fn a_file_that_cannot_be_read_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[server\n").unwrap();
    let missing = folder.path().join("missing.toml");
    for path in [&broken, &missing, &folder.path().to_owned()] {
        for command in ["check", "serve"] {
            let ended = finish(program([command, "--config", path.to_str().unwrap()])).await;
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.complaint().starts_with(path.to_str().unwrap()), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn a_probe_calls_each_backend_and_says_what_may_be_done_there() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let path = serving.config().to_str().unwrap();
    let mut good = program(["check", "--probe", "--config", path]);
    keys(&mut good);
    let good = finish(good).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    for backend in ["connect", "lex", "quality"] {
        assert!(good.err.contains(&format!("backends/{backend}: can list tests")), "{good:?}");
    }

    let mut refused = program(["check", "--probe", "--config", path]);
    keys(&mut refused);
    refused.env("AWS_SECRET_ACCESS_KEY", "not-the-secret").env("SANDBOX_TOKEN", "not-the-token");
    let refused = finish(refused).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for backend in ["connect", "lex", "quality"] {
        let told = format!("backends/{backend}: can't list tests: BACKEND_CREDENTIALS_INVALID");
        assert!(refused.err.contains(&told), "{refused:?}");
    }
    assert!(!refused.err.contains("not-the-"), "{refused:?}");
    for operation in ["StartTestCaseExecution", "StartTestExecution"] {
        assert_eq!(world.calls("connect", operation) + world.calls("lex", operation), 0);
    }
}
