//! TLS and mutual TLS over real sockets, and certificates that change under way.

use testgate::proto::v1;
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::guard::{Authority, Bearer, Files, Guarded, Pair};
use crate::process::{Ended, eventually, finish, program};
use crate::support::PATIENCE;

const TLS: &str = "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n";
const MUTUAL: &str =
    "[server.tls]\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\nclient_ca_file = \"clients.pem\"\n";

/// Files with a pair that an authority has signed.
fn files(authority: &Authority) -> Files {
    let files = Files::new();
    files.write_pair(&authority.issue("gateway.example"));
    files
}

async fn backends(channel: Channel) -> Result<usize, tonic::Status> {
    let request = v1::ListBackendsRequest::default();
    Ok(TestExecutionServiceClient::new(channel).list_backends(request).await?.into_inner().backends.len())
}

#[tokio::test]
async fn calls_go_over_tls_to_those_who_trust_the_certificate_and_nothing_goes_in_the_clear() {
    let authority = Authority::new("ours");
    let gateway = Guarded::start(files(&authority), TLS).await;
    assert_eq!(backends(gateway.channel(&authority, None).await.unwrap()).await.unwrap(), 3);
    assert!(gateway.channel(&Authority::new("another"), None).await.is_err());

    let mut plain = TcpStream::connect(gateway.address()).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    // An alert and the end; whether the end is a reset is the system's business.
    let read = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut said)).await.expect("it stays open");
    assert!(read.is_err() || !said.windows(4).any(|part| part == b"grpc"));
    assert!(said.len() < 64, "{said:?}");
}

#[tokio::test]
async fn row_42_a_certificate_is_replaced_under_way_and_a_torn_pair_never_counts() {
    let authority = Authority::new("old");
    let gateway = Guarded::start(files(&authority), TLS).await;
    let before = gateway.channel(&authority, None).await.unwrap();

    let next = Authority::new("next");
    let pair = next.issue("gateway.example");
    // The certificate alone, for as long as the gateway takes to look twice: new clients still get the old pair.
    let seen = gateway.files.path("tls.crt");
    gateway.files.write("tls.crt", &pair.certificate);
    let mut connections = 0;
    eventually("a few clients connect", async || {
        assert_eq!(gateway.files.read("tls.crt"), std::fs::read_to_string(&seen).unwrap());
        assert_eq!(backends(gateway.channel(&authority, None).await.unwrap()).await.unwrap(), 3);
        connections += 1;
        connections >= 200
    })
    .await;

    gateway.files.write("tls.key", &pair.key);
    eventually("the new pair is shown", async || gateway.channel(&next, None).await.is_ok()).await;
    assert!(gateway.channel(&authority, None).await.is_err());
    assert_eq!(backends(before).await.unwrap(), 3, "whoever was connected stays so");
}

#[tokio::test]
async fn row_42_bad_authorities_for_clients_leave_the_last_ones_in_force() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = files(&ours);
    files.write("clients.pem", &clients.pem());
    let gateway = Guarded::start(files, MUTUAL).await;
    let client = clients.issue("client.example");
    let comes_in = async |pair: &Pair| match gateway.channel(&ours, Some(pair)).await {
        // With TLS 1.3 a client learns only at its first read that its certificate was refused.
        Ok(channel) => backends(channel).await.is_ok(),
        Err(_) => false,
    };
    assert!(comes_in(&client).await);
    gateway.files.write("clients.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let later = Authority::new("later");
    let other = later.issue("client.example");
    assert!(!comes_in(&other).await);
    gateway.files.write("clients.pem", &format!("{}{}", clients.pem(), later.pem()));
    eventually("the second authority counts", async || {
        assert!(comes_in(&client).await, "the first one always counts");
        comes_in(&other).await
    })
    .await;
}

#[tokio::test]
async fn with_mutual_tls_only_those_come_in_for_whom_the_authority_vouches() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = files(&ours);
    files.write("clients.pem", &clients.pem());
    let grant = "[[auth.grant]]\nsubjects = [\"mtls:spiffe://example.com/ns/*/sa/deploy\"]\nrole = \"operator\"\nbackends = [\"lex\"]\n";
    let gateway = Guarded::start(files, &format!("{MUTUAL}{grant}")).await;
    let seen = async |shown: Option<&Pair>| match gateway.channel(&ours, shown).await {
        Ok(channel) => backends(channel).await.map_err(|status| status.code()),
        Err(_) => Err(Code::Unavailable),
    };
    assert_eq!(seen(Some(&clients.issue("spiffe://example.com/ns/prod/sa/deploy"))).await, Ok(1));
    assert_eq!(seen(Some(&clients.issue("spiffe://example.com/ns/prod/sa/other"))).await, Ok(0), "no grant");
    for stranger in [None, Some(&Authority::new("clients").issue("spiffe://example.com/ns/prod/sa/deploy"))] {
        let refused = seen(stranger).await.unwrap_err();
        assert!(matches!(refused, Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
    }
}

#[tokio::test]
async fn where_certificates_are_optional_a_token_will_do() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = files(&ours);
    files.write("clients.pem", &clients.pem());
    files.write("ci", "s3cret");
    let rest = "client_auth = \"optional\"\n[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"ci\"\n\
                [[auth.grant]]\nsubjects = [\"token:ci\"]\nrole = \"viewer\"\nbackends = [\"*\"]\n\
                [[auth.grant]]\nsubjects = [\"mtls:client.example\"]\nrole = \"viewer\"\nbackends = [\"lex\"]\n";
    let gateway = Guarded::start(files, &format!("{MUTUAL}{rest}")).await;
    let bare = gateway.channel(&ours, None).await.unwrap();
    assert_eq!(backends(bare.clone()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut with_token = TestExecutionServiceClient::with_interceptor(bare, Bearer::new("s3cret"));
    let request = v1::ListBackendsRequest::default();
    assert_eq!(with_token.list_backends(request).await.unwrap().into_inner().backends.len(), 3);
    let shown = clients.issue("client.example");
    assert_eq!(backends(gateway.channel(&ours, Some(&shown)).await.unwrap()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_command_line_shows_a_token_and_trusts_an_authority() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = Files::new();
    files.write_pair(&ours.issue("localhost"));
    files.write("clients.pem", &clients.pem());
    files.write("ca.pem", &ours.pem());
    files.write("ci", "s3cret\n");
    files.write("bad", "wrong\n");
    let shown = clients.issue("laptop.example");
    files.write("client.crt", &shown.certificate);
    files.write("client.key", &shown.key);
    let rest = "client_auth = \"optional\"\n[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"ci\"\n\
                [[auth.grant]]\nsubjects = [\"token:ci\", \"mtls:laptop.example\"]\nrole = \"viewer\"\n\
                backends = [\"lex\"]\n";
    let gateway = Guarded::start(files, &format!("{MUTUAL}{rest}")).await;
    let server = gateway.address().replace("127.0.0.1", "localhost");
    let run = async |flags: &[(&str, &str)]| -> Ended {
        let mut command = program(["backends", "-o", "name", "--server", &server]);
        for (flag, file) in flags {
            command.arg(flag).arg(gateway.files.path(file));
        }
        finish(command).await
    };
    let by_token = run(&[("--ca-file", "ca.pem"), ("--token-file", "ci")]).await;
    assert_eq!((by_token.code, by_token.out.trim()), (Some(0), "backends/lex"), "{by_token:?}");
    let by_certificate =
        run(&[("--ca-file", "ca.pem"), ("--cert-file", "client.crt"), ("--key-file", "client.key")]).await;
    assert_eq!(
        (by_certificate.code, by_certificate.out.trim()),
        (Some(0), "backends/lex"),
        "{by_certificate:?}"
    );
    let refused = run(&[("--ca-file", "ca.pem"), ("--token-file", "bad")]).await;
    assert_eq!(refused.code, Some(3));
    assert!(refused.complaint().contains("CALLER_UNAUTHENTICATED"), "{refused:?}");
    let stranger = run(&[("--ca-file", "clients.pem"), ("--token-file", "ci")]).await;
    assert_eq!(stranger.code, Some(3), "{stranger:?}");
    let missing = run(&[("--ca-file", "ca.pem"), ("--token-file", "missing")]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
}
