//! What all figures print alike.

use std::fmt::Display;

/// How far a baseline may be above what it reached on a quiet machine.
const TOLERANCE: f64 = 1.3;

/// The middle one of some measurements.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a part of the measurements does not exceed.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Prints a figure beside its goal, and whether it is within.
pub(crate) fn goal(what: impl Display, figure: f64, goal: f64, unit: &str) {
    let verdict = if figure <= goal { "reached" } else { "MISSED" };
    println!("  {what:<28} {figure:8.2} {unit}, goal {goal} {unit}: {verdict}");
}

/// Prints a figure that has no goal.
pub(crate) fn line(what: impl Display, figure: f64, unit: &str) {
    println!("  {what:<28} {figure:8.2} {unit}");
}

/// Prints the baseline's CPU time, and that the run says nothing if it is too far above what it is known to reach.
pub(crate) fn baseline(figure: f64, known: f64, unit: &str) {
    line("bare", figure, unit);
    if figure > known * TOLERANCE {
        println!(
            "  VOID: the baseline itself is {:.0} % above {known} {unit}",
            (figure / known - 1.0) * 100.0
        );
    }
}
