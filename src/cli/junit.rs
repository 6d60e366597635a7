//! `--junit`: one suite a test, one case a result item. The file is written whole or not at all.

mod file;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

pub(crate) use self::file::Target;
use super::client::{Gateway, read_list};
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::{names, rows};
use crate::proto::v1::{Execution, FailureReason, ListResultItemsRequest, ResultItem, Verdict};

/// So many items of one run at most.
const MAX_ITEMS: usize = 10_000;
/// The items of so many runs are read at a time.
const READ_AT_A_TIME: usize = 4;

/// Reads the result items of all runs and writes the report.
///
/// What could not be read is an error, but only after everything else was written.
pub(crate) async fn write(gateway: &Gateway, runs: &[Run], target: &Target) -> Result<(), Failure> {
    let all = runs.iter().map(async |run| (run, items(gateway, run).await));
    let read: Vec<_> = stream::iter(all).buffered(READ_AT_A_TIME).collect().await;
    let mut report = Report::new("testgate");
    let mut missing = None;
    for (run, items) in read {
        let (items, trouble) = match items {
            Ok(items) => (items, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        report.add_test_suite(suite(run, &items, trouble.as_ref()));
        missing = missing.or(trouble);
    }
    let time = report.test_suites.iter().filter_map(|suite| suite.time).max();
    time.map(|time| report.set_time(time));
    let xml = report.to_string().map_err(|error| Failure::Trouble(format!("no report: {error}")))?;
    target.replace(&xml)?;
    missing.map_or(Ok(()), Err)
}

async fn items(gateway: &Gateway, run: &Run) -> Result<Vec<ResultItem>, Failure> {
    // What goes on has no result yet, and what was never started none at all.
    let Some(execution) = run.execution.as_ref().filter(|execution| execution.done) else {
        return Ok(Vec::new());
    };
    let what = format!("list the result items of {}", execution.name);
    let request = ListResultItemsRequest { parent: execution.name.clone(), ..Default::default() };
    let mut items = Vec::new();
    read_list(gateway, &request, Some(MAX_ITEMS), &what, |page| {
        items.extend(page);
        Ok(())
    })
    .await?;
    Ok(items)
}

fn suite(run: &Run, items: &[ResultItem], unread: Option<&Failure>) -> TestSuite {
    let display_name = run.execution.as_ref().map_or("", |execution| &execution.test_display_name);
    let name =
        if display_name.is_empty() { run.label.clone() } else { names::short_test(&run.test, display_name) };
    let mut suite = TestSuite::new(name.as_str());
    for item in items {
        suite.add_test_case(of_item(item, &name));
    }
    if let Some(execution) = &run.execution {
        describe(execution, &mut suite);
    }
    // A suite says what its run says, also where no item does.
    let status = match (&run.trouble, unread, &run.execution) {
        (Some(trouble), ..) => error("TROUBLE", trouble),
        (None, Some(failure), _) => error("TROUBLE", &failure.to_string()),
        (None, None, None) => error("NOT_STARTED", "the run was not started"),
        (None, None, Some(execution)) => of_execution(execution),
    };
    let told = suite.failures + suite.errors > 0 || matches!(status, TestCaseStatus::Success { .. });
    if items.is_empty() || !told {
        suite.add_test_case(case("the run as a whole", &name, status));
    }
    suite
}

fn describe(execution: &Execution, suite: &mut TestSuite) {
    if let Some(took) = rows::elapsed(execution, None) {
        suite.set_time(took);
    }
    if let Some(created) = &execution.create_time {
        suite.extra.insert("timestamp".into(), created.to_string().into());
    }
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            suite.add_property(Property::new(name, value));
        }
    };
    add("execution", &execution.name);
    add("state", &rows::state(execution));
    add("verdict", &rows::verdict(execution.verdict));
    add("request_id", &execution.request_id);
    let mut labels: Vec<_> = execution.labels.iter().collect();
    labels.sort();
    for (key, value) in labels {
        add(&format!("label.{key}"), value);
    }
}

fn case(name: &str, class: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case.set_time(Duration::ZERO); // upstreams don't say how long an item took, and readers want a number
    case
}

fn of_item(item: &ResultItem, class: &str) -> TestCase {
    let id = item.name.rsplit('/').next().unwrap_or_default();
    let name = if item.display_name.is_empty() { id } else { &item.display_name };
    let mut details = Vec::new();
    for (what, text) in [("expected", &item.expected), ("actual", &item.actual)] {
        if !text.is_empty() {
            details.push(format!("{what}: {text}"));
        }
    }
    let counts = rows::counts(item.counts.as_ref());
    if !counts.is_empty() {
        details.push(counts);
    }
    let status = match Verdict::try_from(item.verdict) {
        Ok(Verdict::Passed) => TestCaseStatus::success(),
        Ok(Verdict::None) => TestCaseStatus::skipped(),
        Ok(Verdict::Failed) => non_success(NonSuccessKind::Failure, "FAILED", item.failure.as_ref(), details),
        // What is not known here has not passed.
        _ => non_success(NonSuccessKind::Error, &rows::verdict(item.verdict), item.failure.as_ref(), details),
    };
    case(name, class, status)
}

fn of_execution(execution: &Execution) -> TestCaseStatus {
    let failure = execution.failure.as_ref();
    let counts = rows::counts(execution.counts.as_ref());
    let details = if counts.is_empty() { Vec::new() } else { vec![counts] };
    match Exit::of(execution) {
        Exit::Passed => TestCaseStatus::success(),
        Exit::Failed => non_success(NonSuccessKind::Failure, "FAILED", failure, details),
        Exit::TimedOut => error("NOT_DONE", &format!("it was still {}", rows::state(execution))),
        _ if failure.is_none() => {
            let state = rows::state(execution);
            error(&state, &format!("{state}, {}", rows::verdict(execution.verdict)))
        }
        _ => non_success(NonSuccessKind::Error, &rows::state(execution), failure, details),
    }
}

fn error(kind: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type(kind).set_message(message);
    status
}

fn non_success(
    kind: NonSuccessKind,
    known_as: &str,
    failure: Option<&FailureReason>,
    mut details: Vec<String>,
) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let code = failure.map(|failure| failure.upstream_code.as_str()).filter(|code| !code.is_empty());
    status.set_type(code.unwrap_or(known_as));
    if let Some(failure) = failure {
        let mut messages = failure.messages.clone();
        if failure.truncated_count > 0 {
            messages.push(format!("and {} more", failure.truncated_count));
        }
        if let Some(first) = messages.first() {
            status.set_message(first.as_str());
        }
        details.splice(0..0, messages);
    }
    if !details.is_empty() {
        status.set_description(details.join("\n"));
    }
    status
}

#[cfg(test)]
mod tests;
