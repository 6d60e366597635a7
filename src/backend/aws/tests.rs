use super::*;
use crate::backend::engine::{Engine, Safety};
use crate::backend::http::Proxy;
use crate::backend::quota::QuotaGroup;
use crate::backend::testing::{Reply, Upstream, call};
use crate::config::backend::StaticCredentials;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::time::Duration;

const GET: Operation = Operation { name: "Get", safety: Safety::Read };

fn config(url: &str) -> AwsConfig {
    AwsConfig {
        region: Some("us-west-2".into()),
        endpoint_url: Some(url.into()),
        static_credentials: Some(StaticCredentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret".into(),
        }),
        ..AwsConfig::default()
    }
}

fn outgoing(path: &str) -> Outgoing {
    Outgoing {
        method: Method::GET,
        path_and_query: path.into(),
        body: Bytes::new(),
        content_type: "application/json",
    }
}

async fn run(upstream: &Upstream, path: &str) -> Result<(), BackendError> {
    let clients = HttpClients::default();
    let http = clients.get(None, Proxy::Never);
    let clock = Clock::from_fn(|| time::macros::datetime!(2026-11-21 06:00:00 UTC));
    let quota = Arc::new(QuotaGroup::new("test", 100.0));
    let metrics = crate::metrics::Metrics::new().backend("b");
    let engine = Engine::new("connect", http, quota, Duration::from_secs(5), 1000, clock.clone(), metrics);
    let aws = Aws::new(&CONNECT, config(&upstream.url()), clients, None, clock);
    engine.call(&aws, &GET, &outgoing(path), &call(), |_| Ok(())).await
}

#[tokio::test]
async fn a_skewed_clock_is_corrected_from_the_replys_date() {
    let skewed = Reply::json(403, r#"{"message":"Signature expired"}"#)
        .with("x-amzn-errortype", "InvalidSignatureException")
        .with("date", "Sat, 21 Nov 2026 06:20:00 GMT");
    let upstream = Upstream::start([skewed, Reply::json(200, "{}")]).await;
    run(&upstream, "/x").await.unwrap();
    let dates: Vec<_> =
        upstream.arrived().iter().map(|a| a.header("x-amz-date").unwrap().to_owned()).collect();
    assert_eq!(dates.first().map(String::as_str), Some("20261121T060000Z"));
    assert!(dates[1].starts_with("20261121T0620"), "{dates:?}");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_then_reported() {
    let expired = Reply::json(403, "{}").with("x-amzn-errortype", "ExpiredTokenException");
    let upstream = Upstream::start([expired]).await;
    let error = run(&upstream, "/x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
    assert_eq!(error.upstream.unwrap().code, "ExpiredTokenException");
    assert_eq!(upstream.arrived().len(), 2);
}

#[tokio::test]
async fn the_wire_path_is_the_escaped_one() {
    let upstream = Upstream::start([Reply::json(200, "{}")]).await;
    run(&upstream, "/test-cases/a%2Fb%20c/%C3%BC?t=%2B%2F%3D").await.unwrap();
    let arrived = upstream.arrived().remove(0);
    assert_eq!(arrived.target, "/test-cases/a%2Fb%20c/%C3%BC?t=%2B%2F%3D");
    assert_eq!((arrived.method.as_str(), arrived.body.as_slice()), ("GET", b"".as_slice()));
    assert_eq!(arrived.header("content-type"), None);
}

#[test]
fn the_same_account_and_region_share_a_bucket() {
    let a = AwsConfig { region: Some("a".into()), ..AwsConfig::default() };
    let b = AwsConfig { region: Some("b".into()), ..AwsConfig::default() };
    let elsewhere = AwsConfig { endpoint_url: Some("http://x".into()), ..a.clone() };
    assert_eq!(quota_group(&CONNECT, &a, None), quota_group(&CONNECT, &elsewhere, None));
    assert_ne!(quota_group(&CONNECT, &a, None), quota_group(&CONNECT, &b, None));
    assert_ne!(quota_group(&CONNECT, &a, None), quota_group(&LEX, &a, None));
    assert_eq!(quota_group(&CONNECT, &a, Some("g")), quota_group(&CONNECT, &b, Some("g")));
}
