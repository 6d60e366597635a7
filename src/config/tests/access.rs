//! `[server.tls]`, `[auth]`, `[limits]`.

use super::*;
use crate::config::access::{ClientCa, GrantConfig, IssuerConfig, KeySource, Role, TokenConfig};

const TOKEN: &str = "[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"ci.token\"\n";
const ISSUER: &str = "[[auth.jwt]]\nissuer = \"https://login.example.com/\"\naudience = \"testgate\"\n";
const GRANT: &str = "[[auth.grant]]\nsubjects = [\"token:ci\"]\nrole = \"viewer\"\nbackends = [\"*\"]\n";

#[test]
fn tls_and_callers_are_read_whole() {
    let text = format!(
        "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"/abs/tls.key\"\nclient_ca_file = \"clients.pem\"\n\
         client_auth = \"optional\"\n{TOKEN}{ISSUER}jwks_url = \"https://login.example.com/keys\"\n\
         [[auth.grant]]\nsubjects = [\"token:ci\", \"jwt:https://login.example.com/#svc-*\"]\n\
         role = \"operator\"\nbackends = [\"connect-*\", \"lex-eu\"]\ntranscripts = true\n\
         [limits]\nrequests_per_second = 200\nconcurrent_streams = 1000\nwatched_names = 20000\n\
         starts_in_flight = 20\n"
    );
    let config = parse(&text).unwrap();
    let tls = config.server.tls.clone().unwrap();
    assert_eq!(tls.cert_file, Path::new("/etc/testgate/tls.crt"));
    assert_eq!(tls.key_file, Path::new("/abs/tls.key"));
    let ca_file = "/etc/testgate/clients.pem".into();
    assert_eq!(tls.clients, Some(ClientCa { ca_file, required: false }));
    let auth = config.auth.clone().unwrap();
    let source = SecretSource::File("/etc/testgate/ci.token".into());
    assert_eq!(auth.tokens, [TokenConfig { subject: "ci".to_owned(), source }]);
    let keys = KeySource::Url { url: "https://login.example.com/keys".to_owned(), ca_file: None };
    let issuer = "https://login.example.com/".to_owned();
    assert_eq!(auth.issuers, [IssuerConfig { issuer, audiences: vec!["testgate".to_owned()], keys }]);
    assert_eq!(
        auth.grants,
        [GrantConfig {
            subjects: vec!["token:ci".to_owned(), "jwt:https://login.example.com/#svc-*".to_owned()],
            role: Role::Operator,
            backends: vec!["connect-*".to_owned(), "lex-eu".to_owned()],
            transcripts: true,
        }]
    );
    let limits = config.limits.clone();
    assert_eq!((limits.requests_per_second, limits.concurrent_streams), (Some(200.0), Some(1000)));
    assert_eq!((limits.watched_names, limits.starts_in_flight), (Some(20_000), Some(20)));
    let dump = config.redacted();
    assert_eq!(dump["auth"]["token"][0]["token_file"], "/etc/testgate/ci.token");
    assert_eq!(dump["server"]["tls"]["client_auth"], "optional");
}

#[test]
fn without_a_table_everybody_is_taken_as_they_come_and_with_an_empty_one_nobody() {
    let config = parse("").unwrap();
    assert_eq!((config.auth, config.limits), (None, LimitsConfig::default()));
    assert_eq!(parse("[auth]\n").unwrap().auth, Some(AuthConfig::default()));
}

#[test]
fn mutual_tls_is_required_where_nothing_else_is_said() {
    let text = "[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"\nclient_ca_file = \"a\"\n";
    assert!(parse(text).unwrap().server.tls.unwrap().clients.unwrap().required);
    assert_problem(
        "[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"\nclient_auth = \"required\"\n",
        4,
        "server.tls.client_auth",
        "goes with client_ca_file",
    );
    assert_problem("[server.tls]\ncert_file = \"c\"\n", 1, "server.tls.key_file", "is required");
}

#[test]
fn what_would_let_in_the_wrong_ones_is_refused() {
    let token = |rest: &str| format!("[[auth.token]]\nsubject = \"ci\"\n{rest}\n");
    assert_problem(&token(""), 1, "auth.token[0].token_file", "is required, or token_env");
    assert_problem(&format!("{TOKEN}{TOKEN}"), 5, "auth.token[1].subject", "has a token already");
    assert_problem(
        &format!("{TOKEN}token = \"canary\"\n"),
        4,
        "auth.token[0].token",
        "`token_env` or `token_file`",
    );
    assert_problem(
        "[[auth.token]]\nsubject = \"a b\"\ntoken_env = \"T\"\n",
        2,
        "auth.token[0].subject",
        "must match",
    );
    let issuer = |rest: &str| format!("{ISSUER}{rest}\n");
    assert_problem(&issuer(""), 1, "auth.jwt[0].jwks_url", "is required");
    assert_problem(
        &issuer("jwks_url = \"http://login.example.com/keys\""),
        4,
        "auth.jwt[0].jwks_url",
        "https://",
    );
    assert_problem(
        &issuer("jwks_url = \"https://x/keys\"\njwks_file = \"keys\""),
        4,
        "auth.jwt[0].jwks_url",
        "exclude each other",
    );
    assert_problem(
        "[[auth.jwt]]\nissuer = \"https://x/\"\njwks_file = \"keys\"\n",
        1,
        "auth.jwt[0].audience",
        "is required",
    );
    let one = issuer("jwks_file = \"keys\"");
    assert_problem(&format!("{one}{one}"), 6, "auth.jwt[1].issuer", "named twice");
    assert!(parse(&issuer("jwks_url = \"http://127.0.0.1:8080/keys\"")).is_ok());
}

#[test]
fn a_grant_says_who_what_and_where() {
    assert!(parse(GRANT).is_ok());
    let with = |from: &str, to: &str| GRANT.replace(from, to);
    assert_problem(&with("token:ci", "ci"), 2, "auth.grant[0].subjects", "begin with token:, jwt: or mtls:");
    assert_problem(&with("token:ci", "mtls:"), 2, "auth.grant[0].subjects", "begin with");
    assert_problem(&with("viewer", "admin"), 3, "auth.grant[0].role", "\"viewer\", \"operator\"");
    assert_problem(&with("\"*\"", "\"Bad\""), 4, "auth.grant[0].backends", "a backend's id");
    assert_problem(&with("role = \"viewer\"\n", ""), 1, "auth.grant[0].role", "is required");
    assert_problem(&with("backends = [\"*\"]\n", ""), 1, "auth.grant[0].backends", "is required");
}

#[test]
fn limits_are_bounded() {
    for key in
        ["concurrent_streams = 0", "watched_names = -1", "starts_in_flight = 1.5", "requests_per_second = 0"]
    {
        let problem = problem(&format!("[limits]\n{key}\n"));
        assert_eq!(problem.line, Some(2), "{problem}");
        assert!(problem.message.contains("from"), "{problem}");
    }
}
