//! SigV4, for requests as the adapters make them: of their headers, the type of the content is all that there is to sign.
//! The request's URL is already exactly what goes out on the wire.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::backend::engine::escape;
use crate::backend::http::{Request, Url};
use crate::backend::{BackendError, ErrorKind};
use crate::model::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";
/// The SHA-256 of no bytes, as most requests have none.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What the canonical form escapes of a path that is escaped already: all but `A-Za-z0-9._~-/`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'~').remove(b'-').remove(b'/');

/// Credentials, with what they make of a moment: to derive a key costs more than to sign, and many requests share a second.
#[derive(Debug)]
pub(super) struct Identity {
    credentials: Credentials,
    derived: Mutex<Option<Derived>>,
}

#[derive(Debug)]
struct Derived {
    /// The moment, in seconds since 1970.
    unix: i64,
    /// `DAYTtimeZ`
    moment: String,
    /// `DAY/REGION/SERVICE/aws4_request`, for which the key is.
    scope: String,
    key: hmac::Key,
}

impl Identity {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, derived: Mutex::default() }
    }

    /// Which credentials they are; no secret.
    #[cfg(test)]
    pub(super) fn access_key_id(&self) -> &str {
        self.credentials.access_key_id()
    }

    /// What they make of a moment, out of what they made of another.
    fn derive(&self, known: Option<Derived>, now: Timestamp, region: &str, service: &str) -> Derived {
        let unix = now.unix_timestamp();
        let now = now.to_offset(time::UtcOffset::UTC);
        let (date, time) = (now.date(), now.time());
        let day = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
        let moment = format!("{day}T{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second());
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let key = match known {
            Some(Derived { scope: of, key, .. }) if of == scope => key,
            _ => self.key(&scope),
        };
        Derived { unix, moment, scope, key }
    }

    fn key(&self, scope: &str) -> hmac::Key {
        let secret = format!("AWS4{}", self.credentials.secret_access_key());
        let first = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        scope.split('/').fold(first, |key, part| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
        })
    }
}

/// Adds authorization, date and session token. As these services want it, the path is escaped once more in the
/// canonical form, and the session token is signed. An identity signs for one `region` and `service` only.
pub(super) fn sign(
    request: &mut Request,
    identity: &Identity,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), BackendError> {
    // Nothing panics while it is held.
    let mut derived = identity.derived.lock().unwrap_or_else(PoisonError::into_inner);
    let known = derived.take();
    let Derived { moment, scope, key, .. } = derived.insert(match known {
        Some(known) if known.unix == now.unix_timestamp() => known,
        known => identity.derive(known, now, region, service),
    });
    let Identity { credentials, .. } = identity;
    let (text, signed) = canonical(request, moment, credentials.session_token());
    let hash = digest(&SHA256, text.as_bytes());

    let mut text = String::with_capacity(512);
    text.extend([ALGORITHM, "\n", moment, "\n", scope, "\n"]);
    push_hex(&mut text, hash.as_ref());
    let signature = hmac::sign(key, text.as_bytes());

    text.clear();
    text.extend([ALGORITHM, " Credential=", credentials.access_key_id(), "/", scope]);
    text.extend([", SignedHeaders=", signed, ", Signature="]);
    push_hex(&mut text, signature.as_ref());

    let headers = request.headers_mut();
    headers.insert(DATE, value(moment)?);
    headers.insert(AUTHORIZATION, secret(&text)?);
    if let Some(token) = credentials.session_token() {
        headers.insert(TOKEN, secret(token)?);
    }
    Ok(())
}

/// The canonical form of a request, and which headers are signed.
fn canonical(request: &Request, moment: &str, token: Option<&str>) -> (String, &'static str) {
    let (url, body) = (request.url(), request.body().and_then(|body| body.as_bytes()).unwrap_or_default());
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let signed = match (kind, token) {
        (None, None) => "host;x-amz-date",
        (None, Some(_)) => "host;x-amz-date;x-amz-security-token",
        (Some(_), None) => "content-type;host;x-amz-date",
        (Some(_), Some(_)) => "content-type;host;x-amz-date;x-amz-security-token",
    };
    let mut text = String::with_capacity(512);
    text.extend([request.method().as_str(), "\n"]);
    text.extend(utf8_percent_encode(&without_empty_segments(url.path()), ESCAPED));
    text.push('\n');
    push_query(&mut text, url);
    text.push('\n');
    if let Some(kind) = kind {
        text.extend(["content-type:", kind, "\n"]);
    }
    // Without a port that is the scheme's own, as HTTP clients send it.
    text.extend(["host:", url.authority(), "\n", DATE, ":", moment, "\n"]);
    if let Some(token) = token {
        text.extend([TOKEN, ":", token, "\n"]);
    }
    text.extend(["\n", signed, "\n"]);
    if body.is_empty() {
        text.push_str(HASH_OF_NOTHING);
    } else {
        push_hex(&mut text, digest(&SHA256, body).as_ref());
    }
    (text, signed)
}

fn without_empty_segments(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut kept: String = segments.flat_map(|segment| ["/", segment]).collect();
    if path.ends_with('/') {
        kept.push('/');
    }
    kept.into()
}

/// The query, ordered.
fn push_query(text: &mut String, url: &Url) {
    let mut pairs: Vec<_> = url
        .query_pairs()
        .map(|(name, value)| (escape(&name).to_string(), escape(&value).to_string()))
        .collect();
    pairs.sort();
    for (at, (name, value)) in pairs.iter().enumerate() {
        text.extend([if at == 0 { "" } else { "&" }, name, "=", value]);
    }
}

fn value(text: &str) -> Result<HeaderValue, BackendError> {
    HeaderValue::from_str(text).map_err(|_| {
        let text = "the request can't be signed: credentials that no header can hold";
        BackendError::new(ErrorKind::BackendCredentialsInvalid, text)
    })
}

fn secret(text: &str) -> Result<HeaderValue, BackendError> {
    let mut value = value(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A hash in lower-case hexadecimal.
fn push_hex(text: &mut String, hash: &[u8]) {
    let (halves, _) = hash.as_chunks();
    for half in halves {
        // Text takes everything.
        write!(text, "{:032x}", u128::from_be_bytes(*half)).ok();
    }
}

#[cfg(test)]
mod tests;
