//! The README and the quick start are true: their commands are run in order and must print what stands below them.
//!
//! A line that begins with `$ ` is a command, and the lines up to the next one are its output. A line `...`
//! stands for any number of lines. Ids, times and revisions differ from run to run: what a page shows stands for
//! what came instead, also in later commands.

use std::collections::HashMap;
use std::path::Path;

use tokio::process::Command;

use crate::grpcurl::grpcurl_path;
use crate::process::{finish, isolate};
use crate::support::{Setup, World};

/// A command and what is shown below it.
#[derive(Debug)]
struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
}

/// The examples of all `console` blocks that run a client.
fn examples(readme: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    // Blocks whose first line is no command show nothing that could be checked.
    let (mut inside, mut begun) = (false, false);
    for (number, line) in readme.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            (inside, begun) = (language == "console", false);
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            begun = true;
            found.push(Example { line: number + 1, command: command.to_owned(), output: Vec::new() });
        } else if let Some(example) = found.last_mut().filter(|_| begun) {
            let command = &mut example.command;
            let open_quote = command.matches('\'').count() % 2 == 1;
            if example.output.is_empty() && (open_quote || command.ends_with('\\')) {
                command.push('\n');
                command.push_str(line);
            } else {
                example.output.push(line.to_owned());
            }
        }
    }
    found
}

/// Words are compared one by one, whatever stands between them must be the same.
fn words(line: &str) -> Vec<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = if part(first) { rest.find(|c| !part(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, after) = rest.split_at(end);
        // Columns are as wide as what is in them.
        if !word.trim().is_empty() {
            words.push(word);
        }
        rest = after;
    }
    words
}

#[derive(Debug, PartialEq)]
enum Shape {
    Time,
    Id,
    Number,
    Duration,
    Fixed,
}

fn shape(word: &str) -> Shape {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let bare = word.strip_prefix("g-").unwrap_or(word).trim_end_matches([':', '.']);
    // The sandbox's own ids are the same in every run.
    let minted = uuid::Uuid::try_parse(bare).is_ok() && !bare.contains("-0000-4000-8000-");
    let hex =
        bare.len() == 10 && bare.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    if word.contains('T') && word.ends_with('Z') && digits >= 14 {
        Shape::Time
    } else if minted || hex {
        Shape::Id
    } else if digits == word.len() && digits >= 10 {
        Shape::Number
    } else if word
        .strip_suffix('s')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    {
        Shape::Duration
    } else {
        Shape::Fixed
    }
}

/// What the README's ids stand for in this run.
#[derive(Clone, Debug, Default)]
struct Bound(HashMap<String, String>);

impl Bound {
    fn line(&mut self, shown: &str, actual: &str) -> bool {
        let (shown, actual) = (words(shown), words(actual));
        shown.len() == actual.len()
            && shown.iter().zip(&actual).all(|(shown, actual)| self.word(shown, actual))
    }

    fn word(&mut self, shown: &str, actual: &str) -> bool {
        match (shape(shown), shape(actual)) {
            (Shape::Fixed, _) | (_, Shape::Fixed) => shown == actual,
            (Shape::Id, Shape::Id) => {
                let bare = |word: &str| word.trim_end_matches([':', '.']).to_owned();
                let known = self.0.entry(bare(shown)).or_insert_with(|| bare(actual));
                *known == bare(actual)
            }
            (one, other) => one == other,
        }
    }

    fn lines(&mut self, shown: &[String], actual: &[&str]) -> bool {
        let Some((first, rest)) = shown.split_first() else { return actual.is_empty() };
        if first.trim() == "..." {
            return (0..=actual.len()).any(|skip| {
                let mut attempt = self.clone();
                let fits = attempt.lines(rest, &actual[skip..]);
                if fits {
                    *self = attempt;
                }
                fits
            });
        }
        actual.split_first().is_some_and(|(line, left)| self.line(first, line) && self.lines(rest, left))
    }

    /// A command with this run's ids.
    fn apply(&self, command: &str) -> String {
        self.0.iter().fold(command.to_owned(), |command, (shown, actual)| command.replace(shown, actual))
    }
}

async fn run(world: &World, tools: &Path, command: &str) -> String {
    let address = world.gateway.addresses()[0].to_string();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec 2>&1; {}", command.replace("127.0.0.1:50051", &address)));
    isolate(&mut shell);
    let path = std::env::var("PATH").unwrap();
    shell
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("TESTGATE_URL", format!("http://{address}"))
        .env("TESTGATE_SERVER", address)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TESTGATE_SANDBOX", format!("http://{}", world.sandbox.control_address()));
    finish(shell).await.out
}

/// Runs the examples of a page; it has at least so many of each tool.
async fn shows_what_comes<const N: usize>(page: &str, least: [(&str, usize); N]) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let examples = examples(&text);
    for (tool, least) in least {
        let found = examples.iter().filter(|example| example.command.starts_with(tool)).count();
        assert!(found >= least, "{page}: examples of {tool} are missing: {examples:#?}");
    }

    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(grpcurl_path(), tools.path().join("grpcurl")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_testgate"), tools.path().join("testgate")).unwrap();
    let world = World::with(Setup { env: crate::doors::both, ..Setup::default() }).await;
    let mut bound = Bound::default();
    for example in &examples {
        let command = bound.apply(&example.command);
        let output = run(&world, tools.path(), &command).await;
        let actual: Vec<&str> = output.lines().map(str::trim_end).collect();
        let shown: Vec<String> = example.output.iter().map(|line| line.trim_end().to_owned()).collect();
        assert!(
            bound.lines(&shown, &actual),
            "{page}, line {}: {command}\n--- shown\n{}\n--- came\n{output}",
            example.line,
            shown.join("\n"),
        );
    }
}

#[tokio::test]
async fn what_the_readme_shows_is_what_comes() {
    shows_what_comes("README.md", [("grpcurl ", 8), ("testgate ", 4)]).await;
}

#[tokio::test]
async fn what_the_quick_start_shows_is_what_comes() {
    shows_what_comes("docs/quick-start.md", [("grpcurl ", 1), ("testgate ", 6)]).await;
}

#[tokio::test]
async fn what_the_page_on_curl_shows_is_what_comes() {
    shows_what_comes("docs/how-to/web.md", [("curl ", 3), ("examples/", 1)]).await;
}

#[tokio::test]
async fn the_configuration_that_the_readme_shows_has_no_problems() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let ended = crate::cli::check::check(block).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.complaint().contains("no problems, 3 backends"), "{ended:?}");
}

#[test]
fn ids_times_and_revisions_may_differ_and_nothing_else() {
    let mut bound = Bound::default();
    let shown = ["{", "\"id\": \"61AB10AF9A\",", "...", "  \"at\": \"2026-11-21T06:53:31.444Z\"", "}"]
        .map(str::to_owned);
    let actual =
        ["{", "\"id\": \"0011AABBCC\",", "\"x\": 1", "\"y\": 2", "  \"at\": \"2027-01-01T00:00:00Z\"", "}"];
    assert!(bound.lines(&shown, &actual));
    assert_eq!(bound.apply("get 61AB10AF9A"), "get 0011AABBCC");
    assert!(!bound.line("61AB10AF9A", "FFFFFFFFFF"), "an id stands for one id only");
    assert!(!bound.line("a BOOKINGBAD", "a BOOKINGOK1"));
    assert!(!bound.line("\"total\": 6", "\"total\": 7"));
    assert!(!bound.lines(&["a".to_owned(), "b".to_owned()], &["a"]));
}
