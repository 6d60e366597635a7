//! The traps of the server, one by one.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::seed::*;
use super::*;

mod runs;

const ROWS: &str = "/api/v1/dataQuality/testCases/testCaseResults/shop_pg.shop.public.orders.row_count";
const TIME: i64 = 1_769_982_800_000;

struct Server {
    clock: Arc<Clock>,
    server: OpenMetadata,
}

fn server(options: Options) -> Server {
    let clock = Arc::new(Clock::new(0.0));
    Server { server: OpenMetadata::new(Arc::clone(&clock), options), clock }
}

fn request(method: &str, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer sandbox-token".parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    Request {
        method: method.parse().unwrap(),
        raw_path: path.to_owned(),
        raw_query: query.to_owned(),
        headers,
        body: Bytes::from(body.to_owned()),
    }
}

impl Server {
    fn raw(&self, method: &str, target: &str, body: &str) -> Reply {
        self.server.handle(&request(method, target, body))
    }

    /// The status and the body.
    fn call(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.raw(method, target, &text);
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    fn get(&self, target: &str) -> Value {
        let (status, body) = self.call("GET", target, Value::Null);
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    fn control(&self, command: Value) -> Value {
        self.server.control(&command).unwrap()
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    fn trigger(&self, id: uuid::Uuid) -> (u16, Value) {
        self.call("POST", &format!("/api/v1/services/ingestionPipelines/trigger/{id}"), Value::Null)
    }

    fn runs(&self, fqn: &str) -> Vec<Value> {
        let start = self.clock.now_ms() - 60_000;
        let end = self.clock.now_ms() + 60_000;
        let path =
            format!("/api/v1/services/ingestionPipelines/{fqn}/pipelineStatus?startTs={start}&endTs={end}");
        self.get(&path)["data"].as_array().unwrap().clone()
    }
}

fn result(timestamp: i64, status: &str) -> Value {
    json!({"timestamp": timestamp, "testCaseStatus": status, "result": "r", "testResultValue": []})
}

#[test]
fn a_result_is_stored_once_and_a_refused_duplicate_still_opens_an_incident() {
    let server = server(Options::default());
    let case = format!("/api/v1/dataQuality/testCases/{}?fields=incidentId", CASE_ID_UNIQUE);
    let path = "/api/v1/dataQuality/testCases/testCaseResults/shop_pg.shop.public.orders.id.id_unique";
    let (status, stored) = server.call("POST", path, result(TIME, "Success"));
    assert_eq!(status, 201);
    assert_eq!(stored["dimensionResults"], json!([]));
    assert!(stored.get("incidentId").is_none());
    let reply = server.raw("POST", path, &result(TIME, "Failed").to_string());
    assert_eq!(reply.status, 409);
    assert_eq!(reply.headers.get("www-authenticate").unwrap(), "om-auth");
    assert!(server.get(&case)["incidentId"].is_string());
    let back = server.get(&format!("{path}?startTs={TIME}&endTs={TIME}"));
    assert_eq!(back["paging"], json!({"total": 1}));
    assert_eq!(back["data"][0]["testCaseStatus"], "Success");
}

#[test]
fn timestamps_follow_the_milliseconds_rule() {
    let server = server(Options::default());
    let status = |timestamp: Value| {
        let body = json!({"timestamp": timestamp, "testCaseStatus": "Success"});
        server.call("POST", ROWS, body).0
    };
    assert_eq!(status(json!(1_769_982_800)), 400);
    assert_eq!(status(json!(0)), 400);
    assert_eq!(status(json!(-TIME)), 500);
    assert_eq!(status(json!(100_000_000_000_i64)), 201);
    assert_eq!(status(json!("1769982800001")), 201);
    assert_eq!(status(json!(1_769_982_800_002.5)), 201);
}

#[test]
fn bodies_are_judged_in_the_servers_own_words() {
    let server = server(Options::default());
    let (status, body) = server.call("POST", ROWS, json!({"testResultValue": null}));
    assert_eq!(status, 400);
    assert_eq!(
        body["message"],
        "[query param testCaseStatus must not be null, query param testResultValue must not be null, \
         query param timestamp must not be null]"
    );
    let mut strange = result(TIME, "Success");
    strange["bogus"] = json!(1);
    assert_eq!(server.call("POST", ROWS, strange).0, 400);
    assert_eq!(server.call("POST", ROWS, result(TIME, "success")).0, 400);
    assert_eq!(server.call("POST", ROWS, json!([1])).0, 400);
    assert_eq!(server.call("POST", ROWS, Value::Null).0, 500);
    let broken = server.raw("POST", ROWS, "{");
    assert_eq!(broken.headers.get("content-type").unwrap(), "text/plain");
    let mut values = result(TIME, "Success");
    values["testResultValue"] = json!([{"name": "n", "value": 42, "extra": 1}]);
    let (status, stored) = server.call("POST", ROWS, values);
    assert_eq!((status, &stored["testResultValue"][0]["value"]), (201, &json!("42")));
    assert_eq!(stored["testResultValue"][0]["extra"], 1);
    let mut nul = result(TIME + 1, "Success");
    nul["result"] = json!("a\u{0}b");
    assert_eq!(server.call("POST", ROWS, nul.clone()).0, 500);
    nul["result"] = json!("a\\u0000b");
    assert_eq!(server.call("POST", ROWS, nul).0, 201);
}

#[test]
fn seconds_on_an_unknown_case_are_404_and_a_bad_body_is_400() {
    let server = server(Options::default());
    let path = "/api/v1/dataQuality/testCases/testCaseResults/nope";
    assert_eq!(server.call("POST", path, result(1_769_982_800, "Success")).0, 404);
    assert_eq!(server.call("POST", path, json!({})).0, 400);
}

#[test]
fn an_older_result_changes_the_history_and_not_the_current_status() {
    let server = server(Options::default());
    let (status, stored) = server.call("POST", ROWS, result(TIME, "Failed"));
    assert_eq!(status, 201);
    assert!(stored["incidentId"].is_string());
    let case = server.get(&format!("/api/v1/dataQuality/testCases/{CASE_ROW_COUNT}"));
    assert_eq!(case["testCaseStatus"], "Success");
}

#[test]
fn recording_brings_a_soft_deleted_case_back() {
    let server = server(Options::default());
    let case = format!("/api/v1/dataQuality/testCases/{CASE_ROW_COUNT}");
    server.control(json!({"do": "delete_case", "case": CASE_ROW_COUNT.to_string()}));
    assert_eq!(server.call("GET", &case, Value::Null).0, 404);
    assert_eq!(server.call("GET", ROWS, Value::Null).0, 200);
    assert_eq!(server.call("POST", ROWS, result(TIME, "Success")).0, 201);
    let back = server.get(&case);
    assert_eq!((&back["deleted"], &back["version"]), (&json!(false), &json!(0.2)));
}

#[test]
fn a_swallowed_result_is_confirmed_and_not_there() {
    let server = server(Options::default());
    server.control(json!({"do": "swallow_results", "times": 1}));
    let at = format!("{ROWS}?startTs={TIME}&endTs={TIME}");
    assert_eq!(server.call("POST", ROWS, result(TIME, "Success")).0, 201);
    assert_eq!(server.get(&at)["paging"]["total"], 0);
    let body = result(TIME, "Success").to_string();
    assert_eq!(server.server.handle_swallowed(&request("POST", ROWS, &body)).status, 201);
    assert_eq!(server.get(&at)["paging"]["total"], 0);
    assert_eq!(server.call("POST", ROWS, result(TIME, "Success")).0, 201);
    assert_eq!(server.get(&at)["paging"]["total"], 1);
}

#[test]
fn the_documented_routes_replace_and_page() {
    let server = server(Options { api: Style::Documented, ..Options::default() });
    let path = format!("/api/v1/dataQuality/testCases/{CASE_NEVER_RUN}/testCaseResult");
    for number in 0..25 {
        let (status, body) = server.call("PUT", &path, result(TIME + number, "Success"));
        assert_eq!((status, &body["timestamp"]), (200, &json!(TIME + number)));
    }
    assert_eq!(server.call("PUT", &path, result(TIME, "Failed")).0, 200);
    let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = server.get(&format!("{path}?limit=10{after}"));
        assert_eq!(page["paging"]["total"], 25);
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["timestamp"].as_i64().unwrap()));
        pages += 1;
        let Some(cursor) = page["paging"]["after"].as_str() else { break };
        after = format!("&after={}", cursor.replace('=', "%3D"));
    }
    assert_eq!(pages, 3);
    assert_eq!(seen, (TIME..TIME + 25).rev().collect::<Vec<_>>());
    assert_eq!(
        server.get(&format!("{path}?startTs={TIME}&endTs={TIME}"))["data"][0]["testCaseStatus"],
        "Failed"
    );
    let (status, body) = server.call("POST", ROWS, result(TIME, "Success"));
    assert_eq!((status, &body["message"]), (404, &json!("HTTP 404 Not Found")));
}

#[test]
fn cases_are_walked_by_cursor_and_none_comes_twice() {
    let server = server(Options::default());
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/v1/dataQuality/testCases?limit=3{after}"));
        assert_eq!(page["paging"].get("before").is_some(), !after.is_empty());
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].to_string()));
        let Some(cursor) = page["paging"]["after"].as_str() else { break };
        after = format!("&after={}", cursor.replace('=', "%3D"));
    }
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), total);
    assert_eq!(total, 16);
    let list = "/api/v1/dataQuality/testCases";
    assert_eq!(server.call("GET", &format!("{list}?before=a&after=b"), Value::Null).0, 400);
    assert_eq!(server.call("GET", &format!("{list}?after=!"), Value::Null).0, 400);
    assert_eq!(server.call("GET", &format!("{list}?after=e30%3D"), Value::Null).0, 500);
    assert_eq!(server.get(&format!("{list}?limit=0"))["paging"]["total"], 16);
    assert_eq!(server.get(&format!("{list}?testSuiteId=1-1-1-1-1"))["paging"]["total"], 0);
}

#[test]
fn odd_names_are_found_by_their_encoded_fqn() {
    let server = server(Options::default());
    let suite = server.get(&format!("/api/v1/dataQuality/testSuites/{ODD_NAMES}?fields=tests"));
    let tests = suite["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 7);
    for test in tests {
        let fqn = test["fullyQualifiedName"].as_str().unwrap();
        let encoded: String = fqn.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let case = server.get(&format!("/api/v1/dataQuality/testCases/name/{encoded}"));
        assert_eq!(case["fullyQualifiedName"], fqn);
        assert_eq!(
            server.get(&format!("/api/v1/dataQuality/testCases/testCaseResults/{encoded}"))["paging"]["total"],
            3
        );
    }
}

#[test]
fn optional_fields_come_only_when_asked_for() {
    let server = server(Options::default());
    let path = format!("/api/v1/dataQuality/testCases/{CASE_ROW_COUNT}");
    let bare = server.get(&path);
    assert!(bare.get("testSuite").is_none() && bare.get("owners").is_none());
    let full =
        server.get(&format!("{path}?fields=testSuite,testDefinition,testCaseResult,testSuites,owners"));
    assert_eq!(full["testSuite"]["id"], ORDERS_BASIC.to_string());
    assert_eq!(full["testSuites"].as_array().unwrap().len(), 3);
    assert_eq!(full["owners"], json!([]));
    let (status, body) = server.call("GET", &format!("{path}?fields=bogus"), Value::Null);
    assert_eq!((status, &body["message"]), (400, &json!("Invalid field name bogus")));
    let never = server.get(&format!("/api/v1/dataQuality/testCases/{CASE_NEVER_RUN}?fields=testCaseResult"));
    assert!(never.get("testCaseResult").is_none() && never.get("testCaseStatus").is_none());
}

#[test]
fn tokens_are_judged_after_the_route() {
    let server = server(Options::default());
    let status = |target: &str, token: Option<&str>| {
        let mut asked = request("GET", target, "");
        asked.headers.remove("authorization");
        if let Some(token) = token {
            asked.headers.insert("authorization", token.parse().unwrap());
        }
        let reply = server.server.handle(&asked);
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
    };
    assert_eq!(status("/api/v1/system/version", None).0, 200);
    assert_eq!(status("/api/v1/system/health", None).1, "OK");
    assert_eq!(status("/api/v1/nothing", None).0, 404);
    assert_eq!(status("/api/v1/dataQuality/testCases/not-a-uuid", None).0, 401);
    assert_eq!(status("/api/v1/dataQuality/testCases/not-a-uuid", Some("Bearer sandbox-token")).0, 404);
    assert!(status(ROWS, Some("bearer sandbox-token")).1.contains("Token not present"));
    assert!(status(ROWS, Some("Bearer junk")).1.contains("Invalid token"));
    server.control(json!({"do": "set", "token": "next"}));
    assert!(status(ROWS, Some("Bearer sandbox-token")).1.contains("current bot's token"));
    assert_eq!(status(ROWS, Some("Bearer next")).0, 200);
    server.control(json!({"do": "token_trouble", "kind": "unknown-user"}));
    assert_eq!(status(ROWS, Some("Bearer next")).0, 404);
}

#[test]
fn without_its_database_the_server_blames_the_token_and_the_case() {
    let server = server(Options::default());
    server.control(json!({"do": "database", "up": false}));
    let (status, body) = server.call("GET", ROWS, Value::Null);
    assert_eq!(status, 404);
    assert!(body["message"].as_str().unwrap().starts_with("testCase instance for"));
    assert_eq!(server.call("POST", ROWS, result(TIME, "Success")).0, 401);
    assert_eq!(server.raw("GET", "/api/v1/system/health", "").status, 200);
}

#[test]
fn the_summary_counts_only_what_has_a_result() {
    let server = server(Options::default());
    let summary =
        |id| server.get(&format!("/api/v1/dataQuality/testSuites/{id}?fields=summary"))["summary"].clone();
    assert_eq!(summary(DRAFTS_QUALITY)["total"], 0);
    assert_eq!(
        (&summary(CUSTOMERS_QUALITY)["success"], &summary(CUSTOMERS_QUALITY)["failed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(summary(PAYMENTS_QUALITY)["aborted"], 1);
}

#[test]
fn searches_have_their_own_parameters_and_limits() {
    let server = server(Options::default());
    let base = "/api/v1/dataQuality/testCases/testCaseResults/search";
    assert_eq!(server.get(&format!("{base}/list?limit=0"))["data"], json!([]));
    assert_eq!(server.call("GET", &format!("{base}/list?offset=9995&limit=10"), Value::Null).0, 500);
    assert_eq!(server.call("GET", &format!("{base}/list?latest=true"), Value::Null).0, 400);
    assert_eq!(server.call("GET", &format!("{base}/latest?fields=testCase"), Value::Null).0, 400);
    let never = format!("{base}/latest?testCaseFQN=shop_pg.shop.public.parcels.never_run");
    assert_eq!(server.call("GET", &never, Value::Null), (204, Value::Null));
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let server = server(Options::default());
    for command in [
        json!({}),
        json!({"do": "nonsense"}),
        json!({"do": "set", "version": "9"}),
        json!({"do": "finish_run", "run": "latest", "pipeline": "late_slow", "state": "failed"}),
        json!({"do": "script_case", "case": "nope", "status": "Failed"}),
    ] {
        assert!(server.server.control(&command).is_err(), "{command}");
    }
    server.control(json!({"do": "start_run", "pipeline": "late_slow", "hangs": true}));
    server.control(json!({"do": "finish_run", "run": "latest", "pipeline": "late_slow", "state": "failed"}));
    assert_eq!(server.runs("late_quality.late_slow")[0]["pipelineState"], "failed");
    server.control(json!({"do": "delete_run", "run": "latest", "pipeline": "late_slow"}));
    assert!(server.runs("late_quality.late_slow").is_empty());
    assert_eq!(server.control(json!({"do": "overview"}))["total_cases"], 16);
}

#[test]
fn every_operation_is_in_the_list_of_names() {
    let server = server(Options::default());
    let name = server.server.operation(&request("POST", ROWS, "")).unwrap();
    assert_eq!(name, "AddResult");
    assert!(OpenMetadata::operations().contains(&name));
}

proptest! {
    #[test]
    fn no_body_and_no_query_makes_it_panic(body in "\\PC*", query in "\\PC*", number in any::<i64>()) {
        let server = server(Options::default());
        server.raw("POST", ROWS, &body);
        server.raw("POST", ROWS, &result(number, "Failed").to_string());
        server.raw("GET", &format!("{ROWS}?{query}&startTs={number}"), "");
        server.raw("GET", &format!("/api/v1/dataQuality/testCases?{query}&offset={number}"), "");
    }
}
