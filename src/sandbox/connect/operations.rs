//! The operations: parameters checked, effect, reply.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::state::{Run, STATUSES, State, new_id};
use super::{ACCOUNT, Options, TestCase};
use crate::sandbox::aws::{self, AwsError, Cut, page_size};
use crate::sandbox::http::Request;

type Parameters = BTreeMap<String, String>;

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "InvalidParameterException", message)
}

fn invalid_request(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "InvalidRequestException", message)
}

fn limited(name: &str, value: &str, max: usize) -> Result<(), AwsError> {
    let length = value.chars().count();
    if (1..=max).contains(&length) {
        Ok(())
    } else {
        Err(invalid(format!("{name} must have 1 to {max} characters")))
    }
}

fn one_of(name: &str, given: Option<&String>, allowed: &[&str]) -> Result<(), AwsError> {
    match given {
        Some(given) if !allowed.contains(&given.as_str()) => {
            Err(invalid(format!("{name} can't be '{given}'")))
        }
        _ => Ok(()),
    }
}

impl State {
    pub(super) fn run_operation(
        &mut self,
        options: &Options,
        operation: &str,
        labels: &[String],
        request: &Request,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let query =
            aws::parameters(&request.raw_query).ok_or_else(|| invalid("The query can't be decoded"))?;
        let label = |index: usize| labels.get(index).map(String::as_str).unwrap_or_default();
        if operation == "SearchTestCases" {
            let body = aws::body(request)?;
            check_instance(options, body.get("InstanceId").and_then(Value::as_str).unwrap_or_default(), 250)?;
            return self.search_test_cases(options, &body, now);
        }
        check_instance(options, label(0), if operation == "DescribeTestCase" { 250 } else { 100 })?;
        if labels.len() > 1 {
            limited("TestCaseId", label(1), 500)?;
        }
        if labels.len() > 2 {
            limited("TestCaseExecutionId", label(2), 500)?;
        }
        match operation {
            "ListTestCases" => self.list_test_cases(options, &query, now),
            "DescribeTestCase" => self.describe_test_case(options, label(1), &query),
            "StartTestCaseExecution" => self.start_execution(label(1), &aws::body(request)?, now, swallowed),
            "StopTestCaseExecution" => {
                self.stop_execution(label(1), label(2), &aws::body(request)?, now, swallowed)
            }
            "GetTestCaseExecutionSummary" => self.summary(label(1), label(2), now),
            "ListTestCaseExecutions" => self.list_executions(&query, now),
            "ListTestCaseExecutionRecords" => self.list_records(label(1), label(2), &query, now),
            _ => Err(AwsError::unknown_operation()),
        }
    }

    fn test(&self, id: &str) -> Result<&TestCase, AwsError> {
        self.account
            .tests
            .iter()
            .find(|test| test.id == id)
            .ok_or_else(|| AwsError::not_found(format!("Test case '{id}' doesn't exist")))
    }

    fn run(&self, test: &str, execution: &str) -> Result<&Run, AwsError> {
        self.account
            .runs
            .iter()
            .find(|run| run.id == execution && run.test_id == test)
            .ok_or_else(|| AwsError::not_found(format!("Test case execution '{execution}' doesn't exist")))
    }

    /// A page's cut from a query; the token is no argument of its own.
    pub(super) fn cut<'q>(
        &self,
        operation: &str,
        query: &'q Parameters,
        max: u64,
        now: i64,
    ) -> Result<Cut<'q>, AwsError> {
        let given = query.get("maxResults").map(|size| json!(size));
        let size = page_size(given.as_ref(), 25, max)
            .ok_or_else(|| invalid(format!("maxResults must be between 1 and {max}")))?;
        let others: BTreeMap<_, _> =
            query.iter().filter(|(name, _)| !matches!(name.as_str(), "nextToken" | "maxResults")).collect();
        Cut::new(
            self.account.paging,
            &json!([operation, others]),
            query.get("nextToken").map(String::as_str),
            size,
            now,
        )
        .ok_or_else(|| AwsError::new(400, "InvalidToken", "The token is invalid or has expired"))
    }

    fn list_test_cases(&self, options: &Options, query: &Parameters, now: i64) -> Result<Value, AwsError> {
        let cut = self.cut("ListTestCases", query, 1000, now)?;
        let (page, token) = cut.page(self.account.tests.iter());
        let page: Vec<_> = page
            .into_iter()
            .map(|test| {
                json!({
                    "Id": test.id,
                    "Arn": arn(options, test),
                    "Name": test.name,
                    "Status": status(test),
                    "LastModifiedTime": self.stamp(self.modified_ms),
                    "LastModifiedRegion": options.region,
                })
            })
            .collect();
        Ok(with_token(json!({"TestCaseSummaryList": page}), token))
    }

    fn describe_test_case(&self, options: &Options, id: &str, query: &Parameters) -> Result<Value, AwsError> {
        one_of("status", query.get("status"), &["PUBLISHED", "SAVED"])?;
        let test = self.test(id)?;
        if query.get("status").is_some_and(|wanted| wanted == "PUBLISHED") && !test.published {
            return Err(AwsError::not_found(format!("Test case '{id}' has no published version")));
        }
        Ok(json!({"TestCase": self.describe(options, test)}))
    }

    pub(super) fn describe(&self, options: &Options, test: &TestCase) -> Value {
        let flow = "0f10f10f-0000-4000-8000-000000000001";
        let entry = if test.chat {
            json!({"Type": "CHAT", "ChatEntryPointParameters": {"FlowId": flow}})
        } else {
            let voice = json!({
                "SourcePhoneNumber": "+12065550100", "DestinationPhoneNumber": "+12065550199", "FlowId": flow,
            });
            json!({"Type": "VOICE_CALL", "VoiceCallEntryPointParameters": voice})
        };
        let mut described = json!({
            "Arn": arn(options, test),
            "Id": test.id,
            "Name": test.name,
            "Content": json!({"Version": "2019-10-30", "Observations": []}).to_string(),
            "EntryPoint": entry,
            "InitializationData": "{}",
            "Description": test.description,
            "Status": status(test),
            "LastModifiedTime": self.stamp(self.modified_ms),
            "LastModifiedRegion": options.region,
            "TestCaseSha256": "a".repeat(64),
        });
        insert_tags(&mut described, &test.tags);
        described
    }

    fn start_execution(
        &mut self,
        test: &str,
        body: &Value,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let token = body.get("ClientToken").and_then(Value::as_str).unwrap_or_default();
        limited("ClientToken", token, 500)?;
        let test = self.test(test)?.clone();
        if !test.published {
            return Err(invalid_request("Only a published test case can be started"));
        }
        let started = |id: &str, status: &str| json!({"TestCaseExecutionId": id, "TestCaseId": test.id, "Status": status});
        if let Some(known) = self.account.runs.iter().find(|run| run.token == token && run.test_id == test.id)
        {
            return Ok(started(&known.id, known.status(now)));
        }
        if swallowed {
            return Ok(started(&new_id(), "INITIATED"));
        }
        let run = self.start(&test, token, test.script.clone(), now).ok_or_else(|| {
            AwsError::new(
                402,
                "ServiceQuotaExceededException",
                "Too many test case executions are queued or running",
            )
        })?;
        Ok(started(&run.id, run.status(now)))
    }

    fn stop_execution(
        &mut self,
        test: &str,
        execution: &str,
        body: &Value,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let token = body.get("ClientToken").and_then(Value::as_str).unwrap_or_default();
        if token.chars().count() > 500 {
            return Err(invalid("ClientToken must have at most 500 characters"));
        }
        self.run(test, execution)?;
        let run = self.account.runs.iter_mut().find(|run| run.id == execution && run.test_id == test);
        let Some(run) = run.filter(|_| !swallowed) else { return Ok(json!({})) };
        let repeated = !token.is_empty() && run.stop.as_ref().is_some_and(|(_, first)| first == token);
        if !Self::stop(run, token, now) && !repeated {
            return Err(invalid_request("The test case execution has already ended"));
        }
        Ok(json!({}))
    }

    fn summary(&self, test: &str, execution: &str, now: i64) -> Result<Value, AwsError> {
        let run = self.run(test, execution)?;
        let counts = run.counts(now);
        let mut summary = json!({
            "StartTime": self.stamp(run.start(now)),
            "Status": run.status(now),
            "ObservationSummary": {
                "TotalObservations": counts.total,
                "ObservationsPassed": counts.passed,
                "ObservationsFailed": counts.failed,
            },
        });
        self.insert_end(&mut summary, run);
        Ok(summary)
    }

    fn insert_end(&self, object: &mut Value, run: &Run) {
        if let (Some(object), Some((at, _))) = (object.as_object_mut(), run.ended) {
            object.insert("EndTime".into(), self.stamp(at));
        }
    }

    /// Newest first. A token holds the last run seen, so that runs which start meanwhile move nothing.
    fn list_executions(&self, query: &Parameters, now: i64) -> Result<Value, AwsError> {
        one_of("status", query.get("status"), &STATUSES)?;
        let time = |name: &str| match query.get(name).map(|text| text.parse::<i64>()) {
            None => Ok(None),
            Some(Ok(ms)) if ms >= 0 => Ok(Some(ms)),
            Some(_) => Err(invalid(format!("{name} must be epoch milliseconds"))),
        };
        let (after, before) = (time("startTime")?, time("endTime")?);
        let cut = self.cut("ListTestCaseExecutions", query, 100, now)?;
        let is = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
        let matching = self.account.runs.iter().rev().filter(|run| {
            self.listed(run, now)
                && is("testCaseId", &run.test_id)
                && is("testCaseName", &run.test_name)
                && is("status", run.status(now))
                && after.is_none_or(|after| run.start(now) >= after)
                && before.is_none_or(|before| run.start(now) <= before)
        });
        // A start of zero is the first page; a later one holds the sequence of the last run seen, plus one.
        let mut rest = matching.skip_while(|run| cut.start > 0 && run.sequence + 1 >= cut.start);
        let page: Vec<&Run> = rest.by_ref().take(cut.size).collect();
        let last = page.last().map(|run| run.sequence + 1);
        let token = last.filter(|_| rest.next().is_some()).map(|last| cut.token(last));
        let page: Vec<_> = page
            .into_iter()
            .map(|run| {
                let mut row = json!({
                    "StartTime": self.stamp(run.start(now)),
                    "TestCaseExecutionId": run.id,
                    "TestCaseId": run.test_id,
                    "TestCaseExecutionStatus": run.status(now),
                });
                self.insert_end(&mut row, run);
                insert_tags(&mut row, &run.tags);
                row
            })
            .collect();
        Ok(with_token(json!({"TestCaseExecutions": page}), token))
    }

    fn list_records(
        &self,
        test: &str,
        execution: &str,
        query: &Parameters,
        now: i64,
    ) -> Result<Value, AwsError> {
        one_of("status", query.get("status"), &STATUSES)?;
        let run = self.run(test, execution)?;
        let cut = self.cut(&format!("ListTestCaseExecutionRecords {execution}"), query, 100, now)?;
        let records = run.records(now);
        let wanted: Vec<_> = records
            .iter()
            .filter(|record| query.get("status").is_none_or(|status| status == record.status))
            .collect();
        let (page, token) = cut.page(wanted.into_iter());
        let page: Vec<_> = page
            .into_iter()
            .map(|record| {
                json!({
                    "ObservationId": record.id,
                    "Status": record.status,
                    "Timestamp": self.stamp(record.at),
                    "Record": record.text.to_string(),
                })
            })
            .collect();
        Ok(with_token(json!({"ExecutionRecords": page}), token))
    }
}

fn check_instance(options: &Options, given: &str, max: usize) -> Result<(), AwsError> {
    limited("InstanceId", given, max)?;
    let own_arn = format!("arn:aws:connect:{}:{ACCOUNT}:instance/{}", options.region, options.instance_id);
    if given == options.instance_id || given == own_arn {
        return Ok(());
    }
    Err(AwsError::not_found(format!("Instance '{given}' doesn't exist")))
}

fn arn(options: &Options, test: &TestCase) -> String {
    format!(
        "arn:aws:connect:{}:{ACCOUNT}:instance/{}/test-case/{}",
        options.region, options.instance_id, test.id
    )
}

fn status(test: &TestCase) -> &'static str {
    if test.published { "PUBLISHED" } else { "SAVED" }
}

/// An empty map would break the model's minimum of one, so it stays away.
fn insert_tags(object: &mut Value, tags: &BTreeMap<String, String>) {
    if let Some(object) = object.as_object_mut().filter(|_| !tags.is_empty()) {
        let tags: Map<_, _> = tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        object.insert("Tags".into(), Value::Object(tags));
    }
}

pub(super) fn with_token(mut object: Value, token: Option<String>) -> Value {
    if let (Some(object), Some(token)) = (object.as_object_mut(), token) {
        object.insert("NextToken".into(), json!(token));
    }
    object
}
