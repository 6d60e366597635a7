//! Who comes through a door is nobody else for it.

use serde_json::{Value, json};

use super::curl::post;
use super::{ORIGIN, both};
use crate::guard::{Files, Guarded};

const CALLERS: &str = r#"
[[auth.token]]
subject = "viewer"
token_file = "viewer"
[[auth.token]]
subject = "operator"
token_file = "operator"
[[auth.grant]]
subjects = ["token:operator"]
role = "operator"
backends = ["lex"]
[[auth.grant]]
subjects = ["token:viewer"]
role = "viewer"
backends = ["lex"]
[limits]
requests_per_second = 1
"#;

/// A gateway with both doors open, where a viewer and an operator may see Lex.
pub(super) async fn guarded(limits: bool) -> Guarded {
    let files = Files::new();
    for name in ["viewer", "operator"] {
        files.write(name, &format!("{name}-s3cret\n"));
    }
    let text = if limits { CALLERS } else { CALLERS.split("[limits]").next().unwrap() };
    Guarded::start_in(files, text, both).await
}

const JSON: &str = "content-type: application/json";
const TOKEN: &str = "authorization: Bearer viewer-s3cret";

#[tokio::test]
async fn nobody_in_particular_is_refused_and_who_is_known_may_do_what_the_grants_say() {
    let gateway = guarded(false).await;
    let address = gateway.address();
    for headers in [&[JSON][..], &[JSON, "authorization: Bearer viewer-s3cre"]] {
        let refused = post(&address, "ListBackends", headers, b"{}").await;
        let expected = (401, "unauthenticated".to_owned(), "CALLER_UNAUTHENTICATED".to_owned());
        assert_eq!(refused.told(), expected, "{refused:?}");
        // Not even what is wrong with the request is told to strangers.
        let wrong = post(&address, "ListBackends", headers, b"{\"nothing\": 1}").await;
        assert_eq!(wrong.told(), expected);
    }
    let seen = post(&address, "ListBackends", &[JSON, TOKEN], b"{}").await;
    let seen = seen.json();
    let names: Vec<&Value> =
        seen["backends"].as_array().unwrap().iter().map(|shown| &shown["name"]).collect();
    assert_eq!(names, [&json!("backends/lex")]);

    let of = |backend: &str| json!({"name": format!("backends/{backend}")}).to_string();
    let hidden = post(&address, "GetBackend", &[JSON, TOKEN], of("connect").as_bytes()).await;
    assert_eq!(hidden.told(), (403, "permission_denied".into(), "CALLER_NOT_PERMITTED".into()));
    let missing = post(&address, "GetBackend", &[JSON, TOKEN], of("nowhere").as_bytes()).await;
    assert_eq!(hidden.told(), missing.told(), "what is hidden can be told from what is not there");

    let start = json!({"parent": "backends/lex/tests/BOOKINGOK1"}).to_string();
    let start = post(&address, "StartExecution", &[JSON, TOKEN], start.as_bytes()).await;
    assert_eq!(start.told(), (403, "permission_denied".into(), "CALLER_NOT_PERMITTED".into()));
}

#[tokio::test]
async fn a_caller_s_limit_is_told_with_when_to_come_back() {
    let gateway = guarded(true).await;
    let address = gateway.address();
    let mut last = post(&address, "ListBackends", &[JSON, TOKEN], b"{}").await;
    // The limit lets through a few at once.
    for _ in 0..100 {
        if last.status != 200 {
            break;
        }
        last = post(&address, "ListBackends", &[JSON, TOKEN], b"{}").await;
    }
    assert_eq!(last.told(), (429, "resource_exhausted".into(), "CALLER_LIMIT_EXCEEDED".into()), "{last:?}");
    assert!(last.header("grpc-retry-pushback-ms").is_some(), "{last:?}");
    let details = last.json()["details"].clone();
    assert!(details.as_array().unwrap().iter().any(|detail| detail["type"] == "google.rpc.RetryInfo"));
}

#[tokio::test]
async fn only_pages_of_listed_origins_may_call() {
    let gateway = guarded(false).await;
    let address = gateway.address();
    let listed = format!("origin: {ORIGIN}");
    let asked = |origin: &'static str| {
        let address = address.clone();
        async move {
            let origin = format!("origin: {origin}");
            let url = super::curl::url(&address, "ListBackends");
            let arguments = [
                "--request",
                "OPTIONS",
                "--header",
                &origin,
                "--header",
                "access-control-request-method: POST",
                "--header",
                "access-control-request-headers: authorization,content-type",
                &url,
            ];
            super::curl::curl(arguments, b"").await
        }
    };
    // What a browser asks beforehand needs no token: browsers send none.
    let answer = asked(ORIGIN).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some(ORIGIN)),
        "{answer:?}"
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    for name in ["authorization", "content-type", "x-grpc-web", "connect-protocol-version"] {
        assert!(headers.split(',').any(|allowed| allowed == name), "{headers}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);

    let answer = post(&address, "ListBackends", &[JSON, TOKEN, &listed], b"{}").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(ORIGIN)));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("grpc-status-details-bin"));
    let refused = post(&address, "ListBackends", &[JSON, &listed], b"{}").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(ORIGIN)));

    for other in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        let answer = asked(other).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{other}");
        // Nor does it help to call without asking, as a page can whose name leads here.
        let origin = format!("origin: {other}");
        let answer = post(&address, "ListBackends", &[JSON, TOKEN, &origin], b"{}").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{other}");
    }
}
