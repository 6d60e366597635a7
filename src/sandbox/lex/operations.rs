//! The operations: parameters checked, effect, reply.

use serde_json::{Map, Value, json};

use super::results::{Kind, Results};
use super::state::{Run, State, Target, new_id, stamp};
use super::{Options, TestSet};
use crate::sandbox::aws::{self, AwsError, Cut, page_size};
use crate::sandbox::http::Request;
use crate::sandbox::scenario::Lagging;

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "ValidationException", message)
}

fn is_id(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

fn choice<'v>(value: &'v Value, name: &str, allowed: &[&str]) -> Result<Option<&'v str>, AwsError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(given)) if allowed.contains(&given.as_str()) => Ok(Some(given)),
        Some(other) => Err(invalid(format!("{name} can't be {other}; it is one of {}", allowed.join(", ")))),
    }
}

impl State {
    pub(super) fn run_operation(
        &mut self,
        options: &Options,
        operation: &str,
        label: &str,
        request: &Request,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let body = aws::body(request)?;
        if !label.is_empty() && !is_id(label) {
            return Err(invalid(format!("'{label}' doesn't consist of ten letters and digits")));
        }
        match operation {
            "ListTestSets" => self.list_test_sets(&body, now),
            "DescribeTestSet" => Ok(describe_test_set(self.test(label)?, self.modified_ms)),
            "StartTestExecution" => self.start_execution(label, &body, now, swallowed),
            "ListTestExecutions" => self.list_executions(&body, now),
            "DescribeTestExecution" => Ok(describe_run(self.run(label)?, now, true)),
            "ListTestExecutionResultItems" => self.list_results(label, &body, now),
            "GetTestExecutionArtifactsUrl" => artifacts(self.run(label)?, &options.region, now),
            _ => Err(AwsError::unknown_operation()),
        }
    }

    fn test(&self, id: &str) -> Result<&TestSet, AwsError> {
        self.account
            .tests
            .iter()
            .find(|test| test.id == id)
            .ok_or_else(|| AwsError::not_found(format!("Test set {id} doesn't exist")))
    }

    fn run(&self, id: &str) -> Result<&Run, AwsError> {
        self.account
            .runs
            .iter()
            .find(|run| run.id == id)
            .ok_or_else(|| AwsError::not_found(format!("Test execution {id} doesn't exist")))
    }

    fn cut<'b>(&self, arguments: &Value, body: &'b Value, now: i64) -> Result<Cut<'b>, AwsError> {
        let size = page_size(body.get("maxResults"), 50, 1000)
            .ok_or_else(|| invalid("maxResults must be between 1 and 1000"))?;
        Cut::new(self.account.paging, arguments, text(body, "nextToken"), size, now)
            .ok_or_else(|| invalid("The nextToken is invalid or has expired"))
    }

    fn list_test_sets(&self, body: &Value, now: i64) -> Result<Value, AwsError> {
        let (attribute, descending) =
            sorting(body, &["TestSetName", "LastUpdatedDateTime"])?.unwrap_or(("TestSetName", false));
        let mut tests: Vec<&TestSet> = self.account.tests.iter().collect();
        if attribute == "TestSetName" {
            tests.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if descending {
            tests.reverse();
        }
        let cut = self.cut(&json!(["ListTestSets", body.get("sortBy")]), body, now)?;
        let (page, token) = cut.page(tests.into_iter());
        let page: Vec<_> = page.into_iter().map(|test| describe_test_set(test, self.modified_ms)).collect();
        Ok(with_token(json!({"testSets": page}), token))
    }

    fn start_execution(
        &mut self,
        id: &str,
        body: &Value,
        now: i64,
        swallowed: bool,
    ) -> Result<Value, AwsError> {
        let alias = body.get("target").and_then(|target| target.get("botAliasTarget"));
        let alias = alias.ok_or_else(|| invalid("target.botAliasTarget is missing"))?;
        let required = |name: &str| text(alias, name).ok_or_else(|| invalid(format!("{name} is missing")));
        let (bot_id, bot_alias_id) = (required("botId")?, required("botAliasId")?);
        if !is_id(bot_id) || !is_id(bot_alias_id) {
            return Err(invalid("botId and botAliasId consist of ten letters and digits"));
        }
        let api_mode = choice(body, "apiMode", &["Streaming", "NonStreaming"])?;
        let api_mode = api_mode.ok_or_else(|| invalid("apiMode is missing"))?;
        let modality = choice(body, "testExecutionModality", &["Text", "Audio"])?;
        let test = self.test(id)?.clone();
        let modality = modality.unwrap_or_else(|| modality_of(&test));
        if modality == "Audio" && !test.audio {
            return Err(invalid("A text test set can't be executed with audio"));
        }
        match test.status.as_str() {
            "Ready" => {}
            "Importing" | "Deleting" => {
                let message = format!("Test set {id} is in status {}", test.status);
                return Err(AwsError::new(409, "ConflictException", message));
            }
            other => return Err(invalid(format!("Test set {id} is in status {other}, not Ready"))),
        }
        let target = Target {
            bot_id: bot_id.into(),
            bot_alias_id: bot_alias_id.into(),
            locale_id: required("localeId")?.into(),
            api_mode: api_mode.into(),
            modality: modality.into(),
        };
        if swallowed {
            return Ok(started(&new_id(), id, &target, now));
        }
        let run = self.start(&test, target, test.script.clone(), now).ok_or_else(|| {
            AwsError::new(402, "ServiceQuotaExceededException", "Too many test executions are unfinished")
        })?;
        Ok(started(&run.id, &run.test_id, &run.target, run.created))
    }

    fn list_executions(&self, body: &Value, now: i64) -> Result<Value, AwsError> {
        let sorting = sorting(body, &["TestSetName", "CreationDateTime"])?;
        let (attribute, descending) = sorting.unwrap_or(("CreationDateTime", true));
        let listed = |run: &&Run| run.created.saturating_add(self.list_lag_ms) <= now;
        let mut runs: Vec<&Run> = self.account.runs.iter().filter(listed).collect();
        if attribute == "TestSetName" {
            runs.sort_by(|a, b| (&a.test_name, a.sequence).cmp(&(&b.test_name, b.sequence)));
        }
        if descending {
            runs.reverse();
        }
        let cut = self.cut(&json!(["ListTestExecutions", body.get("sortBy")]), body, now)?;
        // The token holds the last run seen, plus one, so that runs which start meanwhile move nothing.
        let mut rest = runs.iter().skip_while(|run| cut.start > 0 && run.sequence + 1 != cut.start);
        if cut.start > 0 {
            rest.next();
        }
        let page: Vec<&Run> = rest.by_ref().take(cut.size).copied().collect();
        let last = page.last().map(|run| run.sequence + 1);
        let token = last.filter(|_| rest.next().is_some()).map(|last| cut.token(last));
        let page: Vec<_> = page.into_iter().map(|run| describe_run(run, now, false)).collect();
        Ok(with_token(json!({"testExecutions": page}), token))
    }

    fn list_results(&self, id: &str, body: &Value, now: i64) -> Result<Value, AwsError> {
        let filter = body.get("resultFilterBy").ok_or_else(|| invalid("resultFilterBy is missing"))?;
        let kind = text(filter, "resultTypeFilter").and_then(Kind::from_filter);
        let kind = kind.ok_or_else(|| invalid("resultTypeFilter is missing or unknown"))?;
        let by_result = match filter.get("conversationLevelTestResultsFilterBy") {
            None | Some(Value::Null) => None,
            Some(by) => choice(by, "endToEndResult", &["Matched", "Mismatched", "ExecutionError"])?,
        };
        let run = self.run(id)?;
        let (status, since) = run.status(now);
        if status != "Completed" {
            return Err(invalid(format!("Test execution {id} is in status {status}, not Completed")));
        }
        let lag = run.script.lag_ms().max(self.results_lag_ms);
        let waited = now - since;
        let lagging = self.lagging.unwrap_or(run.script.lagging);
        let early = waited < lag;
        let missing = match lagging {
            Lagging::NotFound => early,
            Lagging::Mixed => waited < lag / 2,
            Lagging::Conflict | Lagging::EmptyPage => false,
        };
        if missing {
            return Err(AwsError::not_found(format!("No results for test execution {id}")));
        }
        if early && lagging == Lagging::Conflict {
            return Err(AwsError::new(409, "ConflictException", "The results are not ready"));
        }
        let results = Results::new(run, if early { 0 } else { run.script.checks });
        let cut = self.cut(&json!(["ListTestExecutionResultItems", id, filter]), body, now)?;
        let (page, token) = match by_result.filter(|_| kind == Kind::Conversation) {
            None => {
                let (page, token) = cut.page(0..results.count(kind));
                (page.into_iter().map(|index| results.item(kind, index)).collect::<Vec<_>>(), token)
            }
            Some(wanted) => {
                let matching: Vec<_> =
                    (0..results.count(kind)).filter(|index| results.verdict(*index) == wanted).collect();
                let (page, token) = cut.page(matching.into_iter());
                (page.into_iter().map(|index| results.item(kind, index)).collect(), token)
            }
        };
        let items = json!({"items": page});
        let results: Map<_, _> = [(kind.member().to_owned(), items)].into_iter().collect();
        Ok(with_token(json!({"testExecutionResults": results}), token))
    }
}

fn sorting<'v>(body: &'v Value, attributes: &[&str]) -> Result<Option<(&'v str, bool)>, AwsError> {
    let Some(sort) = body.get("sortBy").filter(|sort| !sort.is_null()) else { return Ok(None) };
    let attribute = choice(sort, "attribute", attributes)?;
    let order = choice(sort, "order", &["Ascending", "Descending"])?;
    match (attribute, order) {
        (Some(attribute), Some(order)) => Ok(Some((attribute, order == "Descending"))),
        _ => Err(invalid("sortBy needs attribute and order")),
    }
}

pub(super) fn modality_of(test: &TestSet) -> &'static str {
    if test.audio { "Audio" } else { "Text" }
}

fn describe_test_set(test: &TestSet, modified: i64) -> Value {
    json!({
        "testSetId": test.id,
        "testSetName": test.name,
        "description": test.description,
        "modality": modality_of(test),
        "status": test.status,
        "roleArn": "arn:aws:iam::123456789012:role/lex-test-sets",
        "numTurns": u64::from(test.script.checks) * 3,
        "storageLocation": {"s3BucketName": "sandbox-test-sets", "s3Path": format!("{}.csv", test.id)},
        "creationDateTime": stamp(modified - 86_400_000),
        "lastUpdatedDateTime": stamp(modified),
    })
}

fn target(target: &Target) -> Value {
    let alias = json!({
        "botId": target.bot_id, "botAliasId": target.bot_alias_id, "localeId": target.locale_id,
    });
    json!({"botAliasTarget": alias})
}

/// No status in the reply, as in the model.
fn started(id: &str, test: &str, chosen: &Target, created: i64) -> Value {
    json!({
        "testExecutionId": id,
        "creationDateTime": stamp(created),
        "testSetId": test,
        "target": target(chosen),
        "apiMode": chosen.api_mode,
        "testExecutionModality": chosen.modality,
    })
}

fn describe_run(run: &Run, now: i64, whole: bool) -> Value {
    let (status, since) = run.status(now);
    let mut described = json!({
        "testExecutionId": run.id,
        "creationDateTime": stamp(run.created),
        "lastUpdatedDateTime": stamp(since),
        "testExecutionStatus": status,
        "testSetId": run.test_id,
        "testSetName": run.test_name,
        "target": target(&run.target),
        "apiMode": run.target.api_mode,
        "testExecutionModality": run.target.modality,
    });
    if let Some(described) = described.as_object_mut().filter(|_| whole && status == "Failed") {
        let reasons = ["The bot alias has no built version for this locale", "0 conversations were executed"];
        described.insert("failureReasons".into(), json!(reasons));
    }
    described
}

/// A pre-signed link, as secret-looking as the real ones; nothing answers there.
fn artifacts(run: &Run, region: &str, now: i64) -> Result<Value, AwsError> {
    let (status, _) = run.status(now);
    if status != "Completed" {
        return Err(invalid(format!("Test execution {} is in status {status}, not Completed", run.id)));
    }
    let url = format!(
        "https://sandbox-artifacts.s3.{region}.amazonaws.com/{}/results.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
        run.id,
        "5a".repeat(32)
    );
    Ok(json!({"testExecutionId": run.id, "downloadArtifactsUrl": url}))
}

fn with_token(mut object: Value, token: Option<String>) -> Value {
    if let (Some(object), Some(token)) = (object.as_object_mut(), token) {
        object.insert("nextToken".into(), json!(token));
    }
    object
}
