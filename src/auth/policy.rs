//! The policy: what the configuration and its files say of callers, at one moment.

use std::sync::Arc;

use super::caller::Credential;
use super::grant::{Access, Grant};
use super::jwt::{self, Issuer, Unfit};
use super::token::{self, Digest, Tokens};
use super::verified::Verifications;
use super::{ANONYMOUS, Refusal};
use crate::config::backend::SecretSource;
use crate::config::file::Watched;
use crate::config::{AuthConfig, LimitsConfig, Problem};
use crate::model::Timestamp;

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
    issuers: Arc<[Arc<Issuer>]>,
    /// Tokens of theirs that were found to hold by this policy.
    verified: Verifications,
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
    issuers: Arc<[Arc<Issuer>]>,
    grants: Arc<[Arc<Grant>]>,
}

#[derive(Debug)]
struct TokenSource {
    subject: Arc<str>,
    file: Option<Watched>,
    digests: Vec<Digest>,
}

/// Who somebody is, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Identified {
    pub(super) subject: Arc<str>,
    pub(super) ends: Option<Timestamp>,
}

/// Why somebody is nobody.
#[derive(Debug)]
pub(super) enum Doubt {
    /// For good.
    Refused(Refusal),
    /// As far as this issuer's keys are known.
    KeyUnknown(Arc<Issuer>),
}

impl From<Refusal> for Doubt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Policy {
    pub(super) fn identify(&self, credential: &Credential, now: Timestamp) -> Result<Identified, Doubt> {
        let forever = |subject| Identified { subject, ends: None };
        let Some(rules) = &self.rules else { return Ok(forever(Arc::from(ANONYMOUS))) };
        match credential {
            Credential::None => {
                Err(Refusal("a credential is needed: a bearer token or a client certificate").into())
            }
            Credential::Bearer(token) => {
                let digest = token::digest_of(token);
                match rules.tokens.find(&digest) {
                    Some(subject) => Ok(forever(subject)),
                    None => rules.verify(token, digest, now),
                }
            }
            Credential::Certificate(certificate) => {
                if certificate.ends <= now {
                    return Err(Refusal("the client certificate has ended").into());
                }
                let name = certificate
                    .name
                    .as_ref()
                    .ok_or(Refusal("the client certificate has neither one SPIFFE id nor a DNS name"))?;
                Ok(Identified { subject: format!("mtls:{name}").into(), ends: Some(certificate.ends) })
            }
        }
    }

    pub(super) fn issuers(&self) -> &[Arc<Issuer>] {
        self.rules.as_ref().map_or(&[], |rules| &rules.issuers)
    }

    pub(super) fn access(&self, subject: &str) -> Access {
        self.rules.as_ref().map_or(Access::ALL, |rules| Access::of(subject, &rules.grants))
    }
}

impl Rules {
    /// Judges a JSON web token.
    fn verify(&self, token: &[u8], digest: Digest, now: Timestamp) -> Result<Identified, Doubt> {
        const UNKNOWN: Refusal = Refusal("the token is not known here");
        if self.issuers.is_empty() {
            return Err(UNKNOWN.into());
        }
        if let Some(verified) = self.verified.get(&digest, now) {
            return Ok(verified);
        }
        let claimed = jwt::claimed_issuer(token).ok_or(UNKNOWN)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.name() == claimed).ok_or(UNKNOWN)?;
        match issuer.verify(token, now) {
            Ok(verified) => {
                let identified = Identified { subject: verified.subject, ends: Some(verified.ends) };
                self.verified.put(digest, &identified, now);
                Ok(identified)
            }
            Err(Unfit::Refused(refusal)) => Err(refusal.into()),
            Err(Unfit::KeyUnknown) => Err(Doubt::KeyUnknown(issuer.clone())),
        }
    }
}

impl Sources {
    pub(super) fn anonymous() -> Self {
        Self { limits: Arc::default(), rules: None }
    }

    /// Reads what the configuration names; `earlier` issuers give their keys to the same ones.
    pub(super) fn read(
        config: Option<&AuthConfig>,
        limits: &LimitsConfig,
        earlier: &[Arc<Issuer>],
    ) -> Result<Self, Vec<Problem>> {
        let rules = config.map(|config| RuleSources::read(config, earlier)).transpose()?;
        Ok(Self { limits: Arc::new(limits.clone()), rules })
    }

    pub(super) fn policy(&self, generation: u64) -> Policy {
        let rules = self.rules.as_ref().map(|rules| {
            let mut tokens = Tokens::default();
            for source in &rules.tokens {
                tokens.add(&source.digests, &source.subject);
            }
            let (issuers, grants) = (rules.issuers.clone(), rules.grants.clone());
            Rules { tokens, issuers, verified: Verifications::default(), grants }
        });
        Policy { generation, limits: self.limits.clone(), rules }
    }

    pub(super) fn has_files(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| {
            rules.tokens.iter().any(|token| token.file.is_some())
                || rules.issuers.iter().any(|issuer| issuer.has_file())
        })
    }

    /// Looks whether files have changed; says whether that makes another policy.
    pub(super) fn look(&mut self) -> bool {
        let Some(rules) = &mut self.rules else { return false };
        // Every file is looked at, whatever the first one says.
        let tokens = rules.tokens.iter_mut().map(TokenSource::look);
        let keys = rules.issuers.iter().map(|issuer| issuer.look());
        tokens.chain(keys).filter(|changed| *changed).count() > 0
    }
}

impl RuleSources {
    /// Reads everything, whatever is wrong with the first of it.
    fn read(config: &AuthConfig, earlier: &[Arc<Issuer>]) -> Result<Self, Vec<Problem>> {
        let AuthConfig { tokens, issuers, grants } = config;
        let mut problems = Vec::new();
        let mut flawed = |key, message| problems.push(Problem { line: None, key, message });
        let mut sound = Vec::new();
        for (at, issuer) in issuers.iter().enumerate() {
            match Issuer::new(issuer, earlier) {
                Ok(issuer) => sound.push(Arc::new(issuer)),
                Err(rule) => {
                    flawed(format!("auth.jwt[{at}]"), format!("the issuer {}: {rule}", issuer.issuer))
                }
            }
        }
        let mut known: Vec<TokenSource> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let read = TokenSource::read(&token.subject, &token.source).and_then(|read| {
                let shared =
                    |other: &&TokenSource| read.digests.iter().any(|one| other.digests.contains(one));
                match known.iter().find(shared) {
                    Some(other) => Err(format!("is the same as that of {}", other.subject)),
                    None => Ok(read),
                }
            });
            match read {
                Ok(token) => known.push(token),
                Err(rule) => {
                    flawed(format!("auth.token[{at}]"), format!("the token of {} {rule}", token.subject));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let grants = grants.iter().map(Grant::new).map(Arc::new).collect();
        Ok(Self { tokens: known, issuers: sound.into(), grants })
    }
}

impl TokenSource {
    /// Reads a token; an error goes on after "the token of ...".
    fn read(subject: &str, source: &SecretSource) -> Result<Self, String> {
        let subject: Arc<str> = format!("token:{subject}").into();
        let digests = |content: &[u8], place: &dyn std::fmt::Display| {
            token::digests(content).map_err(|rule| format!("is no good: {place} {rule}"))
        };
        let (file, digests) = match source {
            SecretSource::File(path) => {
                let file = Watched::open(path).map_err(|error| format!("can't be read: {error}"))?;
                let digests = digests(file.content(), &path.display())?;
                (Some(file), digests)
            }
            SecretSource::Env(name) => {
                let value = std::env::var(name).map_err(|_| format!("can't be read: {name} is not set"))?;
                (None, digests(value.as_bytes(), name)?)
            }
            SecretSource::Fixed(value) => (None, digests(value.as_bytes(), &"it")?),
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
