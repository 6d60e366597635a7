//! The commands of `testgate` that the pages show are ones that it takes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{files, root};

/// What a line says to the shell first: without its comment, and up to the next command.
fn first(line: &str) -> &str {
    let mut quoted = false;
    let mut previous = ' ';
    for (at, letter) in line.char_indices() {
        quoted ^= letter == '\'';
        if !quoted && (";|>".contains(letter) || letter == '#' && previous == ' ') {
            return line[..at].trim_end();
        }
        previous = letter;
    }
    // What follows on the next line is left out.
    line.trim_end_matches('\\').trim_end()
}

/// All commands of a page, in blocks and in prose, but for those that leave something open.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            let line = line.trim_start();
            found.push(line.strip_prefix("$ ").unwrap_or(line));
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let complete = found.into_iter().map(first).filter(|command| {
        command.starts_with("testgate ")
            && !["…", "[", "COMMAND", "..."].iter().any(|open| command.contains(open))
    });
    complete.map(str::to_owned).collect()
}

/// Whether the program takes a command: it helps only with what it knows so far.
fn is_taken(command: &str) -> Result<(), String> {
    let program = Path::new(env!("CARGO_BIN_EXE_testgate"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let arguments = command.strip_prefix("testgate").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec testgate {arguments} --help")]).env("PATH", path).stdin(Stdio::null());
    let output = shell.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn every_command_that_a_page_shows_is_one() {
    let mut count = 0;
    for page in files(".", ".md") {
        for command in commands(&std::fs::read_to_string(&page).unwrap()) {
            count += 1;
            let page = page.strip_prefix(root()).unwrap().display();
            is_taken(&command).unwrap_or_else(|said| panic!("{page}: {command}: {said}"));
        }
    }
    assert!(count > 30, "only {count} commands");
}

#[test]
fn commands_are_found_and_wrong_ones_told() {
    let text = "Use `testgate get NAME` or `testgate run …`.\n```console\n$ testgate run a/b; echo $?\n$ testgate tests a --filter 'x > \"y\"' # why\n```\n";
    assert_eq!(
        commands(text),
        ["testgate get NAME", "testgate run a/b", "testgate tests a --filter 'x > \"y\"'"]
    );
    assert!(is_taken("testgate run a/b --label k=v").is_ok());
    assert!(is_taken("testgate run a/b --lable k=v").is_err());
    assert!(is_taken("testgate rnu a/b").is_err());
}
