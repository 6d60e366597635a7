use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;

const AKID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The moment of AWS's published examples.
fn example_time() -> SystemTime {
    parse_time("20150830T123600Z").unwrap()
}

fn ring() -> KeyRing {
    let mut ring = KeyRing::default();
    ring.add(AKID, SECRET, None);
    ring
}

fn request(raw_path: &str, raw_query: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: Method::GET,
        raw_path: raw_path.into(),
        raw_query: raw_query.into(),
        headers: map,
        body: Bytes::new(),
    }
}

fn authorization(service: &str, signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={AKID}/20150830/us-east-1/{service}/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    )
}

fn vanilla(raw_path: &str, raw_query: &str, signature: &str) -> Result<(), Refused> {
    let authorization = authorization("service", "host;x-amz-date", signature);
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", &authorization),
    ];
    verify(&request(raw_path, raw_query, &headers), &ring(), "us-east-1", "service", example_time())
}

/// Signs with this module's own pieces: for what the signature itself is not the question.
fn signed(mut request: Request, secret: &str, region: &str, service: &str) -> Request {
    let date = request.header("x-amz-date").unwrap().to_owned();
    let mut names: Vec<_> = request.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let canonical = canonical_request(&request, &names).unwrap();
    let day: String = date.chars().take(8).collect();
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let signature = signature(secret, &day, region, service, &to_sign);
    let header = format!(
        "{ALGORITHM} Credential={AKID}/{scope}, SignedHeaders={}, Signature={signature}",
        names.join(";")
    );
    request.headers.insert("authorization", HeaderValue::from_str(&header).unwrap());
    request
}

fn dated(date: &str) -> Request {
    request("/a", "", &[("host", "h"), ("x-amz-date", date)])
}

#[test]
fn the_published_get_vanilla_vector_passes() {
    vanilla("/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31").unwrap();
}

#[test]
fn the_published_query_order_vector_passes_in_any_order() {
    let signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
    vanilla("/", "Param2=value2&Param1=value1", signature).unwrap();
    vanilla("/", "Param1=value1&Param2=value2", signature).unwrap();
}

#[test]
fn the_published_signing_key_example_gives_its_signature() {
    let to_sign = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                   f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
    assert_eq!(
        signature(SECRET, "20150830", "us-east-1", "iam", to_sign),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
}

#[test]
fn a_changed_path_query_or_signature_is_refused() {
    let good = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    for result in [vanilla("/x", "", good), vanilla("/", "a=1", good), vanilla("/", "", "00")] {
        assert_eq!(result.unwrap_err().code(), "InvalidSignatureException");
    }
}

#[test]
fn the_canonical_path_is_the_wire_path_encoded_once_more() {
    assert_eq!(encode(normalized("/t/a%2Fb%20c/x").as_bytes(), true), "/t/a%252Fb%2520c/x");
    assert_eq!(encode(normalized("/t//a/./b/../c:d/").as_bytes(), true), "/t/a/c%3Ad/");
}

#[test]
fn the_canonical_query_is_strict() {
    assert_eq!(canonical_query("b=1&a=%2f&a=%2B&c").unwrap(), "a=%2B&a=%2F&b=1&c=");
    // A `+` on the wire is a plus, never a space, so a client that signed a space is refused.
    assert_eq!(canonical_query("a=x+y").unwrap(), "a=x%2By");
    assert_eq!(canonical_query("a=%zz"), None);
}

#[test]
fn requests_without_or_with_broken_authorization_are_told_apart() {
    let now = example_time();
    let missing = verify(&dated("20150830T123600Z"), &ring(), "us-east-1", "connect", now);
    assert_eq!(missing.unwrap_err().code(), "MissingAuthenticationToken");
    for header in ["Bearer x", "AWS4-HMAC-SHA256 Credential=a/b", "AWS4-HMAC-SHA256 x", "AWS4-HMAC-SHA256 "] {
        let mut broken = dated("20150830T123600Z");
        broken.headers.insert("authorization", HeaderValue::from_static(header));
        let refused = verify(&broken, &ring(), "us-east-1", "connect", now).unwrap_err();
        assert_eq!(refused.code(), "IncompleteSignature", "{header}");
    }
}

#[test]
fn an_unknown_key_a_wrong_secret_and_a_wrong_scope_are_told_apart() {
    let now = example_time();
    let good = signed(dated("20150830T123600Z"), SECRET, "us-east-1", "connect");
    verify(&good, &ring(), "us-east-1", "connect", now).unwrap();
    let unknown = verify(&good, &KeyRing::default(), "us-east-1", "connect", now).unwrap_err();
    assert_eq!(unknown, Refused::Unrecognized);
    let wrong = signed(dated("20150830T123600Z"), "other", "us-east-1", "connect");
    for (request, region, service) in
        [(&wrong, "us-east-1", "connect"), (&good, "eu-west-1", "connect"), (&good, "us-east-1", "lex")]
    {
        let refused = verify(request, &ring(), region, service, now).unwrap_err();
        assert_eq!(refused.code(), "InvalidSignatureException");
    }
}

#[test]
fn five_minutes_off_pass_and_more_does_not() {
    let good = signed(dated("20150830T123600Z"), SECRET, "us-east-1", "connect");
    let at = |now| verify(&good, &ring(), "us-east-1", "connect", now);
    at(example_time() + WINDOW).unwrap();
    at(example_time() - WINDOW).unwrap();
    let late = at(example_time() + Duration::from_secs(301)).unwrap_err().to_string();
    assert_eq!(
        late,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
    );
    let early = at(example_time() - Duration::from_secs(301)).unwrap_err().to_string();
    assert!(early.starts_with("Signature not yet current: 20150830T123600Z is still later than"), "{early}");
}

#[test]
fn every_amz_header_must_be_signed() {
    let mut extra = signed(dated("20150830T123600Z"), SECRET, "us-east-1", "connect");
    extra.headers.insert("x-amz-meta", HeaderValue::from_static("1"));
    let refused = verify(&extra, &ring(), "us-east-1", "connect", example_time()).unwrap_err();
    assert_eq!(refused.code(), "InvalidSignatureException");
}

#[test]
fn session_tokens_are_required_compared_and_expire() {
    let mut keys = ring();
    keys.add(AKID, SECRET, Some("to/ken+="));
    let with = |token: Option<&str>| {
        let mut request = dated("20150830T123600Z");
        if let Some(token) = token {
            request.headers.insert("x-amz-security-token", HeaderValue::from_str(token).unwrap());
        }
        signed(request, SECRET, "us-east-1", "connect")
    };
    let at = |keys: &KeyRing, token| verify(&with(token), keys, "us-east-1", "connect", example_time());
    at(&keys, Some("to/ken+=")).unwrap();
    assert_eq!(at(&keys, None).unwrap_err(), Refused::Unrecognized);
    assert_eq!(at(&keys, Some("other")).unwrap_err(), Refused::Unrecognized);
    assert!(keys.set_expired(AKID, true));
    assert_eq!(at(&keys, Some("to/ken+=")).unwrap_err(), Refused::Expired);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let mut keys = ring();
    keys.add(AKID, SECRET, Some("canary-token"));
    let text = format!("{keys:?}");
    assert!(!text.contains(SECRET) && !text.contains("canary-token"), "{text}");
}

proptest! {
    #[test]
    fn no_request_panics(path in "\\PC*", query in "\\PC*", header in "[ -~]{0,80}", date in "[ -~]{0,20}") {
        let headers = [("host", "h"), ("x-amz-date", date.as_str()), ("authorization", header.as_str())];
        let refused = verify(&request(&path, &query, &headers), &ring(), "r", "s", example_time());
        prop_assert!(refused.is_err());
    }
}
