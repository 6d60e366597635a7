//! The doors over TLS, where client and gateway agree on the version of HTTP in the handshake.

use super::curl::curl;
use super::{SERVICE, both};
use crate::guard::{Authority, Files, Guarded};

const TLS: &str = "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n";

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls_and_without_doors_only_one() {
    let authority = Authority::new("ours");
    let pair = authority.issue("gateway.example");
    let files = || {
        let files = Files::new();
        files.write_pair(&pair);
        files.write("ca.crt", &authority.pem());
        files
    };
    let open = Guarded::start_in(files(), TLS, both).await;
    let trusted = open.files.path("ca.crt").display().to_string();
    let there = format!("gateway.example:443:{}", open.address());
    let url = format!("https://gateway.example/{SERVICE}/ListBackends");
    let common =
        ["--cacert", &trusted, "--connect-to", &there, "--header", "content-type: application/json", &url];
    for version in ["--http1.1", "--http2"] {
        let answer = curl([version].into_iter().chain(common), b"{}").await;
        assert_eq!(
            (answer.status, answer.json()["backends"].as_array().unwrap().len()),
            (200, 3),
            "{answer:?}"
        );
    }
    let closed = Guarded::start(files(), TLS).await;
    let there = format!("gateway.example:443:{}", closed.address());
    let common =
        ["--cacert", &trusted, "--connect-to", &there, "--header", "content-type: application/json", &url];
    // Without a body, which the answer could overtake.
    let answer = curl(["--http2"].into_iter().chain(common), b"").await;
    assert_eq!(answer.status, 415);
    let refused = super::curl::fails(["--http1.1"].into_iter().chain(common)).await;
    assert!(!refused.is_empty(), "HTTP/1.1 was spoken");
}
