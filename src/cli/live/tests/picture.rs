//! The picture of the live table in the README: what a terminal shows of a frame, as SVG.
//!
//! `UPDATE_PICTURES=1 cargo test --lib the_picture_of_the_readme` makes it again.

use std::fmt::Write as _;

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/live-table.svg");
const COLUMNS: usize = 104;
/// A cell of the usual monospaced font at 13 pixels.
const WIDTH: f64 = 7.8;
const HEIGHT: f64 = 18.0;
const EDGE: f64 = 14.0;

fn runs() -> [(&'static str, Execution); 6] {
    let mut closed = counted(run(State::Completed, Verdict::Failed), 5, 4, 1);
    closed.failure =
        Some(FailureReason { messages: vec!["1 of 5 observations failed".into()], ..Default::default() });
    [
        ("connect-prod/greeting", counted(run(State::Completed, Verdict::Passed), 3, 3, 0)),
        ("connect-prod/holiday-closure", closed),
        ("connect-prod/slow-transfer", counted(run(State::Running, Verdict::Pending), 8, 3, 0)),
        ("lex-eu/booking-mismatch", counted(run(State::Running, Verdict::Pending), 40, 22, 4)),
        ("quality/Orders, daily", run(State::Settling, Verdict::Pending)),
        ("quality/Customers, daily", run(State::Pending, Verdict::Pending)),
    ]
}

fn colour(cell: &vt100::Cell) -> &'static str {
    match cell.fgcolor() {
        _ if cell.dim() => "#7d8590",
        vt100::Color::Idx(1) => "#ff7b72",
        vt100::Color::Idx(2) => "#56d364",
        vt100::Color::Idx(3) => "#e3b341",
        vt100::Color::Idx(6) => "#56c7d9",
        _ => "#d6dce4",
    }
}

fn svg(lines: &[String]) -> String {
    let rows = lines.len() + 2;
    let terminal = terminal(lines, size(rows, COLUMNS));
    let screen = terminal.screen();
    let (width, height) = (COLUMNS as f64 * WIDTH + 2.0 * EDGE, (rows - 1) as f64 * HEIGHT + EDGE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#10151c\"/>\n"
    );
    for row in 0..u16::try_from(lines.len()).unwrap() {
        let mut column = 0;
        while let Some(cell) = screen.cell(row, column) {
            // Cells of one colour are one piece of text, stretched to its cells whatever the font.
            let mut text = String::new();
            let from = column;
            while let Some(next) = screen.cell(row, column).filter(|next| colour(next) == colour(cell)) {
                text.push_str(if next.has_contents() { next.contents() } else { " " });
                column += 1;
            }
            let before = text.chars().take_while(|c| *c == ' ').count();
            let shown = text.trim();
            if !shown.is_empty() {
                let x = EDGE + (f64::from(from) + before as f64) * WIDTH;
                let y = EDGE + (f64::from(row) + 0.8) * HEIGHT;
                let length = shown.chars().count() as f64 * WIDTH;
                let shown = shown.replace('&', "&amp;").replace('<', "&lt;");
                writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" fill=\"{}\" \
                     xml:space=\"preserve\">{shown}</text>",
                    colour(cell)
                )
                .unwrap();
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_picture_of_the_readme_is_what_is_drawn() {
    let runs = runs();
    let entries: Vec<_> = runs.iter().map(|(label, execution)| entry(label, execution)).collect();
    let made = svg(&frame(&entries, &NOW, size(24, COLUMNS)));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(made == kept, "{FILE} is old: UPDATE_PICTURES=1 cargo test --lib the_picture makes it again");
}
