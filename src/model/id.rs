//! Names: `backends/{backend}/tests/{test}/executions/{execution}`, each with exactly one spelling.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;

/// Every byte that an id's spelling escapes: all but `A-Za-z0-9._~-`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'~').remove(b'-');

/// What is wrong with a name, in words for the caller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as upstream spells it, unescaped.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// The id of a configured backend: `[a-z][a-z0-9-]{0,62}`.
    BackendId
}
id! {
    /// A test's id as its upstream gives it (for OpenMetadata `case-{uuid}` or `pipeline-{uuid}`).
    TestId
}
id! {
    /// An execution's id as its upstream gives it, or `g-{uuid}` where the gateway minted one.
    ExecutionId
}

impl BackendId {
    /// Checks the form `[a-z][a-z0-9-]{0,62}`.
    ///
    /// # Errors
    /// Names the rule that the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let well_formed = bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(NameError(format!(
                "{:?} is not a backend id: it must match [a-z][a-z0-9-]{{0,62}}",
                clip(text)
            )))
        }
    }
}

impl TestId {
    /// Takes an upstream's id.
    ///
    /// # Errors
    /// An id that no name can carry: empty, `.`, `..`, `-`, with a NUL, or over 1,024 bytes.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_id(text).map(|()| Self(text.into()))
    }
}

impl ExecutionId {
    /// Takes an upstream's id.
    ///
    /// # Errors
    /// An id that no name can carry: empty, `.`, `..`, `-`, with a NUL, or over 1,024 bytes.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_id(text).map(|()| Self(text.into()))
    }

    /// Makes up an id for an execution that upstream gives none.
    pub fn mint() -> Self {
        Self(format!("g-{}", uuid::Uuid::new_v4()).into())
    }

    /// Whether the gateway minted this id (`g-{uuid}`).
    pub fn is_minted(&self) -> bool {
        self.0.strip_prefix("g-").is_some_and(|rest| uuid::Uuid::try_parse(rest).is_ok())
    }
}

/// A test's full name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TestName {
    /// The backend that has the test.
    pub backend: BackendId,
    /// The test's id there.
    pub test: TestId,
}

/// An execution's full name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExecutionName {
    /// The backend that has the test.
    pub backend: BackendId,
    /// The test's id there.
    pub test: TestId,
    /// The execution's id there.
    pub execution: ExecutionId,
}

/// A parent with wildcards: `backends/{backend|-}/tests/{test|-}`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    /// One backend, or all of them.
    pub backend: Option<BackendId>,
    /// One test, or all of them.
    pub test: Option<TestId>,
    /// All of them means all of these, which are what a caller may see; `None` means every one there is.
    pub visible: Option<Arc<[BackendId]>>,
}

/// An execution's name whose test may be `-`, as GetExecution takes it for Lex.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LooseExecutionName {
    /// The backend.
    pub backend: BackendId,
    /// The test, where the caller named one.
    pub test: Option<TestId>,
    /// The execution.
    pub execution: ExecutionId,
}

impl TestName {
    /// The name of one of this test's executions.
    pub fn execution(&self, execution: ExecutionId) -> ExecutionName {
        ExecutionName { backend: self.backend.clone(), test: self.test.clone(), execution }
    }

    /// Reads `backends/{backend}/tests/{test}`.
    ///
    /// # Errors
    /// Says which part breaks which rule, with the right spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let [backend, test] = parts(text, ["backends", "tests"])?;
        Ok(Self { backend: BackendId::new(backend)?, test: TestId(decode(test)?) })
    }
}

impl ExecutionName {
    /// The name as it is written, in one piece of memory of its size.
    pub fn text(&self) -> String {
        const COLLECTIONS: usize = "backends/".len() + "/tests/".len() + "/executions/".len();
        let Self { backend, test, execution } = self;
        let mut text =
            String::with_capacity(COLLECTIONS + backend.0.len() + test.0.len() + execution.0.len());
        for part in ["backends/", &backend.0, "/tests/"] {
            text.push_str(part);
        }
        text.extend(utf8_percent_encode(&test.0, ESCAPED));
        text.push_str("/executions/");
        text.extend(utf8_percent_encode(&execution.0, ESCAPED));
        text
    }

    /// The test that this is an execution of.
    pub fn test_name(&self) -> TestName {
        TestName { backend: self.backend.clone(), test: self.test.clone() }
    }

    /// Reads `backends/{backend}/tests/{test}/executions/{execution}`.
    ///
    /// # Errors
    /// Says which part breaks which rule, with the right spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let loose = LooseExecutionName::parse(text)?;
        let test =
            loose.test.ok_or_else(|| NameError("`tests/-` is not accepted here: name the test".into()))?;
        Ok(Self { backend: loose.backend, test, execution: loose.execution })
    }
}

impl LooseExecutionName {
    /// Reads an execution's name in which the test may be `-`.
    ///
    /// # Errors
    /// Says which part breaks which rule, with the right spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let [backend, test, execution] = parts(text, ["backends", "tests", "executions"])?;
        Ok(Self {
            backend: BackendId::new(backend)?,
            test: if test == "-" { None } else { Some(TestId(decode(test)?)) },
            execution: ExecutionId(decode(execution)?),
        })
    }
}

impl Scope {
    /// Reads `backends/{backend|-}/tests/{test|-}`; `tests/…` needs a backend unless it is `-` too.
    ///
    /// # Errors
    /// Says which part breaks which rule, with the right spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let [backend, test] = parts(text, ["backends", "tests"])?;
        let scope = Self {
            backend: if backend == "-" { None } else { Some(BackendId::new(backend)?) },
            test: if test == "-" { None } else { Some(TestId(decode(test)?)) },
            visible: None,
        };
        if scope.backend.is_none() && scope.test.is_some() {
            return Err(NameError(
                "`backends/-` goes with `tests/-` only: a test's id belongs to one backend".into(),
            ));
        }
        Ok(scope)
    }

    /// Everything that is in one backend, or in all of them.
    pub fn of_backend(backend: Option<BackendId>) -> Self {
        Self { backend, test: None, visible: None }
    }

    /// The part of it that lies in these backends.
    #[must_use]
    pub fn within(mut self, visible: Option<Arc<[BackendId]>>) -> Self {
        self.visible = visible;
        self
    }

    /// Whether a backend lies within, or something in it does.
    pub fn reaches(&self, backend: &BackendId) -> bool {
        self.backend.as_ref().is_none_or(|only| only == backend)
            && self.visible.as_ref().is_none_or(|visible| visible.contains(backend))
    }

    /// Whether an execution lies within.
    pub fn contains(&self, name: &ExecutionName) -> bool {
        self.reaches(&name.backend) && self.test.as_ref().is_none_or(|test| *test == name.test)
    }
}

/// Reads `backends/{backend}`, or `backends/-` as `None`.
///
/// # Errors
/// Says which rule the text breaks.
pub fn parse_backend_parent(text: &str) -> Result<Option<BackendId>, NameError> {
    let [backend] = parts(text, ["backends"])?;
    if backend == "-" { Ok(None) } else { BackendId::new(backend).map(Some) }
}

/// Reads `backends/{backend}`.
///
/// # Errors
/// Says which rule the text breaks.
pub fn parse_backend(text: &str) -> Result<BackendId, NameError> {
    parse_backend_parent(text)?
        .ok_or_else(|| NameError("`backends/-` is not accepted here: name the backend".into()))
}

/// An id as it stands in a name.
pub fn encode(id: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(id, ESCAPED)
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backends/{}/tests/{}", self.backend, encode(&self.test.0))
    }
}

impl fmt::Display for ExecutionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Splits `a/{x}/b/{y}` into its variable parts.
fn parts<'a, const N: usize>(text: &'a str, collections: [&str; N]) -> Result<[&'a str; N], NameError> {
    let pattern = || collections.map(|c| format!("{c}/{{{}}}", c.trim_end_matches('s'))).join("/");
    if text.is_empty() {
        return Err(NameError(format!("is required, in the form {}", pattern())));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError(format!("is {} bytes long; the most is {MAX_NAME_BYTES}", text.len())));
    }
    let malformed = || NameError(format!("{:?} does not have the form {}", clip(text), pattern()));
    let mut found = [""; N];
    let mut pieces = text.split('/');
    for (slot, collection) in found.iter_mut().zip(collections) {
        if pieces.next() != Some(collection) {
            return Err(malformed());
        }
        *slot = pieces.next().ok_or_else(malformed)?;
        if slot.is_empty() {
            return Err(NameError(format!("{:?} has an empty part after {collection:?}", clip(text))));
        }
    }
    if pieces.next().is_some() { Err(malformed()) } else { Ok(found) }
}

/// Unescapes one id and insists on its one spelling.
fn decode(part: &str) -> Result<Arc<str>, NameError> {
    // Most ids have nothing to unescape, and are spelled as they are.
    if Cow::from(utf8_percent_encode(part, ESCAPED)) == part {
        return check_id(part).map(|()| part.into());
    }
    let bytes = part.as_bytes();
    for (at, _) in part.match_indices('%') {
        let escape = bytes.get(at + 1..at + 3);
        if !escape.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(NameError(format!("{:?} has a broken percent escape at byte {at}", clip(part))));
        }
    }
    let id = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| NameError(format!("{:?} does not unescape to UTF-8", clip(part))))?;
    check_id(&id)?;
    let spelling = encode(&id).to_string();
    if spelling == part {
        Ok(id.as_ref().into())
    } else {
        Err(NameError(format!("{:?} must be spelled {:?}", clip(part), clip(&spelling))))
    }
}

/// The rules of ids that no escape can help.
fn check_id(id: &str) -> Result<(), NameError> {
    match id {
        "" => Err(NameError("an id must not be empty".into())),
        "." | ".." | "-" => Err(NameError(format!("{id:?} is not an id"))),
        _ if id.contains('\0') => Err(NameError("an id must not contain NUL".into())),
        _ if id.len() > 1024 => Err(NameError("an id has at most 1024 bytes".into())),
        _ => Ok(()),
    }
}

/// Text short enough for an error message.
fn clip(text: &str) -> String {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some(_) => text.chars().take(SHOWN).chain(std::iter::once('…')).collect(),
    }
}

#[cfg(test)]
mod tests;
