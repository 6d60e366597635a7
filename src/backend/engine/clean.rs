//! Upstream's words, made fit for callers and logs.

use crate::backend::BackendError;
use crate::model::status::cut;

/// What stands in for what was taken out.
const HIDDEN: &str = "[hidden]";
/// Longer texts are cut before they are looked at.
const MAX_INPUT_BYTES: usize = 8 * 1024;
/// A name that contains one of these has a secret for a value.
const SECRET_NAMES: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "authorization", "signature", "credential", "apikey"];
/// What separates one name with its value from the next where there is no space.
const SEPARATORS: [char; 7] = [',', ';', '&', '{', '}', '(', ')'];
/// Where a statement begins; upstream's drivers quote them whole.
const SQL: [&str; 8] = [
    "select ",
    "insert into ",
    "update ",
    "delete from ",
    "create table ",
    "alter table ",
    "drop table ",
    "[statement:",
];

/// Takes credentials, pre-signed links, bearer tokens and SQL out of a text, flattens it to one line, cuts it.
pub fn clean(text: &str) -> String {
    let text = without_sql(&cut(text.to_owned(), MAX_INPUT_BYTES));
    let mut kept = String::with_capacity(text.len().min(BackendError::MAX_MESSAGE_BYTES));
    let mut hide_next = false;
    // What a quoted secret of several words ends with.
    let mut quote = None;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !kept.is_empty() {
            kept.push(' ');
        }
        let lower = word.to_ascii_lowercase();
        if let Some(end) = quote {
            kept.push_str(HIDDEN);
            quote = (!word.contains(end)).then_some(end);
        } else if std::mem::take(&mut hide_next) {
            kept.push_str(HIDDEN);
            quote = word.chars().next().filter(|c| matches!(c, '"' | '\'') && word.matches(*c).count() == 1);
            // `Authorization: Bearer x`: the scheme is not the secret yet.
            hide_next = quote.is_none() && is_scheme(&lower);
        } else if is_scheme(&lower) {
            kept.push_str(word);
            hide_next = true;
        } else {
            let (shown, next) = clean_word(word, &lower);
            kept.push_str(&shown);
            hide_next = next;
        }
    }
    cut(kept, BackendError::MAX_MESSAGE_BYTES)
}

/// A word as it may be shown, and whether the next one is its secret.
fn clean_word(word: &str, lower: &str) -> (String, bool) {
    if lower.contains("://") && (lower.contains('?') || lower.contains('@')) {
        return (clean_url(word), false);
    }
    if holds_token(word) || lower.contains("x-amz-") {
        return (HIDDEN.to_owned(), false);
    }
    let mut shown = String::with_capacity(word.len());
    for part in word.split_inclusive(SEPARATORS) {
        if let Some((name, value)) = part.split_once(['=', ':'])
            && is_secret_name(name)
        {
            if value.trim_matches(['"', '\'', ',']).is_empty() {
                shown.push_str(part);
                return (shown, true);
            }
            // Nobody can tell where the secret ends, so the rest of the word goes with it.
            return (format!("{shown}{name}={HIDDEN}"), false);
        }
        shown.push_str(part);
    }
    (shown, false)
}

/// A link without user, password and query.
fn clean_url(word: &str) -> String {
    let (base, query) = word.split_once('?').map_or((word, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let query = query.map(|_| format!("?{HIDDEN}")).unwrap_or_default();
    format!("{scheme}://{rest}{query}")
}

fn is_scheme(lower: &str) -> bool {
    matches!(lower.trim_matches(['"', '\'', ':', ',']), "bearer" | "basic" | "aws4-hmac-sha256")
}

fn is_secret_name(name: &str) -> bool {
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// JSON web tokens and AWS access key ids, wherever they stand in a word.
fn holds_token(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).any(|part| {
        (part.starts_with("eyJ") && part.len() > 20)
            || (["AKIA", "ASIA"].iter().any(|prefix| part.starts_with(prefix)) && part.len() >= 20)
    })
}

/// Everything before the first statement. Statements hold values, and nobody can tell where one ends.
fn without_sql(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let is_statement = |at: usize, opening: &str| {
        let rest = lower.get(at + opening.len()..).unwrap_or_default();
        match opening {
            "select " => rest.contains(" from "),
            "update " => rest.contains(" set "),
            _ => true,
        }
    };
    let starts =
        SQL.iter().flat_map(|opening| lower.match_indices(opening).map(move |(at, _)| (at, *opening)));
    match starts.filter(|(at, opening)| is_statement(*at, opening)).map(|(at, _)| at).min() {
        None => text.to_owned(),
        Some(at) => format!("{}[statement left out]", text.get(..at).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_taken_out() {
        for (text, shown) in [
            (
                "see https://b.s3.amazonaws.com/a.zip?X-Amz-Signature=abc&x=1 now",
                "see https://b.s3.amazonaws.com/a.zip?[hidden] now",
            ),
            ("https://me:pw@host/path", "https://host/path"),
            ("Authorization: Bearer abc.def", "Authorization: [hidden] [hidden]"),
            ("got Bearer abc", "got Bearer [hidden]"),
            ("token=abc, id=7", "token=[hidden] id=7"),
            ("\"password\": \"x\"", "\"password\": [hidden]"),
            ("\"password\": \"x y z\", \"id\": 7", "\"password\": [hidden] [hidden] [hidden] \"id\": 7"),
            ("{\"code\":401,\"token\":\"abc\",\"id\":7} end", "{\"code\":401,\"token\"=[hidden] end"),
            ("\"authorization\": \"Bearer abc\" sent", "\"authorization\": [hidden] [hidden] sent"),
            ("user=me&pwd=abc&x=1", "user=me&pwd=[hidden]"),
            ("jdbc:mysql://me:pw@db/om failed", "jdbc:mysql://db/om failed"),
            ("key AKIAIOSFODNN7EXAMPLE is bad", "key [hidden] is bad"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.xxxx", "jwt [hidden]"),
            (
                "Duplicate entry [statement:\"INSERT INTO t VALUES (1)\"]",
                "Duplicate entry [statement left out]",
            ),
            ("failed: SELECT a FROM b WHERE c = 'd'", "failed: [statement left out]"),
            ("please select a test and update it", "please select a test and update it"),
            ("two\nlines\tand\0more", "two lines and more"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>()) {
            let shown = clean(&text);
            prop_assert!(shown.len() <= BackendError::MAX_MESSAGE_BYTES);
            prop_assert!(!shown.contains(['\n', '\r', '\0']));
        }

        #[test]
        fn a_signature_never_survives(before in "[a-z ]{0,20}", secret in "[0-9]{30}", after in "[a-z ]{0,20}") {
            let link = format!("{before} https://x.example/y?a=b&X-Amz-Signature={secret} {after}");
            prop_assert!(!clean(&link).contains(&secret));
        }
    }
}
