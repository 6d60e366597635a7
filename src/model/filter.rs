//! Filters of lists and watches: `done = true AND NOT verdict = PASSED AND labels.team = "blue"`.

use std::cmp::Ordering;
use std::fmt;

use time::format_description::well_known::Rfc3339;

use super::{Execution, Labels, ResultItem, State, Test, Timestamp, Verdict};

mod analysis;
mod parse;

/// The longest filter, in characters.
pub const MAX_CHARS: usize = 2048;
/// The most comparisons of a filter.
pub const MAX_TERMS: usize = 64;
/// How deep parentheses and NOTs may nest.
pub const MAX_DEPTH: usize = 16;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub struct FilterError {
    /// The byte of the text at which it goes wrong.
    pub at: usize,
    /// In words for the caller.
    pub message: String,
}

/// What a filter is about, and so which fields it knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Schema {
    /// Lists and watches of executions.
    Executions,
    /// Lists of tests.
    Tests,
    /// Lists of result items.
    Items,
}

impl Schema {
    /// The names of its fields; those that end with `.` take a key.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Executions => {
                &["state", "verdict", "done", "create_time", "end_time", "labels.", "upstream_labels."]
            }
            Self::Tests => &["display_name", "startable", "upstream_labels."],
            Self::Items => &["verdict"],
        }
    }
}

/// A field that a filter compares.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the contract's field of the same name")]
pub enum Field {
    State,
    Verdict,
    Done,
    CreateTime,
    EndTime,
    Labels(String),
    UpstreamLabels(String),
    DisplayName,
    Startable,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a field is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Operand {
    State(State),
    Verdict(Verdict),
    Bool(bool),
    Time(Timestamp),
    Text(String),
}

/// The value of a field of one thing.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    State(State),
    Verdict(Verdict),
    Bool(bool),
    Time(Timestamp),
    Text(&'a str),
}

/// What a filter can be asked about.
pub trait Fields {
    /// The value of a field; `None` where it is unset or absent.
    fn value(&self, field: &Field) -> Option<Value<'_>>;
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Term {
    field: Field,
    op: Op,
    operand: Operand,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Expr {
    Term(Term),
    Not(Box<Self>),
    /// Two or more.
    All(Vec<Self>),
    /// Two or more.
    Any(Vec<Self>),
}

/// A filter that was read without error. The default one matches everything.
///
/// `Display` gives one spelling to all filters that differ in spaces, enum prefixes or time zones only.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter(Option<Expr>);

impl Filter {
    /// Reads a filter; empty text matches everything.
    ///
    /// # Errors
    /// Says where the text breaks which rule.
    pub fn parse(text: &str, schema: Schema) -> Result<Self, FilterError> {
        parse::parse(text, schema).map(Self)
    }

    /// Whether it matches everything because it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a thing matches.
    pub fn matches(&self, thing: &impl Fields) -> bool {
        self.0.as_ref().is_none_or(|expr| expr.matches(thing))
    }
}

impl Expr {
    /// Recurses no deeper than [`MAX_DEPTH`], which the parser keeps.
    fn matches(&self, thing: &impl Fields) -> bool {
        match self {
            Self::Term(term) => thing.value(&term.field).is_some_and(|value| term.holds(value)),
            Self::Not(inner) => !inner.matches(thing),
            Self::All(parts) => parts.iter().all(|part| part.matches(thing)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(thing)),
        }
    }
}

impl Term {
    fn holds(&self, value: Value<'_>) -> bool {
        let equal = |same| if same { Ordering::Equal } else { Ordering::Less };
        let ordering = match (value, &self.operand) {
            // The parser lets these be compared by = and != only, for which any inequality will do.
            (Value::State(value), Operand::State(operand)) => equal(value == *operand),
            (Value::Verdict(value), Operand::Verdict(operand)) => equal(value == *operand),
            (Value::Bool(value), Operand::Bool(operand)) => value.cmp(operand),
            (Value::Time(value), Operand::Time(operand)) => value.cmp(operand),
            (Value::Text(value), Operand::Text(operand)) => value.cmp(operand.as_str()),
            // A `Fields` that gives a field another type has no comparable value.
            _ => return false,
        };
        match self.op {
            Op::Equal => ordering.is_eq(),
            Op::NotEqual => ordering.is_ne(),
            Op::Less => ordering.is_lt(),
            Op::LessOrEqual => ordering.is_le(),
            Op::Greater => ordering.is_gt(),
            Op::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

fn label<'a>(labels: &'a Labels, key: &str) -> Option<Value<'a>> {
    labels.get(key).map(|value| Value::Text(value))
}

impl Fields for Execution {
    fn value(&self, field: &Field) -> Option<Value<'_>> {
        match field {
            Field::State => Some(Value::State(self.state)),
            Field::Verdict => Some(Value::Verdict(self.verdict)),
            Field::Done => Some(Value::Bool(self.is_done())),
            Field::CreateTime => self.create_time.map(Value::Time),
            Field::EndTime => self.end_time.map(Value::Time),
            Field::Labels(key) => label(&self.labels, key),
            Field::UpstreamLabels(key) => label(&self.upstream_labels, key),
            Field::DisplayName | Field::Startable => None,
        }
    }
}

impl Fields for Test {
    fn value(&self, field: &Field) -> Option<Value<'_>> {
        match field {
            Field::DisplayName => Some(Value::Text(&self.display_name)),
            Field::Startable => self.startable.map(Value::Bool),
            Field::UpstreamLabels(key) => label(&self.upstream_labels, key),
            Field::State
            | Field::Verdict
            | Field::Done
            | Field::CreateTime
            | Field::EndTime
            | Field::Labels(_) => None,
        }
    }
}

impl Fields for ResultItem {
    fn value(&self, field: &Field) -> Option<Value<'_>> {
        (*field == Field::Verdict).then_some(Value::Verdict(self.verdict))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |expr| expr.fmt(f))
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            parts.iter().enumerate().try_for_each(|(index, part)| {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                part.fmt_operand(f)
            })
        };
        match self {
            Self::Term(term) => term.fmt(f),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                inner.fmt_operand(f)
            }
            Self::All(parts) => join(f, parts, "AND"),
            Self::Any(parts) => join(f, parts, "OR"),
        }
    }
}

impl Expr {
    fn fmt_operand(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(_) | Self::Not(_) => write!(f, "{self}"),
            Self::All(_) | Self::Any(_) => write!(f, "({self})"),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.field, self.op)?;
        match &self.operand {
            Operand::State(state) => f.write_str(state.as_str()),
            Operand::Verdict(verdict) => f.write_str(verdict.as_str()),
            Operand::Bool(value) => write!(f, "{value}"),
            Operand::Time(time) => write!(f, "\"{}\"", time.format(&Rfc3339).map_err(|_| fmt::Error)?),
            Operand::Text(text) => quote(f, text),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, key) = match self {
            Self::State => return f.write_str("state"),
            Self::Verdict => return f.write_str("verdict"),
            Self::Done => return f.write_str("done"),
            Self::CreateTime => return f.write_str("create_time"),
            Self::EndTime => return f.write_str("end_time"),
            Self::DisplayName => return f.write_str("display_name"),
            Self::Startable => return f.write_str("startable"),
            Self::Labels(key) => ("labels", key),
            Self::UpstreamLabels(key) => ("upstream_labels", key),
        };
        write!(f, "{prefix}.")?;
        if key.chars().all(parse::is_word) { f.write_str(key) } else { quote(f, key) }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// Text in quotes, with `"` and `\` escaped.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{character}")?;
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests;
