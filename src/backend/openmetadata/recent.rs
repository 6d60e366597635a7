//! What is remembered for a while, of so many at most: where there are more, the oldest is forgotten.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Values by key.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    lifetime: Duration,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    /// Each with when it was noted.
    values: HashMap<K, (Instant, V)>,
    /// Keys in the order in which they were noted. A key that was noted again stands there twice.
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(most: usize, lifetime: Duration) -> Self {
        let state = State { values: HashMap::new(), order: VecDeque::new() };
        Self { most, lifetime, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let state = self.state();
        let (noted, value) = state.values.get(key)?;
        (noted.elapsed() < self.lifetime).then(|| value.clone())
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn insert(&self, key: K, value: V) {
        let now = Instant::now();
        let State { values, order } = &mut *self.state();
        values.insert(key.clone(), (now, value));
        order.push_back((now, key));
        while let Some((noted, key)) = order.front() {
            // What was noted again meanwhile has its place further back.
            let is_latest = values.get(key).is_some_and(|(latest, _)| latest == noted);
            if is_latest && order.len() <= self.most && noted.elapsed() < self.lifetime {
                break;
            }
            if is_latest {
                values.remove(key);
            }
            order.pop_front();
        }
    }

    pub(super) fn forget(&self, key: &K) {
        self.state().values.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_noted_is_known_for_its_time_and_again_where_it_is_noted_again() {
        let recent = Recent::new(10, MINUTE);
        recent.insert("a", 1);
        tokio::time::advance(MINUTE / 2).await;
        recent.insert("a", 2);
        recent.insert("b", 3);
        recent.forget(&"b");
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(2), None));
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(recent.get(&"a"), None);
        recent.insert("c", 4);
        assert_eq!(recent.state().values.len(), 1, "what is past its time takes no room");
        assert_eq!(recent.state().order.len(), 1);
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let recent = Recent::new(3, MINUTE);
        (0..1000).for_each(|number| recent.insert(number % 5, number));
        assert_eq!(
            [0, 1, 2, 3, 4].map(|key| recent.get(&key)),
            [None, None, Some(997), Some(998), Some(999)]
        );
        (0..1000).for_each(|number| recent.insert(7, number));
        assert_eq!(recent.get(&7), Some(999));
        assert!(recent.state().order.len() <= 3);
    }
}
