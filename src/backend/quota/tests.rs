use super::*;

const OP: &str = "GetThing";

fn call(priority: Priority, caller: &str, within: Duration) -> Call {
    Call { deadline: Instant::now() + within, priority, caller: caller.into() }
}

fn write() -> Call {
    call(Priority::Write, "", Duration::from_secs(60))
}

async fn drain(group: &QuotaGroup) {
    for _ in 0..5 {
        group.acquire(OP, &write()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn five_pass_at_once_and_then_one_for_each_period() {
    let group = QuotaGroup::new(2.0);
    let begun = Instant::now();
    drain(&group).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for _ in 0..4 {
        group.acquire(OP, &write()).await.unwrap();
    }
    let elapsed = begun.elapsed();
    assert!((2000..2020).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn operations_have_buckets_of_their_own() {
    let group = QuotaGroup::new(1.0);
    drain(&group).await;
    let begun = Instant::now();
    group.acquire("Other", &write()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_refused_at_once_with_its_length() {
    let group = QuotaGroup::new(0.1);
    drain(&group).await;
    let begun = Instant::now();
    let error = group.acquire(OP, &call(Priority::Write, "", Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendBudgetExhausted);
    assert_eq!(error.retry_after, Some(Duration::from_secs(10)));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn reads_leave_half_to_the_others() {
    let group = QuotaGroup::new(2.0);
    let begun = Instant::now();
    for _ in 0..12 {
        group.acquire(OP, &call(Priority::Read, "a", Duration::from_secs(60))).await.unwrap();
    }
    // 2.5 at once, then one a second.
    assert!(begun.elapsed() >= Duration::from_millis(9400), "{:?}", begun.elapsed());
    let before = Instant::now();
    group.acquire(OP, &write()).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "a write finds its token at once");
}

#[tokio::test(start_paused = true)]
async fn writes_go_before_what_is_followed_and_that_before_reads() {
    let group = QuotaGroup::new(1.0);
    drain(&group).await;
    let order = Mutex::new(Vec::new());
    let wait = |priority, name| {
        let (group, order) = (&group, &order);
        async move {
            group.acquire(OP, &call(priority, name, Duration::from_secs(60))).await.unwrap();
            lock(order).push(name);
        }
    };
    tokio::join!(
        wait(Priority::Read, "read"),
        wait(Priority::Followed, "followed"),
        wait(Priority::Write, "write"),
    );
    assert_eq!(*lock(&order), ["write", "followed", "read"]);
}

#[tokio::test(start_paused = true)]
async fn callers_take_turns() {
    let group = QuotaGroup::new(2.0);
    drain(&group).await;
    let order = Mutex::new(Vec::new());
    let wait = |name: &'static str| {
        let (group, order) = (&group, &order);
        async move {
            group.acquire(OP, &call(Priority::Read, name, Duration::from_secs(60))).await.unwrap();
            lock(order).push(name);
        }
    };
    tokio::join!(wait("greedy"), wait("greedy"), wait("greedy"), wait("modest"));
    assert_eq!(*lock(&order), ["greedy", "modest", "greedy", "greedy"]);
}

#[tokio::test(start_paused = true)]
async fn upstreams_wish_pauses_everyone_but_not_for_ever() {
    let group = QuotaGroup::new(10.0);
    group.pause(OP, Duration::from_secs(7));
    let begun = Instant::now();
    group.acquire(OP, &write()).await.unwrap();
    assert!((7000..7010).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    group.pause(OP, Duration::from_secs(100_000));
    assert!(group.wait(OP, Priority::Write) <= MAX_PAUSE);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_costs_no_token() {
    let group = QuotaGroup::new(1.0);
    drain(&group).await;
    let begun = Instant::now();
    let cancelled = tokio::time::timeout(Duration::from_millis(500), async {
        group.acquire(OP, &write()).await.unwrap();
    });
    assert!(cancelled.await.is_err());
    group.acquire(OP, &write()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1010), "{:?}", begun.elapsed());
}

#[test]
fn a_group_has_the_smallest_rate_that_was_named() {
    let registry = QuotaRegistry::default();
    let first = registry.bucket("g", 2.0);
    let second = registry.bucket("g", 0.5);
    assert!(Arc::ptr_eq(&first, &second));
    assert!((first.rate() - 0.5).abs() < f64::EPSILON);
    for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        assert!(QuotaGroup::new(odd).rate() > 0.0);
    }
}
