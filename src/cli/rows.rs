//! Which columns a resource has in a table.

use std::time::Duration;

use prost_types::Timestamp;

use super::json::Contract;
use crate::proto::v1::{
    Artifact, Backend, Capabilities, Execution, ResultCounts, ResultItem, Test, Verdict, backend, execution,
    result_item,
};

/// A resource that can be one row of a table.
pub(crate) trait Row: Contract {
    /// The column titles.
    const HEADER: &'static [&'static str];
    /// One cell for each of them.
    fn cells(&self) -> Vec<String>;
    /// Its resource name.
    fn name(&self) -> &str;
}

impl Row for Backend {
    const HEADER: &'static [&'static str] = &["NAME", "KIND", "CONDITION", "CAN", "DISPLAY NAME"];

    fn cells(&self) -> Vec<String> {
        let kind = backend::Kind::try_from(self.kind);
        vec![
            self.name.clone(),
            short(kind.map(|kind| kind.as_str_name()), self.kind, "KIND_"),
            self.condition.as_ref().map_or("ok", |condition| &condition.reason).to_owned(),
            abilities(self.capabilities.as_ref()),
            self.display_name.clone(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Test {
    const HEADER: &'static [&'static str] = &["NAME", "DISPLAY NAME", "STARTABLE", "CAN", "UPDATED"];

    fn cells(&self) -> Vec<String> {
        let startable = match (self.startable, self.not_startable_reason.as_str()) {
            (Some(true), _) => "yes".to_owned(),
            (Some(false), "") => "no".to_owned(),
            (Some(false), reason) => format!("no ({reason})"),
            (None, _) => "?".to_owned(),
        };
        vec![
            self.name.clone(),
            self.display_name.clone(),
            startable,
            abilities(self.capabilities.as_ref()),
            moment(self.update_time.as_ref()),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Execution {
    const HEADER: &'static [&'static str] =
        &["NAME", "TEST", "STATE", "VERDICT", "RESULTS", "CREATED", "TOOK", "CONDITION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.test_display_name.clone(),
            state(self),
            verdict(self.verdict),
            counts(self.counts.as_ref()),
            moment(self.create_time.as_ref()),
            took(self),
            self.condition.as_ref().map_or("", |condition| &condition.reason).to_owned(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for ResultItem {
    const HEADER: &'static [&'static str] =
        &["KIND", "DISPLAY NAME", "VERDICT", "RESULTS", "EXPECTED", "ACTUAL", "FAILURE"];

    fn cells(&self) -> Vec<String> {
        let kind = result_item::Kind::try_from(self.kind);
        vec![
            short(kind.map(|kind| kind.as_str_name()), self.kind, "KIND_"),
            self.display_name.clone(),
            verdict(self.verdict),
            counts(self.counts.as_ref()),
            self.expected.clone(),
            self.actual.clone(),
            self.failure.as_ref().map_or_else(String::new, |failure| failure.messages.join("; ")),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Row for Artifact {
    const HEADER: &'static [&'static str] = &["NAME", "EXPIRES", "URI"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), moment(self.expire_time.as_ref()), self.uri.clone()]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// An enum value without its prefix; a number where a later server sends one that is not known here.
fn short<E>(known: Result<&'static str, E>, number: i32, prefix: &str) -> String {
    match known {
        Ok(name) => name.strip_prefix(prefix).unwrap_or(name).to_owned(),
        Err(_) => number.to_string(),
    }
}

/// The state without its prefix.
pub(crate) fn state(execution: &Execution) -> String {
    let known = execution::State::try_from(execution.state);
    short(known.map(|state| state.as_str_name()), execution.state, "STATE_")
}

/// A verdict without its prefix.
pub(crate) fn verdict(number: i32) -> String {
    short(Verdict::try_from(number).map(|verdict| verdict.as_str_name()), number, "VERDICT_")
}

/// `3/5 passed, 1 failed`; nothing where upstream reported nothing.
pub(crate) fn counts(counts: Option<&ResultCounts>) -> String {
    let Some(ResultCounts { total, passed, failed, errored, other, partial }) = counts else {
        return String::new();
    };
    let mut parts = Vec::new();
    match (passed, total) {
        (Some(passed), Some(total)) => parts.push(format!("{passed}/{total} passed")),
        (Some(passed), None) => parts.push(format!("{passed} passed")),
        (None, Some(total)) => parts.push(format!("{total} in all")),
        (None, None) => {}
    }
    for (number, what) in [(failed, "failed"), (errored, "errored"), (other, "other")] {
        if let Some(number) = number.filter(|number| *number != 0) {
            parts.push(format!("{number} {what}"));
        }
    }
    let text = parts.join(", ");
    if *partial && !text.is_empty() { format!("{text} so far") } else { text }
}

fn moment(time: Option<&Timestamp>) -> String {
    time.map_or_else(String::new, |time| Timestamp { seconds: time.seconds, nanos: 0 }.to_string())
}

/// From its start, or its creation where upstream tells no start, to its end; while it has none, to `now`, or else to
/// the last look at it.
pub(crate) fn elapsed(execution: &Execution, now: Option<&Timestamp>) -> Option<Duration> {
    let from = execution.start_time.as_ref().or(execution.create_time.as_ref())?;
    let to = match (execution.done, now) {
        (true, _) => execution.end_time.as_ref(),
        (false, None) => execution.observe_time.as_ref(),
        (false, now) => now,
    };
    u64::try_from(to?.seconds.saturating_sub(from.seconds)).ok().map(Duration::from_secs)
}

/// A time span without spaces, as `1m5s`.
pub(crate) fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

fn took(execution: &Execution) -> String {
    elapsed(execution, None).map_or_else(String::new, span)
}

fn abilities(capabilities: Option<&Capabilities>) -> String {
    use crate::proto::v1::capabilities::{StartMode, StopScope};
    let Some(can) = capabilities else { return String::new() };
    let starts = !matches!(can.start_mode(), StartMode::None | StartMode::Unspecified);
    let stops = !matches!(can.stop_scope(), StopScope::None | StopScope::Unspecified);
    [
        (starts, "start"),
        (stops, "stop"),
        (can.list_executions, "list"),
        (can.record_execution, "record"),
        (can.artifacts, "artifacts"),
    ]
    .iter()
    .filter(|(able, _)| *able)
    .map(|(_, what)| *what)
    .collect::<Vec<_>>()
    .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 5 })
    }

    #[test]
    fn every_row_has_a_cell_for_each_title() {
        fn check<T: Row>() {
            assert_eq!(T::default().cells().len(), T::HEADER.len(), "{}", T::NAME);
        }
        check::<Backend>();
        check::<Test>();
        check::<Execution>();
        check::<ResultItem>();
        check::<Artifact>();
    }

    #[test]
    fn counts_never_turn_unreported_into_zero() {
        let some = |total, passed, failed| {
            counts(Some(&ResultCounts { total, passed, failed, ..Default::default() }))
        };
        assert_eq!(counts(None), "");
        assert_eq!(some(None, None, None), "");
        assert_eq!(some(Some(5), Some(3), Some(2)), "3/5 passed, 2 failed");
        assert_eq!(some(Some(5), None, None), "5 in all");
        assert_eq!(some(Some(0), Some(0), Some(0)), "0/0 passed");
    }

    #[test]
    fn the_time_taken_needs_both_ends_in_order() {
        let run = |start, end| {
            took(&Execution { start_time: start, end_time: end, done: true, ..Default::default() })
        };
        assert_eq!(run(at(10), at(75)), "1m5s");
        assert_eq!(run(at(10), at(9)), "");
        assert_eq!(run(None, at(9)), "");
        assert!(!run(at(i64::MIN), at(i64::MAX)).is_empty());
    }

    #[test]
    fn odd_times_do_not_panic() {
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            moment(at(seconds).as_ref());
        }
    }

    #[test]
    fn unknown_enum_values_show_their_number() {
        assert_eq!(verdict(2), "PASSED");
        assert_eq!(verdict(99), "99");
        assert_eq!(state(&Execution { state: 6, ..Default::default() }), "COMPLETED");
        assert_eq!(state(&Execution { state: -1, ..Default::default() }), "-1");
    }
}
