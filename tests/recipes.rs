//! The recipes in `examples/ci`: each is what its CI system takes, and all of them leave the work to one script.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(recipe(name)).unwrap()
}

/// A program that `tests/run` gives by a variable.
fn given(variable: &str) -> Command {
    let program = std::env::var_os(variable).unwrap_or_else(|| {
        panic!(
            "{variable} is not set: run the README's test command, tests/run, which installs what it names"
        )
    });
    Command::new(program)
}

fn accepts(mut command: Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn the_workflow_is_one_for_github_actions() {
    let mut actionlint = given("TESTGATE_ACTIONLINT");
    // What is on this machine beside it decides nothing.
    actionlint.args(["-shellcheck=", "-pyflakes="]).arg(recipe("github-actions.yml"));
    accepts(actionlint);
    schema("vendor.github-workflows", "github-actions.yml");
}

#[test]
fn the_pipeline_is_one_for_gitlab() {
    schema("vendor.gitlab-ci", "gitlab-ci.yml");
}

/// Checks a recipe with a schema that came with the checker.
fn schema(name: &str, file: &str) {
    let mut check = given("TESTGATE_PYTHON_SITE");
    check.args(["-m", "check_jsonschema", "--builtin-schema", name]).arg(recipe(file));
    accepts(check);
}

/// The variables that a text names, of those that are the gate's or the program's.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| word.starts_with("GATE_") || word.starts_with("TESTGATE_")).collect()
}

#[test]
fn the_recipes_only_call_the_script_and_tell_it_what_it_reads() {
    let read_by_the_script =
        variables(&read("release-gate.sh")).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    for name in ["github-actions.yml", "gitlab-ci.yml"] {
        let text = read(name);
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(code.matches("ci/release-gate.sh").count(), 1, "{name}");
        assert!(!code.contains("testgate run"), "{name}: what the script does is written there only");
        // Where the program comes from is the job's own business.
        let told = variables(&code).into_iter().filter(|variable| *variable != "TESTGATE_REPOSITORY");
        for variable in told {
            assert!(read_by_the_script.contains(variable), "{name}: the script does not read {variable}");
        }
        for variable in ["GATE_TESTS", "GATE_ID", "GATE_JUNIT"] {
            assert!(code.contains(variable), "{name}: {variable} is not given");
        }
        assert!(code.contains("junit") || code.contains("upload-artifact"), "{name}: the report is not kept");
    }
}

#[test]
fn the_how_to_names_every_variable_of_the_script() {
    let page = std::fs::read_to_string(recipe("../../docs/how-to/release-gates.md")).unwrap();
    let script = read("release-gate.sh");
    assert_eq!(variables(&page), variables(&script));
}
