//! A gateway with TLS and callers of its own, the files it reads, and clients that show who they are.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use testgate::app::{Gateway, SandboxOptions, sandbox_backends, start_sandbox};
use testgate::config::{Config, Overrides};
use testgate::model::Clock;
use testgate::proto::v1::test_execution_service_client::TestExecutionServiceClient;
use testgate::sandbox::Sandbox;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Error, Identity};
use tonic::{Request, Status};

use crate::rig::hurry;

/// Who may call, and how, is in the text that each test gives.
pub struct Guarded {
    pub sandbox: Arc<Sandbox>,
    pub gateway: Gateway,
    pub files: Files,
}

/// A folder with the files that a configuration names.
pub struct Files(tempfile::TempDir);

/// Shows a bearer token, or nothing.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

pub type Client = TestExecutionServiceClient<InterceptedService<Channel, Bearer>>;

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Bearer {
    pub fn new(token: &str) -> Self {
        let shown = (!token.is_empty()).then(|| format!("Bearer {token}").parse().unwrap());
        Self(shown)
    }
}

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A certificate and its key, as a gateway's `tls.crt` and `tls.key`.
    pub fn write_pair(&self, Pair { certificate, key }: &Pair) {
        self.write("tls.crt", certificate);
        self.write("tls.key", key);
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A configuration whose relative paths lead here.
    pub fn config(&self, text: &str) -> Config {
        self.config_in(text, |_| None)
    }

    /// The same in an environment.
    pub fn config_in(&self, text: &str, env: fn(&str) -> Option<String>) -> Config {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"off\"\n[store]\npath = \":memory:\"\n{text}"
        );
        Config::parse(&text, self.0.path(), &Overrides::default(), &env)
            .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }
}

impl Guarded {
    pub async fn start(files: Files, text: &str) -> Self {
        Self::start_in(files, text, |_| None).await
    }

    /// The same in an environment.
    pub async fn start_in(files: Files, text: &str, env: fn(&str) -> Option<String>) -> Self {
        let options = SandboxOptions { clock_scale: 1.0, free_ports: true };
        let sandbox = Arc::new(start_sandbox(&options).await.unwrap());
        for upstream in ["connect", "lex"] {
            let command = serde_json::json!({"command": "rate_limit", "enabled": false});
            sandbox.control(upstream, &command).unwrap();
        }
        let mut config = files.config_in(text, env);
        config.backends = sandbox_backends(&sandbox).unwrap();
        config.backends.iter_mut().for_each(hurry);
        let gateway = Gateway::start(config, None, Clock::system()).await.unwrap();
        Self { sandbox, gateway, files }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.gateway.addresses()[0].to_string()
    }

    /// A client without TLS that shows a token, or nothing where that is empty.
    pub async fn client(&self, token: &str) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address())).unwrap();
        TestExecutionServiceClient::with_interceptor(channel.connect().await.unwrap(), Bearer::new(token))
    }

    /// A connection with TLS that trusts an authority and may show a certificate.
    pub async fn channel(&self, trusted: &Authority, shown: Option<&Pair>) -> Result<Channel, Error> {
        trusted.channel(&self.address(), "gateway.example", shown).await
    }
}

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A connection to an address that trusts this authority for a name, and may show a certificate.
    pub async fn channel(&self, address: &str, name: &str, shown: Option<&Pair>) -> Result<Channel, Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(self.certificate()).domain_name(name);
        if let Some(Pair { certificate, key }) = shown {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect().await
    }

    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn certificate(&self) -> tonic::transport::Certificate {
        tonic::transport::Certificate::from_pem(self.pem())
    }

    /// A certificate for a DNS name, or for a `spiffe://` id.
    pub fn issue(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.starts_with("spiffe://") {
            true => SanType::URI(name.try_into().unwrap()),
            false => SanType::DnsName(name.try_into().unwrap()),
        }];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}
