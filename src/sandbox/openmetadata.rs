//! A simulated OpenMetadata server: its data-quality and ingestion-pipeline API, versions 1.12 to 2.0.
//!
//! Everything follows from the clock when it is asked for; only ids are random. Speaks the result routes that
//! servers have ([`Style::ByFqn`]) or those of the published page ([`Style::Documented`]), never both.
//!
//! # Control
//!
//! Commands are JSON objects with `do`. `case` and `pipeline` take an id, an FQN or a name; `run` takes an id or
//! `latest` together with a `pipeline`.
//!
//! | `do` | with | effect |
//! |---|---|---|
//! | `overview` | | settings, suites, cases, pipelines and runs |
//! | `set` | `version` `1.12`/`1.13`/`2.0`, `api` `by-fqn`/`documented`, `runner` `airflow`/`kubernetes`/`disabled`, `token` | switches the server; a replaced token is refused as the bot's old one |
//! | `token_trouble` | `kind` `expired`/`revoked`/`unknown-user`/`none` | what the right token meets |
//! | `deny` | `on` | 403 for results |
//! | `database` | `up` | without it, reads of results answer 404 and everything else 401; add a delay by a fault |
//! | `pipeline_service` | `state` `up`/`down`/`refusing`/`refusing-falsely` | what trigger, kill and pipelineStatus meet |
//! | `swallow_results` | `times` | so many results are confirmed and not stored |
//! | `start_run` | `pipeline`, the script's keys | a run that somebody else started |
//! | `finish_run` | `run`, `state` | ends now |
//! | `flip_run` | `run`, `state`, `after_ms` | its final state changes so long after its end |
//! | `hang_run` / `delete_run` | `run` | never ends / is gone |
//! | `script_pipeline` | `pipeline`, `queued_ms`, `running_ms`, `end`, `lag_ms`, `flip_to`, `flip_after_ms`, `hangs`, `silent`, `deployed`, `enabled` | how later runs go |
//! | `script_case` | `case`, `status` | what later runs find |
//! | `add_result` | `case`, `status`, `timestamp`, `message` | a result of somebody else's |
//! | `add_cases` | `count`, `prefix` | cases on the orders table; the name tells the outcome |
//! | `delete_case` | `case`, `hard` | softly unless `hard` |
//! | `restore_case` | `case` | |
//! | `delete_pipeline` | `pipeline` | |
//! | `reset` | | the default data again |

mod control;
mod entities;
mod pipelines;
mod render;
mod results;
mod route;
pub mod seed;
mod wire;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::route::Route;
use self::wire::{Answer, Fault, Query};
use self::world::{TokenTrouble, World};
use super::clock::Clock;
use super::http::{Refusal, Reply, Request, Upstream};

/// Which server is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.12.6
    V1_12,
    /// 1.13.6
    V1_13,
    /// 2.0.6
    #[default]
    V2_0,
}

impl Version {
    /// The full version that the server reports.
    pub fn number(self) -> &'static str {
        match self {
            Self::V1_12 => "1.12.6",
            Self::V1_13 => "1.13.6",
            Self::V2_0 => "2.0.6",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "1.12" => Some(Self::V1_12),
            "1.13" => Some(Self::V1_13),
            "2.0" => Some(Self::V2_0),
            _ => None,
        }
    }
}

/// Which routes for results exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `POST` and `GET testCaseResults/{fqn}`, as servers have them.
    #[default]
    ByFqn,
    /// `PUT` and `GET {id}/testCaseResult`, as the published page has them.
    Documented,
}

/// What runs the pipelines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runner {
    /// A trigger tells no `runId`; a killed run ends as `failed`.
    #[default]
    Airflow,
    /// A trigger tells a `runId` where the version knows that field (2.0); a killed run ends as `stopped`.
    Kubernetes,
    /// Nothing: every request for it is answered 200 "Pipeline Client Disabled".
    Disabled,
}

/// How the server is set up.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The version played.
    pub version: Version,
    /// The routes for results.
    pub api: Style,
    /// What runs the pipelines.
    pub runner: Runner,
    /// The one token that is accepted.
    pub token: String,
    /// When the default data was made, in epoch milliseconds; zero stands for the clock's present.
    pub seeded_at: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::default(),
            api: Style::default(),
            runner: Runner::default(),
            token: "sandbox-token".to_owned(),
            seeded_at: 0,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("version", &self.version)
            .field("api", &self.api)
            .field("runner", &self.runner)
            .finish_non_exhaustive()
    }
}

/// The server.
#[derive(Debug)]
pub struct OpenMetadata {
    clock: Arc<Clock>,
    world: Mutex<World>,
}

/// What a handler works with.
struct Call<'a> {
    request: &'a Request,
    query: Query,
    now: i64,
    /// Answer, and store nothing.
    swallow: bool,
}

impl OpenMetadata {
    /// A server with the default data.
    pub fn new(clock: Arc<Clock>, options: Options) -> Self {
        let world = seed::world(options, clock.now_ms());
        Self { clock, world: Mutex::new(world) }
    }

    /// The names of all operations, as faults and counters call them.
    pub fn operations() -> &'static [&'static str] {
        Route::NAMES
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // Nothing panics while it is held; a poisoned one would still hold a usable world.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request, swallow: bool) -> Reply {
        let mut world = self.lock();
        let now = self.clock.now_ms();
        world.advance(now);
        let call = Call { request, query: Query::parse(&request.raw_query), now, swallow };
        let mut reply = dispatch(&mut world, &call).unwrap_or_else(Fault::into_reply);
        if request.method == Method::HEAD {
            reply.body = bytes::Bytes::new();
        }
        reply
    }
}

impl Upstream for OpenMetadata {
    fn name(&self) -> &'static str {
        "openmetadata"
    }

    fn operation(&self, request: &Request) -> Option<&'static str> {
        let style = self.lock().options.api;
        route::find(&request.method, &request.raw_path, style).ok().map(|route| route.name())
    }

    fn handle(&self, request: &Request) -> Reply {
        self.answer(request, false)
    }

    fn control(&self, command: &Value) -> Result<Value, String> {
        let mut world = self.lock();
        let now = self.clock.now_ms();
        world.advance(now);
        control::run(&mut world, command, now)
    }

    fn handle_swallowed(&self, request: &Request) -> Reply {
        self.answer(request, true)
    }

    fn refusal(&self, refusal: Refusal) -> Reply {
        let (status, message) = match refusal {
            Refusal::Throttled => (StatusCode::TOO_MANY_REQUESTS, "Limit reached, try again later"),
            Refusal::Quota => (StatusCode::PAYMENT_REQUIRED, "Limit of the plan reached"),
            Refusal::Status(status) => {
                (status, "An exception with message [injected] was thrown while processing request.")
            }
        };
        let fault = if matches!(status.as_u16(), 401 | 403 | 404 | 409 | 412) {
            Fault::challenge(status, message)
        } else {
            Fault::plain(status, message)
        };
        fault.into_reply()
    }

    fn banner(&self) -> Value {
        let world = self.lock();
        json!({
            "version": world.options.version.number(),
            "token": world.options.token,
            "pipelines": world.pipelines.iter().map(|one| json!({"id": one.id.to_string(), "name": one.fqn})).collect::<Vec<_>>(),
            "cases": world.cases.iter().take(20).map(|one| json!({"id": one.id.to_string(), "name": one.fqn})).collect::<Vec<_>>(),
        })
    }
}

fn dispatch(world: &mut World, call: &Call<'_>) -> Answer {
    let (request, style) = (call.request, world.options.api);
    if request.method == Method::OPTIONS {
        let allow = route::allowed(&request.raw_path, style).ok_or_else(Fault::absent)?;
        return Ok(Reply::with_type(StatusCode::OK, "text/plain", allow).header("allow", allow));
    }
    let route = route::find(&request.method, &request.raw_path, style)?;
    if request.header("accept").is_some_and(|accept| !accept.contains("json") && !accept.contains('*')) {
        return Err(Fault::plain(StatusCode::NOT_ACCEPTABLE, "HTTP 406 Not Acceptable"));
    }
    if !route.is_public() {
        authenticate(world, request)?;
        database(world, &route)?;
    }
    match route {
        Route::Version => Ok(wire::ok(&json!({
            "version": world.options.version.number(), "revision": "5a4db0c", "timestamp": world.options.seeded_at,
        }))),
        // Not JSON, whatever its type says.
        Route::Health => Ok(Reply::with_type(StatusCode::OK, "application/json", "OK")),
        Route::ListCases => entities::list_cases(world, call),
        Route::SearchCases => entities::search_cases(world, call),
        Route::GetCase(id) => entities::case_by_id(world, call, &id),
        Route::GetCaseByName(fqn) => entities::case_by_fqn(world, call, &fqn),
        Route::DeleteCase(id) => entities::delete_case(world, call, &id),
        Route::RestoreCase => entities::restore_case(world, call),
        Route::ListSuites => entities::list_suites(world, call),
        Route::SearchSuites => entities::search_suites(world, call),
        Route::GetSuite(id) => entities::suite_by_id(world, call, &id),
        Route::GetSuiteByName(name) => entities::suite_by_name(world, call, &name),
        Route::ListResults(fqn) => results::list(world, call, &fqn),
        Route::AddResult(fqn) => results::add(world, call, &fqn),
        Route::PatchResult(fqn, timestamp) => results::patch(world, call, &fqn, &timestamp),
        Route::DeleteResult(fqn, timestamp) => results::delete(world, &fqn, &timestamp),
        Route::SearchResults => results::search(world, call),
        Route::LatestResult => results::latest(world, call),
        Route::ListResultsById(id) => results::list_documented(world, call, &id),
        Route::PutResultById(id) => results::put_documented(world, call, &id),
        Route::ListPipelines => pipelines::list(world, call),
        Route::GetPipeline(id) => pipelines::by_id(world, call, &id),
        Route::GetPipelineByName(fqn) => pipelines::by_fqn(world, call, &fqn),
        Route::Trigger(id) => pipelines::trigger(world, call, &id),
        Route::Kill(id) => pipelines::kill(world, call, &id),
        Route::Deploy(id) => pipelines::deploy(world, &id),
        Route::Toggle(id) => pipelines::toggle(world, call, &id),
        Route::RunnerStatus => Ok(pipelines::status(world)),
        Route::ListRuns(fqn) => pipelines::list_runs(world, call, &fqn),
        Route::PutRun(fqn) => pipelines::put_run(world, call, &fqn),
        Route::GetRun(fqn, run) => pipelines::get_run(world, call, &fqn, &run),
        Route::DeleteRun(id, run) => pipelines::delete_run(world, &id, &run),
        Route::Events => results::events(world, call),
    }
}

fn authenticate(world: &World, request: &Request) -> Result<(), Fault> {
    let refuse = |text: &str| Err(Fault::challenge(StatusCode::UNAUTHORIZED, text));
    let given =
        request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if given.is_empty() {
        return refuse("Not Authorized! Token not present");
    }
    let revoked = "Not Authorized! The given token does not match the current bot's token!";
    if given != world.options.token {
        let old = world.old_token.as_deref() == Some(given);
        return refuse(if old { revoked } else { "Not Authorized! Invalid token." });
    }
    match world.token_trouble {
        None => Ok(()),
        Some(TokenTrouble::Expired) => refuse("Expired token!"),
        Some(TokenTrouble::Revoked) => refuse(revoked),
        Some(TokenTrouble::UnknownUser) => Err(Fault::missing("user", "ghost")),
    }
}

/// Without its database the server can't read the bot, or the case, and says that they aren't there.
fn database(world: &World, route: &Route) -> Result<(), Fault> {
    match route {
        _ if !world.database_down => Ok(()),
        Route::ListResults(what) | Route::ListResultsById(what) => Err(Fault::missing("testCase", what)),
        _ => Err(Fault::challenge(
            StatusCode::UNAUTHORIZED,
            "Not Authorized! The given token does not match the current bot's token!",
        )),
    }
}

#[cfg(test)]
mod tests;
