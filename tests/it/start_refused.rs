//! Starts that upstream or the gateway refuses: what the caller is told, and whether the request id stays used up.

use serde_json::json;
use testgate::proto::v1;
use testgate::sandbox::fault::FaultKind;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::start::{CONNECT, LEX, QUALITY, UNTOKENED, reason, request, send, start};
use crate::support::{Setup, World, blamed, told};

#[tokio::test]
async fn a_refused_start_frees_its_id() {
    for kind in [CONNECT, LEX, QUALITY] {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        let refusals = [
            // Longer than a call waits for, so that it is the answer.
            (
                FaultKind::Throttle { retry_after: Some(100) },
                Code::ResourceExhausted,
                "UPSTREAM_THROTTLED",
                true,
            ),
            (FaultKind::Quota, Code::ResourceExhausted, "UPSTREAM_QUOTA_EXCEEDED", false),
            (FaultKind::Status { status: 409 }, Code::Aborted, "UPSTREAM_CONFLICT", false),
        ];
        for (at, (fault, code, why, retry)) in refusals.into_iter().enumerate() {
            if kind.upstream == "openmetadata" && at == 1 {
                continue; // OpenMetadata has no 402.
            }
            let world = if at == 0 {
                World::start().await
            } else {
                World::over(world.sandbox.clone(), Setup::default()).await
            };
            kind.inject(&world, fault);
            let id = format!("refused {at}");
            let refused = start(&world.client, &parent, &id).await.unwrap_err();
            let context = format!("{} {why}: {refused}", kind.backend);
            assert_eq!(told(&refused), reason(code, why), "{context}");
            assert_eq!(refused.get_details_retry_info().is_some(), retry, "{context}");
            assert_eq!(
                refused.get_details_quota_failure().is_some(),
                why == "UPSTREAM_QUOTA_EXCEEDED",
                "{context}"
            );
            world.sandbox.clear_faults(kind.upstream).unwrap();
            if at > 0 {
                let started = start(&world.client, &parent, &id).await.unwrap();
                assert!(!started.deduplicated && !started.execution.unwrap().reconciled, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_throttled_start_starts_with_the_same_id_later() {
    let world = World::start().await;
    let parent = LEX.parent(&world).await;
    LEX.inject(&world, FaultKind::Throttle { retry_after: None });
    let refused = start(&world.client, &parent, "throttled").await.unwrap_err();
    assert_eq!(told(&refused), reason(Code::ResourceExhausted, "UPSTREAM_THROTTLED"));
    let started = start(&world.client, &parent, "throttled").await.unwrap();
    assert!(!started.deduplicated && !started.execution.unwrap().reconciled);
    assert_eq!(LEX.runs(&world), 1);
}

#[tokio::test]
async fn what_an_upstream_refuses_as_invalid_frees_the_id() {
    for kind in UNTOKENED {
        let world = World::start().await;
        let parent = kind.parent(&world).await;
        kind.inject(&world, FaultKind::Status { status: 400 });
        let refused = start(&world.client, &parent, "invalid").await.unwrap_err();
        assert_eq!(told(&refused), reason(Code::InvalidArgument, "UPSTREAM_INVALID_ARGUMENT"), "{refused}");
        assert!(!start(&world.client, &parent, "invalid").await.unwrap().deduplicated);
        assert_eq!((kind.starts(&world), kind.runs(&world)), (2, 1));
    }
}

#[tokio::test]
async fn a_refused_connection_has_the_code_of_a_read_and_frees_the_id() {
    // Nothing has been sent, so nothing is unknown; the plan is made while upstream is there.
    let first = World::start().await;
    for kind in UNTOKENED {
        let parent = kind.parent(&first).await;
        // The port of an upstream that went away.
        let gone = World::with(Setup { adjust: point_to_nowhere, ..Setup::default() }).await;
        let refused = start(&gone.client, &parent, "unsent").await.unwrap_err();
        assert_eq!(told(&refused), reason(Code::Unavailable, "UPSTREAM_UNREACHABLE"), "{refused}");
        assert!(refused.get_details_retry_info().is_some());
    }
}

fn point_to_nowhere(backends: &mut Vec<testgate::config::backend::BackendConfig>) {
    use testgate::config::backend::SystemConfig;
    for backend in backends {
        match &mut backend.system {
            SystemConfig::Connect(connect) => connect.aws.endpoint_url = Some("http://127.0.0.1:9".into()),
            SystemConfig::Lex(lex) => lex.aws.endpoint_url = Some("http://127.0.0.1:9".into()),
            SystemConfig::OpenMetadata(server) => server.base_url = "http://127.0.0.1:9/api".into(),
        }
    }
}

#[tokio::test]
async fn an_error_of_the_pipeline_service_keeps_the_id() {
    let world = World::start().await;
    let parent = QUALITY.parent(&world).await;
    world.control("openmetadata", json!({"do": "pipeline_service", "state": "down"}));
    let down = start(&world.client, &parent, "kept").await.unwrap_err();
    assert_eq!(told(&down), reason(Code::Unavailable, "PIPELINE_SERVICE_UNAVAILABLE"), "{down}");
    assert!(down.get_details_retry_info().is_some());
    assert_eq!(QUALITY.starts(&world), 1);

    world.control("openmetadata", json!({"do": "pipeline_service", "state": "up"}));
    let unknown = start(&world.client, &parent, "kept").await.unwrap_err();
    assert_eq!(told(&unknown), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"));
    assert_eq!((QUALITY.starts(&world), QUALITY.runs(&world)), (1, 0));
}

#[tokio::test]
async fn a_refusal_of_airflow_hides_whether_it_ran() {
    let world = World::start().await;
    let parent = QUALITY.parent(&world).await;
    world.control("openmetadata", json!({"do": "pipeline_service", "state": "refusing-falsely"}));
    let unknown = start(&world.client, &parent, "hidden").await.unwrap_err();
    assert_eq!(told(&unknown), reason(Code::Unknown, "START_OUTCOME_UNKNOWN"), "{unknown}");
    world.control("openmetadata", json!({"do": "pipeline_service", "state": "up"}));
    assert!(start(&world.client, &parent, "hidden").await.unwrap().execution.unwrap().reconciled);
    assert_eq!((QUALITY.starts(&world), QUALITY.runs(&world)), (1, 1));
}

#[tokio::test]
async fn a_server_without_a_pipeline_client_says_so_and_frees_the_id() {
    let world = World::start().await;
    let parent = QUALITY.parent(&world).await;
    world.control("openmetadata", json!({"do": "set", "runner": "disabled"}));
    let disabled = start(&world.client, &parent, "disabled").await.unwrap_err();
    assert_eq!(told(&disabled), reason(Code::FailedPrecondition, "PIPELINE_CLIENT_DISABLED"));
    world.control("openmetadata", json!({"do": "set", "runner": "kubernetes"}));
    let started = start(&world.client, &parent, "disabled").await.unwrap();
    assert!(!started.deduplicated);
    assert!(!started.execution.unwrap().upstream_id.is_empty(), "Kubernetes tells the run's id");
}

#[tokio::test]
async fn row_25_connect_refuses_the_101st_start() {
    let world = World::start().await;
    let parent = CONNECT.parent(&world).await;
    for _ in 0..100 {
        CONNECT.start_elsewhere(&world);
    }
    let refused = start(&world.client, &parent, "one too many").await.unwrap_err();
    assert_eq!(told(&refused), reason(Code::ResourceExhausted, "UPSTREAM_QUOTA_EXCEEDED"));
    assert!(refused.get_details_retry_info().is_none());
    let failure = refused.get_details_quota_failure().unwrap();
    assert!(!failure.violations.is_empty());
    assert_eq!(CONNECT.starts(&world), 1, "a quota is not tried again");
}

#[tokio::test]
async fn what_cannot_be_started_is_told_before_anything_is_sent() {
    let world = World::start().await;
    let case = world.test("quality", "row_count").await.name;
    for (parent, code, why) in [
        (world.test("connect", "draft-menu").await.name, Code::FailedPrecondition, "TEST_NOT_STARTABLE"),
        (world.test("lex", "importing").await.name, Code::FailedPrecondition, "TEST_NOT_STARTABLE"),
        (
            world.test("quality", "Drafts, not deployed").await.name,
            Code::FailedPrecondition,
            "TEST_NOT_STARTABLE",
        ),
        (case, Code::Unimplemented, "CAPABILITY_NOT_SUPPORTED"),
        ("backends/nowhere/tests/x".into(), Code::NotFound, "RESOURCE_NOT_FOUND"),
        ("backends/lex/tests/NOSUCHTEST".into(), Code::NotFound, "UPSTREAM_NOT_FOUND"),
    ] {
        let refused = start(&world.client, &parent, "").await.unwrap_err();
        assert_eq!(told(&refused), reason(code, why), "{parent}: {refused}");
    }
    for kind in [CONNECT, LEX, QUALITY] {
        assert_eq!(kind.starts(&world), 0);
    }
    let parent = CONNECT.parent(&world).await;
    let lex = v1::start_execution_request::Options::Lex(v1::LexStartOptions::default());
    let refused =
        send(&world.client, v1::StartExecutionRequest { options: Some(lex), ..request(&parent, "") }).await;
    assert_eq!(blamed(&refused.unwrap_err()), ["lex"]);
}
