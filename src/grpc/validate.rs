//! The rules of request fields, checked before anything else happens; all problems of a request are told at once.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{Failure, Violation};
use crate::model::{Labels, NameError, Timestamp};

mod time;

pub use time::{clamp, duration, timestamp};

/// The page size where the caller names none.
pub const DEFAULT_PAGE_SIZE: usize = 50;
/// The largest page; more is taken as this.
pub const MAX_PAGE_SIZE: usize = 1000;
/// The most executions that one batch or one watch names.
pub const MAX_NAMES: usize = 500;
/// The longest request id.
pub const MAX_REQUEST_ID_BYTES: usize = 128;
/// The longest reason of a stop, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;
/// The longest message of a record, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most metrics of a record.
pub const MAX_METRICS: usize = 100;
/// The longest name or value of a metric, in bytes.
pub const MAX_METRIC_BYTES: usize = 1024;
/// The longest filter, in characters.
pub const MAX_FILTER_CHARS: usize = 2048;
/// The longest page or resume token: Connect's reach 100,000 characters before they are sealed.
pub const MAX_TOKEN_BYTES: usize = 256 * 1024;

const MAX_LABELS: usize = 32;
const MAX_LABEL_KEY_BYTES: usize = 63;
const MAX_LABEL_VALUE_BYTES: usize = 256;

/// What is wrong with a request so far. Each check returns its value where the field is right.
#[derive(Clone, Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a field breaks a rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Violation::new(field, rule));
    }

    /// Takes a checked value, or notes what is wrong with it.
    pub fn check<T>(&mut self, field: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|rule| self.add(field, rule)).ok()
    }

    /// Takes a parsed name, or notes what is wrong with it: `check.name("parent", TestName::parse(&parent))`.
    pub fn name<T>(&mut self, field: &str, parsed: Result<T, NameError>) -> Option<T> {
        self.check(field, parsed.map_err(|error| error.0))
    }

    /// The several names of a batch or watch: at least one, at most [`MAX_NAMES`], each right.
    pub fn names<T>(
        &mut self,
        field: &str,
        names: &[String],
        parse: impl Fn(&str) -> Result<T, NameError>,
    ) -> Vec<T> {
        if names.is_empty() {
            self.add(field, "needs at least one name");
        }
        if names.len() > MAX_NAMES {
            self.add(field, format!("has {} names; the most is {MAX_NAMES}", names.len()));
            return Vec::new();
        }
        names
            .iter()
            .enumerate()
            .filter_map(|(index, name)| self.name(&format!("{field}[{index}]"), parse(name)))
            .collect()
    }

    /// `page_size`: 0 is the default, too much is the most, negative is refused.
    pub fn page_size(&mut self, size: i32) -> usize {
        match usize::try_from(size) {
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => {
                self.add("page_size", format!("is {size}; it must not be negative"));
                DEFAULT_PAGE_SIZE
            }
        }
    }

    /// `request_id`: 1 to 128 printable ASCII characters; empty is `None`.
    pub fn request_id<'a>(&mut self, id: &'a str) -> Option<&'a str> {
        if id.len() > MAX_REQUEST_ID_BYTES {
            self.add("request_id", format!("has {} bytes; the most is {MAX_REQUEST_ID_BYTES}", id.len()));
        } else if let Some(at) = id.bytes().position(|b| !(b' '..=b'~').contains(&b)) {
            self.add("request_id", format!("must be printable ASCII; the byte at {at} is not"));
        } else if !id.is_empty() {
            return Some(id);
        }
        None
    }

    /// A free text of at most `max` bytes, without NUL.
    pub fn text(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.add(field, format!("has {} bytes; the most is {max}", text.len()));
        } else if text.contains('\0') {
            self.add(field, "must not contain NUL");
        }
    }

    /// `page_token` and `resume_token`, before they are opened: empty is `None`.
    pub fn token<'a>(&mut self, field: &str, token: &'a str) -> Option<&'a str> {
        if token.len() > MAX_TOKEN_BYTES {
            self.add(field, format!("has {} bytes; the most is {MAX_TOKEN_BYTES}", token.len()));
            return None;
        }
        (!token.is_empty()).then_some(token)
    }

    /// `labels`: at most 32, keys of 1 to 63 bytes, values of at most 256, no NUL.
    pub fn labels(&mut self, labels: HashMap<String, String>) -> Labels {
        if labels.len() > MAX_LABELS {
            self.add("labels", format!("has {} entries; the most is {MAX_LABELS}", labels.len()));
            return Labels::new();
        }
        let labels: Labels = labels.into_iter().collect();
        for (key, value) in &labels {
            if key.is_empty() {
                self.add("labels", "has an empty key");
            } else if key.len() > MAX_LABEL_KEY_BYTES {
                let rule = format!("has a key of {} bytes; the most is {MAX_LABEL_KEY_BYTES}", key.len());
                self.add("labels", rule);
            } else if key.contains('\0') {
                self.add("labels", "has a key with NUL");
            } else {
                self.text(&format!("labels[{key:?}]"), value, MAX_LABEL_VALUE_BYTES);
            }
        }
        labels
    }

    /// A list of at most `max` elements.
    pub fn count(&mut self, field: &str, length: usize, max: usize) -> bool {
        if length > max {
            self.add(field, format!("has {length} elements; the most is {max}"));
        }
        length <= max
    }

    /// A number that must not be negative, where there is one.
    pub fn not_negative(&mut self, field: &str, number: Option<i64>) -> Option<i64> {
        let number = number?;
        if number < 0 {
            self.add(field, format!("is {number}; it must not be negative"));
            return None;
        }
        Some(number)
    }

    /// An enum's number: `parse` knows it (the generated `try_from`), and it is one of `allowed`.
    ///
    /// Unspecified is refused like an unknown number unless it is in `allowed`.
    pub fn one_of<E: Copy + PartialEq>(
        &mut self,
        field: &str,
        number: i32,
        allowed: &[(E, &str)],
        parse: impl FnOnce(i32) -> Option<E>,
    ) -> Option<E> {
        let known = parse(number).filter(|value| allowed.iter().any(|(member, _)| member == value));
        if known.is_none() {
            let names: Vec<_> = allowed.iter().map(|(_, name)| *name).collect();
            let rule = if number == 0 {
                format!("is required: one of {}", names.join(", "))
            } else {
                format!("is {number}; it must be one of {}", names.join(", "))
            };
            self.add(field, rule);
        }
        known
    }

    /// A duration that must not be negative or malformed; unset is `None`.
    pub fn duration(&mut self, field: &str, value: Option<&prost_types::Duration>) -> Option<Duration> {
        self.check(field, duration(value?))
    }

    /// A duration clamped into a range, with a default: what is granted.
    pub fn granted(
        &mut self,
        field: &str,
        value: Option<&prost_types::Duration>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        clamp(self.duration(field, value).unwrap_or(default), range)
    }

    /// A moment within the years 1 to 9999; unset is `None`.
    pub fn timestamp(&mut self, field: &str, value: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        self.check(field, timestamp(value?))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is wrong, as one failure.
    ///
    /// # Errors
    /// Where anything is wrong.
    pub fn finish(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::fields_invalid(self.0)) }
    }

    /// The values of checks that all passed; everything that is wrong otherwise.
    ///
    /// `values` is `None` where a check returned `None`, which it does only after it noted why.
    ///
    /// # Errors
    /// Where anything is wrong.
    pub fn finish_with<T>(mut self, values: Option<T>) -> Result<T, Failure> {
        match values {
            Some(values) => self.finish().map(|()| values),
            None => {
                if self.0.is_empty() {
                    self.add("request", "is not complete");
                }
                Err(Failure::fields_invalid(self.0))
            }
        }
    }
}

#[cfg(test)]
mod tests;
