//! Leniency in reading: an odd optional member costs itself, never its page.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;

use crate::backend::engine::Response;
use crate::model::Timestamp;

/// Numbers from here on are milliseconds: in seconds they would lie beyond the year 5000.
const MILLISECONDS_FROM: f64 = 1e11;

/// Reads an optional member; one of another type, or null, counts as absent.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// As [`lenient`], for a text: most are what they stand for, and need not be read twice.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Some(plain.to_owned())),
        _ => Ok(serde_json::from_str(raw).ok()),
    }
}

/// Reads a time: a number of seconds or, as Connect's test calls give it, of milliseconds; or RFC 3339. What lies
/// outside the years 1 to 9999 counts as absent.
pub(crate) fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if !raw.starts_with('"') {
        return Ok(read_timestamp(raw));
    }
    Ok(serde_json::from_str::<String>(raw).ok().and_then(|text| read_timestamp(&text)))
}

/// A page's token; `""` ends a list as its absence does.
pub(crate) fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(lenient::<D, String>(deserializer)?.filter(|token| !token.is_empty()))
}

fn read_timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return from_number(number);
    }
    let time = Timestamp::parse(text, &Rfc3339).ok()?.to_offset(time::UtcOffset::UTC);
    (1..=9999).contains(&time.year()).then_some(time)
}

fn from_number(number: f64) -> Option<Timestamp> {
    let milliseconds = if number.abs() >= MILLISECONDS_FROM { number } else { number * 1000.0 };
    if !milliseconds.is_finite() || milliseconds.abs() > 1e15 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "just bounded")]
    let nanoseconds = i128::from(milliseconds.round() as i64) * 1_000_000;
    Timestamp::from_unix_timestamp_nanos(nanoseconds).ok().filter(|time| (1..=9999).contains(&time.year()))
}

/// A list's rows, each with its raw text. A row without what makes it a row is an answer that can't be trusted.
pub(crate) fn rows<T: DeserializeOwned>(raw: Vec<Box<RawValue>>) -> Result<Vec<(T, Box<RawValue>)>, String> {
    let read = |raw: Box<RawValue>| match serde_json::from_str(raw.get()) {
        Ok(row) => Ok((row, raw)),
        Err(error) => Err(format!("a row is malformed: {error}")),
    };
    raw.into_iter().map(read).collect()
}

/// Reads a reply's body.
pub(crate) fn body<T: DeserializeOwned>(response: &Response) -> Result<T, String> {
    serde_json::from_slice(&response.body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    #[derive(Deserialize)]
    struct Row {
        #[serde(default, deserialize_with = "timestamp")]
        at: Option<Timestamp>,
        #[serde(default, deserialize_with = "lenient")]
        count: Option<i32>,
        #[serde(default, deserialize_with = "token")]
        next: Option<String>,
    }

    #[test]
    fn seconds_milliseconds_and_text_are_one_moment() {
        let moment = datetime!(2025-11-21 01:00:00.123 UTC);
        for text in [
            "1763686800.123",
            "1763686800123",
            "\"2025-11-21T01:00:00.123Z\"",
            "\"2025-11-21T02:00:00.123+01:00\"",
        ] {
            let row: Row = serde_json::from_str(&format!("{{\"at\":{text}}}")).unwrap();
            assert_eq!(row.at, Some(moment), "{text}");
        }
    }

    #[test]
    fn a_number_is_taken_for_milliseconds_from_1e11_on() {
        assert_eq!(from_number(99_999_999_999.0).map(|time| time.year()), Some(5138));
        assert_eq!(from_number(100_000_000_000.0).map(|time| time.year()), Some(1973));
    }

    #[test]
    fn odd_members_count_as_absent() {
        let row: Row = serde_json::from_str(r#"{"at":{},"count":"many","next":""}"#).unwrap();
        assert_eq!((row.at, row.count, row.next), (None, None, None));
        let row: Row = serde_json::from_str(r#"{"at":null,"count":7,"next":"t"}"#).unwrap();
        assert_eq!((row.at, row.count, row.next.as_deref()), (None, Some(7), Some("t")));
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Texts {
        #[serde(default, deserialize_with = "text")]
        text: Option<String>,
        #[serde(default, deserialize_with = "lenient")]
        lenient: Option<String>,
    }

    fn texts(value: &str) -> Texts {
        serde_json::from_str(&format!("{{\"text\": {value} ,\"lenient\": {value} }}")).unwrap()
    }

    #[test]
    fn a_text_with_an_escape_that_stands_for_nothing_counts_as_absent() {
        for value in [r#""\ud800""#, "7", "null", "[\"a\"]", "{\"a\":\"b\"}"] {
            assert_eq!(texts(value), Texts { text: None, lenient: None }, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_any_member_is(value: String) {
            let value = serde_json::to_string(&value).unwrap();
            let Texts { text, lenient } = texts(&value);
            prop_assert!(text.is_some());
            prop_assert_eq!(text, lenient);
        }

        #[test]
        fn any_number_is_a_moment_within_bounds_or_none(number in any::<f64>()) {
            if let Some(time) = from_number(number) {
                prop_assert!((1..=9999).contains(&time.year()));
            }
        }

        #[test]
        fn any_text_is_a_moment_or_none(text in any::<String>()) {
            if let Some(time) = read_timestamp(&text) {
                prop_assert!((1..=9999).contains(&time.year()));
            }
        }
    }
}
