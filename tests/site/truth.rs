//! What the pages say of reasons and permissions is what the code has.

use std::collections::BTreeSet;

use testgate::config::{Config, Overrides};

use crate::{files, read, root};

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |part| part.split_once(end).map(|(inner, _)| inner))
}

fn is_reason(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Every reason that the code gives to an error.
fn reasons() -> BTreeSet<String> {
    let sources = read("src/backend/error.rs") + &read("src/grpc/error.rs");
    let strings = sources.split('"').skip(1).step_by(2);
    strings.filter(|word| is_reason(word)).map(str::to_owned).collect()
}

/// The reasons in a column of a page's tables of so many columns.
fn rows(page: &str, columns: usize, column: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let cell = if cells.len() == columns { cells[column] } else { "" };
        let words = cell.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        found.extend(words.filter(|word| is_reason(word)).map(str::to_owned));
    }
    found
}

#[test]
fn each_reason_has_a_row_that_says_what_to_do() {
    let reasons = reasons();
    assert!(reasons.len() > 45, "{reasons:?}");
    assert_eq!(rows(&read("docs/errors.md"), 3, 0), reasons, "docs/errors.md, left, and the code");
    assert_eq!(rows(&read("docs/semantics.md"), 4, 2), reasons, "docs/semantics.md, left, and the code");
}

#[test]
fn each_row_names_the_code_that_the_semantics_give() {
    let semantics = read("docs/semantics.md");
    let mut count = 0;
    for row in read("docs/errors.md").lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (reasons, code) = (cells.next().unwrap(), cells.next().unwrap());
        for reason in reasons.split('`').skip(1).step_by(2) {
            let given = semantics.lines().any(|line| {
                let cells: Vec<_> = line.split(" | ").collect();
                cells.len() == 4 && cells[1] == code && cells[2].split(',').next() == Some(reason)
            });
            assert!(given, "{reason}: docs/semantics.md gives another code than {code}");
            count += 1;
        }
    }
    assert_eq!(count, reasons().len());
}

/// The operations that an adapter calls.
fn operations(adapter: &str) -> BTreeSet<String> {
    let client = read(format!("src/backend/{adapter}/client.rs"));
    let found: BTreeSet<_> = between(&client, "name: \"", "\"").map(str::to_owned).collect();
    assert!(found.len() >= 7, "{found:?}");
    found
}

#[test]
fn the_policies_allow_what_is_called_and_nothing_else() {
    for (adapter, prefix) in [("connect", "\"connect:"), ("lex", "\"lex:")] {
        for page in [format!("docs/how-to/{adapter}.md"), "README.md".to_owned()] {
            let text = read(&page);
            let allowed: BTreeSet<_> = between(&text, prefix, "\"").map(str::to_owned).collect();
            assert_eq!(allowed, operations(adapter), "{page}, left, and the adapter");
        }
        let how_to = read(format!("docs/how-to/{adapter}.md"));
        let policies: Vec<_> = between(&how_to, "```json\n", "```").collect();
        let follow: serde_json::Value = serde_json::from_str(policies[0]).unwrap();
        let run: serde_json::Value = serde_json::from_str(policies[1]).unwrap();
        let actions = follow["Statement"][0]["Action"].as_array().unwrap();
        assert!(actions.iter().all(|action| !action.as_str().unwrap().contains(":St")), "{actions:?}");
        assert!(
            run["Action"].as_array().unwrap().iter().all(|action| action.as_str().unwrap().contains(":St"))
        );
    }
}

#[test]
fn the_settings_that_the_pages_show_have_no_problems() {
    let mut count = 0;
    for page in files("docs/how-to", ".md") {
        for block in between(&read(&page), "```toml\n", "```") {
            let env = |name: &str| (name == "HOME").then(|| "/home/someone".to_owned());
            if let Err(problems) = Config::parse(block, root(), &Overrides::default(), &env) {
                panic!("{}: {problems:?}", page.display());
            }
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
}
