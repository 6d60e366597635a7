//! docs/reliability.md and the tests that provoke its rows, kept together.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/reliability.md";
/// Row and test, as `row_NN_` names say it.
const MARK: &str = "row_";

/// A line of the page's table.
#[derive(Debug)]
struct Row {
    number: u32,
    /// File and function of each test.
    tests: Vec<(String, String)>,
}

#[test]
fn each_test_that_the_page_names_is_there() {
    let mut missing = Vec::new();
    for row in rows() {
        for (file, test) in &row.tests {
            let there = fs::read_to_string(root().join(file))
                .is_ok_and(|text| functions(&text).any(|name| name == test));
            if !there {
                missing.push(format!("row {}: {file}: {test}", row.number));
            }
        }
    }
    assert!(missing.is_empty(), "{PAGE} names tests that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn each_test_of_a_row_is_on_the_page() {
    let listed: BTreeSet<(u32, String, String)> = rows()
        .into_iter()
        .flat_map(|row| row.tests.into_iter().map(move |(file, test)| (row.number, file, test)))
        .collect();
    let mut unlisted = Vec::new();
    for (file, path) in sources() {
        for test in functions(&fs::read_to_string(path).unwrap()).filter(|name| name.starts_with(MARK)) {
            let number: u32 =
                match test.trim_start_matches(MARK).split_once('_').map(|(digits, _)| digits.parse()) {
                    Some(Ok(number)) => number,
                    _ => panic!("{file}: {test} should begin with row_NN_"),
                };
            if !listed.contains(&(number, file.clone(), test.to_owned())) {
                unlisted.push(format!("row {number}: `{file}: {test}`"));
            }
        }
    }
    assert!(unlisted.is_empty(), "{PAGE} does not have:\n{}", unlisted.join("\n"));
}

#[test]
fn the_rows_are_sorted_and_stand_once() {
    let numbers: Vec<u32> = rows().iter().map(|row| row.number).collect();
    assert!(numbers.len() >= 49, "{numbers:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The table: a file is named with its first test, and stays until another is named.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, _, _, tests, ""] = cells[..] else { return None };
        let number = number.parse().ok()?;
        let mut file = None;
        let tests: Vec<(String, String)> = tests
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|quoted| {
                let test = match quoted.split_once(": ") {
                    Some((named, test)) => {
                        file = Some(named.to_owned());
                        test
                    }
                    None => quoted,
                };
                (
                    file.clone().unwrap_or_else(|| panic!("row {number}: {test} is in no file")),
                    test.to_owned(),
                )
            })
            .collect();
        assert!(!tests.is_empty() || line.contains("pending"), "row {number} names no test");
        Some(Row { number, tests })
    });
    rows.collect()
}

/// The functions that a source declares.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let declared = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        declared.split_once('(').map(|(name, _)| name)
    })
}

/// Every source, with its path from the root.
fn sources() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), path));
            }
        }
    }
    found
}
