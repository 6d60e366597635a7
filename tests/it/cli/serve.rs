//! `serve`: what keeps it from starting is one clear line.

use crate::process::{Serving, ended, finish, keys, program, signal};
use crate::support::World;

async fn refused(serving: &Serving, arguments: &[&str]) -> String {
    let mut command =
        program(["serve", "--config", serving.config().to_str().unwrap()].iter().chain(arguments));
    keys(&mut command);
    let ended = finish(command).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{ended:?}");
    ended.complaint().to_owned()
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _held = std::net::TcpListener::bind(taken).unwrap();
    for flag in ["--listen", "--admin-listen"] {
        let line = refused(&serving, &[flag, &taken.to_string()]).await;
        assert!(line.contains(&taken.to_string()) && line.contains("in use"), "{line}");
    }
}

#[tokio::test]
async fn a_store_in_use_or_out_of_reach_is_named() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let _first = serving.start().await;
    let line = refused(&serving, &[]).await;
    assert!(line.contains("testgate.redb") && line.contains("another process"), "{line}");

    let blocked = serving.folder().join("a-file");
    std::fs::write(&blocked, "").unwrap();
    let below = blocked.join("testgate.redb");
    let line = refused(&serving, &["--store", below.to_str().unwrap()]).await;
    assert!(line.contains(below.to_str().unwrap()), "{line}");
    let line = refused(&serving, &["--store", serving.folder().to_str().unwrap()]).await;
    assert!(line.contains(serving.folder().to_str().unwrap()), "{line}");
}

#[tokio::test]
async fn a_second_sandbox_says_which_port_is_taken() {
    // Whoever has the default ports, this test or a sandbox that someone left running, the second one is told.
    let mut first = program(["sandbox", "serve"]).spawn().unwrap();
    let mut out = crate::process::stdout_lines(&mut first);
    let serves = tokio::time::timeout(crate::support::PATIENCE, out.next_line()).await.unwrap().unwrap();
    for arguments in [&["sandbox", "serve"][..], &["serve", "--sandbox", "--listen", "127.0.0.1:0"]] {
        let ended = finish(program(arguments)).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        let line = ended.complaint();
        assert!(
            line.contains("sandbox") && line.contains("127.0.0.1:45") && line.contains("in use"),
            "{line}"
        );
    }
    if serves.is_some() {
        signal(&first, "TERM").await;
        assert_eq!(ended(first).await.code, Some(0));
    }
}

#[tokio::test]
async fn what_to_serve_must_be_said() {
    for arguments in [
        &["serve"][..],
        &["serve", "--sandbox", "--config", "x.toml"],
        &["serve", "--config", "x.toml", "--clock-scale", "2"],
        &["serve", "--sandbox", "--clock-scale", "-1"],
        &["check"],
    ] {
        let ended = finish(program(arguments)).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
    }
    let ended = finish(program(["serve", "--sandbox", "--listen", "nowhere"])).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.complaint().contains("--listen"), "{ended:?}");
}
