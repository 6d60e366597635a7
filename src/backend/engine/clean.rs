//! Upstream's words, made fit for callers and logs.

use std::ops::Range;

use crate::backend::BackendError;
use crate::model::status::cut;

/// What stands in for what was taken out.
const HIDDEN: &str = "[hidden]";
/// Longer texts are cut before they are looked at.
const MAX_INPUT_BYTES: usize = 8 * 1024;
/// A name that contains one of these has a secret for a value.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "signature",
    "credential",
    "apikey",
];
/// So has one of several words that ends with one of these.
const SECRET_PHRASES: [&str; 4] = ["apikey", "accesskey", "secretkey", "privatekey"];
/// How many words such a name has at most.
const PHRASE_WORDS: usize = 3;
/// What ends a value of which only the quotes are certain.
const ENDS: [char; 8] = [' ', ',', ';', '&', '}', ')', ']', '>'];
/// Where a statement begins; upstream's drivers quote them whole.
const SQL: [&str; 10] = [
    "select ",
    "insert into ",
    "replace into ",
    "merge into ",
    "update ",
    "delete from ",
    "create table ",
    "alter table ",
    "drop table ",
    "[statement:",
];

/// Takes credentials, pre-signed links, bearer tokens and SQL out of a text, flattens it to one line, cuts it.
pub fn clean(text: &str) -> String {
    let text = flat(&cut(text.to_owned(), MAX_INPUT_BYTES));
    let text = without_values(&without_links(&without_sql(&text)));
    cut(without_tokens(&text), BackendError::MAX_MESSAGE_BYTES)
}

/// The text as one line, with one space between its words.
fn flat(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
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

/// Links without user, password and query.
fn without_links(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((scheme, link)) = rest.split_once("://") {
        let end = link.find([' ', '"', '\'', '\\', '<', '>']).unwrap_or(link.len());
        let (link, after) = link.split_at(end);
        let (base, query) = link.split_once('?').map_or((link, ""), |(base, _)| (base, HIDDEN));
        let host = base.rsplit_once('@').map_or(base, |(_, host)| host);
        kept.extend([scheme, "://", host, if query.is_empty() { "" } else { "?" }, query]);
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The text without the values of names that have secrets for values.
fn without_values(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut shown_to = 0;
    for (at, _) in text.match_indices([':', '=']) {
        let (before, after) = text.split_at(at);
        if !is_secret_name(before) {
            continue;
        }
        let value = after.trim_start_matches([':', '=', '>', ' ']);
        let Range { start, end } = text.len() - value.len()..text.len() - after_value(value).len();
        // What looks like a name within another's value may have an end of its own, further on.
        if start >= shown_to && start < end {
            kept.push_str(text.get(shown_to..start).unwrap_or_default());
            kept.push_str(HIDDEN);
        }
        shown_to = shown_to.max(end);
    }
    kept.push_str(text.get(shown_to..).unwrap_or_default());
    kept
}

/// Whether what ends here, before a colon or an equals sign, is the name of a secret.
fn is_secret_name(before: &str) -> bool {
    let name = before.trim_end_matches([' ', '"', '\'', '`', '\\']);
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let name = name.rsplit(|c| !in_name(c)).next().unwrap_or_default();
    let plain = |word: &str| -> String {
        word.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
    };
    let mut words: Vec<String> = name.rsplit(' ').take(PHRASE_WORDS).map(plain).collect();
    let last = words.first().is_some_and(|last| SECRET_NAMES.iter().any(|secret| last.contains(secret)));
    words.reverse();
    let phrase = words.concat();
    last || SECRET_PHRASES.iter().any(|secret| phrase.ends_with(secret))
}

/// What comes after the value that this begins with. Where nobody can tell, nothing does.
fn after_value(text: &str) -> &str {
    let to_end = |after: &'_ str| after.find(ENDS).unwrap_or(after.len());
    if let Some(after) = text.strip_prefix(HIDDEN) {
        return after.split_at(to_end(after)).1;
    }
    let opening = text.trim_start_matches('\\');
    let escapes = text.len() - opening.len();
    match opening.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => {
            let inside = opening.strip_prefix(quote).unwrap_or_default();
            let after = after_quote(inside, quote, escapes);
            after.split_at(to_end(after)).1
        }
        Some('[' | '{' | '(') => "",
        _ => {
            let (word, after) = text.split_at(text.find(' ').unwrap_or(text.len()));
            // `Authorization: Bearer x`: the scheme is not the secret yet.
            if ends_with_scheme(word) { after_value(after.trim_start()) } else { after }
        }
    }
}

/// What comes after the quote that ends what is quoted. In a text that is quoted itself each quote has escapes before
/// it, and a quote in what is quoted has more of them.
fn after_quote(inside: &str, quote: char, escapes: usize) -> &str {
    let ends = |at: usize| {
        let before = inside.get(..at).unwrap_or_default();
        let found = before.len() - before.trim_end_matches('\\').len();
        if escapes == 0 { found % 2 == 0 } else { found == escapes }
    };
    let end = inside.match_indices(quote).map(|(at, _)| at).find(|at| ends(*at));
    end.and_then(|at| inside.get(at + quote.len_utf8()..)).unwrap_or_default()
}

/// The text without what shows by itself that it is a credential, wherever it stands.
fn without_tokens(text: &str) -> String {
    let mut hide_next = false;
    let words = text.split(' ').map(|word| {
        let hide = std::mem::take(&mut hide_next) && word != HIDDEN;
        hide_next = ends_with_scheme(word);
        if hide || holds_token(word) || word.to_ascii_lowercase().contains("x-amz-") { HIDDEN } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a credential comes next.
fn ends_with_scheme(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
    let last = word.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next();
    matches!(last, Some("bearer" | "basic" | "aws4-hmac-sha256"))
}

/// JSON web tokens and AWS access key ids, wherever they stand in a word.
fn holds_token(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).any(|part| {
        (part.starts_with("eyJ") && part.len() > 20)
            || (["AKIA", "ASIA"].iter().any(|prefix| part.starts_with(prefix)) && part.len() >= 20)
    })
}

#[cfg(test)]
mod tests;
