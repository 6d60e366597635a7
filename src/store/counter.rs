//! Numbers that rise and never repeat, whatever happens to the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many numbers are reserved at a time. What is left of a block is lost at a restart, so it need not be small.
const BLOCK: u64 = 1 << 20;

/// A counter that is durably reserved in blocks ahead of its use.
///
/// A restart goes on from the end of the reserved block or, if that is more, from the present in microseconds.
/// The first holds when the clock was set back; the second if the store could not be written for so long that
/// the block ran out. Both at once would be needed for a number to come twice.
#[derive(Debug)]
pub(super) struct Counter {
    next: AtomicU64,
    reserved: AtomicU64,
    asked: AtomicBool,
}

impl Counter {
    /// A counter that goes on from what was reserved. [`Counter::to_reserve`] must be stored before its first use.
    pub(super) fn resume(reserved: u64, now_micros: i64) -> Self {
        let next = reserved.max(u64::try_from(now_micros).unwrap_or(0)).max(1);
        Self {
            next: AtomicU64::new(next),
            reserved: AtomicU64::new(next + BLOCK),
            asked: AtomicBool::new(false),
        }
    }

    /// The next number, and whether a further block should be reserved now.
    pub(super) fn next(&self) -> (u64, bool) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let low = number >= self.reserved.load(Ordering::Relaxed).saturating_sub(BLOCK / 2);
        (number, low && !self.asked.swap(true, Ordering::Relaxed))
    }

    /// The end of the block to reserve.
    pub(super) fn to_reserve(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_add(BLOCK)
    }

    /// Notes up to where numbers are reserved now.
    pub(super) fn note_reserved(&self, end: u64) {
        self.reserved.fetch_max(end, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_asked_for_once_and_in_time() {
        let counter = Counter::resume(0, 1000);
        let asked: Vec<_> = (0..BLOCK).map(|_| counter.next()).filter(|(_, ask)| *ask).collect();
        assert_eq!(asked, [(1000 + BLOCK / 2, true)]);
        let end = counter.to_reserve();
        counter.note_reserved(end);
        assert_eq!(end, 1000 + 2 * BLOCK);
        assert!(!counter.next().1);
    }

    #[test]
    fn it_goes_on_from_the_reserved_block_when_the_clock_was_set_back() {
        assert_eq!(Counter::resume(5000, 10).next().0, 5000);
        assert_eq!(Counter::resume(5000, 9000).next().0, 9000);
        assert_eq!(Counter::resume(0, -5).next().0, 1);
    }
}
