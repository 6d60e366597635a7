//! What the live table shows: a pure function of the runs, the time and the terminal's size.

use std::time::Duration;

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};
use prost_types::Timestamp;

use super::screen::Size;
use crate::cli::render::clean;
use crate::cli::rows;
use crate::cli::tally::{Outcome, Tally};
use crate::proto::v1::execution::State;
use crate::proto::v1::{Execution, ResultCounts};

/// A progress bar has so many cells, and is left out where the terminal is narrow.
const BAR: usize = 16;
const BAR_NEEDS: usize = 80;
/// Columns are so far apart.
const GAP: &str = "  ";

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// How people call it.
    pub(crate) label: String,
    /// What is known of its execution; nothing while its start is under way.
    pub(crate) execution: Option<&'a Execution>,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Why it could not be started or followed.
    pub(crate) trouble: Option<&'a str>,
}

impl Entry<'_> {
    fn is_over(&self) -> bool {
        self.outcome != Outcome::Unfinished
    }

    /// What is worth a line where not all get one: what moves, then what went wrong, then what waits.
    fn rank(&self) -> u8 {
        let state = self.execution.map(Execution::state);
        match self.outcome {
            Outcome::Unfinished if matches!(state, None | Some(State::Pending | State::Unspecified)) => 2,
            Outcome::Unfinished => 0,
            Outcome::Passed => 3,
            _ => 1,
        }
    }

    fn state(&self) -> String {
        match (self.execution, self.outcome) {
            (Some(execution), _) => rows::state(execution),
            (None, Outcome::NotStarted) => "NOT STARTED".into(),
            (None, _) => "STARTING".into(),
        }
    }

    fn verdict(&self) -> String {
        self.execution.map_or_else(String::new, |execution| rows::verdict(execution.verdict))
    }

    fn took(&self, now: &Timestamp) -> String {
        let took = self.execution.and_then(|execution| rows::elapsed(execution, Some(now)));
        took.map_or_else(String::new, |took| rows::span(Duration::from_secs(took.as_secs())))
    }

    fn remark(&self) -> String {
        let execution = self.execution;
        let condition = execution.and_then(|execution| execution.condition.as_ref());
        let failure = execution.and_then(|execution| execution.failure.as_ref()?.messages.first());
        match (self.trouble, condition, failure) {
            (Some(trouble), ..) => clean(trouble),
            (None, Some(condition), _) => clean(&format!("[{}: {}]", condition.reason, condition.message)),
            (None, None, Some(message)) => clean(&format!("- {message}")),
            (None, None, None) => String::new(),
        }
    }

    fn style(&self) -> Style {
        let style = Style::new().force_styling(true);
        match self.outcome {
            Outcome::Passed => style.green(),
            Outcome::Failed | Outcome::Errored | Outcome::Lost | Outcome::NotStarted => style.red(),
            Outcome::Inconclusive | Outcome::Stopped => style.yellow(),
            Outcome::Unfinished if self.rank() == 2 => style.dim(),
            Outcome::Unfinished => style.cyan(),
        }
    }
}

/// The lines of the table. They leave room for the line on which the cursor stands.
pub(crate) fn frame(entries: &[Entry<'_>], now: &Timestamp, size: Size) -> Vec<String> {
    let room = size.rows.saturating_sub(1);
    let with_header = room >= 4;
    let with_total = entries.len() > 1 && room >= 2;
    let fits = room.saturating_sub(usize::from(with_header) + usize::from(with_total));
    let mut shown: Vec<&Entry<'_>> = entries.iter().collect();
    if shown.len() > fits {
        // Stable, so that lines stand still for as long as their runs do.
        shown.sort_by_key(|entry| entry.rank());
        shown.truncate(fits);
    }
    let mut lines = table(&shown, now, with_header, size.columns);
    if with_total {
        lines.push(truncate_str(&total(entries, shown.len()), size.columns, "…").into_owned());
    }
    lines
}

fn total(entries: &[Entry<'_>], shown: usize) -> String {
    let over: Vec<_> = entries.iter().filter(|entry| entry.is_over()).map(|entry| entry.outcome).collect();
    let mut text = match entries.len() - shown {
        0 => String::new(),
        hidden => format!("… and {hidden} more; "),
    };
    text.push_str(&format!("{} of {} done", over.len(), entries.len()));
    if !over.is_empty() {
        text.push_str(&format!(": {}", over.into_iter().collect::<Tally>()));
    }
    text
}

fn table(shown: &[&Entry<'_>], now: &Timestamp, with_header: bool, columns: usize) -> Vec<String> {
    let header = ["RUN", "STATE", "VERDICT", "TIME"].map(str::to_owned);
    let cells: Vec<[String; 4]> = shown
        .iter()
        .map(|entry| [clean(&entry.label), entry.state(), entry.verdict(), entry.took(now)])
        .collect();
    let widths: [usize; 4] = std::array::from_fn(|column| {
        let all = cells.iter().chain([&header].into_iter().filter(|_| with_header));
        let width = all.filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max();
        // Names may be long, and everything after them has to be seen too.
        width.unwrap_or_default().min(columns * 3 / 5)
    });
    let with_bars = columns >= BAR_NEEDS && shown.iter().any(|entry| progress(entry).is_some());
    let line = |cells: &[String; 4], style: &Style, rest: &str| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| {
            let cell = pad_str(cell, width, Alignment::Left, Some("…"));
            style.apply_to(cell).to_string()
        });
        let line = padded.chain([rest.to_owned()]).collect::<Vec<_>>().join(GAP);
        truncate_str(line.trim_end(), columns, "…").into_owned()
    };
    let mut lines = Vec::with_capacity(shown.len() + 2);
    if with_header {
        lines.push(line(&header, &Style::new().force_styling(true).dim(), ""));
    }
    for (entry, cells) in shown.iter().zip(&cells) {
        let bar = match progress(entry) {
            Some(counts) if with_bars => bar(counts),
            _ if with_bars => " ".repeat(BAR),
            _ => String::new(),
        };
        let counts = rows::counts(entry.execution.and_then(|execution| execution.counts.as_ref()));
        let rest: Vec<_> =
            [bar, counts, entry.remark()].into_iter().filter(|part| !part.is_empty()).collect();
        lines.push(line(cells, &entry.style(), &rest.join(GAP)));
    }
    lines
}

/// The counts that a bar can be made of.
fn progress<'a>(entry: &Entry<'a>) -> Option<&'a ResultCounts> {
    entry.execution?.counts.as_ref().filter(|counts| counts.total.is_some_and(|total| total > 0))
}

fn bar(counts: &ResultCounts) -> String {
    let total = cells(counts.total).max(1);
    let bad = cells(counts.failed) + cells(counts.errored);
    let mut free = BAR;
    let mut part = |count: usize, style: Style, cell: &str| {
        // What there is at all is seen.
        let wanted = (count * BAR / total).max(usize::from(count > 0)).min(free);
        free -= wanted;
        if wanted == 0 {
            String::new()
        } else {
            style.force_styling(true).apply_to(cell.repeat(wanted)).to_string()
        }
    };
    let style = Style::new;
    let bad = part(bad, style().red(), "━");
    let other = part(cells(counts.other), style().yellow(), "━");
    let good = part(cells(counts.passed), style().green(), "━");
    let rest = match free {
        0 => String::new(),
        free => style().dim().force_styling(true).apply_to("─".repeat(free)).to_string(),
    };
    [good, bad, other, rest].concat()
}

fn cells(count: Option<i32>) -> usize {
    usize::try_from(count.unwrap_or_default()).unwrap_or_default()
}
