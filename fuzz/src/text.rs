//! What is read from text alone.

use std::path::Path;

use testgate::config::{Config, Overrides};
use testgate::model::filter::{Field, Fields, Filter, Schema, Value};
use testgate::model::id::{
    ExecutionName, LooseExecutionName, Scope, TestName, parse_backend, parse_backend_parent,
};
use testgate::model::{BackendId, ExecutionId, State, TestId, Timestamp, Verdict};
use testgate::token::{Binding, Epoch, PageTokens, Resume, ResumePoint, ResumeTokens, TokenKey};

/// A name that is accepted is spelled as it would be written; any two ids make a name that reads back.
pub(crate) fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(name) = TestName::parse(&text) {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(name) = ExecutionName::parse(&text) {
        assert_eq!(name.to_string(), text);
        assert!(LooseExecutionName::parse(&text).is_ok(), "{text:?} is a name, loosely too");
    }
    if let Ok(Some(backend)) = parse_backend_parent(&text) {
        assert_eq!(parse_backend(&text), Ok(backend));
    }
    // What it is does not matter, only that there is an answer.
    let _any = (Scope::parse(&text).is_ok(), LooseExecutionName::parse(&text).is_ok());

    let (test, execution) = text.split_at(text.floor_char_boundary(text.len() / 2));
    if let (Ok(backend), Ok(test), Ok(execution)) =
        (BackendId::new("any"), TestId::new(test), ExecutionId::new(execution))
    {
        let name = ExecutionName { backend, test, execution };
        // Only the length of the whole may be too much.
        if let Ok(read) = ExecutionName::parse(&name.to_string()) {
            assert_eq!(read, name);
        } else {
            assert!(name.to_string().len() > 2048, "{name} does not read back");
        }
    }
}

/// Something with every field set.
struct Thing;

impl Fields for Thing {
    fn value(&self, field: &Field) -> Option<Value<'_>> {
        Some(match field {
            Field::State => Value::State(State::Completed),
            Field::Verdict => Value::Verdict(Verdict::Passed),
            Field::Done | Field::Startable => Value::Bool(true),
            Field::CreateTime | Field::EndTime => Value::Time(Timestamp::UNIX_EPOCH),
            _ => Value::Text("text"),
        })
    }
}

/// A filter that is accepted can be asked, and its own spelling means the same; one that is not says where in it.
pub(crate) fn filters(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for schema in [Schema::Executions, Schema::Tests, Schema::Items] {
        match Filter::parse(&text, schema) {
            Ok(filter) => {
                let spelled = filter.to_string();
                let again = Filter::parse(&spelled, schema);
                if spelled.chars().count() <= 2048 {
                    assert_eq!(again.as_ref(), Ok(&filter), "{spelled:?} of {text:?}");
                }
                assert_eq!(
                    again.is_ok_and(|again| again.matches(&Thing)),
                    filter.matches(&Thing),
                    "{text:?}"
                );
            }
            Err(error) => assert!(error.at <= text.len(), "{error} in {text:?}"),
        }
    }
}

/// What was not sealed here does not open; what was does, and not when a bit of it is another.
pub(crate) fn tokens(input: &[u8]) {
    let key = TokenKey::from_bytes([7; 32]);
    let (pages, resumes) = (PageTokens::new(&key), ResumeTokens::new(&key, Epoch([9; 16])));
    let bound = Binding::new("caller", "any").and(b"arguments").finish();
    let text = String::from_utf8_lossy(input);
    assert!(pages.open(&bound, &text).is_err(), "{text:?} opened as a page token");
    assert!(
        !matches!(resumes.open(&bound, &text), Ok(Resume::Known(_))),
        "{text:?} opened as a resume token"
    );

    let sealed = pages.seal(&bound, input);
    assert_eq!(pages.open(&bound, &sealed).as_deref(), Ok(input));
    let other = Binding::new("another", "any").and(b"arguments").finish();
    assert!(pages.open(&other, &sealed).is_err(), "it opened for another caller");
    let number = input.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let opened_at_ms = i64::from_le_bytes(number.to_le_bytes());
    let point = ResumePoint { position: number, opened_at_ms, covered_ms: opened_at_ms, view: number };
    let resume = resumes.seal(&bound, point);
    assert_eq!(resumes.open(&bound, &resume), Ok(Resume::Known(point)));
    for token in [sealed, resume] {
        let mut bytes = token.into_bytes();
        let at = usize::try_from(number % bytes.len() as u64).unwrap_or_default();
        // Bits beyond the last byte are no part of it, so a last character may have two spellings.
        if at + 1 < bytes.len() {
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8_lossy(&bytes);
            assert!(pages.open(&bound, &altered).is_err(), "altered");
            assert!(!matches!(resumes.open(&bound, &altered), Ok(Resume::Known(_))), "altered");
        }
    }
}

/// A file is accepted, and can be shown; or it has problems, each in words.
pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Config::parse(&text, Path::new("/etc/testgate"), &Overrides::default(), &|_| None) {
        Ok(config) => assert!(config.redacted().is_object(), "{text}"),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason: {text}");
            assert!(problems.iter().all(|problem| !problem.message.is_empty()), "{problems:?}");
        }
    }
}
