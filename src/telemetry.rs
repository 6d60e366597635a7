//! Logs: one line an event, to standard error.

mod call;
mod lines;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt as format, reload};

pub use call::{Call, call};
use lines::Lines;

/// The lines of this process, once it logs.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

impl LogFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| "must be \"auto\", \"text\" or \"json\"".to_owned())
    }
}

/// Checks a level or list of directives, such as `info` or `info,testgate=debug`.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_level(text: &str) -> Result<(), String> {
    filter(text).map(drop)
}

/// Changes the level while the process runs.
pub struct LogHandle {
    lines: Lines,
    reload: reload::Handle<Targets, Registry>,
    level: Mutex<String>,
    /// Whether the environment says the level, and not the configuration.
    of_environment: bool,
}

impl LogHandle {
    /// How many lines were dropped because nobody took them.
    pub fn dropped(&self) -> u64 {
        self.lines.dropped()
    }

    /// The level or directives that hold now.
    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new configuration's level, unless the environment beats it.
    pub fn configure(&self, level: &str) {
        if self.of_environment {
            tracing::warn!("RUST_LOG beats the configuration's new log level");
        } else if let Err(error) = self.set_level(level) {
            tracing::error!(error, "the new log level could not be set");
        }
    }

    /// Sets a level or directives.
    ///
    /// # Errors
    /// Says what is wrong with the text; nothing changes then.
    pub fn set_level(&self, text: &str) -> Result<(), String> {
        let filter = filter(text)?;
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload.reload(filter).map_err(|error| error.to_string())?;
        text.trim().clone_into(&mut level);
        Ok(())
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("level", &self.level()).finish_non_exhaustive()
    }
}

/// Starts logging, panics too. `RUST_LOG` beats `level` where it is set and well-formed.
///
/// # Errors
/// `level` is malformed, or the process logs already.
pub fn init(log_format: LogFormat, level: &str) -> Result<LogHandle, String> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let (level, ignored, of_environment) = match from_env.map(|text| (check_level(&text), text)) {
        Some((Ok(()), text)) => (text, None, true),
        Some((Err(error), _)) => (level.to_owned(), Some(error), false),
        None => (level.to_owned(), None, false),
    };
    let lines = Lines::to(std::io::stderr()).map_err(|error| error.to_string())?;
    let (layer, mut handle) = handle(log_format, &level, lines.clone())?;
    handle.of_environment = of_environment;
    tracing_subscriber::registry().with(layer).try_init().map_err(|error| error.to_string())?;
    // It is the only one: the subscriber above is the process's first.
    LINES.get_or_init(|| lines.clone());
    if log_format.is_json() {
        call::tell_as_json(lines);
    }
    // The default hook writes to standard error itself, and waits where nobody reads it.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, panic = panic.payload_as_str().unwrap_or("no message"), "a panic");
    }));
    if let Some(error) = ignored {
        tracing::warn!(error, "RUST_LOG is ignored");
    }
    Ok(handle)
}

/// Waits until what was logged is written, for as long as this at most. The process is about to end.
pub fn flush(within: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(within);
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn handle(log_format: LogFormat, level: &str, lines: Lines) -> Result<(BoxedLayer, LogHandle), String> {
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (filter, reload) = reload::Layer::new(filter(level)?);
    let layer: BoxedLayer = if log_format.is_json() {
        format::layer().json().flatten_event(true).with_writer(lines.clone()).boxed()
    } else {
        format::layer().with_ansi(colour).with_writer(lines.clone()).boxed()
    };
    let level = Mutex::new(level.trim().to_owned());
    Ok((layer.with_filter(filter).boxed(), LogHandle { lines, reload, level, of_environment: false }))
}

fn filter(text: &str) -> Result<Targets, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 4096 {
        return Err(
            "must be a level such as \"info\", or directives such as \"info,testgate=debug\"".to_owned()
        );
    }
    // Alone, a misspelt level would be taken for the name of a module.
    let is_word = text.bytes().all(|b| b.is_ascii_alphabetic());
    if is_word && text.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
        return Err("is not a level: error, warn, info, debug, trace or off".to_owned());
    }
    text.parse::<Targets>().map_err(|error| format!("is not a log filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(check_level("infoo").is_err());
        assert!(check_level("").is_err());
        assert!(check_level("info,testgate=loud").is_err());
    }

    #[test]
    fn levels_and_directives_are_accepted() {
        for text in ["info", "off", "DEBUG", "info,testgate=debug", "warn,testgate::server=trace"] {
            assert_eq!(check_level(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_level_changes_while_running_and_a_bad_one_changes_nothing() {
        let (layer, handle) = handle(LogFormat::Json, "info", Lines::to(std::io::sink()).unwrap()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            handle.set_level(" warn,testgate=debug ").unwrap();
            assert_eq!(handle.level(), "warn,testgate=debug");
            assert!(handle.set_level("nonsense").is_err());
            assert_eq!(handle.level(), "warn,testgate=debug");
            assert!(tracing::enabled!(target: "testgate", tracing::Level::DEBUG));
            assert!(!tracing::enabled!(target: "other", tracing::Level::INFO));
        });
    }

    #[test]
    fn formats_have_one_word_each() {
        for format in LogFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
