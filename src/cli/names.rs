//! Resource names on the command line: in full, or short as `backend/test`.

use std::collections::HashMap;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::client::{Gateway, read_list};
use super::failure::Failure;
use crate::model::near::did_you_mean;
use crate::proto::v1::{ListTestsRequest, Test};

/// What kind of resource a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// `backends/{backend}`
    Backend,
    /// `backends/{backend}/tests/{test}`
    Test,
    /// `backends/{backend}/tests/{test}/executions/{execution}`
    Execution,
}

/// A name as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The contract's spelling; the gateway judges it.
    Full(String, Level),
    /// `backend`
    Backend(String),
    /// `backend/test`, the test by id or display name
    Test(String, String),
    /// `backend/test/execution`
    Execution(String, String, String),
}

impl Reference {
    /// What it means.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::Full(_, level) => *level,
            Self::Backend(_) => Level::Backend,
            Self::Test(..) => Level::Test,
            Self::Execution(..) => Level::Execution,
        }
    }
}

/// A name in the contract's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// `backends/...`
    pub(crate) name: String,
    /// What it means.
    pub(crate) level: Level,
}

impl Resolved {
    /// The parent of executions: a backend stands for all its tests.
    pub(crate) fn into_execution_parent(self) -> String {
        match self.level {
            Level::Backend => format!("{}/tests/-", self.name),
            Level::Test | Level::Execution => self.name,
        }
    }
}

/// Reads a name; what it means follows from the count of its parts.
pub(crate) fn parse(text: &str) -> Result<Reference, Failure> {
    if let Some(full) = full(text) {
        return full;
    }
    let parts: Vec<&str> = text.split('/').collect();
    if parts.contains(&"") {
        return Err(Failure::Usage(format!("`{text}` has an empty part")));
    }
    match parts.as_slice() {
        [backend] => Ok(Reference::Backend((*backend).to_owned())),
        [backend, test] => Ok(Reference::Test((*backend).to_owned(), (*test).to_owned())),
        [backend, test, execution] => {
            Ok(Reference::Execution((*backend).to_owned(), (*test).to_owned(), (*execution).to_owned()))
        }
        _ => Err(Failure::Usage(format!("`{text}` has too many parts; expected BACKEND/TEST/EXECUTION"))),
    }
}

/// Reads the name of a test: everything after the first slash is its id or display name.
pub(crate) fn parse_test(text: &str) -> Result<Reference, Failure> {
    let reference = match full(text) {
        Some(full) => full?,
        None => match text.split_once('/') {
            Some((backend, test)) if !backend.is_empty() && !test.is_empty() => {
                Reference::Test(backend.to_owned(), test.to_owned())
            }
            _ => return Err(Failure::Usage(format!("`{text}` is no test; expected BACKEND/TEST"))),
        },
    };
    match reference.level() {
        Level::Test => Ok(reference),
        Level::Backend | Level::Execution => Err(Failure::Usage(format!("`{text}` is no test"))),
    }
}

/// Reads the name of an execution.
pub(crate) fn parse_execution(text: &str) -> Result<Reference, Failure> {
    let reference = parse(text)?;
    match reference.level() {
        Level::Execution => Ok(reference),
        Level::Backend | Level::Test => {
            Err(Failure::Usage(format!("`{text}` is no execution; expected BACKEND/TEST/EXECUTION")))
        }
    }
}

fn full(text: &str) -> Option<Result<Reference, Failure>> {
    let rest = text.strip_prefix("backends/")?;
    let parts: Vec<&str> = rest.split('/').collect();
    Some(match parts.as_slice() {
        [_] => Ok(Reference::Full(text.to_owned(), Level::Backend)),
        [_, "tests", _] => Ok(Reference::Full(text.to_owned(), Level::Test)),
        [_, "tests", _, "executions", _] => Ok(Reference::Full(text.to_owned(), Level::Execution)),
        _ => Err(Failure::Usage(format!("`{text}` names no backend, test or execution"))),
    })
}

/// The contract's spelling of a name; asks the gateway only where a test is given short.
pub(crate) async fn resolve(gateway: &Gateway, reference: Reference) -> Result<Resolved, Failure> {
    Finder::new(gateway).resolve(reference).await
}

/// Finds what short names mean; however many there are, it reads the tests of a backend once.
#[derive(Debug)]
pub(crate) struct Finder<'a> {
    gateway: &'a Gateway,
    known: HashMap<String, Vec<Test>>,
}

impl<'a> Finder<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, known: HashMap::new() }
    }

    /// The contract's spelling of a name.
    pub(crate) async fn resolve(&mut self, reference: Reference) -> Result<Resolved, Failure> {
        let level = reference.level();
        let name = match reference {
            Reference::Full(name, _) => name,
            Reference::Backend(backend) => backend_name(&backend),
            Reference::Test(backend, test) => self.test(&backend, &test).await?,
            Reference::Execution(backend, test, execution) => {
                let test = self.test(&backend, &test).await?;
                format!("{test}/executions/{}", segment(&execution))
            }
        };
        Ok(Resolved { name, level })
    }

    async fn test(&mut self, backend: &str, wanted: &str) -> Result<String, Failure> {
        let parent = backend_name(backend);
        if wanted == "-" {
            return Ok(format!("{parent}/tests/-"));
        }
        if backend == "-" {
            return Err(Failure::Usage(format!("`-/{wanted}`: a test needs its backend")));
        }
        if !self.known.contains_key(&parent) {
            let request = ListTestsRequest { parent: parent.clone(), ..Default::default() };
            let what = format!("look for {wanted} in {parent}");
            let mut tests = Vec::new();
            read_list(self.gateway, &request, None, &what, |page| {
                tests.extend(page);
                Ok(())
            })
            .await?;
            self.known.insert(parent.clone(), tests);
        }
        let tests = self.known.get(&parent).map(Vec::as_slice).unwrap_or_default();
        let matching: Vec<_> =
            tests.iter().filter(|test| is(test, wanted)).map(|test| test.name.clone()).collect();
        if matching.is_empty() {
            let known = tests.iter().flat_map(|test| [test.display_name.as_str(), id(test)]);
            return Err(Failure::Trouble(format!(
                "{backend} has no test with the id or display name `{wanted}`{}; hint: `testgate tests {backend}` \
                 lists them",
                did_you_mean(wanted, known)
            )));
        }
        pick(matching, backend, wanted)
    }
}

fn backend_name(backend: &str) -> String {
    format!("backends/{}", segment(backend))
}

/// The short form of a test's name, as people write it.
pub(crate) fn short_test(name: &str, display_name: &str) -> String {
    let mut parts = name.split('/');
    let (backend, id) = (parts.nth(1).unwrap_or_default(), parts.nth(1).unwrap_or_default());
    format!("{backend}/{}", if display_name.is_empty() { id } else { display_name })
}

fn id(test: &Test) -> &str {
    test.name.rsplit('/').next().unwrap_or_default()
}

fn is(test: &Test, wanted: &str) -> bool {
    let id = id(test);
    test.display_name == wanted
        || id == wanted
        || percent_decode_str(id).decode_utf8().is_ok_and(|decoded| decoded == wanted)
}

fn pick(mut matching: Vec<String>, backend: &str, wanted: &str) -> Result<String, Failure> {
    const SHOWN: usize = 5;
    matching.sort();
    matching.dedup();
    match matching.len() {
        1 => Ok(matching.remove(0)),
        count => {
            let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
            matching.truncate(SHOWN);
            Err(Failure::Usage(format!(
                "`{wanted}` is the name of {count} tests in {backend}: {}{more}; name one of them in full",
                matching.join(", ")
            )))
        }
    }
}

/// One part of a name in its only spelling; what holds a `%` is taken as spelt already.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if text.bytes().all(|byte| plain(byte) || byte == b'%') {
        return text.to_owned();
    }
    text.bytes().fold(String::with_capacity(text.len() * 3), |mut spelt, byte| {
        if plain(byte) {
            spelt.push(char::from(byte));
        } else {
            write!(spelt, "%{byte:02X}").ok();
        }
        spelt
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_forms_by_the_count_of_parts() {
        assert_eq!(parse("b").unwrap(), Reference::Backend("b".into()));
        assert_eq!(parse("b/t").unwrap(), Reference::Test("b".into(), "t".into()));
        assert_eq!(parse("b/t/e").unwrap(), Reference::Execution("b".into(), "t".into(), "e".into()));
        for wrong in ["", "/", "b/", "/t", "b//e", "a/b/c/d"] {
            assert!(matches!(parse(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn full_names_pass_as_they_are() {
        for (name, level) in [
            ("backends/b", Level::Backend),
            ("backends/-", Level::Backend),
            ("backends/b/tests/t", Level::Test),
            ("backends/b/tests/t%2F1/executions/e", Level::Execution),
        ] {
            assert_eq!(parse(name).unwrap(), Reference::Full(name.into(), level));
        }
        for wrong in ["backends/b/t", "backends/b/tests/t/executions/e/resultItems/r", "backends/b/tests"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_test_may_have_slashes_in_its_display_name() {
        assert_eq!(parse_test("b/a / b").unwrap(), Reference::Test("b".into(), "a / b".into()));
        assert!(parse_test("backends/b/tests/t").is_ok());
        for wrong in ["b", "b/", "/t", "backends/b", "backends/b/tests/t/executions/e"] {
            assert!(matches!(parse_test(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn an_execution_needs_three_parts() {
        assert!(parse_execution("b/t/e").is_ok());
        assert!(parse_execution("b/t").is_err());
    }

    #[test]
    fn a_test_is_found_by_id_spelt_or_not_and_by_display_name() {
        let test = Test {
            name: "backends/b/tests/a%20b".into(),
            display_name: "Greeting".into(),
            ..Default::default()
        };
        assert!(is(&test, "a%20b"));
        assert!(is(&test, "a b"));
        assert!(is(&test, "Greeting"));
        assert!(!is(&test, "greeting"));
        assert!(!is(&test, ""));
    }

    #[test]
    fn an_ambiguous_name_lists_its_candidates() {
        let names = |count: usize| (0..count).map(|n| format!("backends/b/tests/{n}")).collect::<Vec<_>>();
        assert_eq!(pick(names(1), "b", "x").unwrap(), "backends/b/tests/0");
        let text = pick(names(7), "b", "x").unwrap_err().to_string();
        assert!(text.contains("backends/b/tests/4 and 2 more"), "{text}");
        let twice = vec!["backends/b/tests/0".to_owned(); 2];
        assert!(pick(twice, "b", "x").is_ok(), "a test seen on two pages is one test");
    }

    #[test]
    fn a_test_is_shown_by_its_display_name_or_else_by_its_id() {
        assert_eq!(short_test("backends/b/tests/t%2F1/executions/e", "Greeting"), "b/Greeting");
        assert_eq!(short_test("backends/b/tests/t%2F1", ""), "b/t%2F1");
        assert_eq!(short_test("", ""), "/");
    }

    #[test]
    fn a_backend_stands_for_all_its_tests() {
        let backend = Resolved { name: "backends/-".into(), level: Level::Backend };
        assert_eq!(backend.into_execution_parent(), "backends/-/tests/-");
    }

    proptest! {
        #[test]
        fn no_name_panics(text in ".*") {
            parse(&text).ok();
            parse_test(&text).ok();
        }

        #[test]
        fn a_spelt_part_decodes_to_what_was_typed(text in "[^%]+") {
            let spelt = segment(&text);
            prop_assert_eq!(percent_decode_str(&spelt).decode_utf8().unwrap(), text);
            prop_assert_eq!(segment(&spelt), spelt.clone());
        }
    }
}
