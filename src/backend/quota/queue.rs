//! Who waits for a token: callers take turns, each caller's own calls keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Which, for one that gives up.
    pub(super) id: u64,
    /// How it is told.
    pub(super) grant: oneshot::Sender<Instant>,
}

/// A queue that is fair among callers.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    /// Callers in turn, each with its own queue; none is empty.
    turns: VecDeque<(Arc<str>, VecDeque<Waiter>)>,
    len: usize,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of one caller wait.
    pub(super) fn len_of(&self, caller: &str) -> usize {
        self.turns.iter().find(|(name, _)| **name == *caller).map_or(0, |(_, calls)| calls.len())
    }

    /// How many would go before one more call of that caller.
    pub(super) fn before(&self, caller: &str) -> usize {
        let mine = self.len_of(caller);
        // Nobody else gets more than one turn for each of ours.
        let others = self.turns.iter().filter(|(name, _)| **name != *caller);
        mine + others.map(|(_, calls)| calls.len().min(mine + 1)).sum::<usize>()
    }

    pub(super) fn push(&mut self, caller: &Arc<str>, waiter: Waiter) {
        self.len += 1;
        match self.turns.iter_mut().find(|(name, _)| name == caller) {
            Some((_, calls)) => calls.push_back(waiter),
            None => self.turns.push_back((Arc::clone(caller), VecDeque::from([waiter]))),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let (caller, mut calls) = self.turns.pop_front()?;
        let first = calls.pop_front();
        self.len -= usize::from(first.is_some());
        if !calls.is_empty() {
            self.turns.push_back((caller, calls));
        }
        first
    }

    /// Takes out a call that no longer waits.
    pub(super) fn remove(&mut self, caller: &str, id: u64) {
        let Some(turn) = self.turns.iter().position(|(name, _)| **name == *caller) else { return };
        if let Some((_, calls)) = self.turns.get_mut(turn) {
            let before = calls.len();
            calls.retain(|waiter| waiter.id != id);
            self.len -= before - calls.len();
            if calls.is_empty() {
                self.turns.remove(turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn waiter(id: u64) -> Waiter {
        Waiter { id, grant: oneshot::channel().0 }
    }

    proptest! {
        #[test]
        fn callers_take_turns_and_keep_their_own_order(
            calls in proptest::collection::vec((0usize..5, any::<bool>()), 0..100),
        ) {
            let names: Vec<Arc<str>> = (0..5).map(|n| Arc::from(format!("caller {n}"))).collect();
            let mut queue = FairQueue::default();
            let mut staying: Vec<Vec<u64>> = vec![Vec::new(); 5];
            for (id, (caller, stays)) in calls.iter().enumerate() {
                let before = queue.before(&names[*caller]);
                prop_assert!(before <= queue.len());
                queue.push(&names[*caller], waiter(id as u64));
                if *stays {
                    staying[*caller].push(id as u64);
                }
            }
            for (id, (caller, stays)) in calls.iter().enumerate() {
                if !stays {
                    queue.remove(&names[*caller], id as u64);
                }
            }
            prop_assert_eq!(queue.len(), staying.iter().map(Vec::len).sum::<usize>());
            let mut taken: HashMap<usize, usize> = HashMap::new();
            while let Some(Waiter { id, .. }) = queue.pop() {
                let caller = calls[usize::try_from(id).unwrap()].0;
                prop_assert_eq!(staying[caller].remove(0), id);
                *taken.entry(caller).or_default() += 1;
                // Who still waits had as many turns as this one, or one fewer.
                for other in (0..5).filter(|other| !staying[*other].is_empty()) {
                    prop_assert!(taken[&caller] <= taken.get(&other).copied().unwrap_or(0) + 1);
                }
            }
            prop_assert!(queue.is_empty() && staying.iter().all(Vec::is_empty));
        }
    }
}
