//! The live table: on a terminal, one line a run, drawn over again while the runs go on.

mod frame;
pub(crate) mod screen;

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use self::frame::{Entry, frame};
use self::screen::Size;
use super::render::Format;
use crate::model::Clock;

/// It is drawn at most so often.
const REDRAW: Duration = Duration::from_millis(100);
/// The times that are shown go on where nothing else does.
const TICK: Duration = Duration::from_secs(1);

/// How people see the runs of a command: as a live table, or as a line for each change.
#[derive(Debug)]
pub(crate) struct View {
    live: bool,
    changed: Cell<bool>,
}

/// What becomes of the table at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// It stays as it is.
    Stays,
    /// The same is about to be printed as data.
    Goes,
}

impl View {
    /// For what has nothing to draw.
    pub(crate) fn of_lines() -> Self {
        Self { live: false, changed: Cell::new(true) }
    }

    /// For what prints its data at the end, whatever the format.
    pub(crate) fn before_data() -> Self {
        Self { live: is_able(&io::stderr()), changed: Cell::new(true) }
    }

    /// For what prints data all the time, unless the table takes its place.
    pub(crate) fn beside_data(format: Format) -> Self {
        let live = match format {
            Format::Table => is_able(&io::stderr()) && io::stdout().is_terminal(),
            Format::Json => is_able(&io::stderr()),
            Format::Jsonl | Format::Name => false,
        };
        Self { live, changed: Cell::new(true) }
    }

    /// Whether there is a table; else whoever knows of a change tells it by a line.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Something that the table shows is different now.
    pub(crate) fn changed(&self) {
        self.changed.set(true);
    }

    /// Works, and draws the table meanwhile.
    pub(crate) async fn beside<F: Future>(
        &self,
        work: F,
        table: impl Fn(Size, &Timestamp) -> Vec<String>,
    ) -> F::Output {
        if !self.live {
            return work.await;
        }
        let clock = Clock::system();
        let draw = |size| {
            let now = clock.now();
            let now = Timestamp { seconds: now.unix_timestamp(), nanos: 0 };
            screen::draw(table(size, &now));
        };
        let mut ticks = interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drawn: Option<(Instant, Size)> = None;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => {
                    draw(screen::size());
                    return output;
                }
                at = ticks.tick() => {
                    let size = screen::size();
                    let stale = drawn.is_none_or(|(then, before)| size != before || at.duration_since(then) >= TICK);
                    if self.changed.take() || stale {
                        draw(size);
                        drawn = Some((at, size));
                    }
                }
            }
        }
    }

    /// The table is not drawn again.
    pub(crate) fn end(&self, last: Last) {
        match last {
            Last::Stays => screen::leave(),
            Last::Goes => screen::erase(),
        }
    }
}

/// Whether what is written may move the cursor and have colours.
pub(crate) fn is_able(stream: &impl IsTerminal) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    stream.is_terminal() && !dumb && !set("CI") && !set("NO_COLOR")
}

#[cfg(test)]
mod tests;
