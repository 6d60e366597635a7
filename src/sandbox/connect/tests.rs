use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::sandbox::http::Upstream as _;

const GREETING: &str = "c0ffee00-0000-4000-8000-000000000001";

/// A Connect whose time stands still until a test moves it, called without the front door.
struct Bench {
    clock: Arc<Clock>,
    connect: Connect,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(Clock::new(0.0));
        let options = Options { rate_limit: false, ..Options::default() };
        Self { connect: Connect::new(Arc::clone(&clock), options), clock }
    }

    fn seconds(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    fn request(method: Method, path: &str, body: &Value) -> Request {
        let (raw_path, raw_query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        Request { method, raw_path: raw_path.into(), raw_query: raw_query.into(), headers, body }
    }

    fn call_with(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let request = Self::request(method, path, body);
        self.connect.0.behind_the_door(&request, swallowed)
    }

    fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, AwsError> {
        self.call_with(method, path, body, false)
    }

    fn get(&self, path: &str) -> Result<Value, AwsError> {
        self.call(Method::GET, path, &Value::Null)
    }

    fn start(&self, test: &str, token: &str) -> Result<Value, AwsError> {
        let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{test}/start-execution");
        self.call(Method::PUT, &path, &json!({"ClientToken": token}))
    }

    fn started(&self, test: &str, token: &str) -> String {
        self.start(test, token).unwrap()["TestCaseExecutionId"].as_str().unwrap().to_owned()
    }

    fn summary(&self, test: &str, execution: &str) -> Value {
        self.get(&format!("/test-cases/{DEFAULT_INSTANCE_ID}/{test}/{execution}/summary")).unwrap()
    }

    fn records(&self, test: &str, execution: &str) -> Vec<Value> {
        let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{test}/{execution}/records");
        self.get(&path).unwrap()["ExecutionRecords"].as_array().unwrap().clone()
    }

    fn control(&self, command: Value) -> Value {
        self.connect.control(&command).unwrap()
    }
}

fn test_id(number: u32) -> String {
    format!("c0ffee00-0000-4000-8000-{number:012}")
}

#[test]
fn a_run_goes_from_initiated_to_its_verdict() {
    let bench = Bench::new();
    let run = bench.started(GREETING, "t");
    assert_eq!(bench.summary(GREETING, &run)["Status"], "INITIATED");
    bench.seconds(1.0);
    assert_eq!(bench.summary(GREETING, &run)["Status"], "IN_PROGRESS");
    bench.seconds(3.5);
    let summary = bench.summary(GREETING, &run);
    assert_eq!(summary["Status"], "PASSED");
    assert_eq!(summary["EndTime"].as_i64().unwrap() - summary["StartTime"].as_i64().unwrap(), 4_000);
    let counts = json!({"TotalObservations": 4, "ObservationsPassed": 4, "ObservationsFailed": 0});
    assert_eq!(summary["ObservationSummary"], counts);
    assert_eq!(bench.records(GREETING, &run).len(), 5);
}

#[test]
fn the_same_token_hands_back_the_same_run_and_none_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.started(GREETING, "a"), bench.started(GREETING, "a"));
    assert_ne!(bench.started(GREETING, "a"), bench.started(GREETING, "b"));
    for body in [json!({}), json!({"ClientToken": ""}), json!({"ClientToken": "x".repeat(501)})] {
        let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{GREETING}/start-execution");
        assert_eq!(bench.call(Method::PUT, &path, &body).unwrap_err().code, "InvalidParameterException");
    }
}

#[test]
fn five_run_and_the_101st_is_refused() {
    let bench = Bench::new();
    for number in 0..100 {
        bench.started(GREETING, &format!("t{number}"));
    }
    let refused = bench.start(GREETING, "one more").unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code), (402, "ServiceQuotaExceededException"));
    bench.seconds(1.0);
    let list = |status: &str| {
        let path = format!("/test-case-executions/{DEFAULT_INSTANCE_ID}?status={status}&maxResults=100");
        bench.get(&path).unwrap()["TestCaseExecutions"].as_array().unwrap().len()
    };
    assert_eq!((list("IN_PROGRESS"), list("INITIATED")), (5, 95));
    bench.seconds(4.0);
    bench.started(GREETING, "room again");
    assert_eq!((list("PASSED"), list("IN_PROGRESS")), (5, 5));
    bench.seconds(80.0);
    assert_eq!(list("PASSED"), 100);
}

#[test]
fn the_queue_moves_up_in_order_even_if_nobody_looks() {
    let bench = Bench::new();
    let runs: Vec<_> = (0..7).map(|number| bench.started(GREETING, &format!("t{number}"))).collect();
    bench.seconds(6.0);
    let states: Vec<_> =
        runs.iter().map(|run| bench.summary(GREETING, run)["Status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["PASSED", "PASSED", "PASSED", "PASSED", "PASSED", "IN_PROGRESS", "IN_PROGRESS"]);
}

#[test]
fn a_hanging_run_is_cut_off_after_five_minutes_without_a_failed_observation() {
    let bench = Bench::new();
    let run = bench.started(&test_id(4), "t");
    bench.seconds(300.0);
    assert_eq!(bench.summary(&test_id(4), &run)["Status"], "IN_PROGRESS");
    bench.seconds(0.5);
    let summary = bench.summary(&test_id(4), &run);
    assert_eq!(summary["Status"], "FAILED");
    assert_eq!(summary["ObservationSummary"]["ObservationsFailed"], 0);
    assert_eq!(summary["EndTime"].as_i64().unwrap() - summary["StartTime"].as_i64().unwrap(), 300_000);
}

#[test]
fn failing_runs_leave_a_failed_observation() {
    let bench = Bench::new();
    let run = bench.started(&test_id(2), "t");
    bench.seconds(6.0);
    let summary = bench.summary(&test_id(2), &run);
    assert_eq!(summary["Status"], "FAILED");
    let counts = json!({"TotalObservations": 5, "ObservationsPassed": 4, "ObservationsFailed": 1});
    assert_eq!(summary["ObservationSummary"], counts);
    let failed = bench.records(&test_id(2), &run);
    assert_eq!(failed.iter().filter(|record| record["Status"] == "FAILED").count(), 2, "{failed:?}");
}

#[test]
fn a_broken_run_shows_an_initialisation_failure_and_no_counts() {
    let bench = Bench::new();
    let run = bench.started(&test_id(6), "t");
    bench.seconds(2.0);
    let summary = bench.summary(&test_id(6), &run);
    assert_eq!(summary["Status"], "FAILED");
    assert_eq!(summary["ObservationSummary"]["TotalObservations"], 0);
    let records = bench.records(&test_id(6), &run);
    let record: Value = serde_json::from_str(records[0]["Record"].as_str().unwrap()).unwrap();
    assert_eq!(record["Type"], "COMPLETION");
    assert_eq!(record["CompletionReason"]["FailureReasons"][0], "INITIALIZATION_FAILURE");
}

#[test]
fn a_run_without_observations_leaves_no_records() {
    let bench = Bench::new();
    let run = bench.started(&test_id(7), "t");
    bench.seconds(5.0);
    assert_eq!(bench.summary(&test_id(7), &run)["Status"], "FAILED");
    assert!(bench.records(&test_id(7), &run).is_empty());
}

#[test]
fn late_records_come_late_and_one_of_them_is_odd() {
    let bench = Bench::new();
    let run = bench.started(&test_id(8), "t");
    bench.seconds(4.0);
    assert_eq!(bench.summary(&test_id(8), &run)["Status"], "FAILED");
    assert_eq!(bench.records(&test_id(8), &run).len(), 2);
    bench.seconds(8.0);
    let records = bench.records(&test_id(8), &run);
    let kinds: Vec<_> = records.iter().map(|record| record["Record"].as_str().unwrap().to_owned()).collect();
    assert_eq!(records.len(), 5);
    assert!(kinds.iter().any(|kind| kind.contains("NARRATION")) && kinds[4].contains("COMPLETION"));
}

#[test]
fn a_saved_test_case_is_described_and_not_started() {
    let bench = Bench::new();
    let refused = bench.start(&test_id(5), "t").unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code), (400, "InvalidRequestException"));
    let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{}", test_id(5));
    assert_eq!(bench.get(&path).unwrap()["TestCase"]["Status"], "SAVED");
    assert_eq!(bench.get(&format!("{path}?status=PUBLISHED")).unwrap_err().code, "ResourceNotFoundException");
}

#[test]
fn stopping_takes_a_moment_and_a_queued_run_stops_at_once() {
    let bench = Bench::new();
    let stop = |run: &str, token: &str| {
        let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{GREETING}/{run}/stop-execution");
        bench.call(Method::POST, &path, &json!({"ClientToken": token}))
    };
    let queued = bench.started(GREETING, "a");
    stop(&queued, "s").unwrap();
    assert_eq!(bench.summary(GREETING, &queued)["Status"], "STOPPED");
    let running = bench.started(GREETING, "b");
    bench.seconds(1.5);
    stop(&running, "s").unwrap();
    assert_eq!(bench.summary(GREETING, &running)["Status"], "IN_PROGRESS");
    bench.seconds(1.0);
    assert_eq!(bench.summary(GREETING, &running)["Status"], "STOPPED");
    stop(&running, "s").unwrap();
    assert_eq!(stop(&running, "other").unwrap_err().code, "InvalidRequestException");
}

#[test]
fn swallowed_writes_answer_and_do_nothing() {
    let bench = Bench::new();
    let path = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{GREETING}/start-execution");
    let reply = bench.call_with(Method::PUT, &path, &json!({"ClientToken": "t"}), true).unwrap();
    let run = reply["TestCaseExecutionId"].as_str().unwrap();
    let summary = format!("/test-cases/{DEFAULT_INSTANCE_ID}/{GREETING}/{run}/summary");
    assert_eq!(bench.get(&summary).unwrap_err().code, "ResourceNotFoundException");
}

#[test]
fn timestamps_are_milliseconds_until_switched() {
    let bench = Bench::new();
    let run = bench.started(GREETING, "t");
    let start = bench.summary(GREETING, &run)["StartTime"].as_i64().unwrap();
    assert!(start > 100_000_000_000, "{start}");
    bench.control(json!({"command": "timestamps", "milliseconds": false}));
    let seconds = bench.summary(GREETING, &run)["StartTime"].as_f64().unwrap();
    assert!((seconds * 1000.0 - start as f64).abs() < 1.0);
}

#[test]
fn parameters_are_checked() {
    let bench = Bench::new();
    let list = format!("/test-case-executions/{DEFAULT_INSTANCE_ID}");
    for (query, code) in [
        ("maxResults=0", "InvalidParameterException"),
        ("maxResults=101", "InvalidParameterException"),
        ("maxResults=x", "InvalidParameterException"),
        ("status=PAUSED", "InvalidParameterException"),
        ("startTime=-1", "InvalidParameterException"),
        ("startTime=yesterday", "InvalidParameterException"),
        ("nextToken=abc", "InvalidToken"),
    ] {
        assert_eq!(bench.get(&format!("{list}?{query}")).unwrap_err().code, code, "{query}");
    }
    bench.get(&format!("/test-cases-summary/{DEFAULT_INSTANCE_ID}?maxResults=1000")).unwrap();
    assert_eq!(bench.get("/test-cases-summary/nope").unwrap_err().code, "ResourceNotFoundException");
    let long = format!("/test-cases-summary/{}", "x".repeat(101));
    assert_eq!(bench.get(&long).unwrap_err().code, "InvalidParameterException");
    assert_eq!(bench.get("/nowhere").unwrap_err().code, "UnknownOperationException");
}

#[test]
fn an_instance_arn_is_accepted_and_odd_ids_go_through() {
    let bench = Bench::new();
    let arn = format!("arn%3Aaws%3Aconnect%3Aus-west-2%3A123456789012%3Ainstance%2F{DEFAULT_INSTANCE_ID}");
    let odd = "odd%2Fid%20with%20space%20%26%20100%25%20%22quotes%22%20%C3%BCn%C3%AF%E2%9C%93";
    let described = bench.get(&format!("/test-cases/{arn}/{odd}")).unwrap();
    assert_eq!(described["TestCase"]["Id"], "odd/id with space & 100% \"quotes\" ünï✓");
}

#[test]
fn executions_page_newest_first_and_new_runs_move_nothing() {
    let bench = Bench::new();
    let runs: Vec<_> = (0..5).map(|number| bench.started(GREETING, &format!("t{number}"))).collect();
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    loop {
        let next = token.as_ref().map(|token| format!("&nextToken={token}")).unwrap_or_default();
        let path = format!("/test-case-executions/{DEFAULT_INSTANCE_ID}?maxResults=2{next}");
        let page = bench.get(&path).unwrap();
        for row in page["TestCaseExecutions"].as_array().unwrap() {
            seen.push(row["TestCaseExecutionId"].as_str().unwrap().to_owned());
            assert!(row.get("Status").is_none() && row.get("TestCaseExecutionStatus").is_some());
        }
        bench.control(json!({"command": "start", "test": "greeting"}));
        token = page.get("NextToken").map(|token| token.as_str().unwrap().to_owned());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, runs.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn executions_are_filtered() {
    let bench = Bench::new();
    bench.started(GREETING, "a");
    bench.seconds(10.0);
    let middle = bench.clock.now_ms();
    bench.seconds(10.0);
    bench.started(&test_id(2), "b");
    let count = |query: &str| {
        let path = format!("/test-case-executions/{DEFAULT_INSTANCE_ID}?{query}");
        bench.get(&path).unwrap()["TestCaseExecutions"].as_array().unwrap().len()
    };
    assert_eq!(count(&format!("startTime={middle}")), 1);
    assert_eq!(count(&format!("endTime={middle}")), 1);
    assert_eq!(count("testCaseName=greeting"), 1);
    assert_eq!(count(&format!("testCaseId={}", test_id(2))), 1);
    assert_eq!(count("testCaseId=none"), 0);
    assert_eq!(count("status=PASSED"), 1);
}

#[test]
fn control_shows_an_unknown_status_deletes_and_lags() {
    let bench = Bench::new();
    let run = bench.control(json!({"command": "start", "test": "slow-transfer"}));
    let run = run["execution"].as_str().unwrap();
    bench.control(json!({"command": "set", "execution": run, "status": "PAUSED"}));
    assert_eq!(bench.summary(&test_id(3), run)["Status"], "PAUSED");
    bench.control(json!({"command": "set", "execution": run, "status": "PASSED", "passed": 2}));
    let summary = bench.summary(&test_id(3), run);
    assert_eq!(
        (&summary["Status"], &summary["ObservationSummary"]["TotalObservations"]),
        (&json!("PASSED"), &json!(2))
    );
    bench.control(json!({"command": "lag", "list_ms": 1000}));
    let listed = || {
        let path = format!("/test-case-executions/{DEFAULT_INSTANCE_ID}");
        bench.get(&path).unwrap()["TestCaseExecutions"].as_array().unwrap().len()
    };
    assert_eq!(listed(), 0);
    bench.seconds(1.0);
    assert_eq!(listed(), 1);
    bench.control(json!({"command": "delete", "execution": run}));
    assert_eq!(listed(), 0);
}

#[test]
fn control_refuses_what_it_does_not_know() {
    let bench = Bench::new();
    for command in [
        json!({}),
        json!({"command": "dance"}),
        json!({"command": "stop", "execution": "none"}),
        json!({"command": "start", "test": "none"}),
        json!({"command": "lag", "list_ms": -1}),
        json!({"command": "limits", "runing": 1}),
        json!([1]),
    ] {
        assert!(bench.connect.control(&command).is_err(), "{command}");
    }
}

#[test]
fn searches_match_names_status_and_tags() {
    let bench = Bench::new();
    let search = |filter: Value| {
        let mut body = json!({"InstanceId": DEFAULT_INSTANCE_ID});
        body.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let found = bench.call(Method::POST, "/search-test-cases", &body)?;
        Ok::<_, AwsError>(found["ApproximateTotalCount"].as_u64().unwrap())
    };
    let smoke = json!({"TagKey": "suite", "TagValue": "smoke"});
    assert_eq!(search(json!({"SearchFilter": {"TagFilter": {"TagCondition": smoke}}})).unwrap(), 2);
    assert_eq!(
        search(json!({"SearchFilter": {"TagFilter": {"OrConditions": [[smoke], [{"TagKey": "team"}]]}}}))
            .unwrap(),
        2
    );
    assert_eq!(search(json!({"SearchCriteria": {"StatusCondition": "SAVED"}})).unwrap(), 1);
    let name = |value: &str, comparison: &str| json!({"StringCondition": {"FieldName": "name", "Value": value, "ComparisonType": comparison}});
    assert_eq!(search(json!({"SearchCriteria": name("Greet", "STARTS_WITH")})).unwrap(), 1);
    let any = json!({"OrConditions": [name("greeting", "EXACT"), name("slow", "CONTAINS")]});
    assert_eq!(search(json!({"SearchCriteria": any})).unwrap(), 2);
    let bad = json!({"SearchCriteria": name("a", "LIKE")});
    assert_eq!(search(bad).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn errors_carry_the_type_with_its_suffix_and_a_capital_message() {
    let reply =
        Bench::new().connect.handle(&Bench::request(Method::GET, "/test-cases-summary/x", &Value::Null));
    assert_eq!(reply.status.as_u16(), 403);
    let kind = reply.headers["x-amzn-errortype"].to_str().unwrap();
    assert!(kind.starts_with("MissingAuthenticationToken:http://"), "{kind}");
    assert!(String::from_utf8_lossy(&reply.body).contains("\"Message\""));
    assert!(reply.headers.contains_key("x-amzn-requestid"));
}
