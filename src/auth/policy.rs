//! The policy: what the configuration and its files say of callers, at one moment.

use std::path::Path;
use std::sync::Arc;

use super::caller::Credential;
use super::grant::{Access, Grant};
use super::token::{self, Digest, Tokens};
use super::{ANONYMOUS, Refusal};
use crate::config::backend::SecretSource;
use crate::config::file::Watched;
use crate::config::{AuthConfig, LimitsConfig};
use crate::model::Timestamp;

/// A policy that can't be put into force.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct LoadError {
    /// Which token, key set or file.
    pub place: String,
    /// What is wrong with it; never what is in it.
    pub message: String,
}

/// What callers are judged by. Never changes; another one takes its place.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) generation: u64,
    pub(super) limits: Arc<LimitsConfig>,
    rules: Option<Rules>,
}

#[derive(Debug)]
struct Rules {
    tokens: Tokens,
    grants: Arc<[Arc<Grant>]>,
}

/// What a policy is made of.
#[derive(Debug)]
pub(super) struct Sources {
    limits: Arc<LimitsConfig>,
    rules: Option<RuleSources>,
}

#[derive(Debug)]
struct RuleSources {
    tokens: Vec<TokenSource>,
    grants: Arc<[Arc<Grant>]>,
}

#[derive(Debug)]
struct TokenSource {
    subject: Arc<str>,
    file: Option<Watched>,
    digests: Vec<Digest>,
}

/// Who somebody is, and for how long.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) subject: Arc<str>,
    pub(super) ends: Option<Timestamp>,
}

impl Policy {
    pub(super) async fn identify(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Identified, Refusal> {
        let forever = |subject| Identified { subject, ends: None };
        let Some(rules) = &self.rules else { return Ok(forever(Arc::from(ANONYMOUS))) };
        match credential {
            Credential::None => {
                Err(Refusal("a credential is needed: a bearer token or a client certificate"))
            }
            Credential::Bearer(token) => {
                rules.tokens.find(token).map(forever).ok_or(Refusal("the token is not known here"))
            }
            Credential::Certificate(certificate) => {
                if certificate.ends <= now {
                    return Err(Refusal("the client certificate has ended"));
                }
                let name = certificate
                    .name
                    .as_ref()
                    .ok_or(Refusal("the client certificate has neither one SPIFFE id nor a DNS name"))?;
                Ok(Identified { subject: format!("mtls:{name}").into(), ends: Some(certificate.ends) })
            }
        }
    }

    pub(super) fn access(&self, subject: &str) -> Access {
        self.rules.as_ref().map_or(Access::ALL, |rules| Access::of(subject, &rules.grants))
    }
}

impl Sources {
    pub(super) fn anonymous() -> Self {
        Self { limits: Arc::default(), rules: None }
    }

    pub(super) fn read(config: Option<&AuthConfig>, limits: &LimitsConfig) -> Result<Self, LoadError> {
        let rules = config.map(RuleSources::read).transpose()?;
        Ok(Self { limits: Arc::new(limits.clone()), rules })
    }

    pub(super) fn policy(&self, generation: u64) -> Policy {
        let rules = self.rules.as_ref().map(|rules| {
            let mut tokens = Tokens::default();
            for source in &rules.tokens {
                tokens.add(&source.digests, &source.subject);
            }
            Rules { tokens, grants: rules.grants.clone() }
        });
        Policy { generation, limits: self.limits.clone(), rules }
    }

    pub(super) fn has_files(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.tokens.iter().any(|token| token.file.is_some()))
    }

    /// Looks whether files have changed; says whether that makes another policy.
    pub(super) fn look(&mut self) -> bool {
        let Some(rules) = &mut self.rules else { return false };
        // Every file is looked at, whatever the first one says.
        rules.tokens.iter_mut().map(TokenSource::look).filter(|changed| *changed).count() > 0
    }
}

impl RuleSources {
    fn read(config: &AuthConfig) -> Result<Self, LoadError> {
        let AuthConfig { tokens, issuers, grants } = config;
        if let Some(issuer) = issuers.first() {
            let message = "JSON web tokens are not supported yet".to_owned();
            return Err(LoadError { place: format!("the issuer {}", issuer.issuer), message });
        }
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| TokenSource::read(&token.subject, &token.source))
            .collect::<Result<_, _>>()?;
        for (at, one) in tokens.iter().enumerate() {
            let shared =
                |other: &&TokenSource| one.digests.iter().any(|digest| other.digests.contains(digest));
            if let Some(other) = tokens.get(..at).unwrap_or_default().iter().find(shared) {
                let message = format!("is the same token as that of {}", other.subject);
                return Err(LoadError { place: format!("the token of {}", one.subject), message });
            }
        }
        Ok(Self { tokens, grants: grants.iter().map(Grant::new).map(Arc::new).collect() })
    }
}

impl TokenSource {
    fn read(subject: &str, source: &SecretSource) -> Result<Self, LoadError> {
        let subject: Arc<str> = format!("token:{subject}").into();
        let wrong = |message: String| LoadError { place: format!("the token of {subject}"), message };
        let (file, digests) = match source {
            SecretSource::File(path) => {
                let file = Watched::open(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
                let digests = token::digests(file.content());
                let digests = digests.map_err(|rule| wrong(format!("{} {rule}", shown(path))))?;
                (Some(file), digests)
            }
            SecretSource::Env(name) => {
                let value = std::env::var(name).map_err(|_| wrong(format!("{name} is not set")))?;
                (None, token::digests(value.as_bytes()).map_err(|rule| wrong(format!("{name} {rule}")))?)
            }
            SecretSource::Fixed(value) => {
                (None, token::digests(value.as_bytes()).map_err(|rule| wrong(rule.to_owned()))?)
            }
        };
        Ok(Self { subject, file, digests })
    }

    /// Takes up a file's new content; what is no token leaves the old one in force.
    fn look(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        let (subject, path) = (&self.subject, file.path().display().to_string());
        match file.look() {
            Ok(false) => false,
            Ok(true) => match token::digests(file.content()) {
                Ok(digests) => {
                    tracing::info!(%subject, path, "a token file changed");
                    self.digests = digests;
                    true
                }
                Err(rule) => {
                    tracing::warn!(%subject, path, rule, "a token file is no good; the last token stays in force");
                    false
                }
            },
            Err(error) => {
                tracing::debug!(%subject, path, %error, "a token file can't be read; the last token stays in force");
                false
            }
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
