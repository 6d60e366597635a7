//! The signed call that a forwarded read makes, with nothing around it.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use serde::Deserialize;
use testgate::sandbox::{lex, sigv4};

/// A caller of DescribeTestExecution.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    client: reqwest::Client,
    identity: Identity,
    upstream: SocketAddr,
}

/// What a reader wants of the answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) test_execution_status: String,
    pub(crate) last_updated_date_time: i64,
}

impl Signed {
    #[expect(clippy::disallowed_methods, reason = "the baseline takes nothing of the gateway's")]
    pub(crate) fn new(upstream: SocketAddr) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1024).build()?;
        let credentials = Credentials::new(
            sigv4::DEFAULT_ACCESS_KEY_ID,
            sigv4::DEFAULT_SECRET_ACCESS_KEY,
            None,
            None,
            "bench",
        );
        Ok(Self { client, identity: credentials.into(), upstream })
    }

    /// Signs, sends, reads and decodes.
    #[expect(
        clippy::disallowed_methods,
        reason = "a signature needs the time, and the bench has no clock to turn"
    )]
    pub(crate) async fn describe(&self, execution: &str) -> anyhow::Result<Row> {
        let url = format!("http://{}/testexecutions/{execution}", self.upstream);
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(lex::DEFAULT_REGION)
            .name("lex")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let mut request = http::Request::get(&url).body(Bytes::new())?;
        instructions.apply_to_request_http1x(&mut request);
        let reply = self.client.execute(request.try_into()?).await?.error_for_status()?;
        Ok(serde_json::from_slice(&reply.bytes().await?)?)
    }
}
