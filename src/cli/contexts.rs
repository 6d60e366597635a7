//! `--context`: which gateway is talked to, and as whom, by a name from the user's contexts file.
//!
//! A flag beats the context, and a context, once chosen, takes the place of all environment variables: one gateway's
//! token must not go to another because a variable was left over.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, parser::ValueSource};
use serde::Deserialize;
use serde_json::json;

use super::Global;
use super::exit::Exit;
use super::failure::Failure;
use super::render::Output;
use crate::model::near::did_you_mean;

/// Where a gateway is that nobody says anything of.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

/// `testgate contexts`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  testgate contexts -o name\n\nThey stand in ~/.config/testgate/contexts.toml, or below \
                  XDG_CONFIG_HOME:\n  [prod]\n  server = \"https://testgate.example.com:50051\"\n  token_file = \
                  \"prod.token\"\nThe other keys are ca_file, cert_file and key_file. Paths begin at that folder."
)]
pub(crate) struct ContextsArgs {}

/// One table of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    server: String,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// A setting, and how errors call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) name: String,
}

/// The gateway to talk to, and what to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: Setting<String>,
    pub(crate) token_file: Option<Setting<PathBuf>>,
    pub(crate) ca_file: Option<Setting<PathBuf>>,
    /// The certificate and its key.
    pub(crate) identity: Option<(Setting<PathBuf>, Setting<PathBuf>)>,
}

/// Where a value came from, by the argument's id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(BTreeMap<&'static str, ValueSource>);

const ARGUMENTS: [&str; 5] = ["server", "token_file", "ca_file", "cert_file", "key_file"];

impl Sources {
    /// Notes what the command line and the environment say.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        Self(ARGUMENTS.iter().filter_map(|id| Some((*id, matches.value_source(id)?))).collect())
    }

    /// A flag's value, or the context's, or else that of the environment.
    fn pick<T: Clone>(
        &self,
        id: &'static str,
        given: Option<&T>,
        context: Option<(&str, Option<&T>)>,
    ) -> Option<Setting<T>> {
        let by_flag = self.0.get(id) == Some(&ValueSource::CommandLine);
        let (value, name) = match (given, context) {
            (Some(value), _) if by_flag => (value, format!("--{}", id.replace('_', "-"))),
            (_, Some((context, value))) => (value?, format!("{id} of context {context}")),
            (given, None) => (given?, format!("TESTGATE_{}", id.to_ascii_uppercase())),
        };
        Some(Setting { value: value.clone(), name })
    }
}

/// What the flags, the context and the environment come to.
pub(crate) fn target(global: &Global) -> Result<Target, Failure> {
    let context = match &global.context {
        Some(name) => Some((name.as_str(), find(name)?)),
        None => None,
    };
    let of = |value: fn(&Context) -> Option<&PathBuf>| {
        context.as_ref().map(|(name, context)| (*name, value(context)))
    };
    let sources = &global.sources;
    let server = context.as_ref().map(|(name, context)| (*name, Some(&context.server)));
    let default = || Setting { value: DEFAULT_SERVER.to_owned(), name: "--server".to_owned() };
    let certificate =
        sources.pick("cert_file", global.cert_file.as_ref(), of(|context| context.cert_file.as_ref()));
    let key = sources.pick("key_file", global.key_file.as_ref(), of(|context| context.key_file.as_ref()));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(alone), None) | (None, Some(alone)) => {
            return Err(Failure::Usage(format!("{} needs both a certificate and its key", alone.name)));
        }
    };
    Ok(Target {
        server: sources.pick("server", global.server.as_ref(), server).unwrap_or_else(default),
        token_file: sources.pick(
            "token_file",
            global.token_file.as_ref(),
            of(|context| context.token_file.as_ref()),
        ),
        ca_file: sources.pick("ca_file", global.ca_file.as_ref(), of(|context| context.ca_file.as_ref())),
        identity,
    })
}

/// Lists the contexts.
pub(crate) fn contexts(_: &ContextsArgs, out: &mut Output) -> Result<Exit, Failure> {
    let rows = read(&file()?)?.into_iter().map(|(name, context)| {
        let shows = [("token", &context.token_file), ("certificate", &context.cert_file)];
        let shows: Vec<_> = shows.iter().filter(|(_, file)| file.is_some()).map(|(what, _)| *what).collect();
        let value = json!({"name": name, "server": context.server, "shows": shows});
        (vec![name, context.server, shows.join(",")], value)
    });
    out.records(&["NAME", "SERVER", "SHOWS"], rows.collect())?;
    Ok(Exit::Passed)
}

fn find(name: &str) -> Result<Context, Failure> {
    let file = file()?;
    let mut contexts = read(&file)?;
    contexts.remove(name).ok_or_else(|| {
        let meant = did_you_mean(name, contexts.keys().map(String::as_str));
        Failure::Usage(format!("--context {name}: there is none of this name in {}{meant}", file.display()))
    })
}

/// `$XDG_CONFIG_HOME/testgate/contexts.toml`, or the same below `~/.config`.
fn file() -> Result<PathBuf, Failure> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let folder = folder.ok_or_else(|| {
        Failure::Usage("contexts stand below the home directory, and HOME is not set".into())
    })?;
    Ok(folder.join("testgate").join("contexts.toml"))
}

fn read(file: &Path) -> Result<BTreeMap<String, Context>, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::Usage(format!("{shown}: {error}; hint: `testgate contexts --help` shows what stands in it"))
    })?;
    let folder = file.parent().unwrap_or(Path::new("."));
    parse(&text, folder).map_err(|problem| Failure::Usage(format!("{shown}{problem}")))
}

fn parse(text: &str, folder: &Path) -> Result<BTreeMap<String, Context>, String> {
    let mut contexts: BTreeMap<String, Context> = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line =
            before.map_or_else(String::new, |before| format!(", line {}", before.matches('\n').count() + 1));
        format!("{line}: {}", error.message())
    })?;
    for context in contexts.values_mut() {
        let Context { server: _, token_file, ca_file, cert_file, key_file } = context;
        for path in [token_file, ca_file, cert_file, key_file].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
    Ok(contexts)
}

#[cfg(test)]
mod tests;
