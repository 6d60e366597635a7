use super::super::subscription::Selection;
use super::*;

fn table() -> Table {
    Table::new(Changes::default(), Clock::system())
}

fn unread(id: &str) -> Record {
    let mut record = done(id);
    record.execution.state = State::Pending;
    record
}

fn done(id: &str) -> Record {
    let name = format!("backends/b/tests/t/executions/{id}");
    let mut execution = Execution::unread(ExecutionName::parse(&name).unwrap());
    execution.state = State::Completed;
    Record {
        execution: execution.into(),
        settling: None,
        first_seen: Clock::system().now(),
        gone_since: None,
        followed: false,
        position: 0,
        stop: None,
    }
}

#[test]
fn what_is_remembered_goes_when_it_is_no_longer_asked_for() {
    let (mut table, start) = (table(), Instant::now());
    let record = done("e");
    let name = record.execution.name.clone();
    assert_eq!(**table.remember(record, start), *done("e").execution);
    let known = table.recall(&name, start + LINGER).unwrap();
    assert_eq!(**known.execution(), *done("e").execution);
    table.sweep(start + LINGER);
    assert!(table.get(&name).is_some());
    table.sweep(start + LINGER * 2);
    assert!(table.get(&name).is_none());
}

#[test]
fn an_end_is_shown_once_it_is_announced_and_no_token_passes_it_before() {
    let clock = Clock::system();
    let store = Store::open(None, clock.clone()).unwrap();
    let (mut table, now) = (table(), Instant::now());
    let (ends, runs) = (unread("ends"), unread("runs"));
    let [ending, running] = [&ends, &runs].map(|record| record.execution.name.clone());
    table.entry(|| ends, &ending, now);
    table.entry(|| runs, &running, now);
    let subscriber = Arc::new(Subscriber::new(Selection::Names));
    for name in [&ending, &running] {
        table.subscribe_name(name, &subscriber);
    }
    let opened = store.next_position();
    let change = table.publish(&ending, &store, |record| record.execution.lose("gone", clock.now())).unwrap();
    let end = change.end.unwrap();
    assert!(end.execution.is_done() && !change.shown.is_done());
    assert!(!table.get(&ending).unwrap().execution().is_done());
    assert!(!subscriber.is_queued(&ending));
    table.publish(&running, &store, |record| record.execution.note_trouble("R", "m", clock.now()));
    assert_eq!(subscriber.take(|_| false).unwrap().execution.name, running);
    assert!(subscriber.taken_up_to(opened) < end.position);
    let late = Arc::new(Subscriber::new(Selection::Names));
    table.subscribe_name(&ending, &late);
    assert!(late.taken_up_to(store.next_position()) < end.position);

    table.announce(&ending, end.position);
    for subscriber in [subscriber, late] {
        let update = subscriber.take(|_| false).unwrap();
        assert!(update.execution.is_done());
        assert_eq!(update.position, end.position);
        assert!(subscriber.taken_up_to(opened) >= end.position);
    }
    assert!(table.get(&ending).unwrap().execution().is_done());
}

#[test]
fn only_so_many_are_remembered() {
    let (mut table, now) = (table(), Instant::now());
    for number in 0..=MAX_IDLE_ENTRIES {
        table.remember(done(&number.to_string()), now);
    }
    assert_eq!(table.entries().count(), MAX_IDLE_ENTRIES);
}
