//! What Connect and Lex share: endpoint, credentials, SigV4, error bodies, wire leniency.
//!
//! Nothing is loaded before the first call: the credential chain may read files, run a process or ask a server.

mod bridge;
pub(crate) mod client;
mod credentials;
mod endpoint;
mod refusal;
mod sign;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::engine::{Operation, Outgoing, Protocol, Refusal, Response};
use super::http::{HttpClients, Request};
use super::{BackendError, ErrorKind};
use crate::config::backend::AwsConfig;
use crate::model::{Clock, Timestamp};
use bridge::Bridge;
use credentials::CredentialCache;
use endpoint::Endpoint;

/// An AWS service, as endpoints and signatures call it.
#[derive(Debug)]
pub struct AwsService {
    /// In signatures.
    pub signing_name: &'static str,
    /// The first label of its hosts.
    pub host: &'static str,
    /// In `AWS_ENDPOINT_URL_…` and in profiles.
    pub service_id: &'static str,
    /// GovCloud's FIPS endpoint is the plain one.
    pub plain_gov_fips: bool,
}

/// Amazon Connect.
pub const CONNECT: AwsService =
    AwsService { signing_name: "connect", host: "connect", service_id: "Connect", plain_gov_fips: true };

/// Amazon Lex V2's model API.
pub const LEX: AwsService = AwsService {
    signing_name: "lex",
    host: "models-v2-lex",
    service_id: "Lex Models V2",
    plain_gov_fips: false,
};

/// One service in one region with one set of credentials.
#[derive(Debug)]
pub struct Aws {
    service: &'static AwsService,
    config: AwsConfig,
    http: HttpClients,
    ca_file: Option<PathBuf>,
    environment: OnceCell<Environment>,
    credentials: CredentialCache,
    clock: Clock,
    signing_time: Mutex<SigningTime>,
}

/// Whose clock signatures go by: ours, until upstream says that it is off and shows another.
#[derive(Debug, Default)]
struct SigningTime {
    is_upstreams: bool,
    changed: Option<Instant>,
}

/// AWS accepts signatures five minutes off; a smaller difference is not what it complained about.
const SKEW: time::Duration = time::Duration::minutes(4);
/// Calls that fail together must not turn the choice to and fro.
const SIGNING_TIME_HOLDS: Duration = Duration::from_secs(1);

/// What configuration and environment come to.
#[derive(Debug)]
struct Environment {
    endpoint: Endpoint,
    region: String,
    provider: SharedCredentialsProvider,
}

impl Aws {
    /// Loads nothing yet.
    pub fn new(
        service: &'static AwsService,
        config: AwsConfig,
        http: HttpClients,
        ca_file: Option<PathBuf>,
        clock: Clock,
    ) -> Self {
        let credentials = CredentialCache::new(clock.clone());
        let (environment, signing_time) = (OnceCell::new(), Mutex::default());
        Self { service, config, http, ca_file, environment, credentials, clock, signing_time }
    }

    /// The region as configured; `None` where the environment's holds and is not known before the first call.
    pub fn configured_region(&self) -> Option<&str> {
        self.config.region.as_deref()
    }

    /// Takes note that a signature was refused for its time, as it may have been.
    fn note_skew(&self, response: &Response) {
        let date = response.headers.get("date").and_then(|value| value.to_str().ok());
        let theirs = date.and_then(|text| httpdate::parse_http_date(text).ok()).map(Timestamp::from);
        let is_off = theirs.is_some_and(|theirs| (theirs - self.clock.now()).abs() > SKEW);
        let mut time = self.signing_time.lock().unwrap_or_else(PoisonError::into_inner);
        if time.changed.is_none_or(|changed| changed.elapsed() > SIGNING_TIME_HOLDS) {
            // Where upstream's own clock did not help either, back to ours.
            let is_upstreams = is_off && !time.is_upstreams;
            *time = SigningTime { is_upstreams, changed: Some(Instant::now()) };
        }
    }

    async fn environment(&self) -> Result<&Environment, BackendError> {
        match self.environment.get() {
            Some(known) => Ok(known),
            // Boxed: what loads is large, and so would be every call that does not.
            None => Box::pin(self.environment.get_or_try_init(|| self.load())).await,
        }
    }

    async fn load(&self) -> Result<Environment, BackendError> {
        if let Some(fixed) = &self.config.static_credentials {
            // The sandbox's: the machine's own AWS settings have no say.
            let keys =
                Credentials::new(&fixed.access_key_id, &fixed.secret_access_key, None, None, "sandbox");
            let region = self.config.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
            let endpoint =
                Endpoint::new(self.service, &region, self.config.endpoint_url.as_deref(), false, false)?;
            return Ok(Environment { endpoint, region, provider: SharedCredentialsProvider::new(keys) });
        }
        let bridge = Bridge::new(&self.http, self.ca_file.as_deref());
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(bridge);
        if let Some(region) = &self.config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.config.profile {
            loader = loader.profile_name(profile);
        }
        let loaded = loader.load().await;
        let region = loaded.region().map(|region| region.as_ref().to_owned()).ok_or_else(|| {
            let text =
                "no AWS region: set `region` for this backend, or AWS_REGION, or one in the AWS profile";
            BackendError::new(ErrorKind::BackendCredentialsInvalid, text)
        })?;
        let configured = self.config.endpoint_url.clone();
        let url = configured.or_else(|| endpoint::from_environment(&loaded, self.service));
        let (fips, dual_stack) =
            (loaded.use_fips().unwrap_or(false), loaded.use_dual_stack().unwrap_or(false));
        let endpoint = Endpoint::new(self.service, &region, url.as_deref(), fips, dual_stack)?;
        let provider = self.provider(&loaded, &region).await?;
        Ok(Environment { endpoint, region, provider })
    }

    /// The chain's credentials, or those of the role to assume with them.
    async fn provider(
        &self,
        loaded: &aws_config::SdkConfig,
        region: &str,
    ) -> Result<SharedCredentialsProvider, BackendError> {
        let Some(role) = &self.config.assume_role_arn else {
            return loaded.credentials_provider().ok_or_else(|| {
                BackendError::new(ErrorKind::BackendCredentialsInvalid, "no source of AWS credentials")
            });
        };
        let mut builder = aws_config::sts::AssumeRoleProvider::builder(role)
            .configure(loaded)
            .session_name("testgate")
            .region(Region::new(region.to_owned()));
        if let Some(id) = &self.config.external_id {
            builder = builder.external_id(id);
        }
        Ok(SharedCredentialsProvider::new(builder.build().await))
    }
}

/// Whose bucket a backend shares unless `quota_group` says otherwise: AWS counts by account and region, and the
/// same credential settings mean the same account.
pub(crate) fn quota_group(service: &AwsService, config: &AwsConfig, named: Option<&str>) -> String {
    if let Some(group) = named {
        return format!("named/{group}");
    }
    let AwsConfig { region, endpoint_url: _, profile, assume_role_arn, external_id, static_credentials } =
        config;
    // The group's name is logged, which the id of a key is not to be.
    let key = static_credentials.as_ref().map(|keys| fingerprint(&keys.access_key_id));
    let parts = [region, profile, assume_role_arn, external_id, &key];
    // Debug quotes each part, so no two lists of parts read alike.
    format!("{}/{parts:?}", service.host)
}

/// A stable id for a row that upstream gives none.
pub(crate) fn fingerprint(row: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, row.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl Protocol for Aws {
    async fn prepare(&self, outgoing: &Outgoing, now: Timestamp) -> Result<Request, BackendError> {
        let environment = self.environment().await?;
        let identity = self.credentials.get(&environment.provider).await?;
        let url = environment.endpoint.url(&outgoing.path_and_query)?;
        let mut request = Request::new(outgoing.method.clone(), url);
        if !outgoing.body.is_empty() {
            let kind = HeaderValue::from_static(outgoing.content_type);
            request.headers_mut().insert(CONTENT_TYPE, kind);
        }
        *request.body_mut() = Some(outgoing.body.clone().into());
        let is_upstreams = self.signing_time.lock().unwrap_or_else(PoisonError::into_inner).is_upstreams;
        let time = if is_upstreams { now } else { self.clock.now() };
        sign::sign(&mut request, &identity, &environment.region, self.service.signing_name, time)?;
        Ok(request)
    }

    fn classify(&self, operation: &Operation, response: &Response) -> Result<(), Refusal> {
        refusal::classify(operation, response).inspect_err(|refusal| {
            if refusal::is_about_time(&refusal.code) {
                self.note_skew(response);
            }
        })
    }

    async fn renew(&self) {
        self.credentials.invalidate();
    }
}

#[cfg(test)]
mod tests;
