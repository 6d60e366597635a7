//! The command line page, from what the program's help says.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use crate::cell;

const HEAD: &str = "\
# Command line

This page is made from what `testgate COMMAND -h` says. `--help` says more of some options. Data goes to stdout, everything else
to stderr.
";

/// What a command says of itself.
#[derive(Debug, Default)]
struct Help {
    about: String,
    usage: String,
    /// Heading, and what stands below it.
    lists: Vec<(String, Vec<(String, String)>)>,
    /// What comes last, word for word: examples and exit codes.
    rest: Vec<String>,
}

const LISTS: [&str; 2] = ["Commands", "Arguments"];

impl Help {
    fn of(command: &[String]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_testgate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TESTGATE_") {
                program.env_remove(name);
            }
        }
        // So wide that nothing is wrapped.
        program.args(command).arg("-h").env("COLUMNS", "1000").env("NO_COLOR", "1").stdin(Stdio::null());
        let output = program.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        Self::parse(&String::from_utf8(output.stdout).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut help = Self::default();
        for block in text.trim_end().split("\n\n") {
            let (first, lines) = block.split_once('\n').unwrap_or((block, ""));
            let heading = first.strip_suffix(':').unwrap_or_default();
            if let Some(usage) = first.strip_prefix("Usage: ") {
                usage.clone_into(&mut help.usage);
            } else if LISTS.contains(&heading) || heading.to_lowercase().ends_with("options") {
                help.lists.push((heading.to_owned(), lines.lines().map(entry).collect()));
            } else if help.usage.is_empty() {
                block.clone_into(&mut help.about);
            } else {
                help.rest.push(block.to_owned());
            }
        }
        help
    }

    fn list(&self, heading: &str) -> &[(String, String)] {
        self.lists.iter().find(|(found, _)| found == heading).map_or(&[], |(_, list)| list)
    }
}

/// A term and what is said of it, two or more spaces apart.
fn entry(line: &str) -> (String, String) {
    let line = line.trim_start();
    let (term, said) = line.split_once("  ").unwrap_or((line, ""));
    let said = said.trim().replace("=]", "]");
    (term.to_owned(), said)
}

fn write_command(page: &mut String, command: &[String], global: &[(String, String)]) {
    let help = Help::of(command);
    let name =
        ["testgate"].into_iter().chain(command.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    write!(page, "\n## {name}\n\n{}.\n\n```text\n{}\n```\n", help.about, help.usage).unwrap();
    for (heading, entries) in &help.lists {
        let mut own = entries.iter().filter(|entry| !global.contains(entry) && !is_help(entry)).peekable();
        if heading == "Commands" || own.peek().is_none() {
            continue;
        }
        write!(page, "\n| {heading} | |\n|---|---|\n").unwrap();
        for (term, said) in own {
            writeln!(page, "| `{term}` | {} |", cell(said)).unwrap();
        }
    }
    if !help.rest.is_empty() {
        write!(page, "\n```text\n{}\n```\n", help.rest.join("\n\n")).unwrap();
    }
    for (child, _) in help.list("Commands") {
        let command: Vec<_> = command.iter().chain([child]).cloned().collect();
        write_command(page, &command, global);
    }
}

fn is_help((term, _): &(String, String)) -> bool {
    term == "-h, --help"
}

pub(crate) fn page() -> String {
    let help = Help::of(&[]);
    let global: Vec<_> = help.list("Options").to_vec();
    let mut page = HEAD.to_owned();
    page.push_str("\n| Command | |\n|---|---|\n");
    for (command, about) in help.list("Commands") {
        writeln!(page, "| [`{command}`](#testgate-{command}) | {about} |").unwrap();
    }
    page.push_str("\n| Every command has | |\n|---|---|\n");
    for (term, said) in &global {
        writeln!(page, "| `{term}` | {} |", cell(said)).unwrap();
    }
    write!(page, "\n```text\n{}\n```\n", help.rest.join("\n\n")).unwrap();
    for (command, _) in help.list("Commands") {
        write_command(&mut page, std::slice::from_ref(command), &global);
    }
    page
}

#[test]
fn a_help_text_is_taken_apart() {
    let text = "Starts a test\n\nUsage: testgate run <TEST>\n\nOptions:\n      --label <K>  Its label\n  -o <F>  How [env: A=]\n\nExamples:\n  testgate run a\n";
    let help = Help::parse(text);
    assert_eq!(help.about, "Starts a test");
    assert_eq!(help.usage, "testgate run <TEST>");
    let options = [("--label <K>", "Its label"), ("-o <F>", "How [env: A]")];
    assert_eq!(help.list("Options"), options.map(|(term, said)| (term.to_owned(), said.to_owned())));
    assert_eq!(help.rest, ["Examples:\n  testgate run a"]);
}
