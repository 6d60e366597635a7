//! Ingestion pipelines: trigger, kill, and the status of their runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::render::{self, PIPELINE_FIELDS};
use super::results::body;
use super::wire::{Answer, Fault, changed, ok, uuid};
use super::world::{Pipeline, Run, Service, State, World};
use super::{Call, Runner, Version, entities};
use crate::sandbox::http::Reply;

/// How long a kill takes to show.
const KILL_TAKES_MS: i64 = 500;

pub(super) use super::entities::list_pipelines as list;

fn index(world: &World, id: &str) -> Result<usize, Fault> {
    let parsed = uuid(id).ok_or_else(Fault::absent)?;
    world.pipeline_index(parsed).ok_or_else(|| Fault::missing("ingestionPipeline", id))
}

fn index_by_fqn(world: &World, fqn: &str) -> Result<usize, Fault> {
    world.pipeline_index_by_fqn(fqn).ok_or_else(|| Fault::missing("ingestionPipeline", fqn))
}

fn at(world: &World, index: usize) -> Result<&Pipeline, Fault> {
    world.pipelines.get(index).ok_or_else(Fault::absent)
}

fn show(world: &World, call: &Call<'_>, index: usize) -> Answer {
    let fields = call.query.fields(PIPELINE_FIELDS)?;
    call.query.include()?;
    Ok(ok(&render::pipeline(world, at(world, index)?, &fields, call.now)))
}

pub(super) fn by_id(world: &World, call: &Call<'_>, id: &str) -> Answer {
    show(world, call, index(world, id)?)
}

pub(super) fn by_fqn(world: &World, call: &Call<'_>, fqn: &str) -> Answer {
    show(world, call, index_by_fqn(world, fqn)?)
}

fn disabled() -> Reply {
    ok(&json!({"code": 200, "reason": "Pipeline Client Disabled"}))
}

fn platform(world: &World) -> &'static str {
    if world.options.runner == Runner::Kubernetes { "Kubernetes" } else { "Airflow" }
}

/// `POST trigger/{id}`. Neither deployment nor a run that is under way is looked at.
pub(super) fn trigger(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    if uuid(id).is_none() {
        return Err(Fault::absent());
    }
    // A disabled client doesn't even look the id up.
    if world.options.runner == Runner::Disabled {
        return Ok(disabled());
    }
    let index = index(world, id)?;
    let name = at(world, index)?.name.clone();
    match world.service {
        Service::Up => {}
        Service::Down => {
            return Err(Fault::bad(format!("Failed to deploy pipeline [{name}] due to [null].")));
        }
        Service::Refusing | Service::RefusingFalsely => {
            if world.service == Service::RefusingFalsely && !call.swallow {
                world.start(index, call.now);
            }
            let text =
                format!("Failed to deploy pipeline [{name}] due to [Failed to trigger IngestionPipeline].");
            return Err(Fault::bad(text));
        }
    }
    let run = if call.swallow { None } else { world.start(index, call.now) };
    let mut body = json!({"code": 200});
    if world.options.runner == Runner::Kubernetes {
        body["reason"] = json!(format!("Pipeline [{name}] started"));
        body["platform"] = json!("Kubernetes");
        // The field came with 2.0.
        if world.options.version == Version::V2_0 {
            body["runId"] = json!(run.unwrap_or_else(Uuid::new_v4).to_string());
        }
    } else {
        // Airflow's own reply, as text; its run is named there by time alone.
        let airflow =
            json!({"message": format!("Workflow [{name}] was triggered: DagRun manual__{}", call.now)});
        body["reason"] = json!(airflow.to_string());
        body["platform"] = json!("Airflow");
    }
    Ok(ok(&body))
}

/// `POST kill/{id}`: ends every run of the pipeline that is under way.
pub(super) fn kill(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    let index = index(world, id)?;
    if world.options.runner == Runner::Disabled {
        return Ok(disabled());
    }
    match world.service {
        Service::Up => {}
        Service::Down => {
            return Err(Fault::bad("Pipeline Exception [Failed to kill running workflows] due to [null]."));
        }
        Service::Refusing | Service::RefusingFalsely => {
            return Err(Fault::bad("Failed to kill running workflows due to {\"error\": \"refused\"}"));
        }
    }
    let end = if world.options.runner == Runner::Kubernetes { State::Stopped } else { State::Failed };
    let platform = platform(world);
    let pipeline = world.pipelines.get_mut(index).ok_or_else(Fault::absent)?;
    for run in &mut pipeline.runs {
        if !call.swallow && run.reported.is_none() && !run.state(call.now).is_final() {
            let natural = run.ends.unwrap_or(i64::MAX);
            if natural > call.now + KILL_TAKES_MS {
                run.end_at(call.now + KILL_TAKES_MS, end);
            }
        }
    }
    let reason = json!({"message": format!("Workflow [{}] was killed", pipeline.name)}).to_string();
    Ok(ok(&json!({"code": 200, "reason": reason, "platform": platform})))
}

/// `POST deploy/{id}`.
pub(super) fn deploy(world: &mut World, id: &str) -> Answer {
    let index = index(world, id)?;
    if world.options.runner == Runner::Disabled {
        return Ok(disabled());
    }
    let platform = platform(world);
    let pipeline = world.pipelines.get_mut(index).ok_or_else(Fault::absent)?;
    if world.service != Service::Up {
        return Err(Fault::bad(format!("Failed to deploy pipeline [{}] due to [null].", pipeline.name)));
    }
    pipeline.deployed = true;
    Ok(ok(
        &json!({"code": 200, "reason": format!("Workflow [{}] was deployed", pipeline.name), "platform": platform}),
    ))
}

/// `POST toggleIngestion/{id}`.
pub(super) fn toggle(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    let index = index(world, id)?;
    if world.options.runner == Runner::Disabled {
        return Ok(Reply::with_type(StatusCode::OK, "application/json", "Pipeline Client Disabled"));
    }
    if let Some(pipeline) = world.pipelines.get_mut(index) {
        pipeline.enabled = !pipeline.enabled;
    }
    show(world, call, index)
}

/// `GET status`: of the pipeline service.
pub(super) fn status(world: &World) -> Reply {
    if world.options.runner == Runner::Disabled {
        return disabled();
    }
    let code = if world.service == Service::Down { 500 } else { 200 };
    ok(&json!({"code": code, "reason": "", "platform": platform(world)}))
}

/// The server asks Airflow for queued runs on each read.
fn service_reachable(world: &World, name: &str) -> Result<(), Fault> {
    if world.options.runner != Runner::Disabled && world.service == Service::Down {
        return Err(Fault::bad(format!("Pipeline Exception [{name}] due to [null].")));
    }
    Ok(())
}

/// `GET {fqn}/pipelineStatus`.
pub(super) fn list_runs(world: &World, call: &Call<'_>, fqn: &str) -> Answer {
    let (start, end) = (call.query.number("startTs")?, call.query.number("endTs")?);
    let unbounded = start.is_none() && end.is_none();
    let limit = call.query.limit(if unbounded { 5 } else { usize::MAX })?;
    let pipeline = at(world, index_by_fqn(world, fqn)?)?;
    service_reachable(world, &pipeline.name)?;
    let within = start.unwrap_or(i64::MIN)..=end.unwrap_or(i64::MAX);
    let data: Vec<Value> = render::newest_first(pipeline)
        .into_iter()
        .filter(|run| within.contains(&run.timestamp))
        .take(limit)
        .map(|run| render::run(run, call.now))
        .collect();
    // The bounds again, dressed up as cursors, which they are not.
    let mut paging = json!({"total": data.len()});
    for (name, bound) in [("before", start), ("after", end)] {
        if let Some(bound) = bound {
            paging[name] = json!(BASE64.encode(bound.to_string()));
        }
    }
    Ok(ok(&json!({"data": data, "paging": paging})))
}

/// `GET {fqn}/pipelineStatus/{runId}`.
pub(super) fn get_run(world: &World, call: &Call<'_>, fqn: &str, run: &str) -> Answer {
    let id = uuid(run).ok_or_else(Fault::absent)?;
    let pipeline = at(world, index_by_fqn(world, fqn)?)?;
    let found = pipeline.runs.iter().find(|run| run.id == id);
    Ok(found.map_or_else(entities::gone, |run| ok(&render::run(run, call.now))))
}

/// `DELETE {id}/pipelineStatus/{runId}`.
pub(super) fn delete_run(world: &mut World, id: &str, run: &str) -> Answer {
    let run = uuid(run).ok_or_else(Fault::absent)?;
    let index = index(world, id)?;
    if let Some(pipeline) = world.pipelines.get_mut(index) {
        pipeline.runs.retain(|one| one.id != run);
    }
    Ok(entities::gone())
}

const STATUS_FIELDS: &[&str] =
    &["runId", "pipelineState", "startDate", "timestamp", "endDate", "status", "config", "metadata"];

/// `PUT {fqn}/pipelineStatus`: how workers report. A run that is reported follows no script any more.
pub(super) fn put_run(world: &mut World, call: &Call<'_>, fqn: &str) -> Answer {
    let mut object = body(call)?;
    object.retain(|_, value| !value.is_null());
    if let Some(strange) = object.keys().find(|key| !STATUS_FIELDS.contains(&key.as_str())) {
        return Err(Fault::bad(format!("Unrecognized field \"{strange}\" (class PipelineStatus)")));
    }
    let state = object.get("pipelineState").and_then(Value::as_str);
    if state.is_some_and(|text| State::parse(text).is_none()) {
        return Err(Fault::bad("Cannot construct instance of `PipelineStatusType`"));
    }
    let index = index_by_fqn(world, fqn)?;
    let timestamp =
        object.get("timestamp").and_then(Value::as_i64).ok_or_else(|| Fault::unexpected("null"))?;
    let id = match object.get("runId").and_then(Value::as_str) {
        Some(text) => uuid(text).ok_or_else(|| Fault::bad("Invalid runId"))?,
        None => Uuid::nil(),
    };
    let pipeline = world.pipelines.get_mut(index).ok_or_else(Fault::absent)?;
    if pipeline.runs.iter().any(|run| run.timestamp == timestamp && run.id != id) {
        return Err(Fault::challenge(StatusCode::CONFLICT, "Entity already exists"));
    }
    let (entity_id, entity_fqn) = (pipeline.id, pipeline.fqn.clone());
    if let Some(run) = pipeline.runs.iter_mut().find(|run| run.id == id) {
        run.timestamp = timestamp;
        run.planned.clear();
        run.reported = Some(object.clone());
    } else {
        let reported = Some(object.clone());
        let (starts, ends, end) = (timestamp, None, State::Running);
        let run = Run { id, timestamp, starts, ends, end, flip: None, planned: Vec::new(), reported };
        world.keep_run(index, run, call.now);
    }
    let shown = render::pipeline(world, at(world, index)?, &super::wire::Fields::none(), call.now);
    let event = json!({
        "id": Uuid::new_v4().to_string(),
        "eventType": "entityFieldsChanged",
        "entityType": "ingestionPipeline",
        "entityId": entity_id.to_string(),
        "entityFullyQualifiedName": entity_fqn,
        "previousVersion": 0.1,
        "currentVersion": 0.1,
        "userName": "ingestion-bot",
        "timestamp": call.now,
        "changeDescription": {
            "fieldsAdded": [], "fieldsDeleted": [], "previousVersion": 0.1,
            "fieldsUpdated": [{"name": "pipelineStatus", "newValue": object}],
        },
        // An object here, where other events have text.
        "entity": shown,
    });
    Ok(changed(StatusCode::CREATED, "entityFieldsChanged", &event))
}
