//! Starts whose outcome is in doubt, outages, tokens.

use serde_json::json;
use testgate::backend::{Backend, Effect, ErrorKind, StartIntent, StartOptions};
use testgate::config::backend::SecretSource;
use testgate::sandbox::fault::FaultKind;
use testgate::sandbox::openmetadata::seed::*;
use testgate::sandbox::openmetadata::{Options, Runner};

use crate::rig::*;

async fn intent(rig: &Rig) -> StartIntent {
    let test = pipeline(PIPELINE_ORDERS);
    let plan = rig.backend.plan_start(&call(), &test, &StartOptions::default()).await.unwrap();
    StartIntent { test, plan, token: String::new(), time: rig.now() }
}

#[tokio::test]
async fn a_start_with_a_lost_reply_is_sent_once_and_found() {
    for kind in
        [FaultKind::ResetAfter, FaultKind::Truncate, FaultKind::WrongJson, FaultKind::Html { status: 502 }]
    {
        let rig = Rig::start(airflow()).await;
        let intent = intent(&rig).await;
        rig.inject("Trigger", kind.clone(), 1);
        let lost = rig.backend.start(&call(), &intent).await;
        assert_eq!(rig.calls("Trigger"), 1, "{kind:?}");
        let happened = !matches!(kind, FaultKind::Html { .. });
        let found = rig.backend.find_started(&call(), &intent).await.unwrap();
        assert_eq!(found.len(), usize::from(happened), "{kind:?}");
        let error = lost.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::StartOutcomeUnknown, Effect::Possible),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn runs_of_before_are_not_found_as_started() {
    let rig = Rig::start(airflow()).await;
    rig.control(json!({"do": "start_run", "pipeline": PIPELINE_ORDERS.to_string()}));
    rig.wait(20);
    let intent = intent(&rig).await;
    assert!(rig.backend.find_started(&call(), &intent).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_pipeline_services_troubles_are_told_apart() {
    for (state, kind, effect) in [
        ("down", ErrorKind::PipelineServiceUnavailable, Effect::Possible),
        ("refusing", ErrorKind::StartOutcomeUnknown, Effect::Possible),
        ("refusing-falsely", ErrorKind::StartOutcomeUnknown, Effect::Possible),
    ] {
        let rig = Rig::start(airflow()).await;
        let intent = intent(&rig).await;
        rig.control(json!({"do": "pipeline_service", "state": state}));
        let error = rig.backend.start(&call(), &intent).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, effect), "{state}");
        assert_eq!(rig.calls("Trigger"), 1);
    }
    let rig = Rig::start(Options { runner: Runner::Disabled, ..Options::default() }).await;
    let error = rig.trigger(&pipeline(PIPELINE_ORDERS)).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PipelineClientDisabled, Effect::None));
}

#[tokio::test]
async fn an_unreachable_pipeline_service_is_no_missing_run() {
    let rig = Rig::start(airflow()).await;
    let target = rig.run(&pipeline(PIPELINE_ORDERS)).await;
    rig.control(json!({"do": "pipeline_service", "state": "down"}));
    let error = rig.backend.observe(&call(), &target).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PipelineServiceUnavailable);
}

#[tokio::test]
async fn row_40_a_replaced_token_is_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sandbox-token").unwrap();
    let path = file.path().to_owned();
    let rig = Rig::start_with(airflow(), |_, om| om.token = Some(SecretSource::File(path))).await;
    rig.backend.probe(&call()).await.unwrap();
    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    rig.control(json!({"do": "set", "token": "another"}));
    let error = rig.backend.probe(&call()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
    std::fs::write(file.path(), "another").unwrap();
    file.as_file().set_modified(modified).unwrap();
    rig.backend.probe(&call()).await.unwrap();
}

#[tokio::test]
async fn the_probe_proves_the_token_and_shows_the_version() {
    let rig = Rig::start_with(airflow(), |_, om| om.token = None).await;
    let error = rig.backend.probe(&call()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
    assert_eq!(rig.backend.info().location.get("version").map(String::as_str), Some("2.0.6"));
    for kind in ["expired", "revoked", "unknown-user"] {
        let rig = Rig::start(airflow()).await;
        rig.control(json!({"do": "token_trouble", "kind": kind}));
        let error = rig.backend.probe(&call()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid, "{kind}");
        assert!(!error.message.contains("sandbox-token"));
    }
}
