use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::sandbox::http::Upstream as _;

/// A Lex whose time stands still until a test moves it, called without the front door.
struct Bench {
    clock: Arc<Clock>,
    lex: Lex,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(Clock::new(0.0));
        let options = Options { rate_limit: false, ..Options::default() };
        Self { lex: Lex::new(Arc::clone(&clock), options), clock }
    }

    fn seconds(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, AwsError> {
        self.call_with(method, path, body, false)
    }

    fn call_with(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request { method, raw_path: path.into(), raw_query: String::new(), headers, body };
        self.lex.0.behind_the_door(&request, swallowed)
    }

    fn start(&self, test: &str) -> Result<Value, AwsError> {
        self.start_with(test, false)
    }

    fn start_with(&self, test: &str, swallowed: bool) -> Result<Value, AwsError> {
        let alias = json!({"botId": "BOT0000001", "botAliasId": "TSTALIASID", "localeId": "en_US"});
        let body = json!({"target": {"botAliasTarget": alias}, "apiMode": "NonStreaming"});
        self.call_with(Method::POST, &format!("/testsets/{test}/testexecutions"), &body, swallowed)
    }

    fn started(&self, test: &str) -> String {
        self.start(test).unwrap()["testExecutionId"].as_str().unwrap().to_owned()
    }

    fn describe(&self, run: &str) -> Value {
        self.call(Method::GET, &format!("/testexecutions/{run}"), &Value::Null).unwrap()
    }

    fn results(&self, run: &str, kind: &str) -> Result<Value, AwsError> {
        let body = json!({"resultFilterBy": {"resultTypeFilter": kind}, "maxResults": 1000});
        let reply = self.call(Method::POST, &format!("/testexecutions/{run}/results"), &body)?;
        Ok(reply["testExecutionResults"].clone())
    }

    fn overall(&self, test: &str) -> Value {
        let run = self.started(test);
        self.seconds(30.0);
        self.results(&run, "OverallTestResults").unwrap()["overallTestResults"]["items"].clone()
    }

    fn control(&self, command: Value) -> Value {
        self.lex.control(&command).unwrap()
    }
}

#[test]
fn a_start_has_no_status_and_no_token() {
    let bench = Bench::new();
    let reply = bench.start("BOOKINGOK1").unwrap();
    assert!(reply.get("testExecutionStatus").is_none());
    assert_ne!(bench.started("BOOKINGOK1"), bench.started("BOOKINGOK1"));
}

#[test]
fn a_swallowed_start_answers_and_does_nothing() {
    let bench = Bench::new();
    let reply = bench.start_with("BOOKINGOK1", true).unwrap();
    let run = reply["testExecutionId"].as_str().unwrap();
    let refused = bench.call(Method::GET, &format!("/testexecutions/{run}"), &Value::Null).unwrap_err();
    assert_eq!(refused.code, "ResourceNotFoundException");
}

#[test]
fn fifty_thousand_items_come_page_by_page() {
    let bench = Bench::new();
    let script = json!({"outcome": "failed", "checks": 50_000, "failing": 1, "seconds": 0});
    let run = bench.control(json!({"command": "start", "test": "booking", "script": script}));
    bench.seconds(1.0);
    let path = format!("/testexecutions/{}/results", run["execution"].as_str().unwrap());
    let (mut seen, mut token) = (0, Value::Null);
    loop {
        let filter = json!({"resultTypeFilter": "ConversationLevelTestResults"});
        let mut body = json!({"resultFilterBy": filter, "maxResults": 1000});
        if !token.is_null() {
            body["nextToken"] = token;
        }
        let page = bench.call(Method::POST, &path, &body).unwrap();
        let items = &page["testExecutionResults"]["conversationLevelTestResults"]["items"];
        seen += items.as_array().unwrap().len();
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, 50_000);
}

#[test]
fn a_run_passes_its_states() {
    let bench = Bench::new();
    let run = bench.started("BOOKINGOK1");
    let mut states = Vec::new();
    for step in [0.0, 0.4, 0.4, 4.0] {
        bench.seconds(step);
        states.push(bench.describe(&run)["testExecutionStatus"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["Pending", "Waiting", "InProgress", "Completed"]);
}

#[test]
fn results_lag_behind_completed_as_404_then_as_an_empty_page() {
    let bench = Bench::new();
    let run = bench.started("LATERESULT");
    assert_eq!(bench.results(&run, "OverallTestResults").unwrap_err().code, "ValidationException");
    bench.seconds(4.8);
    assert_eq!(bench.describe(&run)["testExecutionStatus"], "Completed");
    assert_eq!(bench.results(&run, "OverallTestResults").unwrap_err().code, "ResourceNotFoundException");
    bench.seconds(4.0);
    assert_eq!(bench.results(&run, "OverallTestResults").unwrap()["overallTestResults"]["items"], json!([]));
    bench.seconds(4.0);
    let items = bench.results(&run, "OverallTestResults").unwrap();
    assert_eq!(items["overallTestResults"]["items"].as_array().unwrap().len(), 2);
}

#[test]
fn zero_counts_are_missing_and_single_and_multi_turn_are_two_rows() {
    let bench = Bench::new();
    let row = |multi: bool, counts: Value| json!({"multiTurnConversation": multi, "totalResultCount": 3, "endToEndResultCounts": counts});
    assert_eq!(
        bench.overall("BOOKINGOK1"),
        json!([row(false, json!({"Matched": 3})), row(true, json!({"Matched": 3}))])
    );
    let mixed = |wrong: &str| json!({"Matched": 2, wrong: 1});
    assert_eq!(
        bench.overall("BOOKINGBAD"),
        json!([row(false, mixed("Mismatched")), row(true, mixed("Mismatched"))])
    );
    let errors = json!([row(false, json!({"Matched": 3})), row(true, mixed("ExecutionError"))]);
    assert_eq!(bench.overall("AGENTERROR"), errors);
    assert_eq!(bench.overall("EMPTYSET01"), json!([]));
}

#[test]
fn counts_agree_with_conversations_and_utterances() {
    let bench = Bench::new();
    for checks in 0..9_u32 {
        for failing in 0..=checks {
            let script = json!({"outcome": if failing > 0 {"failed"} else {"passed"}, "checks": checks, "failing": failing, "seconds": 0});
            let run = bench.control(json!({"command": "start", "test": "booking", "script": script}));
            let run = run["execution"].as_str().unwrap().to_owned();
            bench.seconds(1.0);
            let items = |kind: &str| {
                let results = bench.results(&run, kind).unwrap();
                results.as_object().unwrap().values().next().unwrap()["items"].as_array().unwrap().clone()
            };
            let sum = |key: &str| -> u64 {
                items("OverallTestResults")
                    .iter()
                    .map(|item| item["endToEndResultCounts"][key].as_u64().unwrap_or(0))
                    .sum()
            };
            let conversations = items("ConversationLevelTestResults");
            let ended = |verdict: &str| {
                conversations.iter().filter(|item| item["endToEndResult"] == verdict).count() as u64
            };
            assert_eq!(
                (sum("Matched"), sum("Mismatched")),
                (ended("Matched"), ended("Mismatched")),
                "{checks} {failing}"
            );
            assert_eq!(ended("Mismatched"), u64::from(failing));
            let mismatched = items("UtteranceLevelResults")
                .iter()
                .filter(|item| item["turnResult"]["user"]["endToEndResult"] == "Mismatched")
                .count();
            assert_eq!(mismatched as u64, u64::from(failing));
        }
    }
}

#[test]
fn the_members_are_named_as_the_service_names_them() {
    let bench = Bench::new();
    let run = bench.started("BOOKINGBAD");
    bench.seconds(30.0);
    for (filter, member) in [
        ("OverallTestResults", "overallTestResults"),
        ("ConversationLevelTestResults", "conversationLevelTestResults"),
        ("IntentClassificationTestResults", "intentClassificationTestResults"),
        ("SlotResolutionTestResults", "intentLevelSlotResolutionTestResults"),
        ("UtteranceLevelResults", "utteranceLevelTestResults"),
    ] {
        let results = bench.results(&run, filter).unwrap();
        assert!(results[member]["items"].is_array(), "{filter}");
    }
    assert_eq!(bench.results(&run, "Everything").unwrap_err().code, "ValidationException");
}

#[test]
fn conversations_can_be_filtered_by_their_result() {
    let bench = Bench::new();
    let run = bench.started("BOOKINGBAD");
    bench.seconds(30.0);
    let filter = json!({
        "resultTypeFilter": "ConversationLevelTestResults",
        "conversationLevelTestResultsFilterBy": {"endToEndResult": "Mismatched"},
    });
    let path = format!("/testexecutions/{run}/results");
    let reply = bench.call(Method::POST, &path, &json!({"resultFilterBy": filter})).unwrap();
    let items = &reply["testExecutionResults"]["conversationLevelTestResults"]["items"];
    assert_eq!(items.as_array().unwrap().len(), 2);
}

#[test]
fn test_sets_that_are_not_ready_are_refused() {
    let bench = Bench::new();
    let refused = bench.start("IMPORTING1").unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code), (409, "ConflictException"));
    let refused = bench.start("ANNOTATE01").unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code), (400, "ValidationException"));
    bench.control(json!({"command": "set_test", "test": "importing", "status": "Ready"}));
    bench.start("IMPORTING1").unwrap();
}

#[test]
fn a_failed_run_gives_its_reasons_only_when_described() {
    let bench = Bench::new();
    let run = bench.started("BROKENRUN1");
    bench.seconds(5.0);
    assert!(!bench.describe(&run)["failureReasons"].as_array().unwrap().is_empty());
    let list = bench.call(Method::POST, "/testexecutions", &json!({})).unwrap();
    assert!(list["testExecutions"][0].get("failureReasons").is_none());
    assert_eq!(list["testExecutions"][0]["testExecutionStatus"], "Failed");
}

#[test]
fn artifacts_exist_once_completed() {
    let bench = Bench::new();
    let run = bench.started("BOOKINGOK1");
    let url = || bench.call(Method::GET, &format!("/testexecutions/{run}/artifacturl"), &Value::Null);
    assert_eq!(url().unwrap_err().code, "ValidationException");
    bench.seconds(5.0);
    assert!(url().unwrap()["downloadArtifactsUrl"].as_str().unwrap().contains("X-Amz-Signature"));
}

#[test]
fn executions_page_newest_first_and_new_runs_move_nothing() {
    let bench = Bench::new();
    let runs: Vec<_> = (0..5).map(|_| bench.started("BOOKINGOK1")).collect();
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut body =
            json!({"maxResults": 2, "sortBy": {"attribute": "CreationDateTime", "order": "Descending"}});
        if !token.is_null() {
            body["nextToken"] = token;
        }
        let page = bench.call(Method::POST, "/testexecutions", &body).unwrap();
        let rows = page["testExecutions"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["testExecutionId"].as_str().unwrap().to_owned()));
        bench.started("BOOKINGBAD");
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, runs.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn parameters_are_checked() {
    let bench = Bench::new();
    let alias = json!({"botId": "BOT0000001", "botAliasId": "TSTALIASID", "localeId": "en_US"});
    let target = json!({"botAliasTarget": alias});
    for body in [
        json!({}),
        json!({"target": target}),
        json!({"target": target, "apiMode": "Fast"}),
        json!({"target": {}, "apiMode": "Streaming"}),
        json!({"target": {"botAliasTarget": {"botId": "x"}}, "apiMode": "Streaming"}),
        json!({"target": target, "apiMode": "Streaming", "testExecutionModality": "Audio"}),
    ] {
        let refused = bench.call(Method::POST, "/testsets/BOOKINGOK1/testexecutions", &body).unwrap_err();
        assert_eq!(refused.code, "ValidationException", "{body}");
    }
    for body in [
        json!({"maxResults": 0}),
        json!({"maxResults": 1001}),
        json!({"sortBy": {}}),
        json!({"nextToken": "x"}),
    ] {
        let refused = bench.call(Method::POST, "/testsets", &body).unwrap_err();
        assert_eq!(refused.code, "ValidationException", "{body}");
    }
    let short = bench.call(Method::GET, "/testsets/short", &Value::Null).unwrap_err();
    assert_eq!(short.code, "ValidationException");
    let unknown = bench.call(Method::GET, "/testsets/ABCDEFGHIJ", &Value::Null).unwrap_err();
    assert_eq!(unknown.code, "ResourceNotFoundException");
}

#[test]
fn control_drives_runs_and_quotas() {
    let bench = Bench::new();
    let run = bench.started("SLOWSET001");
    for status in ["Stopping", "Paused"] {
        bench.control(json!({"command": "set", "execution": run, "status": status}));
        assert_eq!(bench.describe(&run)["testExecutionStatus"], status);
    }
    bench.control(json!({"command": "limits", "unfinished": 1}));
    let refused = bench.start("BOOKINGOK1").unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code), (402, "ServiceQuotaExceededException"));
    bench.control(json!({"command": "finish", "execution": run, "outcome": "failed"}));
    bench.start("BOOKINGOK1").unwrap();
    bench.control(json!({"command": "lag", "results_ms": 5000, "lagging": "conflict"}));
    assert_eq!(bench.results(&run, "OverallTestResults").unwrap_err().status.as_u16(), 409);
    bench.control(json!({"command": "delete", "execution": run}));
    assert!(bench.lex.control(&json!({"command": "delete", "execution": run})).is_err());
}

#[test]
fn errors_carry_a_small_message_and_no_suffix() {
    let request = Request {
        method: Method::POST,
        raw_path: "/testsets".into(),
        raw_query: String::new(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let reply = Bench::new().lex.handle(&request);
    assert_eq!(reply.status.as_u16(), 403);
    assert_eq!(reply.headers["x-amzn-errortype"], "MissingAuthenticationToken");
    assert!(String::from_utf8_lossy(&reply.body).contains("\"message\""));
}
