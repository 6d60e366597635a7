//! The documentation: its generated pages, what it says of reasons, keys and permissions, its links, and its build.
//!
//! `UPDATE=1 cargo test --test site` writes the pages in `docs/reference/` anew.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "tests may panic")]

mod api;
mod command_line;
mod commands;
mod configuration;
mod links;
mod truth;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end so, without those that tools have made.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !path.is_symlink() {
                let made = ["target", "node_modules", "dist", "site"].contains(&name)
                    && !path.ends_with("tests/site");
                if !made && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What a cell of a table can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

/// Compares a generated page with the one that is checked in, or writes it.
fn generated(page: &str, content: &str) {
    let path = root().join("docs/reference").join(page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, content).unwrap();
        return;
    }
    let there = read(&path);
    if there == content {
        return;
    }
    let different = there.lines().zip(content.lines()).position(|(one, other)| one != other);
    let line = different.unwrap_or_else(|| there.lines().count().min(content.lines().count()));
    panic!(
        "docs/reference/{page} is stale from line {}: run UPDATE=1 cargo test --test site\n- {}\n+ {}",
        line + 1,
        there.lines().nth(line).unwrap_or_default(),
        content.lines().nth(line).unwrap_or_default(),
    );
}

#[test]
fn the_api_page_is_what_the_contract_says() {
    generated("api.md", &api::page());
}

#[test]
fn the_command_line_page_is_what_the_program_says() {
    generated("command-line.md", &command_line::page());
}

#[test]
fn the_configuration_page_is_what_the_example_says() {
    generated("configuration.md", &configuration::page());
}

/// Builds the site of a folder that has `mkdocs.yml` and `docs/`; what was said where that fails.
fn build(folder: &Path) -> Result<(), String> {
    let python = std::env::var_os("TESTGATE_PYTHON_SITE").expect(
        "TESTGATE_PYTHON_SITE is not set: run the README's test command, tests/run, which installs what it names",
    );
    let built = tempfile::tempdir().unwrap();
    let output = Command::new(python)
        .args(["-m", "mkdocs", "build", "--strict", "--site-dir"])
        .arg(built.path())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() && built.path().join("reference/api.html").is_file() {
        Ok(())
    } else {
        Err(said)
    }
}

#[test]
fn the_site_builds_without_a_warning() {
    build(root()).unwrap();
}

#[test]
fn a_broken_link_fails_the_build() {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("mkdocs.yml"), copy.path().join("mkdocs.yml")).unwrap();
    for file in files("docs", ".md") {
        let to = copy.path().join(file.strip_prefix(root()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
    }
    std::fs::write(copy.path().join("docs/faq.md"), "# FAQ\n\n[nowhere](errors.md#no-such-heading)\n")
        .unwrap();
    let said = build(copy.path()).unwrap_err();
    assert!(said.contains("no-such-heading"), "{said}");
}
