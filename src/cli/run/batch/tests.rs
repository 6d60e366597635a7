use tonic::Status;

use super::*;
use crate::proto::v1::Verdict;
use crate::proto::v1::execution::State;

fn batch(count: usize) -> Batch {
    let mut batch = Batch::default();
    let picked =
        (0..count).map(|n| Picked { name: format!("backends/b/tests/{n}"), label: format!("b/{n}") });
    batch.fill(picked.collect());
    batch
}

fn execution(n: usize, state: State, verdict: Verdict) -> Execution {
    Execution {
        name: format!("backends/b/tests/{n}/executions/e"),
        state: state.into(),
        verdict: verdict.into(),
        done: matches!(state, State::Completed | State::Errored | State::Stopped | State::Lost),
        ..Default::default()
    }
}

fn running(n: usize) -> Execution {
    execution(n, State::Running, Verdict::Pending)
}

fn ends(batch: &mut Batch, n: usize, verdict: Verdict) {
    let execution = Some(execution(n, State::Completed, verdict));
    batch.update(&ExecutionUpdate { r#type: Type::Changed.into(), execution, coalesced_count: 0 });
}

#[test]
fn what_is_known_of_a_run_decides_its_exit_code() {
    let mut runs = batch(2);
    for n in 0..2 {
        runs.sending(n);
        runs.started(n, running(n));
        ends(&mut runs, n, Verdict::Passed);
    }
    assert_eq!((runs.exit(true), runs.tally().to_string().as_str()), (Exit::Passed, "2 passed"));
    ends(&mut runs, 1, Verdict::Failed);
    assert_eq!(runs.exit(true), Exit::Failed);
}

#[test]
fn a_refused_start_is_trouble_whatever_the_others_say() {
    let mut runs = batch(2);
    runs.started(0, execution(0, State::Completed, Verdict::Passed));
    runs.sending(1);
    runs.refused(1, &Failure::call("start", Status::failed_precondition("no")));
    assert_eq!(
        (runs.exit(true), runs.tally().to_string().as_str()),
        (Exit::Trouble, "1 passed, 1 not started")
    );
    assert_eq!(runs.hint("id"), None, "there is nothing to attach to");
}

#[test]
fn a_run_that_is_gone_before_its_end_or_can_not_be_followed_is_trouble() {
    let mut runs = batch(1);
    runs.started(0, running(0));
    assert_eq!(runs.exit(true), Exit::TimedOut);
    let removed =
        ExecutionUpdate { r#type: Type::Removed.into(), execution: Some(running(0)), coalesced_count: 0 };
    runs.update(&removed);
    assert_eq!(runs.exit(true), Exit::Trouble);

    let mut runs = batch(2);
    runs.started(0, execution(0, State::Completed, Verdict::Passed));
    runs.started(1, running(1));
    let names = runs.names(0..2);
    runs.unfollowed(&names, &Failure::Trouble("away".into()));
    assert!(runs.runs()[0].trouble.is_none(), "it was done before");
    assert_eq!(runs.exit(true), Exit::Trouble);
}

#[test]
fn hints_say_how_to_attach_again() {
    assert_eq!(batch(0).hint("id").unwrap(), "nothing was started");
    assert_eq!(batch(2).hint("id").unwrap(), "nothing was started");
    let mut one = batch(1);
    one.sending(0);
    assert_eq!(
        one.hint("id").unwrap(),
        "it may have started; `testgate run 'b/0' --request-id 'id'` attaches to it"
    );
    one.started(0, running(0));
    assert_eq!(
        one.hint("id").unwrap(),
        "the run goes on; `testgate watch 'backends/b/tests/0/executions/e'` attaches to it"
    );
    ends(&mut one, 0, Verdict::Passed);
    assert_eq!(one.hint("id"), None);

    let mut many = batch(12);
    for n in 0..3 {
        many.started(n, running(n));
    }
    let hint = many.hint("id").unwrap();
    assert!(hint.starts_with("3 runs go on; `testgate watch 'backends/b/tests/0/executions/e' '"), "{hint}");
    many.sending(3);
    let hint = many.hint("id").unwrap();
    assert!(
        hint.starts_with("1 of them may have started; the same command with --request-id 'id'"),
        "{hint}"
    );
    for n in 3..12 {
        many.started(n, running(n));
    }
    assert_eq!(
        many.hint("id").unwrap(),
        "12 runs go on; the same command with --request-id 'id' attaches to them"
    );
}

#[test]
fn a_clear_refusal_leaves_no_doubt_and_a_lost_answer_does() {
    let mut runs = batch(1);
    runs.sending(0);
    runs.refused(0, &Failure::call("start", Status::not_found("x")));
    assert!(!runs.runs()[0].sent);
    runs.refused(0, &Failure::call("start", Status::unavailable("x")));
    assert!(runs.hint("id").unwrap().starts_with("it may have started"));
}
