//! `sandbox`: drives the simulated upstreams through their control endpoint.

use serde_json::json;

use crate::process::{finish, free_port, program, testgate};
use crate::support::{Setup, World};

#[tokio::test]
async fn a_fault_strikes_is_counted_and_is_taken_back() {
    let world = World::with(Setup { clock_scale: 10.0, ..Setup::default() }).await;
    let fault = ["sandbox", "fault", "connect", "StartTestCaseExecution", "throttle", "--times", "2"];
    let injected = testgate(&world, fault).await;
    assert_eq!(injected.code, Some(0), "{injected:?}");
    let ran = testgate(&world, ["run", "connect/greeting"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let calls = testgate(&world, ["sandbox", "calls", "connect", "StartTestCaseExecution"]).await.json();
    let statuses: Vec<_> =
        calls["calls"].as_array().unwrap().iter().map(|call| call["status"].clone()).collect();
    assert_eq!(statuses, [json!(429), json!(429), json!(200)]);

    let forever = testgate(&world, ["sandbox", "fault", "lex", "*", "status", "--status", "503"]).await;
    assert_eq!(forever.code, Some(0), "{forever:?}");
    let state = testgate(&world, ["sandbox", "state"]).await.json();
    let lex =
        state["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == "lex").unwrap();
    assert_eq!(lex["faults"].as_array().unwrap().len(), 1, "{lex}");
    let cleared = testgate(&world, ["sandbox", "clear", "lex"]).await.json();
    assert_eq!(cleared["cleared"], 1);
}

#[tokio::test]
async fn runs_are_started_elsewhere_and_made_to_end() {
    let world = World::start().await;
    let started =
        testgate(&world, ["sandbox", "send", "connect", r#"{"command": "start", "test": "slow-transfer"}"#])
            .await;
    let id = started.json()["execution"].as_str().unwrap().to_owned();
    let name = format!("connect/slow-transfer/{id}");
    let shown = testgate(&world, ["get", &name, "-o", "json"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let finish = json!({"command": "finish", "execution": id, "outcome": "failed"}).to_string();
    let finished = testgate(&world, ["sandbox", "send", "connect", &finish]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(testgate(&world, ["watch", &name]).await.code, Some(1));

    let clock = testgate(&world, ["sandbox", "clock", "25"]).await.json();
    assert_eq!(clock["scale"], 25.0);
}

#[tokio::test]
async fn a_command_that_is_refused_or_reaches_nobody_is_one_line() {
    let world = World::start().await;
    let refused = testgate(&world, ["sandbox", "send", "lex", r#"{"command": "dance"}"#]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.complaint().contains("the sandbox refused"), "{refused:?}");
    let wrong = testgate(&world, ["sandbox", "fault", "lex", "*", "quota", "--retry-after", "2"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.complaint().contains("--retry-after does not go with quota"), "{wrong:?}");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let away = finish(program(["sandbox", "state", "--control", &nobody])).await;
    assert_eq!(away.code, Some(3), "{away:?}");
    assert!(away.complaint().contains(&nobody), "{away:?}");
}
