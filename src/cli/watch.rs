//! `watch`: follow executions by name, or whatever a parent selects.

use std::cell::RefCell;
use std::time::Duration;

use clap::Args;

use super::Global;
use super::client::Gateway;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{Selection, change_line, follow};
use super::interrupt::{End, Interrupts, deadline};
use super::live::{Entry, Last, View, frame};
use super::names::{self, Finder, Level, Reference};
use super::render::{Format, Output, note};
use super::tally::Outcome;
use crate::proto::v1::{BatchGetExecutionsResponse, Execution, ExecutionUpdate, WatchExecutionsRequest};

/// `testgate watch`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate watch connect-prod/greeting/EXECUTION\n  testgate watch - --filter 'labels.build = \
                  \"42\"' -o jsonl\n\nOn a terminal a live table; elsewhere a line for each \
                  change. -o json prints the last states when all are done."
)]
pub(crate) struct WatchArgs {
    /// Executions, or one backend or test to follow all of; `-` follows everything
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Narrows a backend or test, as 'verdict = FAILED'
    #[arg(long, default_value = "")]
    filter: String,
    /// Follow for at most so long
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
}

/// What is followed.
#[derive(Debug, PartialEq)]
enum Subject {
    Names(Vec<Reference>),
    Parent(Reference),
}

fn subject(args: &WatchArgs, format: Format) -> Result<Subject, Failure> {
    let mut references =
        args.names.iter().map(|name| names::parse(name)).collect::<Result<Vec<_>, Failure>>()?;
    if references.iter().all(|reference| reference.level() == Level::Execution) {
        return if args.filter.is_empty() {
            Ok(Subject::Names(references))
        } else {
            Err(Failure::Usage("--filter goes with a backend or a test, not with executions".into()))
        };
    }
    if references.len() > 1 {
        return Err(Failure::Usage("watch takes executions, or one backend or test".into()));
    }
    if format == Format::Json {
        return Err(Failure::Usage("-o json needs an end, and this watch has none; use -o jsonl".into()));
    }
    Ok(Subject::Parent(references.remove(0)))
}

/// Follows executions.
pub(crate) async fn watch(args: WatchArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let subject = subject(&args, out.format())?;
    let by_names = matches!(subject, Subject::Names(_));
    let gateway = Gateway::connect(global).await?;
    let view = View::beside_data(out.format());
    let selection = RefCell::new(Selection::default());
    let all = drive(&gateway, subject, args.filter, &selection, &view, out);
    let mut interrupts = Interrupts::listen();
    let guarded = interrupts.guard_until(deadline(args.timeout), all);
    let end = view.beside(guarded, |size, now| frame(&entries(&selection.borrow()), now, size)).await;
    // In a terminal the last states are the data, and not all of them may have had room in the table.
    let prints = by_names && view.is_live() && !matches!(end, End::Interrupted);
    view.end(if prints && out.is_table_on_terminal() { Last::Goes } else { Last::Stays });
    let selection = selection.into_inner();
    let exit = match end {
        End::Finished(Ok(())) => selection.exit(),
        // The reader left before the verdict was known, and that is not a pass.
        End::Finished(Err(Failure::Closed)) => return Ok(Exit::Trouble),
        End::Finished(Err(failure)) => return Err(failure),
        End::Interrupted => {
            note("the runs go on; the same command attaches again");
            return Ok(Exit::Interrupted);
        }
        End::TimedOut => Exit::worst([Exit::TimedOut, selection_exit(&selection)]),
    };
    let executions = || selection.executions().cloned().collect::<Vec<_>>();
    let printed = match out.format() {
        Format::Json => out.json(&BatchGetExecutionsResponse { executions: executions() }),
        Format::Table if prints => out.rows(&executions()),
        _ => Ok(()),
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) | Err(Failure::Closed) => Ok(exit),
        Err(failure) => Err(failure),
    }
}

/// Of what was seen by the time limit; nothing seen is no worse than the limit itself.
fn selection_exit(selection: &Selection) -> Exit {
    if selection.executions().next().is_none() { Exit::TimedOut } else { selection.exit() }
}

/// The lines of the live table; one test may have many runs, so that each shows the beginning of its id.
fn entries(selection: &Selection) -> Vec<Entry<'_>> {
    selection.executions().map(entry).collect()
}

fn entry(execution: &Execution) -> Entry<'_> {
    let id: String = execution.name.rsplit('/').next().unwrap_or_default().chars().take(8).collect();
    Entry {
        label: format!("{} {id}", names::short_test(&execution.name, &execution.test_display_name)),
        execution: Some(execution),
        outcome: Outcome::of(execution),
        trouble: None,
    }
}

async fn drive(
    gateway: &Gateway,
    subject: Subject,
    filter: String,
    selection: &RefCell<Selection>,
    view: &View,
    out: &mut Output,
) -> Result<(), Failure> {
    let request = match subject {
        Subject::Names(references) => {
            let mut finder = Finder::new(gateway);
            let mut names = Vec::with_capacity(references.len());
            for reference in references {
                names.push(finder.resolve(reference).await?.name);
            }
            WatchExecutionsRequest { names, until_done: true, ..Default::default() }
        }
        Subject::Parent(reference) => {
            let parent = names::resolve(gateway, reference).await?.into_execution_parent();
            WatchExecutionsRequest { parent, filter, ..Default::default() }
        }
    };
    follow(gateway, &request, selection, |update| {
        view.changed();
        if view.is_live() { Ok(()) } else { show(update, out) }
    })
    .await
}

fn show(update: &ExecutionUpdate, out: &mut Output) -> Result<(), Failure> {
    match out.format() {
        Format::Table => out.line(&change_line(update))?,
        Format::Jsonl => out.json(update)?,
        Format::Name => out.line(update.execution.as_ref().map_or("", |run| run.name.as_str()))?,
        Format::Json => note(change_line(update)),
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], filter: &str, format: Format) -> Result<Subject, Failure> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        subject(&WatchArgs { names, filter: filter.into(), timeout: None }, format)
    }

    #[test]
    fn executions_by_name_or_one_parent() {
        assert!(
            matches!(of(&["b/t/e", "b/t/f"], "", Format::Json), Ok(Subject::Names(names)) if names.len() == 2)
        );
        assert!(matches!(of(&["-"], "done = true", Format::Jsonl), Ok(Subject::Parent(_))));
        for (names, filter, format) in [
            (&["b/t/e", "b/t"][..], "", Format::Table),
            (&["b", "c"][..], "", Format::Table),
            (&["b/t/e"][..], "done = true", Format::Table),
            (&["b/t"][..], "", Format::Json),
        ] {
            assert!(matches!(of(names, filter, format), Err(Failure::Usage(_))), "{names:?}");
        }
    }

    #[test]
    fn nothing_seen_by_the_time_limit_is_the_time_limit() {
        assert_eq!(selection_exit(&Selection::default()), Exit::TimedOut);
    }
}
