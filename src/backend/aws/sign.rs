//! SigV4. The request's URL is already exactly what goes out on the wire.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::backend::{BackendError, ErrorKind};
use crate::model::Timestamp;

/// Adds authorization, date and session token. The default settings are these services': the path is encoded once
/// more in the canonical form, and the session token is signed.
pub(super) fn sign(
    mut request: http::Request<Bytes>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<http::Request<Bytes>, BackendError> {
    let failed = |text: &str| {
        BackendError::new(
            ErrorKind::BackendCredentialsInvalid,
            format!("the request can't be signed: {text}"),
        )
    };
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error.to_string()))?
        .into();
    let uri = request.uri().to_string();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let signable = SignableRequest::new(
        request.method().as_str(),
        &uri,
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        SignableBody::Bytes(request.body()),
    )
    .map_err(|error| failed(&error.to_string()))?;
    let (instructions, _) =
        sign_request(signable, &parameters).map_err(|error| failed(&error.to_string()))?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| failed("an odd header name"))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| failed("credentials that no header can hold"))?;
        value.set_sensitive(matches!(name.as_str(), "authorization" | "x-amz-security-token"));
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn signed(uri: &str, token: Option<&str>) -> http::Request<Bytes> {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", token.map(str::to_owned), None, "test");
        let request = http::Request::put(uri).header("content-type", "application/json");
        let request = request.body(Bytes::from_static(b"{}")).unwrap();
        sign(request, &credentials, "us-west-2", "connect", datetime!(2026-11-21 06:00:00 UTC)).unwrap()
    }

    #[test]
    fn the_session_token_is_sent_signed_and_sensitive() {
        let request = signed("https://connect.us-west-2.amazonaws.com/a%2Fb", Some("t/+="));
        let headers = request.headers();
        assert_eq!(headers["x-amz-security-token"], "t/+=");
        assert_eq!(headers["x-amz-date"], "20261121T060000Z");
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.contains("/20261121/us-west-2/connect/aws4_request"), "{authorization}");
        assert!(
            authorization.contains("content-type;host;x-amz-date;x-amz-security-token"),
            "{authorization}"
        );
        assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
        assert!(!format!("{request:?}").contains("Signature="));
    }

    #[test]
    fn without_a_token_none_is_sent() {
        assert!(
            !signed("http://127.0.0.1:8080/x?y=%20", None).headers().contains_key("x-amz-security-token")
        );
    }
}
