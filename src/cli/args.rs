//! Values on the command line that are not plain strings.

use clap::ValueEnum;
use prost_types::Timestamp;

use crate::proto::v1::{self, result_item};

/// `key=value`, cut at the first `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the key before `=` is empty".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".into()),
    }
}

/// The labels as a map; the same key twice is refused rather than settled silently.
pub(crate) fn label_map(
    pairs: Vec<(String, String)>,
) -> Result<std::collections::HashMap<String, String>, super::Failure> {
    let mut labels = std::collections::HashMap::with_capacity(pairs.len());
    for (key, value) in pairs {
        if labels.contains_key(&key) {
            return Err(super::Failure::Usage(format!("--label {key} is given twice")));
        }
        labels.insert(key, value);
    }
    Ok(labels)
}

/// RFC 3339 with an offset, or milliseconds since 1970.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let ms: i64 = text.parse().map_err(|_| "too many digits for milliseconds".to_owned())?;
        let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).map_err(|_| "out of range".to_owned())?;
        return Ok(Timestamp { seconds: ms.div_euclid(1000), nanos });
    }
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|_| "expected RFC 3339, as 2026-11-21T10:00:00Z, or milliseconds since 1970".to_owned())?;
    let nanos = i32::try_from(parsed.nanosecond()).map_err(|_| "out of range".to_owned())?;
    Ok(Timestamp { seconds: parsed.unix_timestamp(), nanos })
}

/// What `record --verdict` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RecordVerdict {
    /// The expectation was met
    Passed,
    /// The expectation was not met
    Failed,
    /// It could not be decided; OpenMetadata calls this aborted
    Inconclusive,
}

impl From<RecordVerdict> for v1::Verdict {
    fn from(verdict: RecordVerdict) -> Self {
        match verdict {
            RecordVerdict::Passed => Self::Passed,
            RecordVerdict::Failed => Self::Failed,
            RecordVerdict::Inconclusive => Self::Inconclusive,
        }
    }
}

/// What `run --api-mode` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ApiMode {
    /// Over the streaming API
    Streaming,
    /// Over request and reply
    NonStreaming,
}

impl From<ApiMode> for v1::LexApiMode {
    fn from(mode: ApiMode) -> Self {
        match mode {
            ApiMode::Streaming => Self::Streaming,
            ApiMode::NonStreaming => Self::NonStreaming,
        }
    }
}

/// What `run --modality` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Modality {
    /// Typed
    Text,
    /// Spoken
    Audio,
}

impl From<Modality> for v1::LexModality {
    fn from(modality: Modality) -> Self {
        match modality {
            Modality::Text => Self::Text,
            Modality::Audio => Self::Audio,
        }
    }
}

/// What `get --items --kind` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ItemKind {
    /// A Connect record
    Observation,
    /// Lex: the whole test set
    Overall,
    /// Lex: conversations
    Conversation,
    /// Lex: intents
    Intent,
    /// Lex: slots
    Slot,
    /// Lex: single utterances
    Utterance,
    /// OpenMetadata: the cases of a suite run
    TestCase,
}

impl From<ItemKind> for result_item::Kind {
    fn from(kind: ItemKind) -> Self {
        match kind {
            ItemKind::Observation => Self::Observation,
            ItemKind::Overall => Self::Overall,
            ItemKind::Conversation => Self::Conversation,
            ItemKind::Intent => Self::Intent,
            ItemKind::Slot => Self::Slot,
            ItemKind::Utterance => Self::Utterance,
            ItemKind::TestCase => Self::TestCase,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_is_cut_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("=b").is_err());
        assert!(pair("ab").is_err());
    }

    #[test]
    fn a_label_given_twice_is_refused() {
        assert!(label_map(vec![pair("a=1").unwrap(), pair("b=1").unwrap()]).is_ok());
        assert!(label_map(vec![pair("a=1").unwrap(), pair("a=2").unwrap()]).is_err());
    }

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        let expected = Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 };
        assert_eq!(timestamp("1700000000250"), Ok(expected));
        assert_eq!(timestamp("2023-11-14T22:13:20.25Z"), Ok(expected));
        assert_eq!(timestamp("2023-11-14T23:13:20.250+01:00"), Ok(expected));
        assert_eq!(timestamp("-1"), Ok(Timestamp { seconds: -1, nanos: 999_000_000 }));
        for wrong in ["", "-", "now", "2023-11-14", "2023-11-14T22:13:20", "99999999999999999999"] {
            assert!(timestamp(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            pair(&text).ok();
            timestamp(&text).ok();
        }
    }
}
