use proptest::prelude::*;

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
    let group = QuotaGroup::new("test", 2.0);
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
async fn what_upstream_may_not_have_counted_yet_comes_back_once_it_has() {
    let group = QuotaGroup::new("test", 2.0);
    let spare = || group.allowance(OP).spare;
    let [first, second] =
        [group.acquire(OP, &write()).await.unwrap(), group.acquire(OP, &write()).await.unwrap()];
    tokio::time::advance(Duration::from_millis(900)).await;
    assert_eq!(spare(), 3.0);
    drop(first);
    tokio::time::advance(Duration::from_millis(50)).await;
    assert!((spare() - 3.1).abs() < 1e-6, "{}", spare());
    // An answer that takes longer than a second tells nothing about its call's arrival.
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(spare(), 5.0);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn operations_have_buckets_of_their_own() {
    let group = QuotaGroup::new("test", 1.0);
    drain(&group).await;
    let begun = Instant::now();
    group.acquire("Other", &write()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_refused_at_once_with_its_length() {
    let group = QuotaGroup::new("test", 0.1);
    drain(&group).await;
    let begun = Instant::now();
    let error = group.acquire(OP, &call(Priority::Write, "", Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendBudgetExhausted);
    assert_eq!(error.retry_after, Some(Duration::from_secs(10)));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn reads_leave_half_to_the_others() {
    let group = QuotaGroup::new("test", 2.0);
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
    let group = QuotaGroup::new("test", 1.0);
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
    let group = QuotaGroup::new("test", 2.0);
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
    let group = QuotaGroup::new("test", 10.0);
    group.throttled(OP, Instant::now(), Some(Duration::from_secs(7)));
    assert_eq!(group.budget(OP).paused, Duration::from_secs(7));
    let begun = Instant::now();
    group.acquire(OP, &write()).await.unwrap();
    // What was saved up is gone, and tokens come half as fast.
    assert!((7190..7210).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    group.throttled(OP, Instant::now(), Some(Duration::from_secs(100_000)));
    assert!(group.budget(OP).paused <= MAX_PAUSE);
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_the_rate_which_then_comes_back() {
    let group = QuotaGroup::new("test", 2.0);
    let rate = |group: &QuotaGroup| group.budget(OP).effective_rate;
    assert!((rate(&group) - 2.0).abs() < 1e-9);
    let sent_at = Instant::now();
    tokio::time::advance(Duration::from_millis(50)).await;
    for _ in 0..3 {
        group.throttled(OP, sent_at, None);
    }
    assert!((rate(&group) - 1.0).abs() < 1e-9, "{}", rate(&group));
    assert_eq!(group.budget(OP).throttled, 3);
    assert!((group.budget("Other").effective_rate - 2.0).abs() < 1e-9);
    let begun = Instant::now();
    for _ in 0..10 {
        group.acquire(OP, &write()).await.unwrap();
    }
    assert!((8500..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    tokio::time::advance(Duration::from_secs(45)).await;
    assert!((rate(&group) - 2.0).abs() < 1e-9, "{}", rate(&group));
    assert_eq!(group.budgets().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_operation_the_rate_and_the_wait() {
    let group = QuotaGroup::new("test", 2.0);
    group.throttled(OP, Instant::now(), None);
    let error = group.acquire(OP, &call(Priority::Write, "", Duration::from_millis(1))).await.unwrap_err();
    for part in [OP, "2 requests a second, 1 while upstream throttles", "1000 ms"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_costs_no_token() {
    let group = QuotaGroup::new("test", 1.0);
    drain(&group).await;
    let begun = Instant::now();
    let cancelled = tokio::time::timeout(Duration::from_millis(500), async {
        group.acquire(OP, &write()).await.unwrap();
    });
    assert!(cancelled.await.is_err());
    group.acquire(OP, &write()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1010), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_too_late_for_its_caller_goes_to_the_next() {
    let group = QuotaGroup::new("test", 1.0);
    drain(&group).await;
    let call = write();
    let place = group.join(OP, &call).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    group.with(OP, |bucket, _, now| bucket.hand_out(now));
    drop(place);
    let begun = Instant::now();
    group.acquire(OP, &write()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_hands_out_may_leave_without_holding_up_the_others() {
    let group = QuotaGroup::new("test", 1.0);
    drain(&group).await;
    let begun = Instant::now();
    let first = tokio::time::timeout(Duration::from_millis(300), async {
        group.acquire(OP, &write()).await.unwrap();
    });
    let others = async {
        tokio::task::yield_now().await;
        let call = write();
        tokio::join!(group.acquire(OP, &call), group.acquire(OP, &call))
    };
    let (first, (second, third)) = tokio::join!(first, others);
    assert!(first.is_err() && second.is_ok() && third.is_ok());
    assert!((2000..2010).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_does_not_wait_for_the_part_of_a_read_that_came_before() {
    let group = QuotaGroup::new("test", 2.0);
    let read = call(Priority::Read, "a", Duration::from_secs(60));
    for _ in 0..2 {
        group.acquire(OP, &read).await.unwrap();
    }
    for _ in 0..3 {
        group.acquire(OP, &write()).await.unwrap();
    }
    // The read keeps the time, and has to wait for its part longer than the write for a token.
    let begun = Instant::now();
    let (_, waited) = tokio::join!(group.acquire(OP, &read), async {
        tokio::task::yield_now().await;
        group.acquire(OP, &write()).await.unwrap();
        begun.elapsed()
    });
    assert!(waited.as_millis() <= 510, "{waited:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_wait_ends_by_its_deadline_and_within_the_budget(
        calls in proptest::collection::vec((0u64..5_000, 0usize..3, 0usize..3, 0u64..8_000, 0u64..8_000), 1..60),
        rate in 0.5f64..10.0,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let granted = runtime.block_on(async {
            let group = QuotaGroup::new("test", rate);
            let begin = Instant::now();
            let waits = calls.iter().map(|(begins, priority, caller, within, patience)| {
                let group = &group;
                async move {
                    tokio::time::sleep_until(begin + Duration::from_millis(*begins)).await;
                    let priority = [Priority::Write, Priority::Followed, Priority::Read][*priority];
                    let call = call(priority, ["a", "b", "c"][*caller], Duration::from_millis(*within));
                    let begun = Instant::now();
                    let wait = group.acquire(OP, &call);
                    let outcome = tokio::time::timeout(Duration::from_millis(*patience), wait).await;
                    assert!(begun.elapsed() <= Duration::from_millis(within + 2), "{:?}", begun.elapsed());
                    matches!(outcome, Ok(Ok(_))).then(|| begin.elapsed())
                }
            });
            let ends = futures_util::future::join_all(waits).await;
            assert_eq!(group.budget(OP).waiting, 0);
            ends.into_iter().flatten().collect::<Vec<_>>()
        });
        let last = granted.iter().max().map_or(0.0, Duration::as_secs_f64);
        let most = bucket::burst(rate) + rate * last + 1e-3;
        prop_assert!(f64::from(u32::try_from(granted.len()).unwrap()) <= most, "{} > {most}", granted.len());
    }
}

#[test]
fn a_group_has_the_smallest_rate_that_was_named() {
    let registry = QuotaRegistry::default();
    let first = registry.bucket("g", 2.0);
    let second = registry.bucket("g", 0.5);
    assert!(Arc::ptr_eq(&first, &second));
    assert!((first.budget(OP).rate - 0.5).abs() < f64::EPSILON);
    for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        assert!(QuotaGroup::new("test", odd).budget(OP).rate > 0.0);
    }
}
