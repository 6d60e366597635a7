//! The server's state: suites, cases with their results, pipelines with their runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Options;
use super::wire::Include;

/// Oldest results of one case beyond this many are forgotten.
const MAX_RESULTS: usize = 20_000;
/// Oldest ended runs of one pipeline beyond this many are forgotten.
const MAX_RUNS: usize = 1_000;
/// Most events kept for `/v1/events`.
const MAX_EVENTS: usize = 2_000;

/// A test's outcome, as results spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Failed,
    Aborted,
    Queued,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
            Self::Queued => "Queued",
        }
    }

    /// Upper and lower case matter.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Success, Self::Failed, Self::Aborted, Self::Queued]
            .into_iter()
            .find(|one| one.as_str() == text)
    }

    /// What a case without a script comes to: its name says it.
    pub(super) fn from_name(name: &str) -> Self {
        if name.contains("fail") {
            Self::Failed
        } else if name.contains("abort") {
            Self::Aborted
        } else {
            Self::Success
        }
    }
}

/// A run's state, as `pipelineStatus` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Running,
    Success,
    Failed,
    PartialSuccess,
    Stopped,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::PartialSuccess => "partialSuccess",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Success, Self::Failed, Self::PartialSuccess, Self::Stopped]
            .into_iter()
            .find(|one| one.as_str() == text)
    }

    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A test suite: basic (one for each table) or logical.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    pub(super) id: Uuid,
    /// A basic suite's name is its FQN.
    pub(super) name: String,
    pub(super) display_name: Option<String>,
    pub(super) description: String,
    /// The table of a basic suite; a logical one has none.
    pub(super) table: Option<String>,
}

/// A test case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) fqn: String,
    pub(super) description: String,
    pub(super) definition: &'static str,
    pub(super) table: String,
    pub(super) column: Option<String>,
    /// The basic suite first, then the logical ones.
    pub(super) suites: Vec<Uuid>,
    /// What the next runs come to.
    pub(super) outcome: Status,
    pub(super) results: BTreeMap<i64, Outcome>,
    pub(super) incident: Option<Uuid>,
    pub(super) deleted: bool,
    /// In tenths.
    pub(super) version: u32,
    pub(super) updated_at: i64,
}

/// One stored result.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) id: Uuid,
    pub(super) timestamp: i64,
    pub(super) status: Status,
    /// The optional scalars that were given, in the server's order.
    pub(super) scalars: Map<String, Value>,
    pub(super) values: Vec<Value>,
    pub(super) incident: Option<Uuid>,
}

impl Outcome {
    /// A result as a worker of the pipeline writes it.
    pub(super) fn of_worker(timestamp: i64, status: Status) -> Self {
        let (text, found) = match status {
            Status::Success => ("Found 0 offending rows in 1204", Some("0")),
            Status::Failed => ("Found 17 offending rows in 1204", Some("17")),
            Status::Aborted => ("Error computing the metric: statement timeout", None),
            Status::Queued => ("Waiting for a worker", None),
        };
        let mut scalars = Map::new();
        scalars.insert("result".to_owned(), json!(text));
        let values = found.map(|rows| json!({"name": "offendingRows", "value": rows})).into_iter().collect();
        Self { id: Uuid::new_v4(), timestamp, status, scalars, values, incident: None }
    }
}

/// An ingestion pipeline of type `TestSuite`.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) fqn: String,
    pub(super) display_name: String,
    pub(super) suite: Uuid,
    pub(super) deployed: bool,
    pub(super) enabled: bool,
    /// The names of the cases that it runs; all of the suite's without.
    pub(super) subset: Option<Vec<String>>,
    pub(super) script: Script,
    /// In order of their creation.
    pub(super) runs: Vec<Run>,
}

/// How a pipeline's runs go.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) queued_ms: i64,
    pub(super) running_ms: i64,
    pub(super) end: State,
    /// How long after its timestamp a result can be read.
    pub(super) lag_ms: i64,
    /// The end state is replaced by this one so long after the end.
    pub(super) flip: Option<(i64, State)>,
    /// Never ends.
    pub(super) hangs: bool,
    /// Writes no results at all.
    pub(super) silent: bool,
}

/// One run of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: Uuid,
    /// When it was asked for: its key in lists.
    pub(super) timestamp: i64,
    pub(super) starts: i64,
    /// `None`: it hangs.
    pub(super) ends: Option<i64>,
    pub(super) end: State,
    pub(super) flip: Option<(i64, State)>,
    /// Results still to be written, in order of visibility.
    pub(super) planned: Vec<Planned>,
    /// What a worker reported itself; then nothing above counts but the key.
    pub(super) reported: Option<Map<String, Value>>,
}

/// A result that a run is going to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) case: Uuid,
    pub(super) status: Status,
    pub(super) timestamp: i64,
    pub(super) visible: i64,
}

impl Run {
    pub(super) fn state(&self, now: i64) -> State {
        if let Some(reported) = &self.reported {
            let text = reported.get("pipelineState").and_then(Value::as_str).unwrap_or_default();
            return State::parse(text).unwrap_or(State::Running);
        }
        match self.ends {
            Some(ends) if now >= ends => match self.flip {
                Some((at, state)) if now >= at => state,
                _ => self.end,
            },
            _ if now >= self.starts => State::Running,
            _ => State::Queued,
        }
    }

    /// Ends it at a moment, whatever was planned for later.
    pub(super) fn end_at(&mut self, at: i64, end: State) {
        self.ends = Some(at);
        self.end = end;
        self.flip = None;
        self.planned.retain(|planned| planned.timestamp <= at);
    }
}

/// How the pipeline service (Airflow, Kubernetes) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Up,
    /// Unreachable.
    Down,
    /// Answers, and refuses to start or stop anything.
    Refusing,
    /// Says that it refuses, and starts the run all the same.
    RefusingFalsely,
}

/// What is wrong with the right token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenTrouble {
    Expired,
    Revoked,
    UnknownUser,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    pub(super) old_token: Option<String>,
    pub(super) token_trouble: Option<TokenTrouble>,
    pub(super) denied: bool,
    pub(super) database_down: bool,
    pub(super) service: Service,
    /// So many writes of a result are confirmed and not stored.
    pub(super) swallow: u64,
    pub(super) suites: Vec<Suite>,
    pub(super) cases: Vec<Case>,
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) events: Vec<Value>,
}

impl World {
    pub(super) fn suite(&self, id: Uuid) -> Option<&Suite> {
        self.suites.iter().find(|suite| suite.id == id)
    }

    pub(super) fn case_index(&self, id: Uuid, include: Include) -> Option<usize> {
        self.cases.iter().position(|case| case.id == id && include.admits(case.deleted))
    }

    pub(super) fn case_index_by_fqn(&self, fqn: &str, include: Include) -> Option<usize> {
        self.cases.iter().position(|case| case.fqn == fqn && include.admits(case.deleted))
    }

    pub(super) fn pipeline_index(&self, id: Uuid) -> Option<usize> {
        self.pipelines.iter().position(|pipeline| pipeline.id == id)
    }

    pub(super) fn pipeline_index_by_fqn(&self, fqn: &str) -> Option<usize> {
        self.pipelines.iter().position(|pipeline| pipeline.fqn == fqn)
    }

    /// The live cases of a suite, basic or logical.
    pub(super) fn cases_of(&self, suite: Uuid) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| !case.deleted && case.suites.contains(&suite))
    }

    /// Begins a run of a pipeline as its script says and returns its id.
    pub(super) fn start(&mut self, index: usize, now: i64) -> Option<Uuid> {
        let script = self.pipelines.get(index)?.script.clone();
        self.start_as(index, &script, now)
    }

    /// Begins a run by another script than the pipeline's own.
    pub(super) fn start_as(&mut self, index: usize, script: &Script, now: i64) -> Option<Uuid> {
        let pipeline = self.pipelines.get(index)?;
        // Two runs of one pipeline never share their timestamp: it is a key.
        let mut timestamp = now;
        while pipeline.runs.iter().any(|run| run.timestamp == timestamp) {
            timestamp += 1;
        }
        let starts = timestamp + script.queued_ms;
        let ends = starts + script.running_ms;
        let covered: Vec<(Uuid, Status)> = self
            .cases_of(pipeline.suite)
            .filter(|case| pipeline.subset.as_ref().is_none_or(|names| names.contains(&case.name)))
            .map(|case| (case.id, case.outcome))
            .collect();
        let steps = i64::try_from(covered.len()).unwrap_or(i64::MAX - 1) + 1;
        let planned = (1..)
            .zip(covered)
            .filter(|_| !script.silent)
            .map(|(step, (case, status))| {
                let timestamp = starts + script.running_ms.saturating_mul(step) / steps;
                Planned { case, status, timestamp, visible: timestamp + script.lag_ms }
            })
            .collect();
        let run = Run {
            id: Uuid::new_v4(),
            timestamp,
            starts,
            ends: (!script.hangs).then_some(ends),
            end: script.end,
            flip: script.flip.map(|(after, state)| (ends + after, state)),
            planned,
            reported: None,
        };
        let id = run.id;
        self.keep_run(index, run, now);
        Some(id)
    }

    /// Adds a run and forgets the oldest ended one when there are too many.
    pub(super) fn keep_run(&mut self, index: usize, run: Run, now: i64) {
        let Some(pipeline) = self.pipelines.get_mut(index) else { return };
        if pipeline.runs.len() >= MAX_RUNS {
            let oldest = pipeline.runs.iter().position(|run| run.state(now).is_final()).unwrap_or(0);
            pipeline.runs.remove(oldest);
        }
        pipeline.runs.push(run);
    }

    /// Writes the results that are due. Everything else follows from the clock when it is read.
    pub(super) fn advance(&mut self, now: i64) {
        let mut due = Vec::new();
        for pipeline in &mut self.pipelines {
            for run in &mut pipeline.runs {
                run.planned.retain(|planned| {
                    let ready = planned.visible <= now;
                    if ready {
                        due.push(*planned);
                    }
                    !ready
                });
            }
        }
        due.sort_by_key(|planned| planned.visible);
        for planned in due {
            let Some(index) = self.case_index(planned.case, Include::Live) else { continue };
            let mut outcome = Outcome::of_worker(planned.timestamp, planned.status);
            if let Some(case) = self.cases.get(index) {
                while case.results.contains_key(&outcome.timestamp) {
                    outcome.timestamp += 1;
                }
            }
            self.store(index, outcome);
        }
    }

    /// Stores a result, with everything that the server does besides. The caller has seen to duplicates.
    pub(super) fn store(&mut self, index: usize, mut outcome: Outcome) -> Option<Outcome> {
        let case = self.cases.get_mut(index)?;
        if outcome.status == Status::Failed {
            outcome.incident = Some(open_incident(case));
        }
        if case.deleted {
            // A result brings a soft-deleted case back.
            case.deleted = false;
            case.version += 1;
        }
        case.updated_at = case.updated_at.max(outcome.timestamp);
        case.results.insert(outcome.timestamp, outcome.clone());
        if case.results.len() > MAX_RESULTS {
            case.results.pop_first();
        }
        self.note(index, &outcome);
        Some(outcome)
    }

    fn note(&mut self, index: usize, outcome: &Outcome) {
        let Some(case) = self.cases.get(index) else { return };
        let version = f64::from(case.version) / 10.0;
        let newest = case.results.values().next_back().unwrap_or(outcome);
        let event = json!({
            "id": Uuid::new_v4().to_string(),
            "eventType": "entityUpdated",
            "entityType": "testCase",
            "entityId": case.id.to_string(),
            "entityFullyQualifiedName": case.fqn,
            "previousVersion": version,
            "currentVersion": version,
            "userName": "ingestion-bot",
            // The time of execution as the client gave it, not the time of the write.
            "timestamp": outcome.timestamp,
            "changeDescription": {
                "fieldsAdded": [],
                "fieldsUpdated": [
                    {"name": "testCaseResult", "newValue": super::render::outcome(&case.fqn, newest)}
                ],
                "fieldsDeleted": [],
                "previousVersion": version,
            },
            // Text, not an object.
            "entity": super::render::case(self, case, &super::wire::Fields::none()).to_string(),
        });
        if self.events.len() >= MAX_EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }
}

/// The case's open incident, opened now if there is none.
pub(super) fn open_incident(case: &mut Case) -> Uuid {
    *case.incident.get_or_insert_with(Uuid::new_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(flip: Option<(i64, State)>) -> Run {
        Run {
            id: Uuid::nil(),
            timestamp: 1_000,
            starts: 1_500,
            ends: Some(5_000),
            end: State::Success,
            flip,
            planned: Vec::new(),
            reported: None,
        }
    }

    #[test]
    fn a_run_goes_from_queued_over_running_to_its_end_by_the_clock_alone() {
        let run = run(None);
        let seen: Vec<State> = [1_000, 1_499, 1_500, 4_999, 5_000, 90_000].map(|now| run.state(now)).to_vec();
        let (queued, running, success) = (State::Queued, State::Running, State::Success);
        assert_eq!(seen, [queued, queued, running, running, success, success]);
    }

    #[test]
    fn a_flipping_run_changes_its_final_state_later() {
        let run = run(Some((8_000, State::PartialSuccess)));
        assert_eq!(run.state(7_999), State::Success);
        assert_eq!(run.state(8_000), State::PartialSuccess);
    }

    #[test]
    fn ending_a_run_early_drops_the_results_it_never_came_to() {
        let mut run = run(None);
        let planned =
            |timestamp| Planned { case: Uuid::nil(), status: Status::Success, timestamp, visible: timestamp };
        run.planned = vec![planned(2_000), planned(3_000)];
        run.end_at(2_500, State::Stopped);
        assert_eq!(run.planned.len(), 1);
        assert_eq!(run.state(2_500), State::Stopped);
    }

    #[test]
    fn an_unscripted_outcome_follows_the_name() {
        assert_eq!(Status::from_name("rows_fail"), Status::Failed);
        assert_eq!(Status::from_name("rows_abort"), Status::Aborted);
        assert_eq!(Status::from_name("rows"), Status::Success);
        assert_eq!(Status::parse("success"), None);
    }
}
