//! The updates that wait to be sent on one stream: one slot an execution, in the order in which they began to wait.
//!
//! Most streams never have more than a few waiting, and ten thousand of them may be told of one change: so few are
//! looked through, and only many are found by name.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::Update;
use crate::model::ExecutionName;

/// So many are looked through faster than a name is hashed.
const FEW: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Slots {
    /// What was taken out of its turn leaves a gap.
    waiting: VecDeque<Option<Slot>>,
    /// How many of them are no gaps.
    len: usize,
    /// The number of the first of them, counted from the stream's begin.
    first: usize,
    /// Numbers by name; empty while they are few.
    numbers: HashMap<ExecutionName, usize>,
    /// The last place in the order of all changes that was put in.
    latest: u64,
}

#[derive(Debug)]
struct Slot {
    update: Update,
    /// No slot from here on stands for a change before this place.
    since: u64,
    /// When it began to wait.
    queued_at: Instant,
}

impl Slots {
    /// Puts an update into its execution's slot, where a newer one replaces an older one.
    pub(super) fn put(&mut self, mut update: Update, now: Instant) {
        self.latest = self.latest.max(update.position);
        if let Some(slot) = self.find(&update.execution.name) {
            if slot.update.position < update.position {
                update.coalesced = slot.update.coalesced.saturating_add(1);
                slot.update = update;
            }
            return;
        }
        let since = update.position;
        if self.waiting.is_empty() {
            // More than one is seldom.
            self.waiting.reserve_exact(1);
        }
        for slot in self.waiting.iter_mut().rev().flatten().take_while(|slot| slot.since > since) {
            slot.since = since;
        }
        self.waiting.push_back(Some(Slot { update, since, queued_at: now }));
        self.len += 1;
        self.number_last();
    }

    /// Takes the first update that `hold` does not keep back.
    pub(super) fn take(&mut self, mut hold: impl FnMut(&Update) -> bool) -> Option<Update> {
        let at =
            self.waiting.iter().position(|slot| slot.as_ref().is_some_and(|slot| !hold(&slot.update)))?;
        let update = self.waiting.get_mut(at)?.take()?.update;
        self.len -= 1;
        if !self.numbers.is_empty() {
            self.numbers.remove(&update.execution.name);
        }
        if self.len == 0 {
            self.first += self.waiting.len();
            self.waiting.clear();
            // The room for one update is kept, what a burst took is not.
            if self.waiting.capacity() > 1 {
                self.waiting = VecDeque::new();
            }
            if self.numbers.capacity() > 0 {
                self.numbers = HashMap::new();
            }
            return Some(update);
        }
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        if self.waiting.len() > 2 * self.len + FEW {
            self.close_gaps();
        }
        Some(update)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Everything up to this place in the order of all changes was taken; `floor` is what the opening covered.
    pub(super) fn taken_up_to(&self, floor: u64) -> u64 {
        match self.waiting.front() {
            Some(Some(slot)) => slot.since.saturating_sub(1),
            _ => self.latest.max(floor),
        }
    }

    /// Since when the first of them has waited. A newer state in its slot changes nothing about that.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.front()?.as_ref().map(|slot| slot.queued_at)
    }

    /// Whether an update of an execution waits.
    pub(super) fn has(&self, name: &ExecutionName) -> bool {
        self.place(name).is_some()
    }

    fn find(&mut self, name: &ExecutionName) -> Option<&mut Slot> {
        let at = self.place(name)?;
        self.waiting.get_mut(at)?.as_mut()
    }

    fn place(&self, name: &ExecutionName) -> Option<usize> {
        if self.numbers.is_empty() {
            let mut slots = self.waiting.iter();
            return slots
                .position(|slot| slot.as_ref().is_some_and(|slot| slot.update.execution.name == *name));
        }
        self.numbers.get(name).map(|number| number - self.first)
    }

    /// Notes where the last one stands, and where all do once they are more than a few.
    fn number_last(&mut self) {
        if self.numbers.is_empty() && self.waiting.len() <= FEW {
            return;
        }
        let known = if self.numbers.is_empty() { 0 } else { self.waiting.len() - 1 };
        for (at, slot) in self.waiting.iter().enumerate().skip(known) {
            if let Some(slot) = slot {
                self.numbers.insert(slot.update.execution.name.clone(), self.first + at);
            }
        }
    }

    /// Lets go of gaps, and of the room that a burst took.
    fn close_gaps(&mut self) {
        self.waiting.retain(Option::is_some);
        self.waiting.shrink_to(2 * self.len);
        self.numbers = HashMap::new();
        self.number_last();
    }
}

#[cfg(test)]
mod tests;
