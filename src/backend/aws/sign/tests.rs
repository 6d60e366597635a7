use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::Method;
use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const MOMENT: Timestamp = datetime!(2026-11-21 06:00:00 UTC);
const REGION: &str = "us-west-2";
const SERVICE: &str = "connect";

fn credentials(token: Option<&str>) -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret", token.map(str::to_owned), None, "test")
}

fn request(method: Method, url: &str, body: &str) -> Request {
    let mut request = Request::new(method, Url::parse(url).unwrap());
    if !body.is_empty() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    *request.body_mut() = Some(body.to_owned().into());
    request
}

fn signed(url: &str, token: Option<&str>) -> Request {
    let mut request = request(Method::PUT, url, "{}");
    sign(&mut request, &Identity::new(credentials(token)), REGION, SERVICE, MOMENT).unwrap();
    request
}

/// The headers that AWS's own library adds.
fn by_the_library(request: &Request, token: Option<&str>, moment: Timestamp) -> Vec<(String, String)> {
    let identity = credentials(token).into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE)
        .time(SystemTime::from(moment))
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let body = SignableBody::Bytes(request.body().unwrap().as_bytes().unwrap());
    let signable =
        SignableRequest::new(request.method().as_str(), request.url().as_str(), headers, body).unwrap();
    let (instructions, _) = aws_sigv4::http_request::sign(signable, &parameters).unwrap().into_parts();
    instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_session_token_is_sent_signed_and_sensitive() {
    let request = signed("https://connect.us-west-2.amazonaws.com/a%2Fb", Some("t/+="));
    let headers = request.headers();
    assert_eq!(headers["x-amz-security-token"], "t/+=");
    assert_eq!(headers["x-amz-date"], "20261121T060000Z");
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("/20261121/us-west-2/connect/aws4_request"), "{authorization}");
    assert!(authorization.contains("content-type;host;x-amz-date;x-amz-security-token"), "{authorization}");
    assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
    assert!(!format!("{request:?}").contains("Signature="));
}

#[test]
fn without_a_token_none_is_sent() {
    assert!(!signed("http://127.0.0.1:8080/x?y=%20", None).headers().contains_key("x-amz-security-token"));
}

#[test]
fn a_token_that_no_header_can_hold_is_an_error() {
    let identity = Identity::new(credentials(Some("a\nb")));
    let mut request = request(Method::GET, "http://localhost/", "");
    let error = sign(&mut request, &identity, REGION, SERVICE, MOMENT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
    assert!(!error.message.contains('b') || !error.message.contains("a\nb"), "{error}");
}

#[test]
fn what_is_kept_of_an_identity_shows_no_secret() {
    let credentials = Credentials::new("AKIDEXAMPLE", "hunter2", Some("hunter3".to_owned()), None, "test");
    let identity = Identity::new(credentials);
    sign(&mut request(Method::GET, "http://localhost/", ""), &identity, REGION, SERVICE, MOMENT).unwrap();
    let shown = format!("{identity:?}");
    assert!(shown.contains("us-west-2") && !shown.contains("hunter"), "{shown}");
}

proptest! {
    #[test]
    fn signatures_are_those_of_the_library(
        host in prop::sample::select(vec!["https://lex.us-west-2.amazonaws.com", "http://127.0.0.1:8080", "http://[::1]:1/x.y"]),
        segments in prop::collection::vec(".{0,8}", 0..4),
        raw in "[/a.:@!$&'()*+,;=~_-]{0,12}",
        pairs in prop::collection::vec((".{0,4}", ".{0,8}"), 0..4),
        raw_query in prop::option::of("[a=&+%2Ff/?:;.]{0,12}"),
        body in prop::option::of(".{1,20}"),
        token in prop::option::of("[!-~]{1,20}"),
        seconds in prop::collection::vec(0_i64..10_000_000_000, 1..4),
    ) {
        let path: String = segments.iter().map(|segment| format!("/{}", escape(segment))).collect();
        let query: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let query = raw_query.unwrap_or(query.join("&"));
        let url = format!("{host}{path}/{raw}?{query}");
        let body = body.unwrap_or_default();
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        // One after the other, so that keys of other days are there already.
        let identity = Identity::new(credentials(token.as_deref()));
        for seconds in seconds {
            let moment = Timestamp::from_unix_timestamp(seconds).unwrap();
            let mut request = request(method.clone(), &url, &body);
            let expected = by_the_library(&request, token.as_deref(), moment);
            sign(&mut request, &identity, REGION, SERVICE, moment).unwrap();
            for (name, value) in expected {
                let ours = request.headers().get(&name).and_then(|value| value.to_str().ok());
                prop_assert_eq!(ours, Some(value.as_str()), "{} of {}", name, url);
            }
        }
    }
}
