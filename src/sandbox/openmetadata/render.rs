//! Entities as the server writes them: unset scalars absent, unset lists as `[]`, optional fields only when
//! asked for.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Version;
use super::wire::Fields;
use super::world::{Case, Outcome, Pipeline, Run, State, Status, Suite, World};

/// The server builds links from its configured address, not from the one that was asked.
const LINK: &str = "http://localhost:8585/api/v1";
const UPDATED_BY: &str = "admin";

pub(super) const CASE_FIELDS: &[&str] = &[
    "owners",
    "reviewers",
    "entityStatus",
    "testSuite",
    "testDefinition",
    "testSuites",
    "incidentId",
    "domains",
    "tags",
    "followers",
    "testCaseResult",
];
pub(super) const SUITE_FIELDS: &[&str] =
    &["owners", "reviewers", "tests", "summary", "pipelines", "domains", "tags"];
pub(super) const PIPELINE_FIELDS: &[&str] = &["owners", "followers", "pipelineStatuses", "domains"];

fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn reference(kind: &str, id: Uuid, name: &str, fqn: &str, link: &str) -> Value {
    json!({
        "id": id.to_string(), "type": kind, "name": name, "fullyQualifiedName": fqn, "deleted": false,
        "href": format!("{LINK}/{link}/{id}"),
    })
}

/// A stable id for things that only exist as references, made from their name.
fn id_of(text: &str) -> Uuid {
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    // The version and variant bits of a random UUID.
    Uuid::from_u128(
        (hash & !(0xf000_u128 << 64) & !(0xc000_u128 << 48)) | (0x4000_u128 << 64) | (0x8000_u128 << 48),
    )
}

/// A result by the routes that servers have.
pub(super) fn outcome(fqn: &str, outcome: &Outcome) -> Value {
    let mut body = json!({
        "id": outcome.id.to_string(),
        "testCaseFQN": fqn,
        "timestamp": outcome.timestamp,
        "testCaseStatus": outcome.status.as_str(),
    });
    for (name, value) in &outcome.scalars {
        put(&mut body, name, value.clone());
    }
    put(&mut body, "testResultValue", outcome.values.clone());
    if let Some(incident) = outcome.incident {
        put(&mut body, "incidentId", incident.to_string());
    }
    put(&mut body, "dimensionResults", json!([]));
    body
}

/// A result by the published page's routes, which shows no id and no FQN.
pub(super) fn documented(outcome: &Outcome) -> Value {
    let mut body = json!({"timestamp": outcome.timestamp, "testCaseStatus": outcome.status.as_str()});
    for (name, value) in &outcome.scalars {
        put(&mut body, name, value.clone());
    }
    put(&mut body, "testResultValue", outcome.values.clone());
    body
}

/// A case's entity link.
pub(super) fn link(case: &Case) -> String {
    match &case.column {
        Some(column) => format!("<#E::table::{}::columns::{column}>", case.table),
        None => format!("<#E::table::{}>", case.table),
    }
}

/// A case.
pub(super) fn case(world: &World, case: &Case, fields: &Fields) -> Value {
    let entity = match &case.column {
        Some(column) => format!("{}.{column}", case.table),
        None => case.table.clone(),
    };
    let mut body = json!({
        "id": case.id.to_string(),
        "name": case.name,
        "fullyQualifiedName": case.fqn,
        "description": case.description,
        "entityLink": link(case),
        "entityFQN": entity,
        "parameterValues": [],
        "version": f64::from(case.version) / 10.0,
        "updatedAt": case.updated_at,
        "updatedBy": UPDATED_BY,
        "href": format!("{LINK}/dataQuality/testCases/{}", case.id),
        "deleted": case.deleted,
        "computePassedFailedRowCount": false,
        "useDynamicAssertion": false,
        "dimensionColumns": [],
    });
    if let Some(newest) = case.results.values().next_back() {
        put(&mut body, "testCaseStatus", newest.status.as_str());
        if fields.has("testCaseResult") {
            put(&mut body, "testCaseResult", outcome(&case.fqn, newest));
        }
    }
    if fields.has("testDefinition") {
        let name = case.definition;
        put(
            &mut body,
            "testDefinition",
            reference("testDefinition", id_of(name), name, name, "dataQuality/testDefinitions"),
        );
    }
    if fields.has("testSuite")
        && let Some(own) = case.suites.first().and_then(|id| world.suite(*id))
    {
        put(&mut body, "testSuite", suite_reference(own));
    }
    if fields.has("testSuites") {
        let all: Vec<Value> = case
            .suites
            .iter()
            .filter_map(|id| world.suite(*id))
            .map(|one| suite(world, one, &Fields::none()))
            .collect();
        put(&mut body, "testSuites", all);
    }
    if fields.has("incidentId")
        && let Some(incident) = case.incident
    {
        put(&mut body, "incidentId", incident.to_string());
    }
    for name in ["owners", "reviewers", "tags", "domains", "followers"] {
        if fields.has(name) {
            put(&mut body, name, json!([]));
        }
    }
    body
}

fn suite_reference(suite: &Suite) -> Value {
    let mut body = reference("testSuite", suite.id, &suite.name, &suite.name, "dataQuality/testSuites");
    if let Some(name) = &suite.display_name {
        put(&mut body, "displayName", name.clone());
    }
    body
}

/// A suite.
pub(super) fn suite(world: &World, suite: &Suite, fields: &Fields) -> Value {
    let mut body = json!({
        "id": suite.id.to_string(),
        "name": suite.name,
        "fullyQualifiedName": suite.name,
        "description": suite.description,
        "version": 0.1,
        "updatedAt": world.options.seeded_at,
        "updatedBy": UPDATED_BY,
        "href": format!("{LINK}/dataQuality/testSuites/{}", suite.id),
        "deleted": false,
        "basic": suite.table.is_some(),
    });
    if let Some(name) = &suite.display_name {
        put(&mut body, "displayName", name.clone());
    }
    if let Some(table) = &suite.table {
        let name = table.rsplit('.').next().unwrap_or(table);
        put(&mut body, "basicEntityReference", reference("table", id_of(table), name, table, "tables"));
    }
    if fields.has("tests") {
        let tests: Vec<Value> = world
            .cases_of(suite.id)
            .map(|case| reference("testCase", case.id, &case.name, &case.fqn, "dataQuality/testCases"))
            .collect();
        put(&mut body, "tests", tests);
    }
    if fields.has("pipelines") {
        let pipelines: Vec<Value> = world
            .pipelines
            .iter()
            .filter(|pipeline| pipeline.suite == suite.id)
            .map(|pipeline| {
                let (id, name, fqn) = (pipeline.id, &pipeline.name, &pipeline.fqn);
                reference("ingestionPipeline", id, name, fqn, "services/ingestionPipelines")
            })
            .collect();
        put(&mut body, "pipelines", pipelines);
    }
    if fields.has("summary") {
        let (summary, latest) = summary(world, suite);
        put(&mut body, "summary", summary);
        put(&mut body, "testCaseResultSummary", latest);
    }
    for name in ["owners", "reviewers", "tags", "domains"] {
        if fields.has(name) {
            put(&mut body, name, json!([]));
        }
    }
    body
}

/// Counts only the cases that have a result: `total` of a suite that never ran is 0.
fn summary(world: &World, suite: &Suite) -> (Value, Value) {
    let newest: Vec<(&Case, &Outcome)> = world
        .cases_of(suite.id)
        .filter_map(|case| case.results.values().next_back().map(|outcome| (case, outcome)))
        .collect();
    let count = |status: Status| newest.iter().filter(|(_, outcome)| outcome.status == status).count();
    let summary = json!({
        "success": count(Status::Success),
        "failed": count(Status::Failed),
        "aborted": count(Status::Aborted),
        "queued": count(Status::Queued),
        "total": newest.len(),
        "columnTestSummary": [],
    });
    let latest = newest
        .iter()
        .map(|(case, outcome)| {
            json!({
                "testCaseName": case.fqn, "status": outcome.status.as_str(), "timestamp": outcome.timestamp,
            })
        })
        .collect();
    (summary, latest)
}

/// A pipeline.
pub(super) fn pipeline(world: &World, pipeline: &Pipeline, fields: &Fields, now: i64) -> Value {
    let suite = world.suite(pipeline.suite);
    let entity = suite.map(|suite| suite.table.clone().unwrap_or_else(|| suite.name.clone()));
    let mut config = json!({"type": "TestSuite"});
    if let Some(entity) = entity {
        put(&mut config, "entityFullyQualifiedName", entity);
    }
    if let Some(names) = &pipeline.subset {
        put(&mut config, "testCases", names.clone());
    }
    let mut body = json!({
        "id": pipeline.id.to_string(),
        "name": pipeline.name,
        "displayName": pipeline.display_name,
        "pipelineType": "TestSuite",
        "fullyQualifiedName": pipeline.fqn,
        "sourceConfig": {"config": config},
        "airflowConfig": {
            "pausePipeline": false, "concurrency": 1, "pipelineTimezone": "UTC", "retries": 0, "retryDelay": 300,
            "pipelineCatchup": false, "scheduleInterval": "0 2 * * *", "maxActiveRuns": 1,
            "workflowDefaultView": "tree", "workflowDefaultViewOrientation": "LR",
        },
        "loggerLevel": "INFO",
        "deployed": pipeline.deployed,
        "enabled": pipeline.enabled,
        "href": format!("{LINK}/services/ingestionPipelines/{}", pipeline.id),
        "version": 0.1,
        "updatedAt": world.options.seeded_at,
        "updatedBy": UPDATED_BY,
        "deleted": false,
        "provider": "user",
    });
    if let Some(suite) = suite {
        put(&mut body, "service", suite_reference(suite));
    }
    if fields.has("pipelineStatuses") {
        let mut newest = newest_first(pipeline).into_iter().map(|one| run(one, now));
        if world.options.version == Version::V2_0 {
            put(&mut body, "pipelineStatuses", newest.take(5).collect::<Vec<_>>());
        } else if let Some(latest) = newest.next() {
            put(&mut body, "pipelineStatuses", latest);
        }
    }
    for name in ["owners", "followers", "domains"] {
        if fields.has(name) {
            put(&mut body, name, json!([]));
        }
    }
    body
}

/// A pipeline's runs as its lists order them.
pub(super) fn newest_first(pipeline: &Pipeline) -> Vec<&Run> {
    let mut runs: Vec<&Run> = pipeline.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.timestamp));
    runs
}

/// A run's status.
pub(super) fn run(run: &Run, now: i64) -> Value {
    if let Some(reported) = &run.reported {
        return Value::Object(reported.clone());
    }
    let state = run.state(now);
    let mut body = Map::new();
    body.insert("runId".to_owned(), json!(run.id.to_string()));
    body.insert("pipelineState".to_owned(), json!(state.as_str()));
    // A queued run has no start of its own yet.
    let start = if state == State::Queued { run.timestamp } else { run.starts };
    body.insert("startDate".to_owned(), json!(start));
    body.insert("timestamp".to_owned(), json!(run.timestamp));
    if let Some(ends) = run.ends.filter(|_| state.is_final()) {
        body.insert("endDate".to_owned(), json!(ends));
        let errors = i32::from(state == State::Failed);
        body.insert(
            "status".to_owned(),
            json!([{
                "name": "TestSuite", "records": 1, "updated_records": 0, "warnings": 0, "errors": errors,
                "filtered": 0, "failures": [],
            }]),
        );
    }
    Value::Object(body)
}
