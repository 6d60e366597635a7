//! A store as it is after a busy week. `benches/figures` opens the same.

use std::collections::BTreeMap;
use std::path::Path;

use testgate::model::{
    BackendId, Clock, Counts, Details, Execution, ExecutionId, LexDetails, LexTarget, State, TestId,
    TestName, Verdict,
};
use testgate::store::{Record, Store};

/// How many executions are saved in one transaction.
const BATCH: usize = 20_000;
const TEST: &str = "TESTSET001";

/// Fills a new store with executions of one test, begun and followed here, that have ended or have not.
pub(crate) async fn build(path: &Path, backend: &str, finished: usize, unfinished: usize) {
    let store = Store::open(Some(path.to_owned()), Clock::system()).expect("the store opens");
    let test = TestName {
        backend: BackendId::new(backend).expect("a backend's id"),
        test: TestId::new(TEST).expect("a test's id"),
    };
    let numbers: Vec<usize> = (0..finished + unfinished).collect();
    for numbers in numbers.chunks(BATCH) {
        let records = numbers.iter().map(|number| record(&test, *number, *number < finished)).collect();
        store.save_durably(records).await.expect("the store can be written");
    }
}

/// The name of one of them.
pub(crate) fn name(backend: &str, number: usize) -> String {
    format!("backends/{backend}/tests/{TEST}/executions/{}", id(number))
}

fn id(number: usize) -> String {
    format!("RUN{number:07}")
}

fn record(test: &TestName, number: usize, done: bool) -> Record {
    let id = id(number);
    let mut execution = Execution::unread(test.execution(ExecutionId::new(&id).expect("an execution's id")));
    let now = Clock::system().now();
    execution.upstream_id = id;
    execution.revision = i64::try_from(number).unwrap_or(0) + 1;
    (execution.create_time, execution.start_time, execution.observe_time) = (Some(now), Some(now), Some(now));
    execution.labels =
        BTreeMap::from([("build".to_owned(), number.to_string()), ("team".to_owned(), "voice".to_owned())]);
    execution.creator = "token:ci".to_owned();
    execution.request_id = format!("nightly-{number}");
    execution.test_display_name = "Booking, all paths".to_owned();
    let target = LexTarget {
        bot_id: "BOT0000001".to_owned(),
        bot_alias_id: "TSTALIASID".to_owned(),
        locale_id: "en_US".to_owned(),
    };
    execution.details = Some(Details::Lex(LexDetails {
        test_set_id: TEST.to_owned(),
        target: Some(target),
        ..LexDetails::default()
    }));
    if done {
        (execution.state, execution.verdict) = (State::Completed, Verdict::Passed);
        execution.upstream_status = "Completed".to_owned();
        execution.end_time = Some(now);
        execution.counts = Some(Counts { total: Some(40), passed: Some(40), ..Counts::default() });
    } else {
        (execution.state, execution.verdict) = (State::Running, Verdict::Pending);
        execution.upstream_status = "InProgress".to_owned();
    }
    Record {
        execution: execution.into(),
        settling: None,
        first_seen: now,
        gone_since: None,
        followed: true,
        stop: None,
        position: u64::try_from(number).unwrap_or(0) + 1,
    }
}
