//! `--context`, completions, and what is said where something was mistyped.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::process::{Ended, client, finish, free_port, program, testgate};
use crate::support::World;

/// A folder with a contexts file.
fn configured(contexts: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("testgate")).unwrap();
    std::fs::write(folder.path().join("testgate/contexts.toml"), contexts).unwrap();
    folder
}

async fn in_context(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program(arguments);
    command.env("XDG_CONFIG_HOME", folder).envs(variables.iter().copied());
    finish(command).await
}

#[tokio::test]
async fn a_context_says_where_the_gateway_is_and_takes_the_environments_place() {
    let world = World::start().await;
    let here = world.gateway.addresses()[0].to_string();
    let nobody = format!("127.0.0.1:{}", free_port());
    let folder = configured(&format!("[here]\nserver = \"{here}\"\n[away]\nserver = \"{nobody}\"\n"));
    let backends = ["backends", "-o", "name"];
    let with = |name| [&backends[..], &["--context", name]].concat();

    let by_flag = in_context(folder.path(), &with("here"), &[("TESTGATE_SERVER", &nobody)]).await;
    assert_eq!((by_flag.code, by_flag.out.lines().count()), (Some(0), 3), "{by_flag:?}");
    let by_variable = in_context(folder.path(), &backends, &[("TESTGATE_CONTEXT", "here")]).await;
    assert_eq!(by_variable.out, by_flag.out);
    let beaten = [&with("away")[..], &["--server", &here]].concat();
    assert_eq!(in_context(folder.path(), &beaten, &[]).await.out, by_flag.out);
    let away = in_context(folder.path(), &with("away"), &[("TESTGATE_SERVER", &here)]).await;
    assert_eq!(away.code, Some(3), "{away:?}");
    assert!(away.complaint().contains(&nobody), "{away:?}");

    let listed = in_context(folder.path(), &["contexts", "-o", "json"], &[]).await.json();
    assert_eq!(listed[0]["name"], "away", "{listed}");
    assert_eq!(listed[1]["server"], here, "{listed}");
    let table = in_context(folder.path(), &["contexts"], &[]).await;
    assert!(table.out.starts_with("NAME  SERVER"), "{table:?}");
}

#[tokio::test]
async fn a_wrong_context_is_one_line_that_says_what_and_where() {
    let folder = configured("[prod]\nserver = \"h:1\"\ntoken_file = \"no-such.token\"\n");
    let file = folder.path().join("testgate/contexts.toml").display().to_string();
    let complaint = async |arguments: &[&str]| {
        let ended = in_context(folder.path(), arguments, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        ended.complaint().to_owned()
    };
    let unknown = complaint(&["backends", "--context", "prd"]).await;
    assert!(unknown.contains(&file) && unknown.ends_with("did you mean prod?"), "{unknown}");
    let token = complaint(&["backends", "--context", "prod"]).await;
    let path = folder.path().join("testgate/no-such.token").display().to_string();
    assert!(token.contains("token_file of context prod") && token.contains(&path), "{token}");

    std::fs::write(&file, "[prod]\nsever = \"h:1\"\n").unwrap();
    let field = complaint(&["contexts"]).await;
    assert!(field.contains(&format!("{file}, line 2: unknown field `sever`")), "{field}");
    std::fs::remove_file(&file).unwrap();
    let missing = complaint(&["backends", "--context", "prod"]).await;
    assert!(missing.contains(&file) && missing.contains("No such file"), "{missing}");
}

#[tokio::test]
async fn completions_are_scripts_that_shells_read() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = finish(program(["completions", shell])).await;
        assert_eq!((script.code, script.err.as_str()), (Some(0), ""), "{shell}: {script:?}");
        for word in ["stop-on-interrupt", "executions", "sandbox", "context"] {
            assert!(script.out.contains(word), "{shell} does not know {word}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, &script.out).unwrap();
        let mut reads = Command::new(shell);
        reads.arg(if shell == "fish" { "--no-execute" } else { "-n" }).arg(&file).stdin(Stdio::null());
        match reads.output().await {
            Ok(read) => assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr)),
            // Every machine that runs the tests has bash; the others are read where they are.
            Err(error) => assert!(shell != "bash", "{shell}: {error}"),
        }
    }
}

#[tokio::test]
async fn what_was_mistyped_gets_the_nearest_there_is() {
    let world = World::start().await;
    for (arguments, code, meant) in [
        (&["tests", "conect"][..], 3, "did you mean connect?"),
        (&["get", "backends/qualty"], 3, "did you mean quality?"),
        (&["run", "lxe/booking"], 3, "did you mean lex?"),
        (&["executions", "qality"], 3, "did you mean quality?"),
        (&["watch", "connct"], 3, "did you mean connect?"),
        (&["run", "connect/greetings"], 3, "did you mean greeting?"),
        (&["stop", "connect/greetng/e"], 3, "did you mean greeting?"),
        (&["executions", "--filter", "verdct = PASSED"], 3, "did you mean verdict?"),
        (&["executions", "--filter", "verdict = PASED"], 3, "did you mean PASSED?"),
        (&["tests", "lex", "--filter", "displayname = x"], 3, "did you mean display_name?"),
        (&["backends", "--otput", "json"], 2, "a similar argument exists: '--output'"),
        (&["backends", "-o", "jsno"], 2, "a similar value exists: 'json'"),
        (&["exectuions"], 2, "'executions'"),
    ] {
        let ended = testgate(&world, arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
        let complaint = ended.complaint();
        assert!(complaint.starts_with("error: ") && complaint.contains(meant), "{arguments:?}: {complaint}");
    }
    let far = testgate(&world, ["tests", "something-else"]).await;
    assert!(!far.complaint().contains("did you mean"), "{far:?}");
}

#[tokio::test]
async fn a_command_by_itself_shows_its_help() {
    let help = finish(program([""; 0])).await;
    assert_eq!((help.code, help.out.as_str()), (Some(2), ""));
    assert!(help.err.contains("Usage:") && help.err.contains("Examples:"), "{help:?}");
    let world = World::start().await;
    let mut reader = client(&world, ["--help"]).spawn().unwrap();
    drop(reader.stdout.take());
    assert_eq!(crate::process::ended(reader).await.code, Some(0));
}
