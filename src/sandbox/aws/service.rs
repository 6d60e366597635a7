//! How a simulated service answers: what is the same in both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde_json::{Value, json};

use super::account::{Account, Entry};
use super::{AwsError, Dialect, front_door, refusal, request_id};
use crate::sandbox::clock::Clock;
use crate::sandbox::http::{Refusal, Reply, Request, Upstream};
use crate::sandbox::sigv4::{DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY};

/// A service's state, and what its operations do to it.
pub(crate) trait Service: Send + 'static {
    type Options: Send + Sync + 'static;
    type Test: Entry;
    type Run: Entry;

    /// In signatures, and in the sandbox's own commands.
    const NAME: &'static str;
    const DIALECT: Dialect;

    fn new(options: &Self::Options) -> Self;
    fn account(&mut self) -> &mut Account<Self::Test, Self::Run>;

    /// The operation that a request means, and the labels of its path.
    fn route(request: &Request) -> Option<(&'static str, Vec<String>)>;

    /// Lets happen what was due by now.
    fn settle(&mut self, _now: i64) {}

    /// Checks the parameters, acts unless the effect is to be swallowed, and gives the reply's body.
    fn carry_out(
        &mut self,
        options: &Self::Options,
        operation: &str,
        labels: &[String],
        request: &Request,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError>;

    /// The status of an operation that went well.
    fn success(_operation: &str) -> StatusCode {
        StatusCode::OK
    }

    /// A command of the control endpoint that is this service's own.
    fn command(&mut self, options: &Self::Options, command: &Value, now: i64) -> Result<Value, String>;

    fn region(options: &Self::Options) -> &str;

    /// What someone needs to try it, beyond region and credentials.
    fn ids(options: &Self::Options) -> Value;

    /// A test, for the same.
    fn show(test: &Self::Test) -> Value;
}

/// One service that runs.
#[derive(Debug)]
pub(crate) struct Simulation<S: Service> {
    clock: Arc<Clock>,
    options: S::Options,
    state: Mutex<S>,
}

impl<S: Service> Simulation<S> {
    pub(crate) fn new(clock: Arc<Clock>, options: S::Options) -> Self {
        let state = Mutex::new(S::new(&options));
        Self { clock, options, state }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // Each request changes the state in whole steps, so what a panic left behind is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request, swallowed: bool) -> Result<Reply, AwsError> {
        let (operation, labels) = S::route(request).ok_or_else(AwsError::unknown_operation)?;
        let mut state = self.lock();
        let Account { keys, limiter, .. } = state.account();
        front_door(request, operation, keys, S::region(&self.options), S::NAME, limiter, &self.clock)?;
        let body = self.carry_out(&mut state, operation, &labels, request, swallowed)?;
        Ok(Reply::json(S::success(operation), &body))
    }

    fn carry_out(
        &self,
        state: &mut S,
        operation: &str,
        labels: &[String],
        request: &Request,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let now = self.clock.now_ms();
        state.settle(now);
        state.carry_out(&self.options, operation, labels, request, now, swallowed)
    }

    /// The reply's body for a request that nobody signed.
    #[cfg(test)]
    pub(crate) fn behind_the_door(&self, request: &Request, swallowed: bool) -> Result<Value, AwsError> {
        let (operation, labels) = S::route(request).ok_or_else(AwsError::unknown_operation)?;
        self.carry_out(&mut self.lock(), operation, &labels, request, swallowed)
    }

    fn reply(&self, request: &Request, swallowed: bool) -> Reply {
        let reply = self.answer(request, swallowed);
        request_id(reply.unwrap_or_else(|error| error.reply(S::DIALECT)))
    }
}

/// A simulated upstream that is a [`Service`] and nothing else.
pub(crate) trait Simulated: Send + Sync + 'static {
    type Service: Service;
    fn simulation(&self) -> &Simulation<Self::Service>;
}

impl<T: Simulated> Upstream for T {
    fn name(&self) -> &'static str {
        T::Service::NAME
    }

    fn operation(&self, request: &Request) -> Option<&'static str> {
        T::Service::route(request).map(|(operation, _)| operation)
    }

    fn handle(&self, request: &Request) -> Reply {
        self.simulation().reply(request, false)
    }

    fn handle_swallowed(&self, request: &Request) -> Reply {
        self.simulation().reply(request, true)
    }

    fn refusal(&self, asked: Refusal) -> Reply {
        refusal(asked, T::Service::DIALECT)
    }

    fn control(&self, command: &Value) -> Result<Value, String> {
        let simulation = self.simulation();
        let now = simulation.clock.now_ms();
        let mut state = simulation.lock();
        state.settle(now);
        match state.account().command(command, now) {
            Some(done) => done,
            None => state.command(&simulation.options, command, now),
        }
    }

    fn banner(&self) -> Value {
        let simulation = self.simulation();
        let mut banner = json!({"region": T::Service::region(&simulation.options)});
        let mut add = |members: Value| {
            if let (Some(banner), Value::Object(members)) = (banner.as_object_mut(), members) {
                banner.extend(members);
            }
        };
        add(T::Service::ids(&simulation.options));
        let mut state = simulation.lock();
        let tests: Vec<_> = state.account().tests.iter().map(T::Service::show).collect();
        add(json!({
            "access_key_id": DEFAULT_ACCESS_KEY_ID,
            "secret_access_key": DEFAULT_SECRET_ACCESS_KEY,
            "tests": tests,
        }));
        banner
    }
}
