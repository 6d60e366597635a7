//! The part of the terminal that is drawn over again. There is one terminal, so there is one of these.
//!
//! Between two frames the terminal is in no mode of its own: the cursor is hidden only within the one write that draws
//! a frame. However the process ends, SIGKILL included, nothing has to be put back.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::{Term, measure_text_width};

/// A frame shows at once, where the terminal knows that, and without the cursor's travels.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?2026l";
const ERASE_LINE: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";

/// How much fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// The lines that are drawn, with the cursor below them.
static DRAWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn drawn() -> MutexGuard<'static, Vec<String>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal's size now.
pub(crate) fn size() -> Size {
    let (rows, columns) = Term::stderr().size();
    Size { rows: rows.into(), columns: columns.into() }
}

/// Draws in the place of what was drawn before.
pub(crate) fn draw(lines: Vec<String>) {
    let mut drawn = drawn();
    if !drawn.is_empty() || !lines.is_empty() {
        write(&replacing(&drawn, "", &lines, size().columns));
        *drawn = lines;
    }
}

/// Writes a line that stays, above what is drawn.
pub(crate) fn note(text: &str) {
    let drawn = drawn();
    if drawn.is_empty() {
        // A closed stderr is nobody's problem.
        writeln!(io::stderr(), "{text}").ok();
    } else {
        write(&replacing(&drawn, text, &drawn, size().columns));
    }
}

/// What is drawn stays where it is, and what comes goes below it.
pub(crate) fn leave() {
    drawn().clear();
}

/// Takes away what is drawn.
pub(crate) fn erase() {
    let mut drawn = drawn();
    if !drawn.is_empty() {
        write(&replacing(&drawn, "", &[], size().columns));
        drawn.clear();
    }
}

/// One write, so that nothing comes between.
fn write(text: &str) {
    io::stderr().write_all(text.as_bytes()).ok();
}

/// What turns some lines, the cursor below them, into a note that stays and other lines.
fn replacing(old: &[String], note: &str, new: &[String], columns: usize) -> String {
    // A terminal that became narrower has wrapped what was drawn for a wider one.
    let rows: usize = old.iter().map(|line| measure_text_width(line).div_ceil(columns.max(1)).max(1)).sum();
    let mut text = String::from(BEGIN);
    if rows > 0 {
        text.push_str(&format!("\x1b[{rows}A\r"));
    }
    let note = if note.is_empty() { None } else { Some(note) };
    for line in note.into_iter().chain(new.iter().map(String::as_str)) {
        text.push_str(line);
        text.push_str(ERASE_LINE);
        text.push_str("\r\n");
    }
    text.push_str(ERASE_BELOW);
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn terminal() -> vt100::Parser {
        vt100::Parser::new(NonZeroU16::new(10).unwrap(), NonZeroU16::new(20).unwrap(), 0)
    }

    fn shown(terminal: &vt100::Parser) -> String {
        terminal.screen().contents().trim_end().to_owned()
    }

    #[test]
    fn frames_replace_each_other_and_notes_stay_above() {
        let mut terminal = terminal();
        terminal.process(b"before\r\n");
        let (one, two) = (lines(&["first", "longer line"]), lines(&["second"]));
        terminal.process(replacing(&[], "", &one, 20).as_bytes());
        terminal.process(replacing(&one, "", &two, 20).as_bytes());
        assert_eq!(shown(&terminal), "before\nsecond");
        terminal.process(replacing(&two, "a note", &two, 20).as_bytes());
        assert_eq!(shown(&terminal), "before\na note\nsecond");
        terminal.process(replacing(&two, "", &[], 20).as_bytes());
        assert_eq!(shown(&terminal), "before\na note");
        assert!(!terminal.screen().hide_cursor());
    }

    #[test]
    fn a_narrower_terminal_has_wrapped_what_was_drawn() {
        let old = lines(&["\x1b[31m0123456789\x1b[0m", "01234567890", ""]);
        assert!(replacing(&old, "", &[], 5).contains("\x1b[6A"));
        assert!(replacing(&old, "", &[], 20).contains("\x1b[3A"));
        assert!(replacing(&old, "", &[], 0).contains("\x1b[22A"), "a terminal without a size does no harm");
    }

    #[test]
    fn the_cursor_is_never_hidden_between_two_frames() {
        let text = replacing(&[], "", &lines(&["a"]), 20);
        assert!(text.starts_with(BEGIN) && text.ends_with(END));
    }
}
