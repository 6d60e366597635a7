//! Spreading what would otherwise happen to everyone in the same moment.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// A random part of `most`.
pub(super) fn up_to(most: Duration) -> Duration {
    // Every `RandomState` has keys of its own, which is random enough to spread things.
    let share = RandomState::new().hash_one(most) % 1024;
    most.mul_f64(share as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_differs_and_stays_below_the_most() {
        let most = Duration::from_secs(10);
        let drawn: std::collections::HashSet<_> = (0..50).map(|_| up_to(most)).collect();
        assert!(drawn.len() > 10 && drawn.iter().all(|one| *one < most), "{drawn:?}");
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
