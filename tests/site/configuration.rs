//! The configuration page, from the example that the tests of `config` hold to the parser.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::{cell, files, read};

const HEAD: &str = "\
# Configuration

One TOML file, `testgate serve --config FILE`. This page is made from `examples/testgate.toml`, which has every key; where there
is a default, it is the value shown. `testgate check --config FILE` reports every problem of a file at once, each with its line.

- Unknown keys are refused. Secrets never stand in the file itself: they are named by a `_file` or `_env` key.
- Durations are written `250ms`, `2s`, `5m`, `24h`, `7d`; sizes `64KiB`, `4MiB`. Relative paths start from the file's folder.
- What a change needs is said in [Operations](../operations.md#a-new-configuration).
";

const ENVIRONMENT: &str = "\n## Flags and variables\n\nA flag beats a variable, which beats the file.\n\n| Variable | Flag of `serve` |\n|---|---|\n";

/// A line of the example: a table's heading, a key, or words.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Table(&'a str, &'a str),
    Key(&'a str, &'a str, &'a str),
    Words(&'a str),
}

fn line(text: &str) -> Option<Line<'_>> {
    let bare = text.strip_prefix("# ").unwrap_or(text).trim();
    let (code, comment) = match bare.find(" #") {
        Some(at) => (bare[..at].trim(), bare[at..].trim_start_matches([' ', '#'])),
        None => (bare, ""),
    };
    if code.is_empty() || code == "#" {
        return None;
    }
    if code.starts_with('[') {
        return Some(Line::Table(code, comment));
    }
    let key =
        code.split_once(" = ").filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    match key {
        Some((key, value)) => Some(Line::Key(key, value, comment)),
        None => Some(Line::Words(bare)),
    }
}

pub(crate) fn page() -> String {
    let example = read("examples/testgate.toml");
    let mut page = HEAD.to_owned();
    // The first paragraph is about the file, and HEAD says what it says.
    let (_, body) = example.split_once("\n\n").unwrap();
    let mut words: Vec<&str> = Vec::new();
    let mut table = String::new();
    let mut in_rows = false;
    for line in body.lines().filter_map(line) {
        match line {
            Line::Words(more) => words.push(more),
            Line::Table(heading, comment) => {
                // Three backends show three kinds; a comment says which.
                let kind = words.join(" ");
                heading.clone_into(&mut table);
                write!(page, "\n## {table}{}\n", suffix(&kind)).unwrap();
                for text in [kind.as_str(), comment].into_iter().filter(|text| !text.is_empty()) {
                    write!(page, "\n{}{}\n", cell(&upper(text)), if text.ends_with('.') { "" } else { "." })
                        .unwrap();
                }
                words.clear();
                in_rows = false;
            }
            Line::Key(key, value, comment) => {
                if !in_rows {
                    page.push_str("\n| Key | Value | |\n|---|---|---|\n");
                    in_rows = true;
                }
                writeln!(page, "| `{key}` | `{value}` | {} |", cell(comment)).unwrap();
            }
        }
    }
    page.push_str(ENVIRONMENT);
    for (flag, variable) in settings() {
        let flag = if flag.is_empty() { String::new() } else { format!("`{flag}`") };
        writeln!(page, "| `{variable}` | {flag} |").unwrap();
    }
    page.push_str("\n`RUST_LOG` beats `log_level`, as in other programs. AWS's own variables work as in its SDKs, and `HTTPS_PROXY` and `NO_PROXY` are honoured.\n");
    page
}

/// What tells the headings of backends of several kinds apart.
fn suffix(words: &str) -> &'static str {
    match words {
        _ if words.contains("Connect instance") => ": Amazon Connect",
        _ if words.contains("Lex V2") => ": Amazon Lex V2",
        _ if words.contains("OpenMetadata server") => ": OpenMetadata",
        _ => "",
    }
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Flags and variables on top of the file, as the parser's own table has them.
fn settings() -> Vec<(String, String)> {
    let source = read("src/config/overrides.rs");
    let table = source.split_once("const SETTINGS").unwrap().1.split_once("\n];").unwrap().0;
    let mut found = Vec::new();
    for row in table.split("\n    (\"").skip(1) {
        let mut strings = row.split('"');
        found.push((strings.next().unwrap().to_owned(), strings.nth(1).unwrap().to_owned()));
    }
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// The keys that the parser asks a table for.
fn keys_of_the_parser() -> BTreeSet<String> {
    let sources: String =
        files("src/config/parse", ".rs").iter().map(read).collect::<String>() + &read("src/config/parse.rs");
    let getters = [
        "string", "strings", "parsed", "required", "bounded", "number", "word", "flag", "table", "tables",
        "bounds",
    ];
    let mut keys = BTreeSet::new();
    for getter in getters {
        for (at, call) in sources.match_indices(&format!("{getter}(")) {
            let argument = sources[at + call.len()..].trim_start();
            let before = sources[..at].chars().last();
            if let Some(rest) =
                argument.strip_prefix('"').filter(|_| before.is_none_or(|c| !c.is_alphanumeric() && c != '_'))
            {
                keys.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

#[test]
fn every_key_that_is_read_is_on_the_page() {
    let page = page();
    // Written with another key's row, or as a heading.
    let missing: Vec<_> = keys_of_the_parser()
        .into_iter()
        .filter(|key| !page.contains(&format!("| `{key}` |")) && !page.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in examples/testgate.toml: {missing:?}");
}

#[test]
fn a_line_of_the_example_is_told_apart() {
    assert_eq!(line("listen = \"a\"   # or a list"), Some(Line::Key("listen", "\"a\"", "or a list")));
    assert_eq!(line("# profile = \"prod\""), Some(Line::Key("profile", "\"prod\"", "")));
    assert_eq!(line("# [limits]     # for each caller"), Some(Line::Table("[limits]", "for each caller")));
    assert_eq!(line("# Amazon Lex V2 in one account."), Some(Line::Words("Amazon Lex V2 in one account.")));
    assert_eq!(line("#"), None);
}
