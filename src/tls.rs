//! TLS for those who connect: the certificate that the gateway shows, and whether it wants to see theirs.
//!
//! The files are looked at again and again. A pair that doesn't belong together, as while it is being replaced, a
//! certificate that has ended, a list of authorities without one: each leaves in force what was there before.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::file::Watched;
use crate::config::{Problem, TlsConfig};
use crate::model::{Clock, Timestamp};

/// Files that make no TLS.
#[derive(Debug, thiserror::Error)]
#[error("server.tls: {0}")]
pub struct TlsError(String);

/// The gateway's side of every handshake. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    current: ArcSwap<Shown>,
    files: Mutex<Files>,
    clock: Clock,
    /// What may be spoken, the best first.
    protocols: Vec<Vec<u8>>,
}

/// What handshakes go by now.
struct Shown {
    config: Arc<ServerConfig>,
    ends: Timestamp,
}

struct Files {
    certificate: Watched,
    key: Watched,
    clients: Option<(Watched, bool)>,
}

impl Tls {
    /// Reads the files for the first time. HTTP/2 is spoken, and HTTP/1.1 where it is asked for.
    ///
    /// # Errors
    /// One can't be read, or they don't fit together.
    pub fn new(config: &TlsConfig, http1: bool, clock: Clock) -> Result<Self, TlsError> {
        let files = Files::open(config)?;
        let mut protocols = vec![b"h2".to_vec()];
        protocols.extend(http1.then(|| b"http/1.1".to_vec()));
        let shown = files.load(&protocols)?;
        if shown.ends <= clock.now() {
            tracing::warn!(ended = %shown.ends, "the gateway's certificate has ended; clients will refuse it");
        }
        let current = ArcSwap::from_pointee(shown);
        Ok(Self(Arc::new(Inner { current, files: Mutex::new(files), clock, protocols })))
    }

    /// Everything that is wrong with the files, also what would not keep the gateway from serving.
    pub fn problems(config: &TlsConfig, now: Timestamp) -> Vec<Problem> {
        let open = |path: &Path| Watched::open(path).map_err(unreadable);
        let chain = open(&config.cert_file).and_then(|file| chain_of(&file));
        let key = open(&config.key_file).and_then(|file| key_of(&file)).map(drop);
        let clients = config.clients.as_ref().map_or(Ok(()), |clients| {
            open(&clients.ca_file).and_then(|file| verifier_of(&file, clients.required)).map(drop)
        });
        let ended = match &chain {
            Ok((_, ends)) if *ends <= now => {
                Err(TlsError(format!("{} ended at {ends}", config.cert_file.display())))
            }
            _ => Ok(()),
        };
        let pair = match (&chain, &key, &clients) {
            (Ok(_), Ok(()), Ok(())) => Files::open(config).and_then(|files| files.load(&[])).map(drop),
            _ => Ok(()),
        };
        let found = [
            ("cert_file", chain.map(drop)),
            ("key_file", key),
            ("client_ca_file", clients),
            ("cert_file", ended),
            ("key_file", pair),
        ];
        let problem = |(key, found): (&str, Result<(), TlsError>)| {
            let TlsError(message) = found.err()?;
            Some(Problem { line: None, key: format!("server.tls.{key}"), message })
        };
        found.into_iter().filter_map(problem).collect()
    }

    /// Looks whether the files have changed. Blocks while it reads.
    pub fn look(&self) {
        let mut files = self.files();
        if !files.look() {
            return;
        }
        match files.load(&self.0.protocols) {
            Ok(shown) if shown.ends <= self.0.clock.now() => {
                tracing::warn!(ended = %shown.ends, "the new certificate has ended; the last one stays in force");
            }
            Ok(shown) => {
                tracing::info!(ends = %shown.ends, "certificates were read again");
                self.0.current.store(Arc::new(shown));
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificate is no good; the last one stays in force")
            }
        }
    }

    /// When the certificate that is shown ends.
    pub fn ends(&self) -> Timestamp {
        self.0.current.load().ends
    }

    /// Shakes hands. A client that stops in the middle is waited for: the time is the caller's.
    ///
    /// # Errors
    /// The client breaks off, speaks no TLS, or shows no certificate that holds.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> io::Result<TlsStream<IO>> {
        let config = self.0.current.load().config.clone();
        TlsAcceptor::from(config).accept(io).await
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // A panic while it is held leaves files that are looked at again.
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("ends", &self.ends()).finish_non_exhaustive()
    }
}

impl Files {
    fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let open = |path: &Path| Watched::open(path).map_err(unreadable);
        let clients = config.clients.as_ref();
        Ok(Self {
            certificate: open(&config.cert_file)?,
            key: open(&config.key_file)?,
            clients: clients.map(|ca| Ok((open(&ca.ca_file)?, ca.required))).transpose()?,
        })
    }

    /// Whether any of them has changed.
    fn look(&mut self) -> bool {
        let authorities = self.clients.as_mut().map(|(file, _)| file);
        let mut changed = false;
        for file in [&mut self.certificate, &mut self.key].into_iter().chain(authorities) {
            match file.look() {
                Ok(other) => changed |= other,
                Err(error) => {
                    tracing::debug!(%error, path = %file.path().display(), "a file of server.tls can't be read");
                }
            }
        }
        changed
    }

    fn load(&self, protocols: &[Vec<u8>]) -> Result<Shown, TlsError> {
        let (chain, ends) = chain_of(&self.certificate)?;
        let key = key_of(&self.key)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((file, required)) => builder.with_client_cert_verifier(verifier_of(file, *required)?),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let pair = format!("{} and {}", self.certificate.path().display(), self.key.path().display());
            TlsError(format!("{pair} make no pair: {error}"))
        })?;
        config.alpn_protocols = protocols.to_vec();
        Ok(Shown { config: Arc::new(config), ends })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn unreadable(error: io::Error) -> TlsError {
    TlsError(format!("can't read {error}"))
}

fn wrong(file: &Watched, rule: impl fmt::Display) -> TlsError {
    TlsError(format!("{} {rule}", file.path().display()))
}

/// The certificates of the gateway's file, and when the first of them ends.
fn chain_of(file: &Watched) -> Result<(Vec<CertificateDer<'static>>, Timestamp), TlsError> {
    let chain = certificates(file)?;
    let first = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let leaf = X509Certificate::from_der(first);
    let (_, leaf) = leaf.map_err(|error| wrong(file, format!("holds no certificate: {error}")))?;
    let ends = leaf.validity().not_after.to_datetime();
    Ok((chain, ends))
}

/// The key of a file. What is wrong with it is said without a byte of it.
fn key_of(file: &Watched) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(file.content()).map_err(|_| wrong(file, "holds no private key in PEM"))
}

/// What looks at clients' certificates by the authorities of a file.
fn verifier_of(file: &Watched, required: bool) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| wrong(file, format!("is no good: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| wrong(file, format!("is no good: {error}")))
}

/// All certificates of a file; at least one.
fn certificates(file: &Watched) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let shown = file.path().display();
    let found: Vec<_> = CertificateDer::pem_slice_iter(file.content())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError(format!("{shown} is not PEM: {error}")))?;
    if found.is_empty() { Err(TlsError(format!("{shown} holds no certificate"))) } else { Ok(found) }
}

#[cfg(test)]
mod tests;
