//! `check`: the files that a configuration names, each opened and read as the gateway would.

use std::path::Path;

use crate::auth::Auth;
use crate::backend::http::check_roots;
use crate::config::access::KeySource;
use crate::config::backend::{BackendConfig, SecretSource, SystemConfig};
use crate::config::file::Watched;
use crate::config::{Config, Problem};
use crate::model::Clock;
use crate::tls::Tls;

/// Everything that is wrong with them. Without a backend's files the gateway would serve, but not that backend.
pub fn problems_of_files(config: &Config) -> Vec<Problem> {
    let clock = Clock::system();
    let tls = config.server.tls.iter().flat_map(|tls| Tls::problems(tls, clock.now()));
    let auth = Auth::new(config.auth.as_ref(), &config.limits, clock.clone()).err().unwrap_or_default();
    let issuers = config.auth.iter().flat_map(|auth| &auth.issuers).enumerate();
    let issuers = issuers.filter_map(|(at, issuer)| match &issuer.keys {
        KeySource::Url { ca_file: Some(file), .. } => roots(format!("auth.jwt[{at}]"), file),
        _ => None,
    });
    let backends = config.backends.iter().enumerate();
    let backends = backends.flat_map(|(at, backend)| of_backend(&format!("backend[{at}]"), backend));
    tls.chain(auth).chain(issuers).chain(backends).collect()
}

fn of_backend(key: &str, backend: &BackendConfig) -> Vec<Problem> {
    let roots = backend.ca_file.as_deref().and_then(|file| roots(key.to_owned(), file));
    let token = match &backend.system {
        SystemConfig::OpenMetadata(system) => match &system.token {
            Some(SecretSource::File(file)) => token(file).err(),
            _ => None,
        },
        SystemConfig::Connect(_) | SystemConfig::Lex(_) => None,
    };
    let token = token.map(|message| Problem { line: None, key: format!("{key}.token_file"), message });
    roots.into_iter().chain(token).collect()
}

fn roots(key: String, file: &Path) -> Option<Problem> {
    let message = check_roots(file).err()?;
    Some(Problem { line: None, key: format!("{key}.ca_file"), message })
}

fn token(file: &Path) -> Result<(), String> {
    let read = Watched::open(file).map_err(|error| format!("can't read {error}"))?;
    let empty = read.content().trim_ascii().is_empty();
    if empty { Err(format!("{} is empty", file.display())) } else { Ok(()) }
}
