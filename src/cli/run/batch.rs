//! The runs of one command, and what became of each.

use std::collections::HashMap;
use std::ops::Range;

use super::pick::Picked;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::live::Entry;
use crate::cli::render::clean;
use crate::cli::tally::{Outcome, Tally};
use crate::proto::v1::execution_update::Type;
use crate::proto::v1::{Execution, ExecutionUpdate};

/// So many names a hint spells out.
const SPELT_OUT: usize = 8;

/// A test that is to run, and how far it came.
#[derive(Debug)]
pub(crate) struct Run {
    /// The test's full name.
    pub(crate) test: String,
    /// How people call it.
    pub(crate) label: String,
    /// A start call is out, or was, and its answer does not say that nothing began.
    pub(crate) sent: bool,
    /// The last that is known of its execution.
    pub(crate) execution: Option<Execution>,
    /// It is gone upstream.
    pub(crate) removed: bool,
    /// It was told to stop.
    pub(crate) stopping: bool,
    /// Why it could not be started or followed.
    pub(crate) trouble: Option<String>,
}

impl Run {
    fn exit(&self) -> Exit {
        match &self.execution {
            _ if self.trouble.is_some() => Exit::Trouble,
            Some(execution) if self.removed && !execution.done => Exit::Trouble,
            Some(execution) => Exit::of(execution),
            None => Exit::TimedOut, // the only way to an end at which it was not started and had no trouble
        }
    }

    /// What became of it.
    fn outcome(&self) -> Outcome {
        self.execution.as_ref().map_or(Outcome::NotStarted, Outcome::of)
    }

    /// Its line in the live table.
    fn entry(&self) -> Entry<'_> {
        let outcome = match self.outcome() {
            // Its turn may still come.
            Outcome::NotStarted if self.trouble.is_none() => Outcome::Unfinished,
            outcome => outcome,
        };
        let execution = self.execution.as_ref();
        Entry { label: self.label.clone(), execution, outcome, trouble: self.trouble.as_deref() }
    }

    fn goes_on(&self) -> Option<&str> {
        self.execution
            .as_ref()
            .filter(|execution| !self.stopping && !execution.done && !execution.name.is_empty())
            .map(|execution| execution.name.as_str())
    }
}

/// The runs of one command.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    runs: Vec<Run>,
    /// Executions by name.
    known: HashMap<String, usize>,
}

impl Batch {
    /// Takes what was picked.
    pub(super) fn fill(&mut self, picked: Vec<Picked>) {
        self.runs = picked
            .into_iter()
            .map(|Picked { name, label }| Run {
                test: name,
                label,
                sent: false,
                execution: None,
                removed: false,
                stopping: false,
                trouble: None,
            })
            .collect();
    }

    /// Their lines in the live table.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        self.runs.iter().map(Run::entry).collect()
    }

    /// All of them, in the order in which they were asked for.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The full name of a test; its start is about to be sent.
    pub(super) fn sending(&mut self, index: usize) -> String {
        let Some(run) = self.runs.get_mut(index) else { return String::new() };
        run.sent = true;
        run.test.clone()
    }

    /// Its start was answered.
    pub(super) fn started(&mut self, index: usize, execution: Execution) {
        self.known.insert(execution.name.clone(), index);
        if let Some(run) = self.runs.get_mut(index) {
            run.execution = Some(execution);
        }
    }

    /// Its start failed.
    pub(super) fn refused(&mut self, index: usize, failure: &Failure) {
        if let Some(run) = self.runs.get_mut(index) {
            run.sent = failure.leaves_doubt();
            run.trouble = Some(failure.to_string());
        }
    }

    /// What is followed of these.
    pub(super) fn names(&self, chunk: Range<usize>) -> Vec<String> {
        let runs = self.runs.get(chunk).unwrap_or_default();
        runs.iter().filter_map(|run| Some(run.execution.as_ref()?.name.clone())).collect()
    }

    /// Something changed.
    pub(super) fn update(&mut self, update: &ExecutionUpdate) {
        let Some(execution) = &update.execution else { return };
        let run = self.known.get(&execution.name).and_then(|index| self.runs.get_mut(*index));
        if let Some(run) = run {
            run.execution = Some(execution.clone());
            run.removed = update.r#type() == Type::Removed;
        }
    }

    /// Following some of them failed; those that are done don't mind.
    pub(super) fn unfollowed(&mut self, names: &[String], failure: &Failure) {
        for index in names.iter().filter_map(|name| self.known.get(name)) {
            if let Some(run) = self.runs.get_mut(*index).filter(|run| run.goes_on().is_some()) {
                run.trouble = Some(failure.to_string());
            }
        }
    }

    /// What is known of their executions.
    pub(super) fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.runs.iter().filter_map(|run| run.execution.as_ref())
    }

    /// Which of them go on.
    pub(super) fn unfinished(&self) -> Vec<String> {
        self.runs.iter().filter_map(Run::goes_on).map(str::to_owned).collect()
    }

    /// It goes on, but not for long.
    pub(super) fn told_to_stop(&mut self, name: &str) {
        if let Some(run) = self.known.get(name).and_then(|index| self.runs.get_mut(*index)) {
            run.stopping = true;
        }
    }

    /// Whether one of them could not be started.
    pub(super) fn has_trouble(&self) -> bool {
        self.runs.iter().any(|run| run.trouble.is_some())
    }

    /// The exit code that all of them deserve; where none was followed, only the starts count.
    pub(super) fn exit(&self, followed: bool) -> Exit {
        let started = |run: &Run| if run.trouble.is_some() { Exit::Trouble } else { Exit::Passed };
        Exit::worst(self.runs.iter().map(|run| if followed { run.exit() } else { started(run) }))
    }

    /// How they came out.
    pub(super) fn tally(&self) -> Tally {
        self.runs.iter().map(Run::outcome).collect()
    }

    /// What to do about those that were left before their end.
    pub(super) fn hint(&self, request_id: &str) -> Option<String> {
        let request_id = clean(request_id);
        let in_doubt = |run: &&Run| run.sent && run.execution.is_none();
        let doubtful = self.runs.iter().filter(in_doubt).count();
        let unfinished: Vec<_> = self.runs.iter().filter_map(Run::goes_on).map(clean).collect();
        match (self.runs.as_slice(), unfinished.as_slice()) {
            ([run], []) if doubtful > 0 => Some(format!(
                "it may have started; `testgate run '{}' --request-id '{request_id}'` attaches to it",
                clean(&run.label)
            )),
            ([], []) => Some("nothing was started".into()),
            (runs, []) if runs.iter().all(|run| !run.sent && run.execution.is_none()) => {
                // Where each was refused, that has been told already.
                (!self.has_trouble()).then(|| "nothing was started".into())
            }
            _ if doubtful > 0 => Some(format!(
                "{doubtful} of them may have started; the same command with --request-id '{request_id}' attaches to \
                 all that did"
            )),
            (_, []) => None,
            (_, [name]) => Some(format!("the run goes on; `testgate watch '{name}'` attaches to it")),
            (_, names) if names.len() <= SPELT_OUT => Some(format!(
                "{} runs go on; `testgate watch '{}'` attaches to them",
                names.len(),
                names.join("' '")
            )),
            (_, names) => Some(format!(
                "{} runs go on; the same command with --request-id '{request_id}' attaches to them",
                names.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests;
