//! Errors as Connect shows them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::{Code, Status};

use super::super::schema::Schema;

/// An error's JSON.
#[derive(Debug, Serialize)]
pub(super) struct Error {
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Debug, Serialize)]
struct Detail {
    r#type: String,
    value: String,
    /// The same for people: programs read the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Box<RawValue>>,
}

/// How a stream ends.
#[derive(Debug, Serialize)]
pub(super) struct End {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Error>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, Vec<String>>,
}

impl Error {
    pub(super) fn of(status: &Status, schema: &Schema) -> Self {
        let details = tonic_types::Status::decode(status.details()).unwrap_or_default().details;
        let detail = |detail: prost_types::Any| {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            Detail {
                debug: schema.shown(name, &detail.value),
                r#type: name.to_owned(),
                value: STANDARD_NO_PAD.encode(&detail.value),
            }
        };
        Self {
            code: name(status.code()),
            message: status.message().to_owned(),
            details: details.into_iter().map(detail).collect(),
        }
    }
}

impl End {
    /// As the trailers of a reply tell it.
    pub(super) fn of(status: &Status, trailers: &HeaderMap, schema: &Schema) -> Self {
        let mut metadata = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in trailers {
            // Values of gRPC's metadata are printable, bytes being base64.
            if let Ok(value) = value.to_str() {
                metadata.entry(name.to_string()).or_default().push(value.to_owned());
            }
        }
        let error = (status.code() != Code::Ok).then(|| Error::of(status, schema));
        Self { error, metadata }
    }
}

/// The JSON of what is known to have one.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The name of a code.
fn name(code: Code) -> &'static str {
    match code {
        // Not an error; whoever asks had none to show.
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The status of HTTP that goes with a code.
pub(super) fn http(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
