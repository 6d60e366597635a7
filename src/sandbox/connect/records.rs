//! Execution records: one for each observation, and one that says how the run was completed.

use serde_json::{Value, json};

use super::state::Run;
use crate::sandbox::scenario::Outcome;

pub(super) struct Record {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) at: i64,
    pub(super) text: Value,
}

impl Run {
    /// The records that are readable by now, oldest first. With a lag, what belongs to the last observation and
    /// the end comes that much later.
    pub(super) fn records(&self, now: i64) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(begun) = self.begun.filter(|begun| *begun <= now) else { return records };
        if self.script.outcome == Outcome::Empty {
            return records;
        }
        let end = self.ended.map(|(at, _)| at);
        let readable = |end: i64| end.saturating_add(self.script.lag_ms()) <= now;
        if !self.broken() {
            self.observations(begun, end, now, &mut records);
        }
        if self.script.odd_records && end.is_none_or(readable) {
            records.push(Record {
                id: "narration-1".into(),
                status: "PASSED",
                at: begun,
                text: json!({"Type": "NARRATION", "Identifier": "narration-1", "Text": "Nobody documented this"}),
            });
        }
        if let Some((at, status)) = self.ended
            && readable(at)
        {
            records.push(self.completion(at, status));
        }
        records
    }

    fn observations(&self, begun: i64, end: Option<i64>, now: i64, records: &mut Vec<Record>) {
        let until = end.map_or(now, |end| end.min(now));
        let failing_from = self.script.checks - self.script.failures();
        for index in 0..self.script.checks {
            let at = self.observed_at(begun, index);
            let last = index + 1 == self.script.checks;
            let made = at <= until;
            let hidden = last && end.is_some_and(|end| end.saturating_add(self.script.lag_ms()) > now);
            let status = match (made, end) {
                (true, _) if hidden => return,
                (true, _) if index >= failing_from => "FAILED",
                (true, _) => "PASSED",
                (false, None) => "IN_PROGRESS",
                (false, Some(_)) if matches!(self.ended, Some((_, "STOPPED"))) => "STOPPED",
                (false, Some(_)) => return,
            };
            let id = format!("observation-{}", index + 1);
            let event = json!({
                "Type": "MessageReceived",
                "Properties": {"Text": format!("Prompt {}", index + 1)},
            });
            let mut text = json!({"Type": "OBSERVATION", "Identifier": id, "Status": status, "Event": event});
            if let Some(text) = text.as_object_mut().filter(|_| status == "FAILED") {
                let reason = format!("Expected prompt {} was not heard", index + 1);
                text.insert("FailureReason".into(), json!(reason));
            }
            records.push(Record { id, status, at: at.min(until), text });
            if !made {
                return;
            }
        }
    }

    fn completion(&self, at: i64, status: &'static str) -> Record {
        let mut text = json!({"Type": "COMPLETION", "Identifier": "completion", "Status": status});
        let limit = self.begun.is_some_and(|begun| at - begun >= super::state::RUN_LIMIT_MS);
        let reason = if self.broken() && status == "FAILED" {
            Some(("INITIALIZATION_FAILURE", "Failed to start execution of test case due to limit reached"))
        } else if limit && status == "FAILED" {
            Some(("TIMEOUT", "The test case did not complete within five minutes"))
        } else if status == "FAILED" {
            Some(("OBSERVATION_FAILURE", "An observation was not met"))
        } else {
            None
        };
        if let (Some((reason, message)), Some(text)) = (reason, text.as_object_mut()) {
            let reason = json!({"FailureReasons": [reason], "Message": message});
            text.insert("CompletionReason".into(), reason);
        }
        Record { id: "completion".into(), status, at, text }
    }
}
