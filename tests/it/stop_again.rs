//! Stops that are asked for again: after a lost reply, after a kill, or both.

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution::State;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Status};

use crate::place::{Place, Process, get, until_done};
use crate::process::eventually;
use crate::start::name_of;
use crate::support::{Client, state, told};

const SLOW: &str = "Takes a minute";

/// A gateway over a pipeline service that tells the ids of its runs, and the parent of slow ones.
async fn place() -> (Place, String) {
    let place = Place::new().await;
    place.world.control("openmetadata", json!({"do": "set", "runner": "kubernetes"}));
    let parent = place.world.test("quality", SLOW).await.name;
    (place, parent)
}

async fn stop(client: &Client, name: &str, id: &str) -> Result<v1::Execution, Status> {
    let request = v1::StopExecutionRequest {
        name: name.to_owned(),
        request_id: id.to_owned(),
        reason: "enough".to_owned(),
        allow_test_scope: true,
    };
    Ok(client.clone().stop_execution(request).await?.into_inner().execution.unwrap())
}

/// The state as upstream shows it now.
async fn read(client: &Client, name: &str) -> v1::Execution {
    let max_staleness = Some(prost_types::Duration::default());
    let request = v1::GetExecutionRequest { name: name.to_owned(), max_staleness };
    client.clone().get_execution(request).await.unwrap().into_inner().execution.unwrap()
}

fn kills(place: &Place) -> usize {
    place.world.calls("openmetadata", "Kill")
}

async fn killed_and_started_again(place: &Place, process: Process) -> Process {
    process.kill().await;
    place.process().await
}

#[tokio::test]
async fn what_a_stop_asked_for_survives_a_kill_and_its_repeat_stops_nothing_else() {
    let (place, parent) = place().await;
    let process = place.process().await;
    let name = name_of(&process.client, &parent, "first").await;
    let stopped = stop(&process.client, &name, "stop").await.unwrap();
    let process = killed_and_started_again(&place, process).await;
    let known = get(&process.client, &name).await.unwrap();
    assert_eq!((known.stop_reason.as_str(), &known.stop_requester), ("enough", &stopped.stop_requester));
    assert!(!known.stop_requester.is_empty());
    assert_eq!(known.stop_request_time, stopped.stop_request_time);

    let survivor = name_of(&process.client, &parent, "second").await;
    let repeat = stop(&process.client, &name, "stop").await.unwrap();
    assert!(repeat.stop_request_time.is_some());
    assert_eq!(kills(&place), 1);
    assert_eq!(state(&until_done(&process.client, &name).await), State::Stopped);
    assert!(get(&process.client, &survivor).await.unwrap().stop_request_time.is_none());
}

#[tokio::test]
async fn a_stop_that_took_effect_before_a_kill_is_not_sent_again_after_it() {
    let (place, parent) = place().await;
    let process = place.process().await;
    let name = name_of(&process.client, &parent, "first").await;
    place.world.sandbox.inject("openmetadata", Fault::new("Kill", FaultKind::ResetAfter).times(1)).unwrap();
    let unknown = stop(&process.client, &name, "stop").await.unwrap_err();
    assert_eq!(told(&unknown), (Code::Unknown, "STOP_OUTCOME_UNKNOWN".into()));
    let process = killed_and_started_again(&place, process).await;
    let survivor = name_of(&process.client, &parent, "second").await;
    // Upstream takes its time to show what a stop did.
    eventually("the stop takes effect", async || {
        !matches!(state(&read(&process.client, &name).await), State::Pending | State::Running)
    })
    .await;
    let repeat = stop(&process.client, &name, "stop").await.unwrap();
    assert!(repeat.done || repeat.stop_request_time.is_some(), "{repeat:?}");
    assert_eq!(kills(&place), 1);
    assert_eq!(state(&until_done(&process.client, &name).await), State::Stopped);
    let survivor = get(&process.client, &survivor).await.unwrap();
    assert!(!survivor.done && survivor.stop_request_time.is_none(), "{survivor:?}");
}

#[tokio::test]
async fn a_stop_without_effect_is_sent_again_only_if_it_stops_nothing_else() {
    let (place, parent) = place().await;
    let process = place.process().await;
    let name = name_of(&process.client, &parent, "first").await;
    let lost = Fault::new("Kill", FaultKind::Status { status: 500 }).times(1);
    place.world.sandbox.inject("openmetadata", lost).unwrap();
    stop(&process.client, &name, "stop").await.unwrap_err();
    let process = killed_and_started_again(&place, process).await;
    let survivor = name_of(&process.client, &parent, "second").await;
    let refused = stop(&process.client, &name, "stop").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unknown, "STOP_OUTCOME_UNKNOWN".into()));
    assert_eq!(kills(&place), 1);
    assert!(!get(&process.client, &survivor).await.unwrap().done);

    // A new id is a new stop, of both.
    stop(&process.client, &name, "again").await.unwrap();
    assert_eq!(kills(&place), 2);
    for name in [name, survivor] {
        assert_eq!(state(&until_done(&process.client, &name).await), State::Stopped);
    }
}
