//! Test cases and test suites.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::render::{self, CASE_FIELDS, PIPELINE_FIELDS, SUITE_FIELDS};
use super::results::body;
use super::wire::{Answer, Fault, Include, changed, ok, uuid};
use super::world::{Case, Status, Suite, World};
use super::{Call, Version};
use crate::sandbox::http::Reply;

/// One row of a list with the two keys that order it.
pub(super) struct Row<T> {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) item: T,
}

/// Cuts a page out of rows by the opaque cursors of the database lists and renders it.
pub(super) fn page<T>(call: &Call<'_>, mut rows: Vec<Row<T>>, show: impl Fn(&T) -> Value) -> Answer {
    let limit = call.query.limit(10)?;
    let (before, after) = (call.query.get("before"), call.query.get("after"));
    if before.is_some() && after.is_some() {
        return Err(Fault::bad("Only one of before or after query parameter allowed"));
    }
    rows.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    let total = rows.len();
    let start = match (after.map(cursor).transpose()?, before.map(cursor).transpose()?) {
        (Some((name, id)), _) => rows.partition_point(|row| (&row.name, row.id) <= (&name, id)),
        (_, Some((name, id))) => {
            rows.partition_point(|row| (&row.name, row.id) < (&name, id)).saturating_sub(limit)
        }
        _ => 0,
    };
    let shown: Vec<&Row<T>> = rows.iter().skip(start).take(limit).collect();
    let mut paging = json!({"total": total});
    let encode =
        |row: &Row<T>| json!(BASE64.encode(json!({"name": row.name, "id": row.id.to_string()}).to_string()));
    if let (Some(first), Some(last)) = (shown.first(), shown.last()) {
        if start > 0 {
            paging["before"] = encode(first);
        }
        if start + shown.len() < total {
            paging["after"] = encode(last);
        }
    }
    let data: Vec<Value> = shown.into_iter().map(|row| show(&row.item)).collect();
    Ok(ok(&json!({"data": data, "paging": paging})))
}

fn cursor(text: &str) -> Result<(String, Uuid), Fault> {
    // A `+` of plain base64 arrives as a space where the caller did not escape it.
    let text = text.replace(' ', "+");
    let bytes = BASE64.decode(&text).or_else(|_| URL_SAFE.decode(&text));
    let bytes = bytes.map_err(|_| Fault::bad("Illegal base64 character 21"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| Fault::unexpected("Unrecognized token"))?;
    let name = value.get("name").and_then(Value::as_str);
    let id = value.get("id").and_then(Value::as_str).and_then(uuid);
    name.map(str::to_owned).zip(id).ok_or_else(|| Fault::unexpected("null"))
}

/// A page of a search: by offset.
fn window(call: &Call<'_>, rows: Vec<Value>) -> Answer {
    let (limit, offset) = (call.query.limit(10)?, call.query.offset()?);
    if offset.saturating_add(limit) > 10_000 {
        return Err(Fault::unexpected(
            "Result window is too large, from + size must be less than or equal to: [10000]",
        ));
    }
    let paging = json!({"offset": offset, "limit": limit, "total": rows.len()});
    let data: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    Ok(ok(&json!({"data": data, "paging": paging})))
}

fn selected<'a>(world: &'a World, call: &'a Call<'_>) -> Result<Vec<&'a Case>, Fault> {
    let include = call.query.include()?;
    let suite = call.query.uuid("testSuiteId")?;
    let (table, link) = (call.query.get("entityFQN"), call.query.get("entityLink"));
    let column = call.query.get("columnName");
    let kind = call.query.get("testCaseType").unwrap_or("all");
    let statuses: Vec<&str> = match world.options.version {
        // Only 2.0 takes several and refuses what it does not know.
        Version::V2_0 => call.query.all("testCaseStatus").collect(),
        _ => call.query.get("testCaseStatus").into_iter().collect(),
    };
    if world.options.version == Version::V2_0
        && let Some(strange) = statuses.iter().find(|status| Status::parse(status).is_none())
    {
        return Err(Fault::bad(format!("Invalid testCaseStatus {strange}")));
    }
    let newest = |case: &Case| case.results.values().next_back().map(|one| one.status.as_str());
    Ok(world
        .cases
        .iter()
        .filter(|case| include.admits(case.deleted))
        .filter(|case| suite.is_none_or(|id| case.suites.contains(&id)))
        .filter(|case| table.is_none_or(|table| table == case.table))
        .filter(|case| link.is_none_or(|link| link == render::link(case)))
        .filter(|case| column.is_none_or(|column| case.column.as_deref() == Some(column)))
        .filter(|case| match kind {
            "column" => case.column.is_some(),
            "table" => case.column.is_none(),
            _ => true,
        })
        .filter(|case| statuses.is_empty() || newest(case).is_some_and(|status| statuses.contains(&status)))
        .collect())
}

pub(super) fn list_cases(world: &World, call: &Call<'_>) -> Answer {
    let fields = call.query.fields(CASE_FIELDS)?;
    let rows = selected(world, call)?
        .into_iter()
        .map(|case| Row { name: case.name.clone(), id: case.id, item: case })
        .collect();
    page(call, rows, |case| render::case(world, case, &fields))
}

/// `testCases/search/list`: by suite it finds only the cases that have a result.
pub(super) fn search_cases(world: &World, call: &Call<'_>) -> Answer {
    let fields = call.query.fields(CASE_FIELDS)?;
    let (start, end) = (call.query.number("startTimestamp")?, call.query.number("endTimestamp")?);
    if start.is_some() != end.is_some() {
        return Err(Fault::bad("startTimestamp and endTimestamp must be used together"));
    }
    let by_suite = call.query.get("testSuiteId").is_some();
    let rows = selected(world, call)?
        .into_iter()
        .filter(|case| {
            let newest = case.results.keys().next_back().copied();
            let in_time = match start.zip(end) {
                Some((start, end)) => newest.is_some_and(|at| start <= at && at <= end),
                None => true,
            };
            in_time && (!by_suite || newest.is_some())
        })
        .map(|case| render::case(world, case, &fields))
        .collect();
    window(call, rows)
}

fn show_case(world: &World, call: &Call<'_>, index: usize) -> Answer {
    let fields = call.query.fields(CASE_FIELDS)?;
    let case = world.cases.get(index).ok_or_else(Fault::absent)?;
    Ok(ok(&render::case(world, case, &fields))
        .header("etag", &format!("\"{}-{}\"", case.version, case.updated_at)))
}

pub(super) fn case_by_id(world: &World, call: &Call<'_>, id: &str) -> Answer {
    let parsed = uuid(id).ok_or_else(Fault::absent)?;
    let include = call.query.include()?;
    let index = world.case_index(parsed, include).ok_or_else(|| Fault::missing("testCase", id))?;
    show_case(world, call, index)
}

pub(super) fn case_by_fqn(world: &World, call: &Call<'_>, fqn: &str) -> Answer {
    let include = call.query.include()?;
    let index = world.case_index_by_fqn(fqn, include).ok_or_else(|| Fault::missing("testCase", fqn))?;
    show_case(world, call, index)
}

pub(super) fn delete_case(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    let parsed = uuid(id).ok_or_else(Fault::absent)?;
    let hard = call.query.flag("hardDelete", false);
    let include = if hard { Include::All } else { Include::Live };
    let index = world.case_index(parsed, include).ok_or_else(|| Fault::missing("testCase", id))?;
    let change = if hard { "entityDeleted" } else { "entitySoftDeleted" };
    if let Some(case) = world.cases.get_mut(index) {
        case.deleted = true;
        case.version += 1;
    }
    let mut reply = show_case(world, call, index)?;
    if hard {
        world.cases.remove(index);
    }
    reply = reply.header("x-openmetadata-change", change);
    Ok(reply)
}

pub(super) fn restore_case(world: &mut World, call: &Call<'_>) -> Answer {
    let object = body(call)?;
    let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
    let parsed = uuid(id).ok_or_else(|| Fault::bad("[query param id must not be null]"))?;
    let index = world.case_index(parsed, Include::All).ok_or_else(|| Fault::missing("testCase", id))?;
    let case = world.cases.get_mut(index).ok_or_else(Fault::absent)?;
    if !case.deleted {
        return Err(Fault::unexpected("null"));
    }
    case.deleted = false;
    case.version += 1;
    let fields = call.query.fields(CASE_FIELDS)?;
    let case = world.cases.get(index).ok_or_else(Fault::absent)?;
    Ok(changed(StatusCode::OK, "entityRestored", &render::case(world, case, &fields)))
}

fn selected_suites<'a>(world: &'a World, call: &Call<'_>) -> Result<Vec<&'a Suite>, Fault> {
    let deleted_only = call.query.include()? == Include::Deleted;
    let kind = call.query.get("testSuiteType").unwrap_or_default();
    let empty = call.query.flag("includeEmptyTestSuites", true);
    Ok(world
        .suites
        .iter()
        // No suite is ever deleted here.
        .filter(|_| !deleted_only)
        .filter(|suite| match kind {
            "basic" | "executable" => suite.table.is_some(),
            "logical" => suite.table.is_none(),
            _ => true,
        })
        .filter(|suite| empty || world.cases_of(suite.id).next().is_some())
        .collect())
}

pub(super) fn list_suites(world: &World, call: &Call<'_>) -> Answer {
    let fields = call.query.fields(SUITE_FIELDS)?;
    let rows = selected_suites(world, call)?
        .into_iter()
        .map(|suite| Row { name: suite.name.clone(), id: suite.id, item: suite })
        .collect();
    page(call, rows, |suite| render::suite(world, suite, &fields))
}

pub(super) fn search_suites(world: &World, call: &Call<'_>) -> Answer {
    let fields = call.query.fields(SUITE_FIELDS)?;
    let suites = selected_suites(world, call)?;
    window(call, suites.into_iter().map(|suite| render::suite(world, suite, &fields)).collect())
}

fn show_suite(world: &World, call: &Call<'_>, suite: &Suite) -> Answer {
    let fields = call.query.fields(SUITE_FIELDS)?;
    Ok(ok(&render::suite(world, suite, &fields)))
}

pub(super) fn suite_by_id(world: &World, call: &Call<'_>, id: &str) -> Answer {
    let parsed = uuid(id).ok_or_else(Fault::absent)?;
    let suite = world.suite(parsed).ok_or_else(|| Fault::missing("testSuite", id))?;
    show_suite(world, call, suite)
}

pub(super) fn suite_by_name(world: &World, call: &Call<'_>, name: &str) -> Answer {
    let suite = world.suites.iter().find(|suite| suite.name == name);
    show_suite(world, call, suite.ok_or_else(|| Fault::missing("testSuite", name))?)
}

/// The list of pipelines, here because it pages like the others.
pub(super) fn list_pipelines(world: &World, call: &Call<'_>) -> Answer {
    let fields = call.query.fields(PIPELINE_FIELDS)?;
    let deleted_only = call.query.include()? == Include::Deleted;
    let suite = call.query.get("testSuite").or_else(|| call.query.get("service"));
    let kind = call.query.get("pipelineType");
    let rows = world
        .pipelines
        .iter()
        .filter(|_| !deleted_only)
        .filter(|_| kind.is_none_or(|kinds| kinds.split(',').any(|kind| kind == "TestSuite")))
        .filter(|one| suite.is_none_or(|name| world.suite(one.suite).is_some_and(|suite| suite.name == name)))
        .map(|one| Row { name: one.name.clone(), id: one.id, item: one })
        .collect();
    page(call, rows, |one| render::pipeline(world, one, &fields, call.now))
}

/// Confirms a removal without a body.
pub(super) fn gone() -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
}
