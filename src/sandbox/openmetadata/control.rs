//! Driving the server from outside; the module's page lists the commands.

use serde_json::{Value, json};
use uuid::Uuid;

use super::seed::{self, NewCase};
use super::wire::Include;
use super::world::{Outcome, Script, Service, State, Status, TokenTrouble, World};
use super::{Runner, Style, Version, render};

/// Most cases that `add_cases` makes in all.
const MAX_CASES: usize = 20_000;

struct Command<'a>(&'a Value);

impl<'a> Command<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn needed(&self, name: &str) -> Result<&'a str, String> {
        self.text(name).ok_or_else(|| format!("`{name}` is missing or no text"))
    }

    /// A number of milliseconds, kept within a year so that sums stay small.
    fn millis(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64).map(|number| number.clamp(0, 31_536_000_000))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| format!("`{name}` can't be {text:?}"))
    }

    fn parsed_needed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        self.needed(name)?;
        self.parsed(name, parse)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    fn case(&self, world: &World) -> Result<usize, String> {
        let what = self.needed("case")?;
        let id = Uuid::parse_str(what).ok();
        let by_id = id.and_then(|id| world.case_index(id, Include::All));
        by_id
            .or_else(|| world.case_index_by_fqn(what, Include::All))
            .or_else(|| world.cases.iter().position(|case| case.name == what))
            .ok_or_else(|| format!("no case {what:?}"))
    }

    fn pipeline(&self, world: &World) -> Result<usize, String> {
        let what = self.needed("pipeline")?;
        let id = Uuid::parse_str(what).ok();
        id.and_then(|id| world.pipeline_index(id))
            .or_else(|| world.pipeline_index_by_fqn(what))
            .or_else(|| world.pipelines.iter().position(|one| one.name == what))
            .ok_or_else(|| format!("no pipeline {what:?}"))
    }

    /// The positions of a pipeline and of one of its runs.
    fn run(&self, world: &World) -> Result<(usize, usize), String> {
        let what = self.needed("run")?;
        let found = if what == "latest" {
            let pipeline = self.pipeline(world)?;
            world.pipelines.get(pipeline).and_then(|one| Some((pipeline, one.runs.len().checked_sub(1)?)))
        } else {
            world.pipelines.iter().enumerate().find_map(|(pipeline, one)| {
                Some((pipeline, one.runs.iter().position(|run| run.id.to_string() == what)?))
            })
        };
        found.ok_or_else(|| format!("no run {what:?}"))
    }

    /// The script with what the command changes in it.
    fn script(&self, mut script: Script) -> Result<Script, String> {
        script.queued_ms = self.millis("queued_ms").unwrap_or(script.queued_ms);
        script.running_ms = self.millis("running_ms").unwrap_or(script.running_ms);
        script.lag_ms = self.millis("lag_ms").unwrap_or(script.lag_ms);
        script.end = self.parsed("end", final_state)?.unwrap_or(script.end);
        script.hangs = self.flag("hangs").unwrap_or(script.hangs);
        script.silent = self.flag("silent").unwrap_or(script.silent);
        if let Some(state) = self.parsed("flip_to", final_state)? {
            script.flip = Some((self.millis("flip_after_ms").unwrap_or(1_000), state));
        }
        Ok(script)
    }
}

fn final_state(text: &str) -> Option<State> {
    State::parse(text).filter(|state| state.is_final())
}

pub(super) fn run(world: &mut World, command: &Value, now: i64) -> Result<Value, String> {
    let command = Command(command);
    match command.needed("do")? {
        "overview" => Ok(overview(world, now)),
        "reset" => {
            let mut options = world.options.clone();
            options.seeded_at = 0;
            *world = seed::world(options, now);
            Ok(json!({}))
        }
        "set" | "token_trouble" | "deny" | "database" | "pipeline_service" | "swallow_results" => {
            settings(world, &command)
        }
        "start_run" | "finish_run" | "flip_run" | "hang_run" | "delete_run" | "script_pipeline"
        | "delete_pipeline" => runs(world, &command, now),
        "script_case" | "add_result" | "add_cases" | "delete_case" | "restore_case" => {
            cases(world, &command, now)
        }
        other => Err(format!("unknown command {other:?}")),
    }
}

fn settings(world: &mut World, command: &Command<'_>) -> Result<Value, String> {
    match command.needed("do")? {
        "set" => {
            let version = command.parsed("version", Version::parse)?;
            let api = command.parsed("api", |text| match text {
                "by-fqn" => Some(Style::ByFqn),
                "documented" => Some(Style::Documented),
                _ => None,
            })?;
            let runner = command.parsed("runner", |text| match text {
                "airflow" => Some(Runner::Airflow),
                "kubernetes" => Some(Runner::Kubernetes),
                "disabled" => Some(Runner::Disabled),
                _ => None,
            })?;
            let options = &mut world.options;
            options.version = version.unwrap_or(options.version);
            options.api = api.unwrap_or(options.api);
            options.runner = runner.unwrap_or(options.runner);
            if let Some(token) = command.text("token") {
                let old = std::mem::replace(&mut options.token, token.to_owned());
                world.old_token = Some(old);
            }
        }
        "token_trouble" => {
            world.token_trouble = command.parsed_needed("kind", |text| match text {
                "none" => Some(None),
                "expired" => Some(Some(TokenTrouble::Expired)),
                "revoked" => Some(Some(TokenTrouble::Revoked)),
                "unknown-user" => Some(Some(TokenTrouble::UnknownUser)),
                _ => None,
            })?;
        }
        "deny" => world.denied = command.flag("on").unwrap_or(true),
        "database" => world.database_down = !command.flag("up").ok_or("`up` is missing")?,
        "pipeline_service" => {
            world.service = command.parsed_needed("state", |text| match text {
                "up" => Some(Service::Up),
                "down" => Some(Service::Down),
                "refusing" => Some(Service::Refusing),
                "refusing-falsely" => Some(Service::RefusingFalsely),
                _ => None,
            })?;
        }
        _ => world.swallow = command.0.get("times").and_then(Value::as_u64).unwrap_or(1),
    }
    Ok(json!({}))
}

fn runs(world: &mut World, command: &Command<'_>, now: i64) -> Result<Value, String> {
    let verb = command.needed("do")?;
    if matches!(verb, "start_run" | "script_pipeline" | "delete_pipeline") {
        let index = command.pipeline(world)?;
        let pipeline = world.pipelines.get_mut(index).ok_or("no such pipeline")?;
        match verb {
            "start_run" => {
                let script = command.script(pipeline.script.clone())?;
                return Ok(json!({"run": world.start_as(index, &script, now).map(|id| id.to_string())}));
            }
            "script_pipeline" => {
                pipeline.script = command.script(pipeline.script.clone())?;
                pipeline.deployed = command.flag("deployed").unwrap_or(pipeline.deployed);
                pipeline.enabled = command.flag("enabled").unwrap_or(pipeline.enabled);
            }
            _ => {
                world.pipelines.remove(index);
            }
        }
        return Ok(json!({}));
    }
    let (index, at) = command.run(world)?;
    let pipeline = world.pipelines.get_mut(index).ok_or("no such pipeline")?;
    let run = pipeline.runs.get_mut(at).ok_or("no such run")?;
    let id = run.id;
    match verb {
        "finish_run" => {
            let state = command.parsed_needed("state", final_state)?;
            run.starts = run.starts.min(now);
            run.end_at(now, state);
        }
        "flip_run" => {
            let state = command.parsed_needed("state", final_state)?;
            let after = command.millis("after_ms").unwrap_or(0);
            run.flip = Some((run.ends.unwrap_or(now) + after, state));
        }
        "hang_run" => {
            run.ends = None;
            run.planned.clear();
        }
        _ => {
            pipeline.runs.remove(at);
        }
    }
    Ok(json!({"run": id.to_string()}))
}

fn cases(world: &mut World, command: &Command<'_>, now: i64) -> Result<Value, String> {
    let verb = command.needed("do")?;
    if verb == "add_cases" {
        let count = command.0.get("count").and_then(Value::as_u64).ok_or("`count` is missing")?;
        let prefix = command.text("prefix").unwrap_or("extra");
        let room = MAX_CASES.saturating_sub(world.cases.len());
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(room);
        let first = world.cases.len();
        for number in first..first + count {
            let name = format!("{prefix}_{number:05}");
            let outcome = Status::from_name(&name);
            let suites = vec![seed::ORDERS_BASIC];
            let new =
                NewCase { id: Uuid::new_v4(), table: "orders", column: None, name: &name, outcome, suites };
            seed::add_case(world, new, now);
        }
        return Ok(json!({"added": count}));
    }
    let index = command.case(world)?;
    let status = command.parsed("status", Status::parse)?;
    let case = world.cases.get_mut(index).ok_or("no such case")?;
    match verb {
        "script_case" => case.outcome = status.ok_or("`status` is missing")?,
        "add_result" => {
            let at = command.0.get("timestamp").and_then(Value::as_i64).unwrap_or(now);
            let mut outcome = Outcome::of_worker(at, status.unwrap_or(Status::Success));
            if let Some(message) = command.text("message") {
                outcome.scalars.insert("result".to_owned(), json!(message));
            }
            world.store(index, outcome);
            return Ok(json!({"timestamp": at}));
        }
        "restore_case" => case.deleted = false,
        _ if command.flag("hard").unwrap_or(false) => {
            world.cases.remove(index);
        }
        _ => case.deleted = true,
    }
    Ok(json!({}))
}

fn overview(world: &World, now: i64) -> Value {
    let cases: Vec<Value> = world
        .cases
        .iter()
        .take(500)
        .map(|case| {
            let newest = case.results.values().next_back();
            json!({
                "id": case.id.to_string(), "fqn": case.fqn, "deleted": case.deleted, "results": case.results.len(),
                "latest": newest.map(|one| one.status.as_str()), "incident": case.incident.map(|id| id.to_string()),
            })
        })
        .collect();
    let pipelines: Vec<Value> = world
        .pipelines
        .iter()
        .map(|one| {
            let runs: Vec<Value> =
                render::newest_first(one).into_iter().take(20).map(|run| render::run(run, now)).collect();
            json!({
                "id": one.id.to_string(), "fqn": one.fqn, "deployed": one.deployed, "enabled": one.enabled,
                "total_runs": one.runs.len(), "runs": runs,
            })
        })
        .collect();
    json!({
        "version": world.options.version.number(),
        "api": if world.options.api == Style::ByFqn { "by-fqn" } else { "documented" },
        "runner": format!("{:?}", world.options.runner).to_lowercase(),
        "database_up": !world.database_down,
        "pipeline_service": format!("{:?}", world.service),
        "suites": world.suites.iter().map(|one| json!({"id": one.id.to_string(), "name": one.name})).collect::<Vec<_>>(),
        "total_cases": world.cases.len(),
        "cases": cases,
        "pipelines": pipelines,
    })
}
