//! Which tests `run` runs: those that are named, or those of a backend that a filter picks.

use std::collections::BTreeSet;

use crate::cli::client::{Gateway, read_list};
use crate::cli::failure::Failure;
use crate::cli::names::{self, Finder, Level, Reference};
use crate::cli::render::note;
use crate::proto::v1::capabilities::StartMode;
use crate::proto::v1::{ListTestsRequest, Test};

/// The most tests that one command starts.
pub(super) const MAX_TESTS: usize = 1000;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// Tests by name, each as it was typed.
    Named(Vec<(String, Reference)>),
    /// What a filter picks of some backends.
    Filtered(Vec<Reference>, String),
}

/// A test that is to be run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picked {
    /// Its full name.
    pub(super) name: String,
    /// How people call it.
    pub(super) label: String,
}

/// Reads the arguments; nothing is called yet.
pub(super) fn wanted(tests: &[String], filter: Option<&str>) -> Result<Wanted, Failure> {
    let Some(filter) = filter else {
        let named = tests.iter().map(|test| Ok((test.clone(), names::parse_test(test)?)));
        return Ok(Wanted::Named(named.collect::<Result<_, Failure>>()?));
    };
    if filter.trim().is_empty() {
        // An unset variable in a script must not start everything there is.
        return Err(Failure::Usage("--filter is empty; 'startable = true' picks all tests".into()));
    }
    let backends = tests.iter().map(|backend| match names::parse(backend)? {
        reference if reference.level() == Level::Backend => Ok(reference),
        _ => Err(Failure::Usage(format!("--filter picks tests of a backend, and `{backend}` is none"))),
    });
    Ok(Wanted::Filtered(backends.collect::<Result<_, Failure>>()?, filter.to_owned()))
}

/// Finds them, each once.
pub(super) async fn find(gateway: &Gateway, wanted: Wanted) -> Result<Vec<Picked>, Failure> {
    let found = match wanted {
        Wanted::Named(named) => {
            let mut finder = Finder::new(gateway);
            let mut found = Vec::with_capacity(named.len());
            for (label, reference) in named {
                found.push(Picked { name: finder.resolve(reference).await?.name, label });
            }
            found
        }
        Wanted::Filtered(backends, filter) => filtered(gateway, backends, &filter).await?,
    };
    let mut seen = BTreeSet::new();
    let (once, again): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|picked| seen.insert(picked.name.clone()));
    for picked in again {
        note(format!("{} is named twice and run once", picked.label));
    }
    if once.len() > MAX_TESTS {
        return Err(Failure::Usage(format!(
            "these are {} tests, and one command starts at most {MAX_TESTS}; narrow the filter",
            once.len()
        )));
    }
    Ok(once)
}

async fn filtered(gateway: &Gateway, backends: Vec<Reference>, filter: &str) -> Result<Vec<Picked>, Failure> {
    let mut found = Vec::new();
    let mut never = 0;
    for backend in backends {
        let parent = names::resolve(gateway, backend).await?.name;
        let what = format!("list the tests of {parent}");
        let request = ListTestsRequest { parent, filter: filter.to_owned(), ..Default::default() };
        let unreachable = read_list(gateway, &request, None, &what, |tests| {
            let all = tests.len();
            let before = found.len();
            found.extend(tests.into_iter().filter(can_start).map(|test| Picked {
                label: names::short_test(&test.name, &test.display_name),
                name: test.name,
            }));
            never += all - (found.len() - before);
            Ok(())
        })
        .await?;
        if !unreachable.is_empty() {
            // A gate must not be passed by the tests that happened to be seen.
            return Err(Failure::Trouble(format!(
                "nothing was started, since the tests of {} are not known",
                unreachable.join(", ")
            )));
        }
    }
    if never > 0 {
        note(format!("{never} that match can't be started by themselves and are left out"));
    }
    Ok(found)
}

/// Whether starting it is possible at all. One that can't be started just now is tried, so that it is told and counts.
fn can_start(test: &Test) -> bool {
    test.capabilities.as_ref().is_none_or(|can| can.start_mode() != StartMode::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::Capabilities;

    fn of(tests: &[&str], filter: Option<&str>) -> Result<Wanted, Failure> {
        let tests: Vec<_> = tests.iter().map(|test| (*test).to_owned()).collect();
        wanted(&tests, filter)
    }

    #[test]
    fn tests_by_name_or_backends_with_a_filter() {
        assert!(matches!(of(&["b/t", "c/u"], None), Ok(Wanted::Named(named)) if named.len() == 2));
        assert!(
            matches!(of(&["b", "-"], Some("a = 1")), Ok(Wanted::Filtered(backends, _)) if backends.len() == 2)
        );
        for (tests, filter) in
            [(&["b"][..], None), (&["b/t", "b"], None), (&["b/t"], Some("a = 1")), (&["b"], Some(" "))]
        {
            assert!(matches!(of(tests, filter), Err(Failure::Usage(_))), "{tests:?}");
        }
    }

    #[test]
    fn only_what_can_never_be_started_is_left_out() {
        let with = |mode: StartMode| Test {
            capabilities: Some(Capabilities { start_mode: mode.into(), ..Default::default() }),
            startable: Some(false),
            ..Default::default()
        };
        assert!(!can_start(&with(StartMode::None)));
        assert!(can_start(&with(StartMode::GatewayDedup)));
        assert!(can_start(&Test::default()));
    }
}
