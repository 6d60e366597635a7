//! Starting safely: one upstream start for a request id, whatever is retried and whatever reply is lost.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use testgate::proto::v1;
use testgate::sandbox::fault::{Fault, FaultKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Client, Setup, World, blamed, told};

/// A backend, a test that it starts, its upstream, and the upstream operation that starts.
#[derive(Clone, Copy)]
pub struct Kind {
    pub backend: &'static str,
    pub test: &'static str,
    pub upstream: &'static str,
    pub operation: &'static str,
}

pub const CONNECT: Kind =
    Kind { backend: "connect", test: "greeting", upstream: "connect", operation: "StartTestCaseExecution" };
pub const LEX: Kind =
    Kind { backend: "lex", test: "booking", upstream: "lex", operation: "StartTestExecution" };
pub const QUALITY: Kind =
    Kind { backend: "quality", test: "Customers, daily", upstream: "openmetadata", operation: "Trigger" };
/// Those whose starts carry no token.
pub const UNTOKENED: [Kind; 2] = [LEX, QUALITY];

impl Kind {
    pub async fn parent(self, world: &World) -> String {
        world.test(self.backend, self.test).await.name
    }

    /// How many runs upstream has, not counting what it was seeded with.
    pub fn runs(self, world: &World) -> u64 {
        if self.upstream != "openmetadata" {
            let state = world.control(self.upstream, json!({"command": "state"}));
            return state["run_count"].as_u64().unwrap();
        }
        let overview = world.control("openmetadata", json!({"do": "overview"}));
        let pipelines = overview["pipelines"].as_array().unwrap();
        let ours = pipelines.iter().find(|one| one["fqn"].as_str().unwrap().ends_with("customers_daily"));
        ours.unwrap()["total_runs"].as_u64().unwrap()
    }

    /// Starts a run as somebody else would.
    pub fn start_elsewhere(self, world: &World) -> String {
        if self.upstream == "openmetadata" {
            let command = json!({"do": "start_run", "pipeline": "customers_daily"});
            return world.control("openmetadata", command)["run"].as_str().unwrap().to_owned();
        }
        let command = json!({"command": "start", "test": self.test});
        world.control(self.upstream, command)["execution"].as_str().unwrap().to_owned()
    }

    pub fn inject(self, world: &World, kind: FaultKind) {
        world.sandbox.inject(self.upstream, Fault::new(self.operation, kind).times(1)).unwrap();
    }

    pub fn starts(self, world: &World) -> usize {
        world.calls(self.upstream, self.operation)
    }
}

pub async fn start(client: &Client, parent: &str, id: &str) -> Result<v1::StartExecutionResponse, Status> {
    send(client, request(parent, id)).await
}

pub fn request(parent: &str, id: &str) -> v1::StartExecutionRequest {
    v1::StartExecutionRequest { parent: parent.to_owned(), request_id: id.to_owned(), ..Default::default() }
}

pub async fn send(
    client: &Client,
    request: v1::StartExecutionRequest,
) -> Result<v1::StartExecutionResponse, Status> {
    client.clone().start_execution(request).await.map(tonic::Response::into_inner)
}

/// Starts, or asks again, and gives the execution's name.
pub async fn name_of(client: &Client, parent: &str, id: &str) -> String {
    start(client, parent, id).await.unwrap().execution.unwrap().name
}

fn request_id_of(status: &Status) -> Option<String> {
    status.get_details_error_info()?.metadata.remove("requestId")
}

pub fn reason(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

/// A try that upstream leaves hanging ends soon.
fn impatient() -> Setup {
    Setup {
        adjust: |backends| {
            for backend in backends {
                backend.request_timeout = Duration::from_millis(400);
            }
        },
        ..Setup::default()
    }
}

#[tokio::test]
async fn twenty_concurrent_duplicates_start_once() {
    let world = World::start().await;
    for kind in [CONNECT, LEX, QUALITY] {
        let parent = kind.parent(&world).await;
        let calls = (0..20).map(|_| start(&world.client, &parent, "the same"));
        let answers: Vec<_> =
            futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let name = &answers[0].execution.as_ref().unwrap().name;
        for answer in &answers {
            assert_eq!(&answer.execution.as_ref().unwrap().name, name, "{}", kind.backend);
            assert_eq!(answer.execution.as_ref().unwrap().request_id, "the same");
        }
        let repeats = answers.iter().filter(|answer| answer.deduplicated).count();
        assert_eq!((repeats, kind.starts(&world), kind.runs(&world)), (19, 1, 1), "{}", kind.backend);
    }
}

#[tokio::test]
async fn an_id_is_of_one_test_and_another_id_is_another_start() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    let other = world.test("lex", "agent-errors").await.name;
    let first = name_of(&world.client, &parent, "one").await;
    let second = name_of(&world.client, &other, "one").await;
    let third = name_of(&world.client, &parent, "two").await;
    assert!(first != second && first != third && second != third);
    assert_eq!(LEX.starts(&world), 3);
}

#[tokio::test]
async fn row_27_an_id_with_other_parameters_is_refused() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    let plain = request(&parent, "once");
    send(&world.client, plain.clone()).await.unwrap();
    let labelled =
        v1::StartExecutionRequest { labels: HashMap::from([("k".into(), "v".into())]), ..plain.clone() };
    let lex = v1::LexStartOptions { api_mode: v1::LexApiMode::Streaming.into(), ..Default::default() };
    let streaming = v1::StartExecutionRequest {
        options: Some(v1::start_execution_request::Options::Lex(lex)),
        ..plain.clone()
    };
    for changed in [labelled, streaming] {
        let refused = send(&world.client, changed).await.unwrap_err();
        assert_eq!(told(&refused), reason(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        assert!(refused.get_details_retry_info().is_none());
    }
    assert!(send(&world.client, plain).await.unwrap().deduplicated);
    assert_eq!(LEX.starts(&world), 1);
}

#[tokio::test]
async fn row_26_a_start_whose_reply_is_lost_is_adopted_by_its_retry() {
    for kind in UNTOKENED {
        for lost in [FaultKind::ResetAfter, FaultKind::Truncate, FaultKind::WrongJson] {
            let world = World::start().await;
            let parent = kind.parent(&world).await;
            kind.inject(&world, lost.clone());
            let lost_one = start(&world.client, &parent, "lost").await.unwrap_err();
            let context = format!("{} {lost:?}", kind.backend);
            assert_eq!(told(&lost_one), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"), "{context}");
            assert_eq!(request_id_of(&lost_one).as_deref(), Some("lost"), "{context}");
            assert!(lost_one.get_details_retry_info().is_none(), "{context}");

            let adopted = start(&world.client, &parent, "lost").await.expect(&context);
            let execution = adopted.execution.unwrap();
            assert!(execution.reconciled && adopted.deduplicated, "{context}: {execution:?}");
            assert_eq!(execution.request_id, "lost");
            let again = start(&world.client, &parent, "lost").await.unwrap();
            assert!(again.deduplicated);
            assert_eq!(again.execution.unwrap().name, execution.name);
            assert_eq!((kind.starts(&world), kind.runs(&world)), (1, 1), "{context}");
        }
    }
}

#[tokio::test]
async fn the_id_that_was_made_up_is_told_when_the_reply_is_lost() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    LEX.inject(&world, FaultKind::ResetAfter);
    let lost = start(&world.client, &parent, "").await.unwrap_err();
    let id = request_id_of(&lost).unwrap();
    assert!(!id.is_empty());
    let adopted = start(&world.client, &parent, &id).await.unwrap().execution.unwrap();
    assert!(adopted.reconciled);
    assert_eq!(LEX.runs(&world), 1);
}

#[tokio::test]
async fn row_26_a_start_that_never_appears_is_not_confirmed_after_a_minute_and_never_sent_again() {
    for kind in UNTOKENED {
        for lost in [
            FaultKind::ResetBefore,
            FaultKind::Silent,
            FaultKind::Status { status: 500 },
            FaultKind::Html { status: 502 },
        ] {
            let world = World::with(impatient()).await;
            let parent = kind.parent(&world).await;
            let context = format!("{} {lost:?}", kind.backend);
            kind.inject(&world, lost);
            for _ in 0..3 {
                let unknown = start(&world.client, &parent, "gone").await.unwrap_err();
                assert_eq!(
                    told(&unknown),
                    reason(Code::Unknown, "START_OUTCOME_UNKNOWN"),
                    "{context}: {unknown}"
                );
                assert_eq!(request_id_of(&unknown).as_deref(), Some("gone"));
            }
            world.skew.forward(Duration::from_secs(61));
            for _ in 0..2 {
                let aborted = start(&world.client, &parent, "gone").await.unwrap_err();
                assert_eq!(
                    told(&aborted),
                    reason(Code::Aborted, "START_NOT_CONFIRMED"),
                    "{context}: {aborted}"
                );
                assert_eq!(request_id_of(&aborted).as_deref(), Some("gone"));
                assert!(aborted.get_details_retry_info().is_none());
            }
            assert_eq!((kind.starts(&world), kind.runs(&world)), (1, 0), "{context}");
            assert!(!start(&world.client, &parent, "new").await.unwrap().deduplicated);
        }
    }
}

#[tokio::test]
async fn row_26_with_two_candidates_the_outcome_stays_unknown() {
    for kind in UNTOKENED {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        kind.inject(&world, FaultKind::ResetAfter);
        start(&world.client, &parent, "lost").await.unwrap_err();
        kind.start_elsewhere(&world);
        for forward in [0, 61] {
            world.skew.forward(Duration::from_secs(forward));
            let unknown = start(&world.client, &parent, "lost").await.unwrap_err();
            assert_eq!(told(&unknown), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"), "{}", kind.backend);
        }
        assert_eq!(kind.starts(&world), 1);
    }
}

#[tokio::test]
async fn a_run_that_another_start_owns_is_not_adopted() {
    for kind in UNTOKENED {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        let owned = name_of(&world.client, &parent, "owner").await;
        kind.inject(&world, FaultKind::ResetBefore);
        start(&world.client, &parent, "lost").await.unwrap_err();
        let unknown = start(&world.client, &parent, "lost").await;
        let unknown = unknown.expect_err("the owner's run was adopted by another start");
        assert_eq!(told(&unknown), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"), "{}", kind.backend);
        assert_eq!(name_of(&world.client, &parent, "owner").await, owned);
        assert_eq!(kind.runs(&world), 1);
    }
}

#[tokio::test]
async fn starts_that_upstream_gives_no_id_each_find_a_run_of_their_own() {
    let world = World::start().await;
    let parent = QUALITY.parent(&world).await;
    let ids: Vec<_> = (0..5).map(|at| format!("id {at}")).collect();
    let starts = ids.iter().map(|id| name_of(&world.client, &parent, id));
    let names = futures_util::future::join_all(starts).await;
    let mut runs = std::collections::HashSet::new();
    for name in &names {
        let ended = world.follow(name).await.pop().unwrap();
        assert_eq!(&ended.name, name);
        assert!(runs.insert(ended.upstream_id.clone()), "{} is the run of two executions", ended.upstream_id);
    }
    assert_eq!(QUALITY.runs(&world), 5);
    let list = v1::ListExecutionsRequest { parent, ..Default::default() };
    let rows = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
    let mut listed: Vec<_> = rows.into_iter().map(|row| row.name).collect();
    let mut names = names;
    listed.sort();
    names.sort();
    assert_eq!(listed, names, "each is listed once, under its minted name");
}

#[tokio::test]
async fn two_lost_starts_never_share_one_run() {
    for kind in UNTOKENED {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        kind.inject(&world, FaultKind::ResetAfter);
        start(&world.client, &parent, "one").await.unwrap_err();
        kind.inject(&world, FaultKind::ResetBefore);
        start(&world.client, &parent, "two").await.unwrap_err();
        let (one, two) =
            tokio::join!(start(&world.client, &parent, "one"), start(&world.client, &parent, "two"),);
        let adopted = [&one, &two].into_iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(adopted, 1, "{}: {one:?} {two:?}", kind.backend);
    }
}

#[tokio::test]
async fn a_run_whose_start_is_under_way_is_not_adopted() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    LEX.inject(&world, FaultKind::ResetBefore);
    start(&world.client, &parent, "lost").await.unwrap_err();
    // Both at once, several times: whichever comes first, the run is that of the start that was answered.
    for round in 0..3 {
        let id = format!("owner {round}");
        let (owner, lost) =
            tokio::join!(start(&world.client, &parent, &id), start(&world.client, &parent, "lost"));
        let owner = owner.unwrap();
        assert!(!owner.deduplicated, "round {round}: {owner:?}");
        assert_eq!(told(&lost.unwrap_err()), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"));
    }
}

#[tokio::test]
async fn row_26_a_lost_reply_of_connect_is_sent_again_with_its_token() {
    let world = World::start().await;
    let parent = CONNECT.parent(&world).await;
    CONNECT.inject(&world, FaultKind::ResetAfter);
    let answer = start(&world.client, &parent, "tokened").await.unwrap();
    assert!(!answer.execution.unwrap().reconciled);
    assert_eq!((CONNECT.starts(&world), CONNECT.runs(&world)), (2, 1));

    // All tries of one call are lost: the code of a read, and the retry still starts nothing twice.
    for _ in 0..3 {
        CONNECT.inject(&world, FaultKind::ResetAfter);
    }
    let lost = start(&world.client, &parent, "tokened twice").await.unwrap_err();
    assert_eq!(told(&lost), reason(Code::Unavailable, "UPSTREAM_UNREACHABLE"));
    assert!(lost.get_details_retry_info().is_some());
    let name = name_of(&world.client, &parent, "tokened twice").await;
    assert_eq!(name_of(&world.client, &parent, "tokened twice").await, name);
    assert_eq!(CONNECT.runs(&world), 2);
}

#[tokio::test]
async fn a_start_keeps_its_labels_creator_and_id_and_is_listed_with_them() {
    let world = World::start().await;
    for kind in [CONNECT, LEX, QUALITY] {
        let parent = kind.parent(&world).await;
        let labels = HashMap::from([("commit".to_owned(), "4f2a".to_owned()), ("a key".into(), "ü".into())]);
        let request = v1::StartExecutionRequest { labels: labels.clone(), ..request(&parent, "") };
        let started = send(&world.client, request).await.unwrap().execution.unwrap();
        assert_eq!(started.labels, labels);
        assert!(!started.request_id.is_empty() && !started.creator.is_empty(), "{started:?}");
        assert!(started.revision > 0 && started.create_time.is_some() && started.details.is_some());
        assert_eq!(started.test_display_name, kind.test);

        let filter = "labels.commit = \"4f2a\" AND labels.\"a key\" = \"ü\"".to_owned();
        let list = v1::ListExecutionsRequest { parent, filter, ..Default::default() };
        let rows = world.client.clone().list_executions(list).await.unwrap().into_inner().executions;
        assert_eq!(rows.len(), 1, "{}: {rows:?}", kind.backend);
        assert_eq!(rows[0].name, started.name);
        assert_eq!((&rows[0].creator, &rows[0].request_id), (&started.creator, &started.request_id));
    }
}

#[tokio::test]
async fn ids_and_labels_have_their_limits() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    for (id, fits) in
        [("x".repeat(128), true), ("x".repeat(129), false), ("tab\t".into(), false), ("é".into(), false)]
    {
        let answer =
            send(&world.client, v1::StartExecutionRequest { validate_only: true, ..request(&parent, &id) })
                .await;
        assert_eq!(
            answer.as_ref().err().map(blamed),
            (!fits).then(|| vec!["request_id".to_owned()]),
            "{id:?}"
        );
    }
    let many =
        |count: usize| (0..count).map(|at| (format!("k{at}"), String::new())).collect::<HashMap<_, _>>();
    let one = |key: &str, value: &str| HashMap::from([(key.to_owned(), value.to_owned())]);
    for (labels, fits) in [
        (many(32), true),
        (many(33), false),
        (one(&"k".repeat(63), &"v".repeat(256)), true),
        (one(&"k".repeat(64), ""), false),
        (one("k", &"v".repeat(257)), false),
        (one("", "v"), false),
    ] {
        let request = v1::StartExecutionRequest { labels, validate_only: true, ..request(&parent, "") };
        let answer = send(&world.client, request.clone()).await;
        assert_eq!(answer.is_ok(), fits, "{:?}: {answer:?}", request.labels);
        if let Err(refused) = answer {
            assert_eq!(told(&refused), reason(Code::InvalidArgument, "FIELD_INVALID"));
            assert!(blamed(&refused).iter().all(|field| field.starts_with("labels")), "{refused:?}");
        }
    }
    assert_eq!(LEX.starts(&world), 0);
}

#[tokio::test]
async fn validate_only_uses_no_id_up_and_starts_nothing() {
    let world = World::start().await;
    for kind in [CONNECT, LEX, QUALITY] {
        let parent = kind.parent(&world).await;
        let dry = v1::StartExecutionRequest {
            validate_only: true,
            labels: HashMap::from([("k".into(), "v".into())]),
            ..request(&parent, "dry")
        };
        let planned = send(&world.client, dry).await.unwrap().execution.unwrap();
        assert!(planned.name.is_empty() && planned.details.is_some());
        assert_eq!(planned.labels["k"], "v");
        assert_eq!(kind.starts(&world), 0);
        // Other labels than those of the rehearsal: the id is still free.
        assert!(!start(&world.client, &parent, "dry").await.unwrap().deduplicated);
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_lose_its_start() {
    for kind in UNTOKENED {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        kind.inject(&world, FaultKind::Delay { ms: 300 });
        let mut patient = tonic::Request::new(request(&parent, "left"));
        patient.set_timeout(Duration::from_secs(20));
        {
            let mut client = world.client.clone();
            let call = client.start_execution(patient);
            tokio::pin!(call);
            let arrived = async {
                while kind.starts(&world) == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = &mut call => panic!("the reply came before its time"),
                () = arrived => {}
            }
        }
        let answer = start(&world.client, &parent, "left").await.unwrap();
        assert!(answer.deduplicated && !answer.execution.unwrap().reconciled, "{}", kind.backend);
        assert_eq!((kind.starts(&world), kind.runs(&world)), (1, 1));
    }
}

#[tokio::test]
async fn a_start_under_way_is_finished_by_a_draining_gateway() {
    for kind in [CONNECT, LEX, QUALITY] {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        kind.inject(&world, FaultKind::Delay { ms: 300 });
        let World { gateway, client, sandbox, .. } = world;
        let drain = async {
            while sandbox.calls(kind.upstream, kind.operation).is_empty() {
                tokio::task::yield_now().await;
            }
            gateway.drain().await
        };
        let (answer, drained) = tokio::join!(start(&client, &parent, "last"), drain);
        assert!(!answer.unwrap().execution.unwrap().name.is_empty(), "{}", kind.backend);
        drained.unwrap();
    }
}
