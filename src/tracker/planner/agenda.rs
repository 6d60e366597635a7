//! What one backend's poller has to do next, kept up to date piece by piece.
//!
//! An execution is kept fresh by a list where that is cheaper, and is read by itself where a list does not say
//! enough: its end, its counts, an id that a list should show and does not. Those readings wait in the order of what
//! they are for, and of who has watched longest.

mod item;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use self::item::{Class, Group, Item, Planned, Rank};
use self::view::Turn;
pub(in crate::tracker) use self::view::{Failed, Next, View, Walk};
use super::{Facts, LIST_LAG, SELDOM, back_off, every, frequent, lists_are_worth_it, seldom};
use crate::backend::{Lists, Polling};
use crate::model::{ExecutionName, State};

/// The work of one backend's poller.
#[derive(Debug)]
pub(in crate::tracker) struct Agenda {
    lists: Lists,
    floor: Duration,
    reads_say_more: bool,
    items: HashMap<ExecutionName, Item>,
    groups: HashMap<Group, HashSet<ExecutionName>>,
    turns: BTreeMap<View, Turn>,
    /// Readings to come, by their time.
    later: BTreeSet<(Instant, ExecutionName)>,
    /// Readings whose time has come, the most urgent first.
    ready: BTreeSet<(Rank, ExecutionName)>,
    /// Waiting executions that were missing from the list of what waits.
    suspects: HashSet<ExecutionName>,
    /// How many select by parent.
    selections: usize,
}

impl Agenda {
    pub(in crate::tracker) fn new(polling: &Polling, floor: Duration) -> Self {
        Self {
            lists: polling.lists,
            floor,
            reads_say_more: polling.reads_say_more,
            items: HashMap::new(),
            groups: HashMap::new(),
            turns: BTreeMap::new(),
            later: BTreeSet::new(),
            ready: BTreeSet::new(),
            suspects: HashSet::new(),
            selections: 0,
        }
    }

    /// Takes an execution on, or learns of it anew. Where no list shows it, it is read within this time.
    pub(in crate::tracker) fn follow(
        &mut self,
        name: &ExecutionName,
        facts: Facts,
        within: Duration,
        now: Instant,
    ) {
        let is_new = !self.items.contains_key(name);
        self.learn(name, facts, now);
        let Some(item) = self.items.get(name) else { return };
        if item.facts.state == State::Settling {
            self.hurry(name, now);
        } else if self.is_listed(item) {
            if is_new && item.is_fresh(now) {
                self.read_by(name, Class::Fresh, now + LIST_LAG / 5);
            }
            self.pull(name, now);
        } else {
            let class = if item.is_troubled() { Class::Troubled } else { Class::Alone };
            self.read_by(name, class, now + within);
        }
    }

    /// Learns what a walk that began at `began` showed of an execution.
    pub(in crate::tracker) fn seen(
        &mut self,
        name: &ExecutionName,
        facts: Facts,
        began: Instant,
        now: Instant,
    ) {
        self.learn(name, facts, now);
        let Some(item) = self.items.get_mut(name) else { return };
        item.seen = item.seen.max(Some(began));
        item.missing = false;
        self.suspects.remove(name);
        self.plan(name, now);
    }

    /// Has an execution read by itself as soon as the budget allows: it may have ended.
    pub(in crate::tracker) fn hurry(&mut self, name: &ExecutionName, now: Instant) {
        let Some(item) = self.items.get_mut(name) else { return };
        if item.reading {
            item.again = true;
        } else {
            self.read_by(name, Class::Ended, now);
        }
    }

    /// Learns that the reading of an execution is over.
    pub(in crate::tracker) fn read(&mut self, name: &ExecutionName, facts: Facts, now: Instant) {
        self.learn(name, facts, now);
        let Some(item) = self.items.get_mut(name) else { return };
        item.reading = false;
        item.read_at = Some(now);
        if std::mem::take(&mut item.again) {
            self.hurry(name, now);
        } else {
            self.plan(name, now);
        }
    }

    /// When the reading of an execution that is under way was due.
    pub(in crate::tracker) fn due(&self, name: &ExecutionName) -> Option<Instant> {
        self.items.get(name)?.due
    }

    /// Lets go of an execution.
    pub(in crate::tracker) fn release(&mut self, name: &ExecutionName, now: Instant) {
        self.unplan(name);
        self.suspects.remove(name);
        if let Some(item) = self.items.remove(name) {
            self.leave(name, item.group.as_ref(), now);
        }
    }

    /// One more, or one fewer, selects by parent.
    pub(in crate::tracker) fn select(&mut self, more: bool, now: Instant) {
        let before = self.selections > 0;
        self.selections = if more { self.selections + 1 } else { self.selections.saturating_sub(1) };
        if before != (self.selections > 0) {
            self.regroup(&Group::All, now);
        }
    }

    /// Has every list walked through, so many pages at least, where there are lists of all tests. Whether there are.
    pub(in crate::tracker) fn sweep(&mut self, depth: usize, now: Instant) -> bool {
        let views = self.views(&Group::All);
        for view in &views {
            let turn = self.turns.entry(view.clone()).or_default();
            turn.depth = turn.depth.max(depth);
            if turn.walking {
                // What is under way may have passed what is looked for.
                turn.due = Some(now);
            }
            turn.bring_forward(now);
        }
        !views.is_empty()
    }

    /// Whether all lists were walked through since: `None` while some are under way, false where one failed.
    pub(in crate::tracker) fn swept(&self, since: Instant) -> Option<bool> {
        let views = self.views(&Group::All);
        let mut turns = views.iter().map(|view| self.turns.get(view));
        if turns.clone().flatten().any(|turn| turn.failures > 0) {
            return Some(false);
        }
        turns.all(|turn| turn.is_some_and(|turn| turn.looked >= Some(since))).then_some(true)
    }

    /// The executions that a view keeps fresh.
    pub(in crate::tracker) fn members(&self, view: &View) -> Vec<ExecutionName> {
        let group = self.groups.get(&view.group());
        group.into_iter().flatten().filter(|name| self.shows(view, name)).cloned().collect()
    }

    /// How many executions that a view keeps fresh were not on the walk that began then, and can be expected on it.
    pub(in crate::tracker) fn unseen(&self, view: &View, began: Instant) -> usize {
        let members = self.groups.get(&view.group()).into_iter().flatten();
        let items = members.filter_map(|name| self.items.get(name));
        items.filter(|item| !item.missing && item.seen < Some(began)).count()
    }

    /// How old what is known may be at most under the present load, as far as the budget can promise.
    pub(in crate::tracker) fn promise(&self, polling: &Polling) -> Duration {
        let Some(view) = self.views(&Group::All).into_iter().find(|view| *view != View::Waiting) else {
            return every(self.items.len().max(1), polling.read.rate).max(self.floor);
        };
        if !self.is_worth_it(&Group::All) {
            return every(self.items.len().max(1), polling.read.rate).max(self.floor);
        }
        let pages = self.turns.get(&view).map_or(1, |turn| turn.pages);
        frequent(&polling.list, pages, self.floor)
    }

    /// The next thing to do; readings only where there is `room` for one more. What it hands out is under way until
    /// [`Self::walked`] or [`Self::read`] says otherwise.
    pub(in crate::tracker) fn next(&mut self, now: Instant, polling: &Polling, room: bool) -> Next {
        let mut wake: Option<Instant> = None;
        let mut wait_until = |at: Instant| wake = Some(wake.map_or(at, |known| known.min(at)));
        let waiting = self.turns.iter().filter(|(_, turn)| !turn.walking);
        if let Some((due, view)) = waiting.filter_map(|(view, turn)| Some((turn.due?, view))).min() {
            let from = due.max(now + polling.list.wait);
            if from <= now {
                let view = view.clone();
                let turn = self.turns.entry(view.clone()).or_default();
                (turn.walking, turn.due) = (true, None);
                turn.depth_under_way = std::mem::take(&mut turn.depth);
                return Next::Walk(view, turn.depth_under_way);
            }
            wait_until(from);
        }
        while let Some((due, _)) = self.later.first() {
            if *due > now {
                wait_until(*due);
                break;
            }
            let Some((_, name)) = self.later.pop_first() else { break };
            if let Some(rank) = self.items.get_mut(&name).and_then(Item::make_ready) {
                self.ready.insert((rank, name));
            }
        }
        if room && let Some((rank, _)) = self.ready.first() {
            let from = now + rank.wait(&polling.read);
            if from > now {
                wait_until(from);
            } else if let Some((_, name)) = self.ready.pop_first() {
                if let Some(item) = self.items.get_mut(&name) {
                    item.begin_reading();
                }
                return Next::Read(name);
            }
        }
        wake.map_or(Next::Nothing, Next::At)
    }

    /// Learns how a walk ended, and asks for a reading of what it should have shown and did not.
    pub(in crate::tracker) fn walked(&mut self, view: &View, walk: &Walk, polling: &Polling, now: Instant) {
        let turn = self.turns.entry(view.clone()).or_default();
        turn.walking = false;
        if let Some(Failed { retry_after, unusable }) = walk.failed {
            turn.failures = turn.failures.saturating_add(1);
            turn.depth = turn.depth.max(turn.depth_under_way);
            turn.due = Some(now + back_off(turn.failures, retry_after, self.floor));
            if unusable {
                for name in self.members(view) {
                    self.miss(&name, Class::Alone, now);
                }
            }
            return;
        }
        (turn.failures, turn.pages, turn.looked) = (0, walk.pages, Some(walk.began));
        self.ask_for_missing(view, walk, now);
        let worth = self.is_worth_it(&view.group());
        let (pause, wanted) = self.pauses(view, polling, now);
        let next = (walk.began + pause.max(wanted)).max(now);
        if !worth {
            // Who asked for all lists waits until each was walked through; of single tests there may be many.
            if matches!(view, View::Test(_)) {
                self.turns.remove(view);
            }
        } else if let Some(turn) = self.turns.get_mut(view) {
            turn.pause = pause;
            // Somebody may have asked for it meanwhile.
            turn.due = Some(turn.due.map_or(next, |asked| asked.min(next)));
        }
        if !self.suspects.is_empty() {
            self.bring_forward(View::Running, now);
        }
    }

    fn ask_for_missing(&mut self, view: &View, walk: &Walk, now: Instant) {
        for name in self.members(view) {
            let Some(item) = self.items.get_mut(&name) else { continue };
            // What was taken on, or changed, while the list was under way may be on the next one.
            let is_expected = item.seen < Some(walk.began) && item.changed_at < walk.began;
            if !is_expected || item.is_fresh(now) {
                continue;
            }
            match view {
                View::Waiting if walk.complete => {
                    self.suspects.insert(name);
                }
                View::Running if walk.complete => self.miss(&name, Class::Ended, now),
                View::Newest | View::Test(_) => {
                    let class = if walk.complete { Class::Ended } else { Class::Alone };
                    self.miss(&name, class, now);
                }
                View::Waiting | View::Running | View::Recent => {}
            }
        }
        if *view == View::Running && walk.complete {
            // On neither list: it has moved on.
            for name in std::mem::take(&mut self.suspects) {
                if self.items.get(&name).is_some_and(|item| item.facts.state == State::Pending) {
                    self.miss(&name, Class::Ended, now);
                }
            }
        }
    }

    /// A list should have shown it and did not: upstream is asked for it alone.
    fn miss(&mut self, name: &ExecutionName, class: Class, now: Instant) {
        if let Some(item) = self.items.get_mut(name)
            && !std::mem::replace(&mut item.missing, true)
        {
            self.read_by(name, class, now);
        }
    }

    /// The pause between two walks that the budget bears, and the one that those who are followed need.
    fn pauses(&self, view: &View, polling: &Polling, now: Instant) -> (Duration, Duration) {
        if matches!(view, View::Waiting | View::Recent) {
            let pause = seldom(&polling.list, self.floor);
            return (pause, pause);
        }
        let members = self.groups.get(&view.group()).into_iter().flatten();
        let paces = members.filter_map(|name| self.items.get(name)).map(|item| item.pace(self.floor, now));
        let pages = self.turns.get(view).map_or(1, |turn| turn.pages.max(1));
        let lists = if self.lists == Lists::ByTest { self.turns.len().max(1) } else { 1 };
        // Where nobody is followed, somebody looks for what is started elsewhere.
        (frequent(&polling.list, pages * lists, self.floor), paces.min().unwrap_or(SELDOM))
    }

    /// Brings a list forward for an execution that must not wait for its turn.
    fn pull(&mut self, name: &ExecutionName, now: Instant) {
        let Some(item) = self.items.get(name) else { return };
        let Some(group) = item.group.clone() else { return };
        let pace = item.pace(self.floor, now);
        for view in self.views(&group) {
            let turn = self.turns.entry(view.clone()).or_default();
            if matches!(view, View::Waiting | View::Recent) && turn.due.is_some() {
                continue;
            }
            let soonest = turn.looked.map_or(now, |looked| (looked + pace.max(turn.pause)).max(now));
            self.bring_forward(view, soonest);
        }
    }

    fn bring_forward(&mut self, view: View, to: Instant) {
        self.turns.entry(view).or_default().bring_forward(to);
    }

    /// The lists that show a group.
    fn views(&self, group: &Group) -> Vec<View> {
        match (self.lists, group) {
            (Lists::ByState, Group::All) if self.selections > 0 => {
                vec![View::Waiting, View::Running, View::Recent]
            }
            (Lists::ByState, Group::All) => vec![View::Waiting, View::Running],
            (Lists::Newest, Group::All) => vec![View::Newest],
            (Lists::ByTest, Group::Test(test)) => vec![View::Test(test.clone())],
            _ => Vec::new(),
        }
    }

    fn is_worth_it(&self, group: &Group) -> bool {
        let members = self.groups.get(group).map_or(0, HashSet::len);
        let selected = *group == Group::All && self.selections > 0;
        lists_are_worth_it(members, selected) && self.lists != Lists::None
    }

    /// Whether lists keep an execution fresh now.
    fn is_listed(&self, item: &Item) -> bool {
        let grouped = item.group.as_ref().is_some_and(|group| self.is_worth_it(group));
        grouped && !item.is_troubled() && !item.missing
    }

    fn shows(&self, view: &View, name: &ExecutionName) -> bool {
        let state = self.items.get(name).map(|item| item.facts.state);
        match view {
            View::Waiting => state == Some(State::Pending),
            View::Running => matches!(state, Some(State::Running | State::Stopping)),
            View::Recent => false,
            View::Newest | View::Test(_) => true,
        }
    }

    /// Takes facts in, and moves the execution between groups.
    fn learn(&mut self, name: &ExecutionName, facts: Facts, now: Instant) {
        if facts.state.is_done() {
            return self.release(name, now);
        }
        let group = Group::of(self.lists, name, &facts);
        let item = self.items.entry(name.clone()).or_insert_with(|| Item::new(facts, now));
        item.learn(facts, now);
        if item.group == group {
            return;
        }
        let before = std::mem::replace(&mut item.group, group.clone());
        self.leave(name, before.as_ref(), now);
        if let Some(group) = group {
            let worth = self.is_worth_it(&group);
            self.groups.entry(group.clone()).or_default().insert(name.clone());
            if worth != self.is_worth_it(&group) {
                self.regroup(&group, now);
            }
        }
    }

    fn leave(&mut self, name: &ExecutionName, group: Option<&Group>, now: Instant) {
        let Some(group) = group else { return };
        let worth = self.is_worth_it(group);
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(name);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
        if worth != self.is_worth_it(group) {
            self.regroup(group, now);
        }
    }

    /// Plans a group anew, once lists have become cheaper for it or have ceased to be. It is small then, or somebody
    /// has just begun or ceased to select by parent.
    fn regroup(&mut self, group: &Group, now: Instant) {
        let worth = self.is_worth_it(group);
        for view in self.views(group) {
            if worth {
                self.bring_forward(view, now);
            }
        }
        if !worth {
            self.turns.retain(|view, turn| view.group() != *group || turn.walking);
        } else if self.selections == 0 {
            self.turns.remove(&View::Recent);
        }
        let members: Vec<_> = self.groups.get(group).into_iter().flatten().cloned().collect();
        for name in members {
            self.plan(&name, now);
        }
    }

    /// Plans when an execution is read by itself, from what is known of it. What is planned already stays, unless there
    /// is something more urgent or no reason for it any more.
    fn plan(&mut self, name: &ExecutionName, now: Instant) {
        let Some(item) = self.items.get(name).filter(|item| !item.reading) else { return };
        let listed = self.is_listed(item);
        if item.planned.is_some_and(|planned| !planned.class.outlives(listed)) {
            self.unplan(name);
        }
        let Some(item) = self.items.get(name) else { return };
        match item.next_reading(listed, self.reads_say_more, self.floor, now) {
            Some((class, due)) => self.read_by(name, class, due),
            None if item.planned.is_some_and(|planned| planned.class != Class::Ended) => self.unplan(name),
            None => {}
        }
    }

    /// Plans a reading, unless there is one for as good a reason and as soon.
    fn read_by(&mut self, name: &ExecutionName, class: Class, due: Instant) {
        let Some(item) = self.items.get(name).filter(|item| !item.reading) else { return };
        let (class, due) = match item.planned {
            Some(planned) if planned.class <= class && planned.due <= due => return,
            Some(planned) => (class.min(planned.class), due.min(planned.due)),
            None => (class, due),
        };
        self.unplan(name);
        if let Some(item) = self.items.get_mut(name) {
            item.planned = Some(Planned { class, due, ready: None });
            self.later.insert((due, name.clone()));
        }
    }

    fn unplan(&mut self, name: &ExecutionName) {
        let Some(planned) = self.items.get_mut(name).and_then(|item| item.planned.take()) else { return };
        match planned.ready {
            Some(rank) => self.ready.remove(&(rank, name.clone())),
            None => self.later.remove(&(planned.due, name.clone())),
        };
    }
}

#[cfg(test)]
mod tests;
