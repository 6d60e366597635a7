use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::Change;
use super::*;
use crate::model::Execution;
use crate::tracker::Published;

fn update(execution: usize, position: u64) -> Update {
    let name = ExecutionName::parse(&format!("backends/b/tests/t/executions/{execution}")).unwrap();
    let execution: Arc<Published> = Published::new(Execution::unread(name));
    Update { change: Change::Changed, execution, position, coalesced: 0 }
}

fn number(update: &Update) -> usize {
    update.execution.name.execution.as_str().parse().unwrap()
}

/// What is said of slots, in the simplest words: a list in the order of waiting.
#[derive(Debug, Default)]
struct Plain {
    waiting: Vec<(usize, u64, i32)>,
}

impl Plain {
    fn put(&mut self, execution: usize, position: u64) {
        match self.waiting.iter_mut().find(|(known, ..)| *known == execution) {
            Some((_, known, coalesced)) if *known < position => {
                *known = position;
                *coalesced += 1;
            }
            Some(_) => {}
            None => self.waiting.push((execution, position, 0)),
        }
    }

    fn take(&mut self, held: usize) -> Option<(usize, u64, i32)> {
        let at = self.waiting.iter().position(|(execution, ..)| execution % 7 != held)?;
        Some(self.waiting.remove(at))
    }
}

#[test]
fn what_was_taken_leaves_room_for_one_behind() {
    let (mut slots, now) = (Slots::default(), Instant::now());
    for burst in [1, 100] {
        (0..burst).for_each(|execution| slots.put(update(execution, 1), now));
        while slots.take(|_| false).is_some() {}
        assert!(slots.is_empty());
        assert!(slots.waiting.capacity() <= 1, "{burst} left {}", slots.waiting.capacity());
        assert_eq!(slots.numbers.capacity(), 0);
    }
}

proptest! {
    #[test]
    fn they_are_a_list_in_the_order_of_waiting(
        steps in proptest::collection::vec((any::<bool>(), 0usize..30, 0usize..8), 0..200),
        shuffled in 0u64..5,
    ) {
        let (mut slots, mut plain, mut taken) = (Slots::default(), Plain::default(), BTreeMap::new());
        for (step, (put, execution, held)) in steps.into_iter().enumerate() {
            if put {
                // Not always in order, as when a stream resumes.
                let position = (10 + step as u64) ^ shuffled;
                slots.put(update(execution, position), Instant::now());
                plain.put(execution, position);
            } else {
                let found = slots.take(|update| number(update) % 7 == held);
                let found = found.map(|found| (number(&found), found.position, found.coalesced));
                prop_assert_eq!(found, plain.take(held));
                if let Some((execution, position, _)) = found {
                    taken.insert(execution, position);
                }
            }
            for execution in 0..30 {
                let waits = plain.waiting.iter().any(|(known, ..)| *known == execution);
                prop_assert_eq!(slots.has(&update(execution, 0).execution.name), waits);
            }
            let oldest = plain.waiting.iter().map(|(_, position, _)| *position).min();
            prop_assert!(oldest.is_none_or(|oldest| slots.taken_up_to(0) < oldest));
            prop_assert!(slots.waiting.len() <= 2 * plain.waiting.len() + FEW);
        }
    }
}

#[test]
fn an_empty_stream_has_taken_all_that_came() {
    let mut slots = Slots::default();
    assert_eq!(slots.taken_up_to(0), 0);
    slots.put(update(1, 5), Instant::now());
    slots.put(update(2, 6), Instant::now());
    assert_eq!(slots.taken_up_to(0), 4);
    slots.put(update(1, 7), Instant::now());
    assert_eq!(slots.take(|_| false).unwrap().coalesced, 1);
    assert_eq!(slots.taken_up_to(0), 5);
    assert_eq!(slots.take(|_| false).unwrap().position, 6);
    assert_eq!(slots.taken_up_to(0), 7);
}
