use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_tasks_that_end_when_asked() {
    let tasks = Tasks::new();
    let token = tasks.token();
    let (done, seen) = tokio::sync::oneshot::channel();
    tasks.spawn_critical("loop", async move {
        token.cancelled().await;
        tokio::time::sleep(SECOND).await;
        done.send(()).unwrap();
    });
    assert_eq!(tasks.shutdown(2 * SECOND).await, Ok(()));
    assert_eq!(seen.await, Ok(()));
    assert!(tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_aborts_and_names_what_does_not_end() {
    let tasks = Tasks::new();
    for _ in 0..2 {
        tasks.spawn("deaf", std::future::pending());
    }
    tasks.spawn("short", async {});
    let error = tasks.shutdown(SECOND).await.unwrap_err();
    assert_eq!(error.to_string(), "tasks did not end in time: deaf (2)");
    assert_eq!(tasks.len(), 0);
}

#[tokio::test]
async fn the_panic_of_a_critical_task_is_a_failure() {
    let tasks = Tasks::new();
    tasks.spawn_critical("poller", async { panic!("out of cheese") });
    let failure = tasks.failed().await;
    assert_eq!(failure.to_string(), "the task poller panicked: out of cheese");
}

#[tokio::test]
async fn a_critical_task_that_ends_early_is_a_failure() {
    let tasks = Tasks::new();
    tasks.spawn_critical("accept", async {});
    assert_eq!(tasks.failed().await, TaskFailure::Ended { name: "accept".into() });
}

#[tokio::test(start_paused = true)]
async fn the_panic_of_an_ordinary_task_harms_nobody() {
    let tasks = Tasks::new();
    tasks.spawn("one", async { panic!("oh") });
    assert!(tokio::time::timeout(SECOND, tasks.failed()).await.is_err());
    assert_eq!(tasks.shutdown(SECOND).await, Ok(()));
}

#[tokio::test]
async fn a_drain_has_no_way_back_and_wakes_those_who_wait() {
    let lifecycle = Lifecycle::new();
    let waiting = lifecycle.draining();
    assert_eq!(lifecycle.phase(), Phase::Starting);
    lifecycle.serve();
    assert_eq!(lifecycle.phase(), Phase::Serving);
    assert!(lifecycle.drain());
    assert!(!lifecycle.drain());
    lifecycle.serve();
    assert_eq!(lifecycle.phase(), Phase::Draining);
    waiting.await;
}
