//! Pipelines and their runs.

use super::*;

#[test]
fn an_airflow_run_has_no_id_at_first_and_its_results_lie_within_it() {
    let server = server(Options::default());
    let (status, body) = server.trigger(PIPELINE_ORDERS);
    assert_eq!((status, &body["platform"]), (200, &json!("Airflow")));
    assert!(body.get("runId").is_none() && body.get("version").is_none());
    let fqn = "orders_quality.orders_quality_daily";
    let state = || server.runs(fqn).first().unwrap()["pipelineState"].as_str().unwrap().to_owned();
    assert_eq!(state(), "queued");
    server.pass(1_000);
    assert_eq!(state(), "running");
    server.pass(4_000);
    assert_eq!(state(), "success");
    let run = server.runs(fqn).remove(0);
    let (start, end) = (run["startDate"].as_i64().unwrap(), run["endDate"].as_i64().unwrap());
    assert_eq!(end - start, 4_000);
    assert_eq!(server.get(&format!("{ROWS}?startTs={start}&endTs={end}"))["paging"]["total"], 1);
}

#[test]
fn a_pipeline_with_a_subset_runs_only_that() {
    let server = server(Options::default());
    let start = server.clock.now_ms();
    server.trigger(PIPELINE_ORDERS_CRITICAL);
    server.pass(10_000);
    assert_eq!(server.get(&format!("{ROWS}?startTs={start}"))["paging"]["total"], 0);
    let other = "/api/v1/dataQuality/testCases/testCaseResults/shop_pg.shop.public.orders.id.id_unique";
    assert_eq!(server.get(&format!("{other}?startTs={start}"))["paging"]["total"], 1);
}

#[test]
fn only_a_kubernetes_runner_of_2_0_tells_the_run_id() {
    for (version, told) in [(Version::V1_12, false), (Version::V1_13, false), (Version::V2_0, true)] {
        let server = server(Options { version, runner: Runner::Kubernetes, ..Options::default() });
        let (_, body) = server.trigger(PIPELINE_ORDERS);
        assert_eq!(body.get("runId").is_some(), told, "{version:?}");
        if told {
            assert_eq!(server.runs("orders_quality.orders_quality_daily")[0]["runId"], body["runId"]);
        }
    }
}

#[test]
fn a_disabled_client_starts_nothing_even_for_an_unknown_pipeline() {
    let server = server(Options { runner: Runner::Disabled, ..Options::default() });
    for id in [PIPELINE_ORDERS, uuid::Uuid::nil()] {
        assert_eq!(server.trigger(id), (200, json!({"code": 200, "reason": "Pipeline Client Disabled"})));
    }
    let kill = format!("/api/v1/services/ingestionPipelines/kill/{}", uuid::Uuid::nil());
    assert_eq!(server.call("POST", &kill, Value::Null).0, 404);
}

#[test]
fn kill_ends_every_run_a_little_later() {
    for (runner, end) in [(Runner::Airflow, "failed"), (Runner::Kubernetes, "stopped")] {
        let server = server(Options { runner, ..Options::default() });
        server.trigger(PIPELINE_SLOW);
        server.pass(2_000);
        server.trigger(PIPELINE_SLOW);
        let kill = format!("/api/v1/services/ingestionPipelines/kill/{PIPELINE_SLOW}");
        assert_eq!(server.call("POST", &kill, Value::Null).0, 200);
        let states = |server: &Server| -> Vec<String> {
            let runs = server.runs("late_quality.late_slow");
            runs.iter().map(|run| run["pipelineState"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(states(&server), ["queued", "running"]);
        server.pass(600);
        assert_eq!(states(&server), [end, end]);
    }
}

#[test]
fn a_run_may_change_its_mind_and_its_results_may_lag() {
    let server = server(Options::default());
    let start = server.clock.now_ms();
    server.trigger(PIPELINE_FLIPPING);
    let state = || server.runs("late_quality.late_flipping")[0]["pipelineState"].clone();
    let results = || server.get(&format!("{ROWS}?startTs={start}"))["paging"]["total"].clone();
    server.pass(5_000);
    assert_eq!((state(), results()), (json!("success"), json!(0)));
    server.pass(3_000);
    assert_eq!((state(), results()), (json!("success"), json!(1)));
    server.pass(3_000);
    assert_eq!(state(), "partialSuccess");
}

#[test]
fn the_pipelines_statuses_are_an_object_before_2_0_and_a_list_since() {
    let path = format!("/api/v1/services/ingestionPipelines/{PIPELINE_ORDERS}?fields=pipelineStatuses");
    let statuses =
        |version| server(Options { version, ..Options::default() }).get(&path)["pipelineStatuses"].clone();
    assert!(statuses(Version::V1_12).is_object());
    assert!(statuses(Version::V1_13).is_object());
    assert_eq!(statuses(Version::V2_0).as_array().unwrap().len(), 2);
}

#[test]
fn an_unreachable_pipeline_service_fails_reads_of_runs_too() {
    let server = server(Options::default());
    server.control(json!({"do": "pipeline_service", "state": "down"}));
    let (status, body) = server.trigger(PIPELINE_ORDERS);
    assert_eq!(status, 400);
    assert_eq!(body["message"], "Failed to deploy pipeline [orders_quality_daily] due to [null].");
    let path = "/api/v1/services/ingestionPipelines/orders_quality.orders_quality_daily/pipelineStatus";
    let (status, body) = server.call("GET", path, Value::Null);
    assert_eq!(
        (status, &body["message"]),
        (400, &json!("Pipeline Exception [orders_quality_daily] due to [null]."))
    );
    server.control(json!({"do": "pipeline_service", "state": "refusing-falsely"}));
    assert_eq!(server.trigger(PIPELINE_ORDERS).0, 400);
    server.control(json!({"do": "pipeline_service", "state": "up"}));
    assert_eq!(server.runs("orders_quality.orders_quality_daily").len(), 1);
}

#[test]
fn workers_report_by_run_id_and_unknown_runs_are_204() {
    let server = server(Options::default());
    let base = "/api/v1/services/ingestionPipelines/orders_quality.orders_quality_daily/pipelineStatus";
    let id = "0e5f0000-0000-4000-8000-000000000001";
    let body =
        |state: &str| json!({"runId": id, "pipelineState": state, "timestamp": TIME, "startDate": TIME});
    assert_eq!(server.call("GET", &format!("{base}/{id}"), Value::Null), (204, Value::Null));
    assert_eq!(server.call("PUT", base, body("running")).0, 201);
    let (status, event) = server.call("PUT", base, body("stopped"));
    assert!(status == 201 && event["entity"].is_object());
    assert_eq!(server.get(&format!("{base}/{id}"))["pipelineState"], "stopped");
    let mut other = body("running");
    other["runId"] = json!("0e5f0000-0000-4000-8000-000000000002");
    assert_eq!(server.call("PUT", base, other).0, 409);
    assert_eq!(server.call("GET", &format!("{base}/x"), Value::Null).0, 404);
}
