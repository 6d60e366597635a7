//! What subjects may do. Denied is all that no grant allows.

use std::sync::Arc;

use super::pattern::Pattern;
use crate::config::access::{GrantConfig, Role};
use crate::model::BackendId;

/// Something that a caller may do with a backend, or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// See it, read and follow what is in it.
    Read,
    /// Start, stop and record.
    Write,
    /// See payloads and artifacts, which may hold what customers said.
    Transcripts,
}

/// One `[[auth.grant]]`.
#[derive(Debug)]
pub(super) struct Grant {
    subjects: Vec<Pattern>,
    role: Role,
    backends: Vec<Pattern>,
    transcripts: bool,
}

/// What one subject may do.
#[derive(Clone, Debug)]
pub struct Access(Option<Arc<[Arc<Grant>]>>);

impl Grant {
    pub(super) fn new(config: &GrantConfig) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self {
            subjects: patterns(&config.subjects),
            role: config.role,
            backends: patterns(&config.backends),
            transcripts: config.transcripts,
        }
    }

    fn covers(&self, right: Right, backend: &BackendId) -> bool {
        let has = match right {
            Right::Read => true,
            Right::Write => self.role == Role::Operator,
            Right::Transcripts => self.transcripts,
        };
        has && self.backends.iter().any(|pattern| pattern.matches(backend.as_str()))
    }
}

impl Access {
    /// Everything: there is no `[auth]`.
    pub(super) const ALL: Self = Self(None);

    /// What the grants give a subject.
    pub(super) fn of(subject: &str, grants: &[Arc<Grant>]) -> Self {
        let given = |grant: &&Arc<Grant>| grant.subjects.iter().any(|pattern| pattern.matches(subject));
        Self(Some(grants.iter().filter(given).cloned().collect()))
    }

    /// Whether it includes a right on a backend, be there such a backend or not.
    pub fn allows(&self, right: Right, backend: &BackendId) -> bool {
        match &self.0 {
            None => true,
            Some(grants) => grants.iter().any(|grant| grant.covers(right, backend)),
        }
    }

    /// Whether it is everything, whatever backends there are.
    pub fn is_unlimited(&self) -> bool {
        self.0.is_none()
    }
}
