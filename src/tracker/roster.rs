//! The backends, and how a new configuration changes them while they are in use.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{BackendSetup, Error, Inner, Managed, Tracker, poller};
use crate::model::BackendId;
use crate::store::Record;

/// All backends that were ever configured, in the order in which they came. One that a new configuration leaves out
/// keeps its place, so that whoever is at work with it never loses it, and takes it up again when it comes back.
#[derive(Default)]
pub(super) struct Roster {
    first: OnceLock<Box<Place>>,
}

struct Place {
    managed: Arc<Managed>,
    next: OnceLock<Box<Place>>,
}

impl Roster {
    /// Those that are configured now.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Managed>> {
        self.all().filter(|managed| managed.switch.is_on())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Managed>> {
        std::iter::successors(self.first.get(), |place| place.next.get()).map(|place| &place.managed)
    }

    fn push(&self, managed: Arc<Managed>) {
        let mut place = Box::new(Place { managed, next: OnceLock::new() });
        let mut end = &self.first;
        while let Err(back) = end.set(place) {
            place = back;
            // It could not be set because it is.
            let Some(taken) = end.get() else { return };
            end = &taken.next;
        }
    }
}

impl FromIterator<Arc<Managed>> for Roster {
    fn from_iter<I: IntoIterator<Item = Arc<Managed>>>(backends: I) -> Self {
        let roster = Self::default();
        backends.into_iter().for_each(|managed| roster.push(managed));
        roster
    }
}

/// What the store has of executions that are not done.
#[derive(Debug)]
pub struct Unfinished(Vec<Record>);

impl Tracker {
    /// Reads what [`Tracker::reconfigure`] needs, which can't fail then.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn unfinished(&self) -> Result<Unfinished, Error> {
        Ok(Unfinished(self.0.store.load_unfinished()?))
    }

    /// Takes a new configuration's backends and retention. Calls that are under way finish with the adapter they
    /// began with. Those of `unchanged` keep theirs, with what it remembers. What is followed of a backend that
    /// is left out is let go of, and taken up again when the backend comes back.
    ///
    /// `unfinished` is what the store has, of which that of backends that come is taken up.
    pub fn reconfigure(
        &self,
        setups: Vec<BackendSetup>,
        unchanged: &HashSet<BackendId>,
        retention: Duration,
        unfinished: Unfinished,
    ) {
        let inner = &self.0;
        inner.retention.store(Arc::new(retention));
        let wanted: HashSet<_> = setups.iter().map(|setup| setup.backend.info().id).collect();
        for left_out in inner.backends.iter().filter(|managed| !wanted.contains(&managed.id)) {
            left_out.switch.turn_off();
            inner.table().forget_backend(&left_out.id, &inner.store);
            tracing::info!(backend = %left_out.id, "a backend is configured no more");
        }
        let mut come = HashSet::new();
        for setup in setups {
            let id = setup.backend.info().id;
            match inner.backends.all().find(|managed| managed.id == id) {
                Some(known) if known.switch.is_on() && unchanged.contains(&id) => continue,
                Some(known) => {
                    if !known.switch.is_on() {
                        come.insert(id.clone());
                    }
                    known.switch.set(setup.backend);
                }
                None => {
                    let managed = Arc::new(Managed::new(setup));
                    inner.backends.push(Arc::clone(&managed));
                    inner.spawn_poller(&managed);
                    come.insert(id.clone());
                }
            }
            tracing::info!(backend = %id, "a backend's configuration was taken");
        }
        let of_those = |record: &Record| come.contains(&record.execution.name.backend);
        inner.adopt(unfinished.0.into_iter().filter(of_those).collect(), false);
    }
}

impl Inner {
    pub(super) fn spawn_poller(self: &Arc<Self>, managed: &Arc<Managed>) {
        let name = format!("poller {}", managed.id);
        self.tasks.spawn_loop(name, poller::run(Arc::clone(self), Arc::clone(managed)));
    }
}
