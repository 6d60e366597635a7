//! Flags and environment variables on top of the file.

use super::doors::Origins;
use super::reader::Report;
use super::value::{admin_listen, duration, listen, store_path};
use super::{Config, Env};
use crate::telemetry;

/// What the command line says; `None` leaves a setting to the environment and the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// `--listen`; empty for none.
    pub listen: Vec<String>,
    /// `--admin-listen`: an address or `off`.
    pub admin_listen: Option<String>,
    /// `--drain-timeout`.
    pub drain_timeout: Option<String>,
    /// `--store`: a path or `:memory:`.
    pub store: Option<String>,
    /// `--log-format`: `auto`, `text` or `json`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

type Setter = fn(&mut Config, &str) -> Result<(), String>;

/// Every setting that a flag or variable can set.
const SETTINGS: [(&str, &str, Setter); 12] = [
    ("--listen", "TESTGATE_LISTEN", |config, text| {
        config.server.listen = text.split(',').map(|one| listen(one.trim())).collect::<Result<_, _>>()?;
        Ok(())
    }),
    ("--admin-listen", "TESTGATE_ADMIN_LISTEN", |config, text| {
        admin_listen(text).map(|address| config.server.admin_listen = address)
    }),
    ("--drain-timeout", "TESTGATE_DRAIN_TIMEOUT", |config, text| {
        let timeout = duration(text)?;
        if !super::value::DRAIN_TIMEOUT.contains(&timeout) {
            return Err(format!("must be {}", super::value::DRAIN_TIMEOUT_SPELLED));
        }
        config.server.drain_timeout = timeout;
        Ok(())
    }),
    ("", "TESTGATE_MAX_CONNECTIONS", |config, text| match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => {
            config.server.max_connections = count;
            Ok(())
        }
        _ => Err("must be a whole number from 1 to 1000000".to_owned()),
    }),
    ("", "TESTGATE_ALLOW_PLAINTEXT", |config, text| {
        boolean(text).map(|allowed| config.server.allow_plaintext = allowed)
    }),
    ("", "TESTGATE_ALLOW_ANONYMOUS", |config, text| {
        boolean(text).map(|allowed| config.server.allow_anonymous = allowed)
    }),
    ("", "TESTGATE_DOORS", |config, text| {
        let doors = &mut config.server.doors;
        (doors.grpc_web, doors.connect) = (false, false);
        text.split(',').try_for_each(|name| doors.open(name.trim()))
    }),
    ("", "TESTGATE_CORS_ORIGINS", |config, text| {
        let origins = &mut config.server.doors.origins;
        *origins = Origins::default();
        text.split(',').try_for_each(|origin| origins.add(origin.trim()))
    }),
    ("--store", "TESTGATE_STORE", |config, text| store_path(text).map(|path| config.store.path = path)),
    ("", "TESTGATE_RETENTION", |config, text| {
        let retention = duration(text)?;
        if !super::value::RETENTION.contains(&retention) {
            return Err(format!("must be {}", super::value::RETENTION_SPELLED));
        }
        config.store.retention = retention;
        Ok(())
    }),
    ("--log-format", "TESTGATE_LOG_FORMAT", |config, text| {
        text.parse().map(|format| config.telemetry.log_format = format)
    }),
    ("--log-level", "TESTGATE_LOG_LEVEL", |config, text| {
        telemetry::check_level(text).map(|()| config.telemetry.log_level = text.to_owned())
    }),
];

impl Overrides {
    /// Sets what flags or, failing them, variables say. Says which of them replace the file's addresses and store.
    pub(super) fn apply(&self, config: &mut Config, env: Env<'_>, report: &Report<'_>) -> Applied {
        let mut applied = Applied::default();
        for (flag, variable, set) in SETTINGS {
            let from_env = || env(variable).filter(|text| !text.is_empty());
            let Some((source, text)) =
                self.flag(flag).map(|text| (flag, text)).or_else(|| from_env().map(|text| (variable, text)))
            else {
                continue;
            };
            match flag {
                "--listen" => applied.listen = Some(source),
                "--store" => applied.store = true,
                _ => {}
            }
            if let Err(message) = set(config, &text) {
                report.push(None, source, message);
            }
        }
        applied
    }

    fn flag(&self, flag: &str) -> Option<String> {
        let Self { listen, admin_listen, drain_timeout, store, log_format, log_level } = self;
        match flag {
            "--listen" => (!listen.is_empty()).then(|| listen.join(",")),
            "--admin-listen" => admin_listen.clone(),
            "--drain-timeout" => drain_timeout.clone(),
            "--store" => store.clone(),
            "--log-format" => log_format.clone(),
            "--log-level" => log_level.clone(),
            _ => None,
        }
    }
}

/// Which settings did not come from the file.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// The flag or variable that named the addresses.
    pub(super) listen: Option<&'static str>,
    pub(super) store: bool,
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}
