//! Streams that open, read and resume against executions that change and end, in every order that a scheduler finds.

use std::sync::Arc;

use shuttle::scheduler::RandomScheduler;
use shuttle::sync::Mutex;
use shuttle::thread;
use tokio::time::Instant;

use super::Published;
use super::subscription::{Parent, Selection, Subscriber};
use super::table::Table;
use crate::model::{Clock, Execution, ExecutionName, Scope, Timestamp};
use crate::store::{Changes, Record, Store};

const ORDERS: usize = 2_000;

fn name() -> ExecutionName {
    ExecutionName::parse("backends/b/tests/t/executions/e").unwrap()
}

/// The table under a lock that the scheduler knows.
type Shared = Arc<Mutex<Table>>;

fn running(now: Timestamp) -> Shared {
    let mut execution = Execution::unread(name());
    execution.observe_time = Some(now);
    let record = Record {
        execution: execution.into(),
        settling: None,
        first_seen: now,
        gone_since: None,
        followed: false,
        position: 0,
        stop: None,
    };
    let mut table = Table::new(Changes::default(), Clock::system());
    table.entry(|| record, &name(), Instant::now());
    Arc::new(Mutex::new(table))
}

/// Changes the execution a few times, and ends it.
fn publish(table: &Shared, store: &Store, now: Timestamp) {
    for reason in ["one", "two"] {
        let change = |record: &mut Record| record.execution.note_trouble(reason, "", now);
        table.lock().unwrap().publish(&name(), store, change);
    }
    let end = table.lock().unwrap().publish(&name(), store, |record| record.execution.lose("", now));
    let end = end.unwrap().end.unwrap();
    // While it is being saved, others get their turn.
    thread::yield_now();
    table.lock().unwrap().announce(&name(), end.position);
}

/// Opens a stream and reads it to the end; returns each token with the revision that was known then.
fn follow(table: &Shared, store: &Store, selection: Selection) -> (Vec<(u64, i64)>, Arc<Published>) {
    let by_parent = matches!(selection, Selection::Parent(_));
    let subscriber = Arc::new(Subscriber::new(selection));
    let (mut states, opened) = {
        let mut table = table.lock().unwrap();
        let states = if by_parent {
            let states = table.selected(&subscriber);
            states.iter().for_each(|(execution, _)| subscriber.admit(&execution.name));
            table.subscribe_parent(&subscriber);
            states
        } else {
            table.open_by_names(&[name()], &subscriber)
        };
        (states, store.next_position())
    };
    let (mut known, _) = states.pop().expect("it is selected");
    let mut tokens = vec![(subscriber.taken_up_to(opened), known.revision)];
    while !known.is_done() {
        match subscriber.take(|_| false) {
            Some(update) => {
                assert!(update.execution.revision > known.revision, "a revision does not rise");
                known = update.execution;
                tokens.push((subscriber.taken_up_to(opened), known.revision));
            }
            None => {
                tokens.push((subscriber.taken_up_to(opened), known.revision));
                thread::yield_now();
            }
        }
    }
    (tokens, known)
}

#[test]
fn row_11_no_order_of_openings_and_changes_leaves_a_gap() {
    let clock = Clock::system();
    let store = Store::open(None, clock.clone()).unwrap();
    let mut config = shuttle::Config::new();
    config.stack_size = 1024 * 1024;
    shuttle::Runner::new(RandomScheduler::new(ORDERS), config).run(move || {
        let now = clock.now();
        let table = running(now);
        let parent = Parent { scope: Scope::parse("backends/-/tests/-").unwrap(), filter: None, from: now };
        let streams: Vec<_> = [Selection::Names, Selection::Parent(Box::new(parent))]
            .into_iter()
            .map(|selection| {
                let (table, store) = (table.clone(), store.clone());
                thread::spawn(move || follow(&table, &store, selection))
            })
            .collect();
        publish(&table, &store, now);
        for stream in streams {
            let (tokens, last) = stream.join().unwrap();
            assert!(last.is_done());
            let table = table.lock().unwrap();
            for (token, revision) in tokens {
                let missed = table.changed_since(token).expect("nothing is forgotten");
                let told = missed.contains(&name());
                assert!(told || revision == last.revision, "a resumed stream would not see the end");
            }
        }
    });
}
