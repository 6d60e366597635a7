use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    parse(std::iter::once("testgate").chain(line.split_whitespace()).map(OsString::from))
}

/// Why a command line is refused, or what is shown in its place.
pub(super) fn refused(line: &str) -> clap::Error {
    parsed(line).unwrap_err()
}

fn exit_of(line: &str) -> Result<Cli, u8> {
    parsed(line).map_err(|error| u8::try_from(error.exit_code()).unwrap())
}

#[test]
fn every_command_has_examples_in_its_help() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "{path}: {help:?}");
        assert!(help.contains(path.trim()), "{path}: the example is another command's: {help:?}");
        command.get_subcommands().for_each(|command| check(command, &path));
    }
    check(&Cli::command(), "");
}

#[test]
fn the_command_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_parses() {
    for line in [
        "serve --config f",
        "serve --sandbox --store f --listen 127.0.0.1:0 --admin-listen off --clock-scale 10",
        "check --config f --probe",
        "backends -o json",
        "tests connect-prod --filter x",
        "executions",
        "executions connect-prod/greeting --limit 3",
        "get connect-prod/greeting/e --items --kind intent",
        "get connect-prod --server h:1",
        "run connect-prod/greeting --label a=b --label c=d --request-id i --timeout 5m",
        "run lex/set --bot-id B --bot-alias-id A --locale-id en_US --api-mode non-streaming --modality text",
        "run b/t --detach",
        "watch b/t/e b/t/f",
        "watch - --filter x",
        "stop b/t/e --reason r --allow-test-scope",
        "record b/t --verdict failed --end-time 2026-11-21T10:00:00Z --metric a=1 --failed-rows 3",
        "sandbox serve",
        "sandbox state",
        "sandbox fault lex * wrong-json --times 2",
        "sandbox clear connect",
        "sandbox calls openmetadata",
        "sandbox clock 10 --control http://h:1",
        "sandbox send connect {}",
        "run connect-prod --filter x --junit report.xml",
        "run a/b c/d --request-id i",
        "contexts -o name",
        "completions fish",
        "backends --context prod",
    ] {
        assert!(exit_of(line).is_ok(), "{line}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_help_with_0() {
    for line in [
        "",
        "nonsense",
        "serve",
        "serve --config f --sandbox",
        "serve --config f --clock-scale 2",
        "run",
        "run b/t --label x",
        "run b/t --detach --timeout 1s",
        "watch",
        "get b --kind intent",
        "record b/t --verdict pending --end-time 1",
        "backends -o yaml",
        "sandbox clock -1",
        "completions tcsh",
        "run b/t --detach --junit f",
    ] {
        assert_eq!(exit_of(line).unwrap_err(), 2, "{line}");
    }
    for line in ["--help", "run --help", "--version"] {
        assert_eq!(exit_of(line).unwrap_err(), 0, "{line}");
    }
}
