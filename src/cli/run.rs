//! `run`: start a test, follow it, exit by its verdict.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::args::{self, ApiMode, Modality};
use super::client::Gateway;
use super::exit::Exit;
use super::failure::{Failure, is_lost, reason, retry_delay};
use super::follow::{Backoff, Selection, change_line, follow};
use super::render::{Format, Output, clean, note};
use super::{Global, names, write};
use crate::proto::v1::start_execution_request::Options;
use crate::proto::v1::{
    Execution, LexApiMode, LexModality, LexStartOptions, LexTarget, StartExecutionRequest,
    StartExecutionResponse, StopExecutionRequest, WatchExecutionsRequest,
};

/// `testgate run`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testgate run connect-prod/greeting --label build=42\n  testgate run lex-prod/booking \
                  --locale-id en_US --timeout 10m\n\nExit codes: 0 passed, 1 failed, 2 usage, 3 trouble, 4 --timeout \
                  passed, 5 stopped, 6 otherwise\ninconclusive, 130 interrupted."
)]
pub(crate) struct RunArgs {
    /// The test: BACKEND/TEST by id or display name, or its full name
    test: String,
    /// The caller's own label; may be repeated
    #[arg(long = "label", value_parser = args::pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// Names this start: the same id never starts twice
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Start only
    #[arg(long, conflicts_with_all = ["timeout", "stop_on_interrupt", "validate_only"])]
    detach: bool,
    /// Check everything, start nothing
    #[arg(long)]
    validate_only: bool,
    /// Follow for at most so long; the run goes on
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Ctrl-C stops the run too
    #[arg(long)]
    stop_on_interrupt: bool,
    /// With --stop-on-interrupt: consent to stopping every unfinished run of the same OpenMetadata pipeline
    #[arg(long, requires = "stop_on_interrupt")]
    allow_test_scope: bool,
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

/// How following ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// By itself.
    Finished(T),
    /// Ctrl-C.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// Runs a future until it is done, Ctrl-C is pressed or the time is over.
pub(crate) async fn guarded<F: Future>(timeout: Option<Duration>, future: F) -> End<F::Output> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = async {
        // Where the handler can't be installed, Ctrl-C ends the process as it always did.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        output = future => End::Finished(output),
        () = interrupted => End::Interrupted,
        () = late => End::TimedOut,
    }
}

#[derive(Debug, Default)]
struct Progress {
    /// A start call is out, or was.
    sent: bool,
    started: Option<Execution>,
    selection: Selection,
}

/// Starts a test and follows it.
pub(crate) async fn run(args: RunArgs, global: &Global, out: &mut Output) -> Result<Exit, Failure> {
    let reference = names::parse_test(&args.test)?;
    let request_id = args.request_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let request = StartExecutionRequest {
        parent: String::new(),
        request_id: request_id.clone(),
        labels: args::label_map(args.labels)?,
        validate_only: args.validate_only,
        options: args.lex.into_options(),
    };
    let gateway = Gateway::connect(global).await?;
    let follows = !args.detach && !args.validate_only;

    let mut progress = Progress::default();
    let end = guarded(args.timeout, drive(&gateway, reference, request, follows, &mut progress)).await;
    let stop = args.stop_on_interrupt.then_some(args.allow_test_scope);
    match end {
        End::Finished(Ok(())) => {}
        End::Finished(Err(failure)) => {
            if progress.sent && progress.started.is_none() && !args.validate_only {
                note(format!("the request id was {request_id}"));
            }
            attach_hint(&progress);
            return Err(failure);
        }
        End::Interrupted => {
            return interrupted(&gateway, &progress, &args.test, &request_id, stop).await;
        }
        End::TimedOut => {
            if progress.started.is_none() {
                note(unconfirmed(&progress, &args.test, &request_id));
            }
            attach_hint(&progress);
            print_last(&progress, out)?;
            return Ok(Exit::TimedOut);
        }
    }
    print_last(&progress, out)?;
    if !follows {
        attach_hint(&progress);
        return Ok(Exit::Passed);
    }
    Ok(progress.selection.exit())
}

async fn drive(
    gateway: &Gateway,
    test: names::Reference,
    mut request: StartExecutionRequest,
    follows: bool,
    progress: &mut Progress,
) -> Result<(), Failure> {
    request.parent = names::resolve(gateway, test).await?.name;
    progress.sent = true;
    let what = format!("start {}", request.parent);
    let StartExecutionResponse { execution, deduplicated } = start(gateway, &request, &what).await?;
    let execution = execution.ok_or_else(|| Failure::Trouble(format!("can't {what}: the reply is empty")))?;
    let name = execution.name.clone();
    progress.started = Some(execution);
    if deduplicated {
        note(format!("{}: an earlier call with this request id started it", clean(&name)));
    } else if !name.is_empty() {
        note(format!("{}: started, request id {}", clean(&name), clean(&request.request_id)));
    }
    if !follows {
        return Ok(());
    }
    let watch = WatchExecutionsRequest { names: vec![name], until_done: true, ..Default::default() };
    follow(gateway, &watch, &mut progress.selection, |update| {
        note(change_line(update));
        Ok(())
    })
    .await
}

/// Starts, and starts again with the same id while the answer is lost or in doubt: one id never starts twice.
async fn start(
    gateway: &Gateway,
    request: &StartExecutionRequest,
    what: &str,
) -> Result<StartExecutionResponse, Failure> {
    let mut backoff = Backoff::new();
    loop {
        let status = match gateway.client().start_execution(gateway.request(request.clone())).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let in_doubt = reason(&status).as_deref() == Some("START_OUTCOME_UNKNOWN");
        if !in_doubt && !is_lost(&status) {
            return Err(Failure::call(what, status));
        }
        let fresh = backoff.is_fresh();
        // What may have started shows up upstream in its own time; asking faster finds nothing sooner.
        let hint = if in_doubt { Some(Duration::from_secs(5)) } else { retry_delay(&status) };
        let Some(wait) = backoff.next(hint) else { return Err(Failure::call(what, status)) };
        if fresh {
            note("no clear answer to the start; asking again with the same request id");
        }
        tokio::time::sleep(wait).await;
    }
}

async fn interrupted(
    gateway: &Gateway,
    progress: &Progress,
    test: &str,
    request_id: &str,
    stop: Option<bool>,
) -> Result<Exit, Failure> {
    let Some(started) = &progress.started else {
        note(unconfirmed(progress, test, request_id));
        return Ok(Exit::Interrupted);
    };
    let Some(allow_test_scope) = stop else {
        attach_hint(progress);
        return Ok(Exit::Interrupted);
    };
    let request = StopExecutionRequest {
        name: started.name.clone(),
        request_id: uuid::Uuid::new_v4().to_string(),
        reason: "interrupted".into(),
        allow_test_scope,
    };
    // A second Ctrl-C must not be kept waiting by a stop that hangs.
    match guarded(None, write::send_stop(gateway, request)).await {
        End::Finished(Ok(_)) => note(format!("{}: told to stop", clean(&started.name))),
        End::Finished(Err(failure)) => {
            note(format!("error: {failure}"));
            attach_hint(progress);
        }
        End::Interrupted | End::TimedOut => attach_hint(progress),
    }
    Ok(Exit::Interrupted)
}

fn unconfirmed(progress: &Progress, test: &str, request_id: &str) -> String {
    if !progress.sent {
        return "nothing was started".into();
    }
    format!(
        "it may have started; `testgate run '{}' --request-id '{}'` attaches to it",
        clean(test),
        clean(request_id)
    )
}

fn attach_hint(progress: &Progress) {
    match &progress.started {
        Some(started) if !started.name.is_empty() && !last(progress).is_some_and(|last| last.done) => {
            note(format!("the run goes on; `testgate watch '{}'` attaches to it", clean(&started.name)));
        }
        _ => {}
    }
}

fn last(progress: &Progress) -> Option<&Execution> {
    progress.selection.executions().next().or(progress.started.as_ref())
}

fn print_last(progress: &Progress, out: &mut Output) -> Result<(), Failure> {
    let Some(last) = last(progress) else { return Ok(()) };
    if out.format() == Format::Name && last.name.is_empty() {
        return Ok(());
    }
    // Nobody reading does not change the verdict.
    match out.rows(std::slice::from_ref(last)).and_then(|()| out.flush()) {
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

    #[tokio::test(start_paused = true)]
    async fn time_runs_out_only_where_there_is_a_limit() {
        let never = std::future::pending::<()>();
        assert!(matches!(guarded(Some(Duration::from_secs(5)), never).await, End::TimedOut));
        let soon = tokio::time::sleep(Duration::from_secs(3600));
        assert!(matches!(guarded(None, soon).await, End::Finished(())));
        assert!(matches!(guarded(Some(Duration::ZERO), async {}).await, End::Finished(())));
    }
}
