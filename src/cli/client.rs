//! The connection to a gateway, and reading whole lists through it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Global;
use super::failure::Failure;
use super::json::Contract;
use super::render::note;
use super::rows::Row;
use crate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use crate::proto::v1::{
    Artifact, Backend, Execution, ListArtifactsRequest, ListArtifactsResponse, ListBackendsRequest,
    ListBackendsResponse, ListExecutionsRequest, ListExecutionsResponse, ListResultItemsRequest,
    ListResultItemsResponse, ListTestsRequest, ListTestsResponse, ResultItem, Test,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The most a gateway puts on one page.
const PAGE_SIZE: i32 = 1000;

/// A connection to a gateway; reconnects by itself for the next call.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: TestExecutionServiceClient<Channel>,
    timeout: Duration,
}

impl Gateway {
    /// Connects at once, so that a wrong address shows before anything else happens.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        let address = address(&global.server)?;
        let endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| Failure::Usage(format!("--server {}: {error}", global.server)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|error| {
            Failure::Trouble(format!(
                "can't reach the gateway at {address}: {}; hint: `testgate serve --sandbox` starts one, --server \
                 names another",
                root_cause(&error)
            ))
        })?;
        Ok(Self { client: TestExecutionServiceClient::new(channel), timeout: global.request_timeout })
    }

    /// A client for one call.
    pub(crate) fn client(&self) -> TestExecutionServiceClient<Channel> {
        self.client.clone()
    }

    /// A request that gives up after `--request-timeout`.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// `--request-timeout`.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The address as a URI: a bare `host:port` is plain HTTP.
fn address(server: &str) -> Result<String, Failure> {
    match server.split_once("://") {
        Some(("http" | "unix", _)) => Ok(server.to_owned()),
        Some((scheme, _)) => Err(Failure::Usage(format!(
            "--server {server}: scheme {scheme} is not supported, only http and unix"
        ))),
        None if server.starts_with("unix:") => Ok(server.to_owned()),
        None if server.is_empty() => Err(Failure::Usage("--server is empty".into())),
        None => Ok(format!("http://{server}")),
    }
}

/// A list call of the contract.
pub(crate) trait ListRequest: Clone {
    /// What the list holds.
    type Item: Row;
    /// One page of it.
    type Response: Contract;
    /// Asks for a page.
    async fn send(self, gateway: &Gateway, page_size: i32, token: String) -> Result<Self::Response, Status>;
    /// A page as items, the next token, and the backends that were not reached.
    fn split(response: Self::Response) -> (Vec<Self::Item>, String, Vec<String>);
    /// All that was read as one reply.
    fn join(items: Vec<Self::Item>, next: String, unreachable: Vec<String>) -> Self::Response;
}

macro_rules! list_request {
    ($request:ident, $response:ident, $item:ident, $call:ident, $field:ident $(, $unreachable:ident)?) => {
        impl ListRequest for $request {
            type Item = $item;
            type Response = $response;

            async fn send(mut self, gateway: &Gateway, page_size: i32, token: String) -> Result<$response, Status> {
                self.page_size = page_size;
                self.page_token = token;
                Ok(gateway.client().$call(gateway.request(self)).await?.into_inner())
            }

            #[allow(unused_mut, unused_assignments, reason = "not every list has `unreachable`")]
            fn split(response: $response) -> (Vec<$item>, String, Vec<String>) {
                let mut unreachable = Vec::new();
                $(unreachable = response.$unreachable;)?
                (response.$field, response.next_page_token, unreachable)
            }

            fn join(items: Vec<$item>, next: String, unreachable: Vec<String>) -> $response {
                let _unused = &unreachable;
                $response { $field: items, next_page_token: next $(, $unreachable: unreachable)? }
            }
        }
    };
}

list_request!(ListBackendsRequest, ListBackendsResponse, Backend, list_backends, backends);
list_request!(ListTestsRequest, ListTestsResponse, Test, list_tests, tests, unreachable);
list_request!(
    ListExecutionsRequest,
    ListExecutionsResponse,
    Execution,
    list_executions,
    executions,
    unreachable
);
list_request!(ListResultItemsRequest, ListResultItemsResponse, ResultItem, list_result_items, result_items);
list_request!(ListArtifactsRequest, ListArtifactsResponse, Artifact, list_artifacts, artifacts);

/// Reads a list page by page, at most `limit` items, and hands each page over as it comes.
///
/// Gives the backends that could not be read, and the token of what was left unread.
pub(crate) async fn read_list<R: ListRequest>(
    gateway: &Gateway,
    request: &R,
    limit: Option<usize>,
    what: &str,
    mut page: impl FnMut(Vec<R::Item>) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut token = String::new();
    let mut unreachable: Vec<String> = Vec::new();
    loop {
        let size = i32::try_from(left).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let response = request
            .clone()
            .send(gateway, size, token.clone())
            .await
            .map_err(|status| Failure::call(what, status))?;
        let (mut items, next, missed) = R::split(response);
        items.truncate(left);
        left -= items.len();
        page(items)?;
        for backend in missed {
            if !unreachable.contains(&backend) {
                unreachable.push(backend);
            }
        }
        if next.is_empty() || left == 0 {
            break;
        }
        if next == token {
            return Err(Failure::Trouble(format!(
                "can't {what}: the gateway gave the same page token twice"
            )));
        }
        token = next;
    }
    for backend in &unreachable {
        note(format!("warning: {backend} could not be read: the list is not complete"));
    }
    Ok(unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_or_unix() {
        assert_eq!(address("http://h:1").unwrap(), "http://h:1");
        assert_eq!(address("h:1").unwrap(), "http://h:1");
        assert_eq!(address("unix:/run/t.sock").unwrap(), "unix:/run/t.sock");
        for wrong in ["https://h", "", "ftp://h"] {
            assert!(matches!(address(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
