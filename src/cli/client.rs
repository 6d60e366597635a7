//! The connection to a gateway, and reading whole lists through it.

use std::path::PathBuf;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::Global;
use super::contexts::{self, Setting, Target};
use super::failure::{Failure, root_cause, trust_advice};
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
    client: Client,
    timeout: Duration,
}

/// A client whose calls show who makes them.
pub(crate) type Client = TestExecutionServiceClient<InterceptedService<Channel, Bearer>>;

/// Adds the token of the token file, read anew for each call: whoever gives out tokens replaces them before they end.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<Setting<PathBuf>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(file) = &self.0 {
            let token = bearer(file).map_err(Status::unauthenticated)?;
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}

fn bearer(file: &Setting<PathBuf>) -> Result<MetadataValue<Ascii>, String> {
    let Setting { value: path, name } = file;
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name} {shown}: {error}"))?;
    // Where a file holds an old and a new token, the last one is the new one.
    let token = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let token = token.ok_or_else(|| format!("{name} {shown} is empty"))?;
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| format!("{name} {shown} holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Gateway {
    /// Connects at once, so that a wrong address shows before anything else happens.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        let target = contexts::target(global)?;
        let secured = target.ca_file.is_some() || target.identity.is_some();
        let address = address(&target.server, secured)?;
        if let Some(file) = &target.token_file {
            self::bearer(file).map_err(Failure::Usage)?;
            if goes_in_the_clear(&address) {
                note(format!("warning: the token goes to {address} in the clear; https would hide it"));
            }
        }
        let Setting { value: server, name } = &target.server;
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| Failure::Usage(format!("{name} {server}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if address.starts_with("https:") {
            endpoint = endpoint
                .tls_config(tls(&target)?)
                .map_err(|error| Failure::Usage(format!("TLS can't be set up: {}", root_cause(&error))))?;
        }
        let channel = endpoint.connect().await.map_err(|error| {
            let cause = root_cause(&error);
            let hint = trust_advice(&cause)
                .unwrap_or("`testgate serve --sandbox` starts one, --server names another");
            Failure::Trouble(format!("can't reach the gateway at {address}: {cause}; hint: {hint}"))
        })?;
        let client = TestExecutionServiceClient::with_interceptor(channel, Bearer(target.token_file));
        Ok(Self { client, timeout: global.request_timeout })
    }

    /// A client for one call.
    pub(crate) fn client(&self) -> Client {
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

fn tls(target: &Target) -> Result<ClientTlsConfig, Failure> {
    let read = |file: &Setting<PathBuf>| {
        let Setting { value: path, name } = file;
        std::fs::read(path).map_err(|error| Failure::Usage(format!("{name} {}: {error}", path.display())))
    };
    let mut tls = match &target.ca_file {
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &target.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// Whether others could read what is sent to an address.
fn goes_in_the_clear(address: &str) -> bool {
    let Ok(uri) = address.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    uri.scheme_str() == Some("http") && !is_local
}

/// The address as a URI: a bare `host:port` is plain HTTP, unless something is named that only TLS has a use for.
fn address(server: &Setting<String>, secured: bool) -> Result<String, Failure> {
    let Setting { value: server, name } = server;
    match server.split_once("://") {
        Some(("http" | "unix", _)) if secured => Err(Failure::Usage(format!(
            "{name} {server} is in the clear: authorities and certificates go with https://"
        ))),
        Some(("http" | "https" | "unix", _)) => Ok(server.to_owned()),
        Some((scheme, _)) => Err(Failure::Usage(format!(
            "{name} {server}: scheme {scheme} is not supported, only https, http and unix"
        ))),
        None if server.starts_with("unix:") => Ok(server.to_owned()),
        None if server.is_empty() => Err(Failure::Usage(format!("{name} is empty"))),
        None if secured => Ok(format!("https://{server}")),
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
        let address = |server: &str, secured| {
            address(&Setting { value: server.to_owned(), name: "--server".to_owned() }, secured)
        };
        assert_eq!(address("http://h:1", false).unwrap(), "http://h:1");
        assert_eq!(address("https://h:1", false).unwrap(), "https://h:1");
        assert_eq!(address("h:1", false).unwrap(), "http://h:1");
        assert_eq!(address("h:1", true).unwrap(), "https://h:1");
        assert_eq!(address("unix:/run/t.sock", false).unwrap(), "unix:/run/t.sock");
        for (wrong, secured) in [("", false), ("ftp://h", false), ("http://h:1", true)] {
            assert!(matches!(address(wrong, secured), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_token_goes_in_the_clear_only_over_http_to_elsewhere() {
        assert!(goes_in_the_clear("http://gateway.example:50051"));
        for hidden in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://h:1", "unix:/s"]
        {
            assert!(!goes_in_the_clear(hidden), "{hidden}");
        }
    }

    #[test]
    fn the_last_token_of_a_file_is_shown_and_nothing_else_ever() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old\nnew\n\n").unwrap();
        let setting = Setting { value: file.path().to_owned(), name: "--token-file".to_owned() };
        let token = bearer(&setting).unwrap();
        assert_eq!(token.to_str().unwrap(), "Bearer new");
        assert!(!format!("{token:?}").contains("new"));
        std::fs::write(file.path(), "can\0ary").unwrap();
        assert!(!bearer(&setting).unwrap_err().contains("ary"));
    }
}
