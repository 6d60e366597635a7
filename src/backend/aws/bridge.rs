//! Lets the AWS credential providers (STS, SSO, container and instance metadata) use our HTTP clients.

use std::path::Path;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient as SmithyHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use crate::backend::http::{HttpClient, HttpClients, HttpError, HttpErrorKind, Proxy, with_parsed_url};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Credentials are a few kilobytes.
const MAX_BODY: usize = 1 << 20;

/// Sends credential requests: those to the machine itself past any proxy.
#[derive(Clone, Debug)]
pub(super) struct Bridge {
    outside: HttpClient,
    machine: HttpClient,
}

impl Bridge {
    pub(super) fn new(clients: &HttpClients, ca_file: Option<&Path>) -> Self {
        Self {
            outside: clients.get(ca_file, Proxy::Environment),
            machine: clients.get(ca_file, Proxy::Never),
        }
    }
}

impl SmithyHttpClient for Bridge {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Bridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let bridge = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let host = request.uri().host().unwrap_or_default();
            let client = if is_machine(host) { &bridge.machine } else { &bridge.outside };
            let (parts, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).unwrap_or_default();
            let request = with_parsed_url(http::Request::from_parts(parts, body)).map_err(failed)?;
            let response = client.send(request, TIMEOUT, MAX_BODY).await.map_err(failed)?;
            let mut reply = http::Response::new(SdkBody::from(response.body));
            *reply.status_mut() = response.status;
            *reply.headers_mut() = response.headers;
            HttpResponse::try_from(reply).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn failed(error: HttpError) -> ConnectorError {
    match error.kind {
        HttpErrorKind::Timeout => ConnectorError::timeout(error.into()),
        HttpErrorKind::Request | HttpErrorKind::Setup => ConnectorError::user(error.into()),
        HttpErrorKind::Connect | HttpErrorKind::Tls | HttpErrorKind::Broken | HttpErrorKind::TooLarge => {
            ConnectorError::io(error.into())
        }
    }
}

/// The link-local and loopback addresses at which a machine or container hands out its own credentials.
fn is_machine(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse() {
        Ok(std::net::IpAddr::V4(address)) => address.is_link_local() || address.is_loopback(),
        // fd00:ec2::254 is the instance, fd00:ec2::23 the container.
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::is_machine;

    #[test]
    fn only_the_machines_own_addresses_pass_by_the_proxy() {
        for host in ["169.254.169.254", "169.254.170.2", "127.0.0.1", "[fd00:ec2::254]", "localhost"] {
            assert!(is_machine(host), "{host}");
        }
        for host in ["sts.amazonaws.com", "10.0.0.1", "169.254.evil.example", ""] {
            assert!(!is_machine(host), "{host}");
        }
    }
}
