//! Whose web pages may call.
//!
//! A browser asks before it lets a page of another origin call, and that is what the headers here answer. It does not
//! ask for a page that got its name to lead to the gateway's address (DNS rebinding). So a request that comes from any
//! page is refused unless its origin is listed, asked or not.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::doors::Origins;

/// How long a browser may remember the answer.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);

/// What a page may send, beside what every page may.
const SENT: [HeaderName; 9] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// What a page may see: how a call ended, why, and when to come back.
const SEEN: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-retry-pushback-ms"),
];

/// The rule for pages.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Origins,
    layer: CorsLayer,
}

impl Cors {
    pub(super) fn new(origins: Origins) -> Self {
        let allowed = match &origins {
            Origins::Any => AllowOrigin::any(),
            Origins::Listed(listed) => {
                AllowOrigin::list(listed.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
            }
        };
        let layer = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::POST])
            .allow_headers(SENT)
            .expose_headers(SEEN)
            .max_age(REMEMBERED);
        Self { origins, layer }
    }

    /// Whether a page of this origin may call.
    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Listed(listed) => listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()),
        }
    }

    /// Answers what browsers ask beforehand, and tells them what a page may see.
    pub(super) fn layer(&self) -> &CorsLayer {
        &self.layer
    }
}
