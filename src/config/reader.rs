//! Reading a TOML table key by key, so that each problem knows its line and no key is overlooked.

use std::cell::RefCell;
use std::ops::{Range, RangeBounds, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::value::clip;

/// Collects problems; turns offsets into lines.
pub(super) struct Report<'t> {
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// The line that holds a byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    pub(super) fn push(&self, line: Option<usize>, key: impl Into<String>, message: impl Into<String>) {
        self.found.borrow_mut().push(Problem { line, key: key.into(), message: message.into() });
    }

    /// All problems in the order of lines, those without one first.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.line);
        found
    }
}

/// One table. Each getter marks its key as known; [`Section::finish`] reports the others.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    path: String,
    line: usize,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// A string and where it stands.
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl<'a> Section<'a> {
    pub(super) fn root(report: &'a Report<'a>, table: &'a DeTable<'a>) -> Self {
        Self { report, path: String::new(), line: 1, table, known: RefCell::default() }
    }

    /// The path of one of this table's keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        let key = clip(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there. Does not mark it as known.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The line of a key, or of the table where the key is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.entry(key).map_or(self.line, |(span, _)| self.report.line(span.start))
    }

    /// Reports a problem with a key.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.report.push(Some(self.line_of(key)), self.path_of(key), message);
    }

    /// Reports a problem at a line of its own, such as one of a list's.
    pub(super) fn problem_at(&self, line: usize, key: &str, message: impl Into<String>) {
        self.report.push(Some(line), self.path_of(key), message);
    }

    /// Accepts keys that are judged elsewhere.
    pub(super) fn accept(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// A string that is not empty.
    pub(super) fn string(&self, key: &'static str) -> Option<&'a str> {
        let (_, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => {
                self.problem(key, "must not be empty");
                None
            }
            DeValue::String(text) if text.contains('\0') => {
                self.problem(key, "must not contain NUL");
                None
            }
            DeValue::String(text) => Some(text),
            other => {
                self.problem(key, format!("must be a string, not {}", kind(other)));
                None
            }
        }
    }

    /// A string that has a meaning of its own.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(self.string(key)?).map_err(|message| self.problem(key, message)).ok()
    }

    /// The same, and its absence is a problem.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.accept(&[key]);
            self.problem(key, "is required");
        }
        self.parsed(key, parse)
    }

    /// The same, within bounds that the message spells.
    pub(super) fn bounded<T: PartialOrd>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        bounds: impl RangeBounds<T>,
        spelled: &str,
    ) -> Option<T> {
        let value = self.parsed(key, parse)?;
        if bounds.contains(&value) {
            return Some(value);
        }
        self.problem(key, format!("must be {spelled}"));
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                let near = nearest(text, words.iter().map(|(word, _)| *word));
                let near = near.map_or_else(String::new, |word| format!("; did you mean {word:?}?"));
                format!("{:?} is not one of {}{near}", clip(text), all.join(", "))
            })
        })
    }

    /// A truth value.
    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let (_, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.problem(key, format!("must be true or false, not {}", kind(other)));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, key: &'static str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let (_, value) = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) => usize::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let within = number.filter(|number| bounds.contains(number));
        if within.is_none() {
            let message = format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
            self.problem(key, message);
        }
        within
    }

    /// A number, whole or not, within bounds.
    pub(super) fn number(
        &self,
        key: &'static str,
        bounds: impl RangeBounds<f64>,
        spelled: &str,
    ) -> Option<f64> {
        let (_, value) = self.value(key)?;
        let number: Option<f64> = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        let within = number.filter(|number| number.is_finite() && bounds.contains(number));
        if within.is_none() {
            self.problem(key, format!("must be a number {spelled}"));
        }
        within
    }

    /// A string or a list of strings.
    pub(super) fn strings(&self, key: &'static str) -> Vec<Text<'a>> {
        let Some((_, value)) = self.value(key) else { return Vec::new() };
        let one = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::String(text) => Some(Text { text, line: self.report.line(value.span().start) }),
            other => {
                let line = self.report.line(value.span().start);
                let message = format!("must be a string or a list of strings, not {}", kind(other));
                self.report.push(Some(line), self.path_of(key), message);
                None
            }
        };
        match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {
                self.problem(key, "must not be empty");
                Vec::new()
            }
            DeValue::Array(values) => values.iter().filter_map(one).collect(),
            _ => one(value).into_iter().collect(),
        }
    }

    /// A table.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'a>> {
        let (span, value) = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.child(self.path_of(key), span.start, table)),
            other => {
                self.problem(key, format!("must be a table, not {}", kind(other)));
                None
            }
        }
    }

    /// A list of tables, as `[[key]]` writes it. Their paths count from 0.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some((_, value)) = self.value(key) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.problem(key, format!("must be written as [[{}]]", self.path_of(key)));
            return Vec::new();
        };
        let one = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| {
            let path = format!("{}[{index}]", self.path_of(key));
            match value.get_ref() {
                DeValue::Table(table) => Some(self.child(path, value.span().start, table)),
                other => {
                    let line = self.report.line(value.span().start);
                    self.report.push(Some(line), path, format!("must be a table, not {}", kind(other)));
                    None
                }
            }
        };
        values.iter().enumerate().filter_map(one).collect()
    }

    /// A table of strings, with the line of each.
    pub(super) fn string_table(&self, key: &'static str) -> Vec<(&'a str, Text<'a>)> {
        let Some(section) = self.table(key) else { return Vec::new() };
        let one = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &std::borrow::Cow<'a, str> = key.get_ref();
            match value.get_ref() {
                DeValue::String(text) => {
                    Some((key.as_ref(), Text { text, line: self.report.line(value.span().start) }))
                }
                other => {
                    section.problem(key, format!("must be a string, not {}", kind(other)));
                    None
                }
            }
        };
        section.table.iter().filter_map(one).collect()
    }

    /// Reports every key that nobody asked for; `explain` may know better than a guess at a misspelling.
    pub(super) fn finish(self, explain: impl Fn(&str) -> Option<String>) {
        let known = self.known.borrow();
        for key in self.table.keys() {
            let key: &str = key.get_ref();
            if known.contains(&key) {
                continue;
            }
            let message = explain(key).unwrap_or_else(|| match nearest(key, known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => "unknown key".to_owned(),
            });
            self.problem(key, message);
        }
    }

    fn child(&self, path: String, offset: usize, table: &'a DeTable<'a>) -> Section<'a> {
        let line = self.report.line(offset);
        Section { report: self.report, path, line, table, known: RefCell::default() }
    }

    fn value(&self, key: &'static str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        self.known.borrow_mut().push(key);
        self.entry(key)
    }

    fn entry(&self, key: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        let (found, value) = self.table.iter().find(|(found, _)| found.get_ref().as_ref() == key)?;
        Some((found.span(), value))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The word that `text` is most likely a misspelling of.
fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let letters = text.chars().take(65).count();
    if letters > 64 {
        return None;
    }
    words
        .map(|word| (distance(text, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be added, removed or replaced to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (to, above) in to.iter().zip(row.windows(2)) {
            let [diagonal, above] = above else { break };
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
