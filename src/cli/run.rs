//! `run`: start tests, follow them, exit by their verdicts.

mod batch;
mod pick;
mod start;

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};

use self::batch::Batch;
pub(crate) use self::batch::Run;
use self::pick::Wanted;
use super::args::{self, ApiMode, Modality};
use super::client::Gateway;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{change_line, follow};
use super::interrupt::{End, Interrupts, deadline};
use super::live::{Last, View, frame};
use super::render::{Format, Output, clean, note};
use super::{Global, junit, write};
use crate::proto::v1::start_execution_request::Options;
use crate::proto::v1::{
    BatchGetExecutionsResponse, LexApiMode, LexModality, LexStartOptions, LexTarget, StartExecutionRequest,
    StartExecutionResponse, StopExecutionRequest, WatchExecutionsRequest,
};

/// So many start calls are out at a time.
const STARTS_AT_A_TIME: usize = 8;
/// So many runs are started before they are followed, in one stream, while the next ones start.
const FOLLOWED_TOGETHER: usize = 20;

/// `testgate run`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate run connect-prod/greeting --label build=42\n  testgate run lex-prod/booking \
                  --locale-id en_US --timeout 10m\n  testgate run connect-prod/greeting lex-prod/booking --junit \
                  report.xml\n  testgate run connect-prod --filter 'upstream_labels.suite = \"smoke\"'\n\nExit codes: 0 \
                  passed, 1 failed, 2 usage, 3 trouble, 4 --timeout passed, 5 stopped, 6 otherwise\ninconclusive, or \
                  nothing ran, 130 interrupted. Of several runs the worst counts: 3, 1, 6, 5, 4."
)]
pub(crate) struct RunArgs {
    /// Tests: BACKEND/TEST by id or display name, or full names. With --filter: backends
    #[arg(required = true, value_name = "TEST")]
    tests: Vec<String>,
    /// Run all tests of a backend that match, as 'upstream_labels.suite = "smoke"'; `-` is all backends
    #[arg(long)]
    filter: Option<String>,
    /// The caller's own label; may be repeated
    #[arg(long = "label", value_parser = args::pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// Names these starts: the same id never starts a test twice
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Start only
    #[arg(long, conflicts_with_all = ["timeout", "stop_on_interrupt", "validate_only", "junit"])]
    detach: bool,
    /// Check everything, start nothing
    #[arg(long, conflicts_with = "junit")]
    validate_only: bool,
    /// Follow for at most so long; the runs go on
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Ctrl-C stops the runs too
    #[arg(long)]
    stop_on_interrupt: bool,
    /// With --stop-on-interrupt: consent to stopping every unfinished run of the same OpenMetadata pipeline
    #[arg(long, requires = "stop_on_interrupt")]
    allow_test_scope: bool,
    /// Write a report: one suite a test, one case a result item
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    lex: LexArgs,
}

/// What only Lex takes; the backend's configured defaults fill in what is left out.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lex options")]
struct LexArgs {
    /// The bot
    #[arg(long, value_name = "ID")]
    bot_id: Option<String>,
    /// The bot's alias
    #[arg(long, value_name = "ID")]
    bot_alias_id: Option<String>,
    /// The locale, as en_US
    #[arg(long, value_name = "ID")]
    locale_id: Option<String>,
    /// Over which API
    #[arg(long, value_enum)]
    api_mode: Option<ApiMode>,
    /// Typed or spoken
    #[arg(long, value_enum)]
    modality: Option<Modality>,
}

impl LexArgs {
    /// Nothing at all where no option was given: `lex` is refused on other kinds of backend.
    fn into_options(self) -> Option<Options> {
        let Self { bot_id, bot_alias_id, locale_id, api_mode, modality } = self;
        let target = (bot_id.is_some() || bot_alias_id.is_some() || locale_id.is_some()).then(|| LexTarget {
            bot_id: bot_id.unwrap_or_default(),
            bot_alias_id: bot_alias_id.unwrap_or_default(),
            locale_id: locale_id.unwrap_or_default(),
        });
        if target.is_none() && api_mode.is_none() && modality.is_none() {
            return None;
        }
        Some(Options::Lex(LexStartOptions {
            target,
            api_mode: api_mode.map_or(LexApiMode::Unspecified, LexApiMode::from).into(),
            modality: modality.map_or(LexModality::Unspecified, LexModality::from).into(),
        }))
    }
}

/// Starts tests and follows them.
pub(crate) async fn run(args: RunArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let wanted = pick::wanted(&args.tests, args.filter.as_deref())?;
    let together = args.filter.is_some() || args.tests.len() > 1;
    let request = StartExecutionRequest {
        parent: String::new(),
        // Its scope is the test, so that one id does for all of them.
        request_id: args.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        labels: args::label_map(args.labels)?,
        validate_only: args.validate_only,
        options: args.lex.into_options(),
    };
    let report = args.junit.as_deref().map(junit::Target::check).transpose()?;
    let gateway = Gateway::connect(global).await?;
    let mut interrupts = Interrupts::listen();

    let batch = RefCell::new(Batch::default());
    let follows = !args.detach && !args.validate_only;
    let view = if follows { View::before_data() } else { View::of_lines() };
    let job = Job { gateway: &gateway, request: &request, follows, batch: &batch, view: &view };
    let guarded = interrupts.guard_until(deadline(args.timeout), job.run(wanted));
    let end = view.beside(guarded, |size, now| frame(&batch.borrow().entries(), now, size)).await;
    // The same rows on the same terminal would be one too many.
    let goes = !matches!(end, End::Interrupted) && out.is_table_on_terminal();
    view.end(if goes { Last::Goes } else { Last::Stays });
    let mut exit = match end {
        End::Finished(Err(failure)) => return Err(failure),
        End::Finished(Ok(())) => batch.borrow().exit(follows),
        End::TimedOut => Exit::worst([Exit::TimedOut, batch.borrow().exit(true)]),
        End::Interrupted => Exit::Interrupted,
    };
    if exit == Exit::Interrupted && args.stop_on_interrupt {
        // A second Ctrl-C must not be kept waiting by a stop that hangs.
        interrupts.guard(stop_all(&gateway, &batch, args.allow_test_scope)).await;
    }
    let batch = batch.into_inner();
    if let Some(target) = &report {
        exit = match interrupts.guard(junit::write(&gateway, batch.runs(), target)).await {
            End::Finished(Ok(())) => exit,
            End::Finished(Err(failure)) => {
                note(format!("error: {failure}"));
                Exit::worst([exit, Exit::Trouble])
            }
            End::Interrupted | End::TimedOut => Exit::Interrupted,
        };
    }
    if exit != Exit::Interrupted {
        print(&batch, together, out)?;
    }
    if together && !args.validate_only {
        note(format!("{} in all: {}", runs(batch.runs().len()), batch.tally()));
    }
    if !args.validate_only
        && let Some(hint) = batch.hint(&request.request_id)
    {
        note(hint);
    }
    Ok(exit)
}

fn runs(count: usize) -> String {
    format!("{count} run{}", if count == 1 { "" } else { "s" })
}

/// What is done for all runs alike.
#[derive(Debug)]
struct Job<'a> {
    gateway: &'a Gateway,
    /// The start of each, but for the test.
    request: &'a StartExecutionRequest,
    follows: bool,
    batch: &'a RefCell<Batch>,
    view: &'a View,
}

impl Job<'_> {
    /// Starts all and follows those that are started while the others still start.
    async fn run(&self, wanted: Wanted) -> Result<(), Failure> {
        let picked = pick::find(self.gateway, wanted).await?;
        let count = picked.len();
        self.batch.borrow_mut().fill(picked);
        let chunks = (0..count).step_by(FOLLOWED_TOGETHER);
        stream::iter(chunks.map(|from| from..count.min(from + FOLLOWED_TOGETHER)))
            .then(async |chunk: Range<usize>| {
                let starts = chunk.clone().map(|index| self.start(index));
                stream::iter(starts).buffer_unordered(STARTS_AT_A_TIME).collect::<()>().await;
                if self.follows { self.batch.borrow().names(chunk) } else { Vec::new() }
            })
            .map(|names| self.follow(names))
            .buffer_unordered(pick::MAX_TESTS)
            .collect::<()>()
            .await;
        Ok(())
    }

    async fn start(&self, index: usize) {
        let parent = self.batch.borrow_mut().sending(index);
        let request = StartExecutionRequest { parent, ..self.request.clone() };
        let started = match start::start(self.gateway, &request).await {
            Ok(StartExecutionResponse { execution: Some(execution), deduplicated }) => {
                Ok((execution, deduplicated))
            }
            Ok(_) => Err(Failure::Trouble(format!("can't start {}: the reply is empty", request.parent))),
            Err(failure) => Err(failure),
        };
        match started {
            Ok((execution, deduplicated)) => {
                let name = clean(&execution.name);
                if deduplicated {
                    note(format!("{name}: an earlier call with this request id started it"));
                } else if !name.is_empty() && !self.view.is_live() {
                    note(format!("{name}: started, request id {}", clean(&request.request_id)));
                }
                self.batch.borrow_mut().started(index, execution);
            }
            Err(failure) => {
                note(format!("error: {failure}"));
                self.batch.borrow_mut().refused(index, &failure);
            }
        }
        self.view.changed();
    }

    async fn follow(&self, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let watch = WatchExecutionsRequest { names: names.clone(), until_done: true, ..Default::default() };
        let selection = RefCell::default();
        let followed = follow(self.gateway, &watch, &selection, |update| {
            self.batch.borrow_mut().update(update);
            self.view.changed();
            if !self.view.is_live() {
                note(change_line(update));
            }
            Ok(())
        });
        if let Err(failure) = followed.await {
            note(format!("error: {failure}"));
            self.batch.borrow_mut().unfollowed(&names, &failure);
        }
    }
}

async fn stop_all(gateway: &Gateway, batch: &RefCell<Batch>, allow_test_scope: bool) {
    let unfinished = batch.borrow().unfinished();
    let stops = unfinished.into_iter().map(async |name| {
        let shown = clean(&name);
        let request = StopExecutionRequest {
            name: name.clone(),
            request_id: uuid::Uuid::new_v4().to_string(),
            reason: "interrupted".into(),
            allow_test_scope,
        };
        match write::send_stop(gateway, request).await {
            Ok(_) => {
                note(format!("{shown}: told to stop"));
                batch.borrow_mut().told_to_stop(&name);
            }
            Err(failure) => note(format!("error: {failure}")),
        }
    });
    stream::iter(stops).buffer_unordered(STARTS_AT_A_TIME).collect::<()>().await;
}

/// What is known of the runs: one as it is, several as the reply to a call for all of them would be.
fn print(batch: &Batch, together: bool, out: &mut Output) -> Result<(), Failure> {
    let mut known: Vec<_> = batch.executions().cloned().collect();
    if out.format() == Format::Name {
        known.retain(|execution| !execution.name.is_empty());
    }
    let printed = match out.format() {
        Format::Json if together => out.json(&BatchGetExecutionsResponse { executions: known }),
        _ if known.is_empty() => Ok(()),
        _ => out.rows(&known),
    };
    // Nobody reading does not change the verdict.
    match printed.and_then(|()| out.flush()) {
        Err(Failure::Closed) => Ok(()),
        other => other,
    }
}

/// A duration as the contract has it.
pub(crate) fn to_proto(duration: Duration) -> Result<prost_types::Duration, Failure> {
    prost_types::Duration::try_from(duration).map_err(|_| Failure::Usage("the duration is too long".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LEX: LexArgs =
        LexArgs { bot_id: None, bot_alias_id: None, locale_id: None, api_mode: None, modality: None };

    #[test]
    fn lex_options_are_sent_only_where_one_was_given() {
        assert_eq!(NO_LEX.into_options(), None);
        let Some(Options::Lex(lex)) = LexArgs { modality: Some(Modality::Audio), ..NO_LEX }.into_options()
        else {
            panic!("options expected");
        };
        assert_eq!((lex.target.clone(), lex.modality()), (None, LexModality::Audio));
        let Some(Options::Lex(lex)) = LexArgs { bot_id: Some("B".into()), ..NO_LEX }.into_options() else {
            panic!("options expected");
        };
        assert_eq!(lex.target.unwrap().bot_id, "B");
    }
}
