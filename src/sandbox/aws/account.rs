//! What both services keep for their account: tests, runs, and who may ask how often.

use serde_json::Value;

use super::{Paging, RateLimit};
use crate::sandbox::sigv4::KeyRing;

/// How many tests fit.
const TESTS_KEPT: usize = 20_000;

/// A test or a run.
pub(crate) trait Entry {
    /// What the service calls such a thing.
    const KIND: &'static str;
    fn id(&self) -> &str;
    fn name(&self) -> &str;
}

#[derive(Debug)]
pub(crate) struct Account<T, R> {
    pub(crate) tests: Vec<T>,
    pub(crate) runs: Vec<R>,
    pub(crate) keys: KeyRing,
    pub(crate) limiter: RateLimit,
    pub(crate) paging: Paging,
    next_sequence: u64,
}

impl<T: Entry, R: Entry> Account<T, R> {
    /// These tests, and no runs.
    pub(crate) fn new(tests: Vec<T>, limiter: RateLimit) -> Self {
        Self {
            tests,
            runs: Vec::new(),
            keys: KeyRing::default(),
            limiter,
            paging: Paging::default(),
            next_sequence: 0,
        }
    }

    /// The place of a new run in the order of all of them.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_sequence;
        self.next_sequence += 1;
        number
    }

    /// Carries out the commands that both services know; `None` for others.
    pub(crate) fn command(&mut self, command: &Value, now: i64) -> Option<Result<Value, String>> {
        match command.get("command").and_then(Value::as_str)? {
            "rate_limit" => Some(self.limiter.command(command)),
            "tokens" => Some(self.paging.command(command, now)),
            "credentials" => Some(self.keys.command(command)),
            _ => None,
        }
    }

    /// A test by its id, or else by its name.
    pub(crate) fn named(&self, test: &str) -> Result<&T, String> {
        let by_id = self.tests.iter().find(|known| known.id() == test);
        by_id
            .or_else(|| self.tests.iter().find(|known| known.name() == test))
            .ok_or_else(|| format!("no {} is called {test:?}", T::KIND))
    }

    /// Adds a test, or puts it in the place of the one with its id.
    pub(crate) fn put(&mut self, test: T) -> Result<(), String> {
        if test.name().is_empty() || test.id().is_empty() || self.tests.len() >= TESTS_KEPT {
            return Err(format!("a {} needs a name and an id, and at most {TESTS_KEPT} fit", T::KIND));
        }
        self.tests.retain(|known| known.id() != test.id());
        self.tests.push(test);
        Ok(())
    }

    pub(crate) fn remove(&mut self, test: &str) -> Result<(), String> {
        let id = self.named(test)?.id().to_owned();
        self.tests.retain(|known| known.id() != id);
        Ok(())
    }

    pub(crate) fn known(&mut self, execution: &str) -> Result<&mut R, String> {
        self.runs
            .iter_mut()
            .find(|run| run.id() == execution)
            .ok_or_else(|| format!("no {} has the id {execution:?}", R::KIND))
    }

    pub(crate) fn forget(&mut self, execution: &str) -> Result<(), String> {
        self.known(execution)?;
        self.runs.retain(|run| run.id() != execution);
        Ok(())
    }
}
