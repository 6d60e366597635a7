//! Results of test cases, by both styles of routes, and the events they leave.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Call;
use super::render;
use super::wire::{Answer, Fault, Include, changed, ok, uuid};
use super::world::{Outcome, Status, World, open_incident};
use crate::sandbox::http::Reply;

/// Every field of a result that can be created, with what it must hold.
const FIELDS: &[(&str, Kind)] = &[
    ("timestamp", Kind::Own),
    ("testCaseStatus", Kind::Own),
    ("testResultValue", Kind::Own),
    ("dimensionResults", Kind::Own),
    ("fqn", Kind::Own),
    ("incidentId", Kind::Own),
    ("result", Kind::Text),
    ("sampleData", Kind::Text),
    ("passedRows", Kind::Whole),
    ("failedRows", Kind::Whole),
    ("passedRowsPercentage", Kind::Number),
    ("failedRowsPercentage", Kind::Number),
    ("maxBound", Kind::Number),
    ("minBound", Kind::Number),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Looked at by its own rule.
    Own,
    Text,
    Whole,
    Number,
}

fn mismatch(what: &Value) -> Fault {
    Fault::bad(format!(
        "Cannot construct instance of the expected type, problem: {what}\n at [Source: REDACTED]"
    ))
}

/// Scalars of any type pass as text.
fn as_text(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::String(_) | Value::Null => Ok(value.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(json!(value.to_string())),
        _ => Err(mismatch(value)),
    }
}

/// Whole numbers also come as text or with a fraction, which is cut off.
fn as_whole(value: &Value) -> Result<Option<i64>, Fault> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number
            .as_i64()
            .map(|whole| whole.to_string())
            .or_else(|| number.as_f64().map(|real| real.trunc().to_string())),
        Value::String(text) => Some(text.trim().to_owned()),
        _ => None,
    };
    number.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| mismatch(value))
}

fn as_number(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Null | Value::Number(_) => Ok(value.clone()),
        Value::String(text) => text.parse::<f64>().map(|number| json!(number)).map_err(|_| mismatch(value)),
        _ => Err(mismatch(value)),
    }
}

/// The body as the server's parser sees it.
pub(super) fn body(call: &Call<'_>) -> Result<Map<String, Value>, Fault> {
    let kind = call.request.header("content-type").unwrap_or_default();
    if !kind.contains("json") {
        return Err(Fault::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "HTTP 415 Unsupported Media Type"));
    }
    if call.request.body.is_empty() {
        return Err(Fault::unexpected("UNHANDLED_SERVER_EXCEPTION: null"));
    }
    match serde_json::from_slice(&call.request.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(mismatch(&other)),
        Err(error) => Err(Fault::text(format!("Unable to parse the request: {error}"))),
    }
}

/// Reads a result. The server's order of checks: JSON and types, then the rules of the fields.
fn parse(object: &Map<String, Value>) -> Result<Outcome, Fault> {
    if let Some(strange) = object.keys().find(|key| !FIELDS.iter().any(|(name, _)| name == key)) {
        return Err(Fault::bad(format!(
            "Unrecognized field \"{strange}\" (class org.openmetadata.schema.api.tests.CreateTestCaseResult), not marked as ignorable ({} known properties)",
            FIELDS.len()
        )));
    }
    let mut scalars = Map::new();
    for (name, kind) in FIELDS {
        let Some(value) = object.get(*name) else { continue };
        let value = match kind {
            Kind::Own => continue,
            Kind::Text => as_text(value)?,
            Kind::Whole => json!(as_whole(value)?),
            Kind::Number => as_number(value)?,
        };
        if !value.is_null() {
            scalars.insert((*name).to_owned(), value);
        }
    }
    let status = match object.get("testCaseStatus") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Status::parse(text).ok_or_else(|| {
            Fault::bad(format!(
                "Cannot construct instance of `TestCaseStatus`, problem: {text}\n at [Source: REDACTED]"
            ))
        })?),
        Some(other) => return Err(mismatch(other)),
    };
    let timestamp = object.get("timestamp").map_or(Ok(None), as_whole)?;
    let values = match object.get("testResultValue") {
        None => Some(Vec::new()),
        Some(Value::Null) => None,
        Some(Value::Array(items)) => Some(items.iter().map(item).collect::<Result<_, _>>()?),
        Some(other) => return Err(mismatch(other)),
    };
    let missing: Vec<String> = [
        ("testCaseStatus", status.is_none()),
        ("testResultValue", values.is_none()),
        ("timestamp", timestamp.is_none()),
    ]
    .into_iter()
    .filter(|(_, absent)| *absent)
    .map(|(name, _)| format!("query param {name} must not be null"))
    .collect();
    let (Some(status), Some(values), Some(timestamp)) = (status, values, timestamp) else {
        return Err(Fault::bad(format!("[{}]", missing.join(", "))));
    };
    Ok(Outcome { id: Uuid::new_v4(), timestamp, status, scalars, values, incident: None })
}

/// One metric: known members become text, unknown ones are kept.
fn item(value: &Value) -> Result<Value, Fault> {
    let Value::Object(members) = value else { return Err(mismatch(value)) };
    let mut kept = Map::new();
    for (name, value) in members {
        let known = matches!(name.as_str(), "name" | "value" | "predictedValue");
        let value = if known { as_text(value)? } else { value.clone() };
        if !value.is_null() {
            kept.insert(name.clone(), value);
        }
    }
    Ok(Value::Object(kept))
}

/// The rules that the server applies when it is about to store.
fn check_storable(world: &World, outcome: &Outcome) -> Result<(), Fault> {
    if world.denied {
        return Err(Fault::challenge(
            StatusCode::FORBIDDEN,
            "User does not have ANY of the required permissions.",
        ));
    }
    let timestamp = outcome.timestamp;
    if timestamp.to_string().len() < 12 {
        return Err(Fault::bad(format!(
            "Timestamp {timestamp} is not valid, it should be in milliseconds since epoch"
        )));
    }
    if timestamp < 0 {
        return Err(Fault::unexpected(
            "new row for relation \"data_quality_data_time_series\" violates check constraint",
        ));
    }
    // Escaped backslashes go first, so that only a real NUL looks like one.
    let texts = json!([outcome.scalars, outcome.values]).to_string().replace("\\\\", "");
    if texts.contains("\\u0000") {
        return Err(Fault::unexpected(
            "unsupported Unicode escape sequence: \\u0000 cannot be converted to text",
        ));
    }
    Ok(())
}

/// Whether this write is to be confirmed without being stored.
fn swallowed(world: &mut World, call: &Call<'_>) -> bool {
    let counted = !call.swallow && world.swallow > 0;
    if counted {
        world.swallow -= 1;
    }
    call.swallow || counted
}

/// `POST testCaseResults/{fqn}`.
pub(super) fn add(world: &mut World, call: &Call<'_>, fqn: &str) -> Answer {
    let outcome = parse(&body(call)?)?;
    let index = world.case_index_by_fqn(fqn, Include::All).ok_or_else(|| Fault::missing("testCase", fqn))?;
    check_storable(world, &outcome)?;
    let created = |outcome: &Outcome| {
        Reply::json(StatusCode::CREATED, &render::outcome(fqn, outcome)).header("location", &location(call))
    };
    if swallowed(world, call) {
        return Ok(created(&outcome));
    }
    let case = world.cases.get_mut(index).ok_or_else(Fault::absent)?;
    if case.results.contains_key(&outcome.timestamp) {
        // The incident is opened before the row is refused.
        if outcome.status == Status::Failed {
            open_incident(case);
        }
        return Err(Fault::challenge(StatusCode::CONFLICT, "Entity already exists"));
    }
    let stored = world.store(index, outcome).ok_or_else(Fault::absent)?;
    Ok(created(&stored))
}

fn location(call: &Call<'_>) -> String {
    format!("http://{}{}", call.request.header("host").unwrap_or("localhost:8585"), call.request.raw_path)
}

fn bounds(call: &Call<'_>, start: &str, end: &str) -> Result<RangeInclusive<i64>, Fault> {
    Ok(call.query.number(start)?.unwrap_or(i64::MIN)..=call.query.number(end)?.unwrap_or(i64::MAX))
}

/// The results of a case between two bounds, newest first. Bounds the wrong way round hold nothing.
fn between(world: &World, index: usize, bounds: &RangeInclusive<i64>) -> Vec<Outcome> {
    let results = world.cases.get(index).map(|case| &case.results).filter(|_| !bounds.is_empty());
    results
        .map(|all| all.range(bounds.clone()).rev().map(|(_, one)| one.clone()).collect())
        .unwrap_or_default()
}

/// `GET testCaseResults/{fqn}`: all of them at once.
pub(super) fn list(world: &World, call: &Call<'_>, fqn: &str) -> Answer {
    let bounds = bounds(call, "startTs", "endTs")?;
    let index = world.case_index_by_fqn(fqn, Include::All).ok_or_else(|| Fault::missing("testCase", fqn))?;
    let data: Vec<Value> =
        between(world, index, &bounds).iter().map(|outcome| render::outcome(fqn, outcome)).collect();
    Ok(ok(&json!({"paging": {"total": data.len()}, "data": data})))
}

/// `GET {id}/testCaseResult`: in pages, by timestamps as cursors.
pub(super) fn list_documented(world: &World, call: &Call<'_>, id: &str) -> Answer {
    let bounds = bounds(call, "startTs", "endTs")?;
    let limit = call.query.limit(10)?;
    let cursor = |name| -> Result<Option<i64>, Fault> {
        let Some(text) = call.query.get(name) else { return Ok(None) };
        let bytes = BASE64.decode(text).map_err(|_| Fault::bad("Illegal base64 character"))?;
        let number = String::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Fault::unexpected("null"))
    };
    let (before, after) = (cursor("before")?, cursor("after")?);
    if before.is_some() && after.is_some() {
        return Err(Fault::bad("Only one of before or after query parameter allowed"));
    }
    let index = by_id(world, id)?;
    let all = between(world, index, &bounds);
    let start = match (after, before) {
        (Some(after), _) => all.iter().take_while(|one| one.timestamp >= after).count(),
        (_, Some(before)) => {
            all.iter().take_while(|one| one.timestamp > before).count().saturating_sub(limit)
        }
        _ => 0,
    };
    let page: Vec<&Outcome> = all.iter().skip(start).take(limit).collect();
    let mut paging = json!({"total": all.len()});
    if let (Some(first), Some(last)) = (page.first(), page.last()) {
        if start > 0 {
            paging["before"] = json!(BASE64.encode(first.timestamp.to_string()));
        }
        if start + page.len() < all.len() {
            paging["after"] = json!(BASE64.encode(last.timestamp.to_string()));
        }
    }
    let data: Vec<Value> = page.into_iter().map(render::documented).collect();
    Ok(ok(&json!({"data": data, "paging": paging})))
}

fn by_id(world: &World, id: &str) -> Result<usize, Fault> {
    let parsed = uuid(id).ok_or_else(Fault::absent)?;
    world.case_index(parsed, Include::All).ok_or_else(|| Fault::missing("testCase", id))
}

/// `PUT {id}/testCaseResult`: replaces what is there.
pub(super) fn put_documented(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    let outcome = parse(&body(call)?)?;
    let index = by_id(world, id)?;
    check_storable(world, &outcome)?;
    if swallowed(world, call) {
        return Ok(ok(&render::documented(&outcome)));
    }
    let stored = world.store(index, outcome).ok_or_else(Fault::absent)?;
    Ok(ok(&render::documented(&stored)))
}

/// `PATCH testCaseResults/{fqn}/{timestamp}`: replacements of whole members only.
pub(super) fn patch(world: &mut World, call: &Call<'_>, fqn: &str, timestamp: &str) -> Answer {
    let timestamp: i64 = timestamp.parse().map_err(|_| Fault::absent())?;
    let index = world.case_index_by_fqn(fqn, Include::All).ok_or_else(|| Fault::missing("testCase", fqn))?;
    let operations: Vec<Value> =
        serde_json::from_slice(&call.request.body).map_err(|error| Fault::text(error.to_string()))?;
    let stored = world.cases.get_mut(index).and_then(|case| case.results.get_mut(&timestamp));
    let outcome = stored.ok_or_else(|| Fault::unexpected("null"))?;
    for operation in &operations {
        let path = operation.get("path").and_then(Value::as_str).and_then(|path| path.strip_prefix('/'));
        let (Some(path), Some(value)) = (path, operation.get("value")) else { continue };
        match path {
            "testCaseStatus" => {
                let status = value.as_str().and_then(Status::parse);
                outcome.status = status.ok_or_else(|| mismatch(value))?;
            }
            _ if FIELDS.iter().any(|(name, kind)| *name == path && *kind != Kind::Own) => {
                outcome.scalars.insert(path.to_owned(), value.clone());
            }
            _ => return Err(mismatch(value)),
        }
    }
    Ok(changed(StatusCode::OK, "entityUpdated", &render::outcome(fqn, outcome)))
}

/// `DELETE testCaseResults/{fqn}/{timestamp}`.
pub(super) fn delete(world: &mut World, fqn: &str, timestamp: &str) -> Answer {
    let timestamp: i64 = timestamp.parse().map_err(|_| Fault::absent())?;
    let index = world.case_index_by_fqn(fqn, Include::All).ok_or_else(|| Fault::missing("testCase", fqn))?;
    let case = world.cases.get_mut(index).ok_or_else(Fault::absent)?;
    let Some(outcome) = case.results.remove(&timestamp) else {
        let message = format!("Failed to find testCase result for {} at {timestamp}", case.name);
        return Err(Fault::challenge(StatusCode::NOT_FOUND, message));
    };
    Ok(changed(StatusCode::OK, "entityDeleted", &render::outcome(fqn, &outcome)))
}

/// All results that a search's filters leave, newest first.
fn found(world: &World, call: &Call<'_>) -> Result<Vec<Value>, Fault> {
    let bounds = bounds(call, "startTimestamp", "endTimestamp")?;
    let suite = call.query.uuid("testSuiteId")?;
    let (fqn, status) = (call.query.get("testCaseFQN"), call.query.get("testCaseStatus"));
    if let Some(fqn) = fqn
        && world.case_index_by_fqn(fqn, Include::All).is_none()
    {
        return Err(Fault::missing("testCase", fqn));
    }
    let newest_only = call.query.flag("latest", false);
    let mut rows: Vec<(i64, Value)> = Vec::new();
    for (index, case) in world.cases.iter().enumerate() {
        if case.deleted
            || suite.is_some_and(|id| !case.suites.contains(&id))
            || fqn.is_some_and(|fqn| fqn != case.fqn)
        {
            continue;
        }
        let all = between(world, index, &bounds);
        let wanted = if newest_only { 1 } else { all.len() };
        rows.extend(
            all.iter()
                .take(wanted)
                .filter(|one| status.is_none_or(|status| status == one.status.as_str()))
                .map(|one| (one.timestamp, render::outcome(&case.fqn, one))),
        );
    }
    rows.sort_by_key(|(timestamp, _)| std::cmp::Reverse(*timestamp));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// `GET testCaseResults/search/list`.
pub(super) fn search(world: &World, call: &Call<'_>) -> Answer {
    let (limit, offset) = (call.query.limit(10)?, call.query.offset()?);
    call.query.fields(&["testCase", "testDefinition"])?;
    let scoped = call.query.get("testSuiteId").or_else(|| call.query.get("entityFQN")).is_some();
    if call.query.flag("latest", false) && !scoped {
        return Err(Fault::bad("latest=true requires testSuiteId"));
    }
    if offset.saturating_add(limit) > 10_000 {
        return Err(Fault::unexpected(
            "Result window is too large, from + size must be less than or equal to: [10000]",
        ));
    }
    let rows = found(world, call)?;
    let mut paging = json!({"limit": limit, "total": rows.len()});
    if limit > 0 {
        paging["offset"] = json!(offset);
    }
    let data: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    Ok(ok(&json!({"data": data, "paging": paging})))
}

/// `GET testCaseResults/search/latest`.
pub(super) fn latest(world: &World, call: &Call<'_>) -> Answer {
    call.query.fields(&["testDefinition"])?;
    let first = found(world, call)?.into_iter().next();
    Ok(first.map_or_else(|| Reply::empty(StatusCode::NO_CONTENT), |row| ok(&row)))
}

/// `GET /v1/events`: only updates of test cases, the ones that results make.
pub(super) fn events(world: &World, call: &Call<'_>) -> Answer {
    let since = call.query.number("timestamp")?.unwrap_or(i64::MIN);
    let wanted = call.query.get("entityUpdated").unwrap_or_default();
    let wanted = wanted.split(',').any(|kind| matches!(kind, "testCase" | "*"));
    let at = |event: &Value| event.get("timestamp").and_then(Value::as_i64).unwrap_or_default();
    let mut data: Vec<Value> =
        world.events.iter().filter(|event| wanted && at(event) >= since).cloned().collect();
    data.sort_by_key(at);
    Ok(ok(&json!({"paging": {"total": data.len()}, "data": data})))
}
