use std::time::Duration;

use super::*;

fn text(metrics: &Metrics) -> String {
    metrics.render(Levels::default())
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
}

#[test]
fn every_promised_name_is_there_once_and_typed() {
    let text = text(&Metrics::new());
    for (name, kind) in [
        ("grpc_server_started_total", "counter"),
        ("grpc_server_handled_total", "counter"),
        ("grpc_server_msg_received_total", "counter"),
        ("grpc_server_msg_sent_total", "counter"),
        ("grpc_server_handling_seconds", "histogram"),
        ("testgate_watch_streams", "gauge"),
        ("testgate_watch_updates_total", "counter"),
        ("testgate_watch_coalesced_total", "counter"),
        ("testgate_watch_dropped_streams_total", "counter"),
        ("testgate_config_reloads_total", "counter"),
        ("testgate_store_bytes", "gauge"),
        ("testgate_build_info", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        let line = format!("# TYPE {name} {kind}");
        assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}");
    }
    assert!(!text.contains("_total_total"), "{text}");
}

#[test]
fn a_call_is_counted_with_its_messages_code_and_time() {
    let metrics = Metrics::new();
    let method = metrics.rpc().method("/testgate.v1.TestExecutionService/GetExecution");
    method.started();
    method.received(1);
    method.sent(1);
    method.handled(5, Duration::from_millis(2));
    let text = text(&metrics);
    let labels =
        "grpc_type=\"unary\",grpc_service=\"testgate.v1.TestExecutionService\",grpc_method=\"GetExecution\"";
    for name in ["started_total", "msg_received_total", "msg_sent_total", "handling_seconds_count"] {
        assert_line(&text, &format!("grpc_server_{name}{{{labels}}} 1"));
    }
    assert_line(&text, &format!("grpc_server_handled_total{{{labels},grpc_code=\"NotFound\"}} 1"));
    assert_line(&text, &format!("grpc_server_handled_total{{{labels},grpc_code=\"OK\"}} 0"));
    assert_line(&text, &format!("grpc_server_handling_seconds_sum{{{labels}}} 0.002"));
    for (le, count) in [("0.001", 0), ("0.0025", 1), ("60.0", 1), ("+Inf", 1)] {
        let found = text.lines().find(|line| {
            line.starts_with("grpc_server_handling_seconds_bucket")
                && line.contains(labels)
                && (line.contains(&format!("le=\"{le}\""))
                    || line.contains(&format!("le=\"{}\"", le.trim_end_matches(".0"))))
        });
        assert!(found.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{le}: {found:?}");
    }
}

#[test]
fn what_callers_and_upstreams_make_up_adds_no_series() {
    let metrics = Metrics::new();
    let backend = metrics.backend("b");
    let series = |metrics: &Metrics| text(metrics).lines().count();
    let operation = backend.operation("GetThing");
    operation.attempt().answered(200);
    operation.attempt().answered(999);
    operation.attempt().answered(418);
    let before = series(&metrics);
    for status in [0, 499, 600, 65_535] {
        backend.operation("GetThing").attempt().answered(status);
    }
    for path in ["/x.Y/Z", "", "/testgate.v1.TestExecutionService/getExecution"] {
        let method = metrics.rpc().method(path);
        method.started();
        method.handled(99, Duration::ZERO);
    }
    assert_eq!(series(&metrics), before);
    let text = text(&metrics);
    assert_line(
        &text,
        "testgate_upstream_requests_total{backend=\"b\",operation=\"GetThing\",code=\"other\"} 4",
    );
    assert_line(
        &text,
        "testgate_upstream_requests_total{backend=\"b\",operation=\"GetThing\",code=\"4xx\"} 2",
    );
    assert_line(
        &text,
        "testgate_upstream_requests_total{backend=\"b\",operation=\"GetThing\",code=\"200\"} 1",
    );
    assert!(
        text.contains("grpc_service=\"unknown\",grpc_method=\"unknown\",grpc_code=\"Unknown\"} 3"),
        "{text}"
    );
}

#[test]
fn a_try_that_is_dropped_is_cancelled() {
    let metrics = Metrics::new();
    drop(metrics.backend("b").operation("GetThing").attempt());
    let line = "testgate_upstream_requests_total{backend=\"b\",operation=\"GetThing\",code=\"cancelled\"} 1";
    assert_line(&text(&metrics), line);
}

#[test]
fn levels_are_those_of_the_scrape_and_no_older_ones() {
    let metrics = Metrics::new();
    let tracked = vec![("b".to_owned(), "RUNNING", 3)];
    let first = metrics.render(Levels {
        store_bytes: 7,
        tracked,
        certificate_seconds: Some(-5),
        log_lines_dropped: 3,
    });
    assert_line(&first, "testgate_tracked_executions{backend=\"b\",state=\"RUNNING\"} 3");
    assert_line(&first, "testgate_store_bytes 7");
    assert_line(&first, "testgate_certificate_expiry_seconds -5");
    assert_line(&first, "testgate_log_lines_dropped_total 3");
    let second = text(&metrics);
    assert!(!second.contains("state=\"RUNNING\""), "{second}");
    assert!(!second.contains("testgate_certificate_expiry_seconds "), "{second}");
}

#[test]
fn a_stream_is_open_while_it_lives_and_its_end_has_a_reason() {
    let metrics = Metrics::new();
    let stream = metrics.watch().open();
    assert_line(&text(&metrics), "testgate_watch_streams 1");
    metrics.watch().update(2);
    metrics.watch().dropped("GATEWAY_DRAINING");
    drop(stream);
    let text = text(&metrics);
    assert_line(&text, "testgate_watch_streams 0");
    assert_line(&text, "testgate_watch_updates_total 1");
    assert_line(&text, "testgate_watch_coalesced_total 2");
    assert_line(&text, "testgate_watch_dropped_streams_total{reason=\"GATEWAY_DRAINING\"} 1");
    assert_line(&text, "testgate_watch_dropped_streams_total{reason=\"WATCH_CONSUMER_TOO_SLOW\"} 0");
}
