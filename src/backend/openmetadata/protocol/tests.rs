use std::io::Write;

use bytes::Bytes;
use http::Method;

use super::*;
use crate::backend::engine::Safety;

const READ: Operation = Operation { name: "GetTestCase", safety: Safety::Read };
const TRIGGER: Operation =
    Operation { name: "TriggerPipeline", safety: Safety::UntokenedWrite(ErrorKind::StartOutcomeUnknown) };
const KILL: Operation =
    Operation { name: "KillPipeline", safety: Safety::UntokenedWrite(ErrorKind::StopOutcomeUnknown) };

fn read(operation: &Operation, status: u16, challenged: bool, body: &str, seconds: u64) -> Option<Refusal> {
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        challenged,
        body: body.as_bytes(),
        elapsed: Duration::from_secs(seconds),
    };
    refusal(operation, &answer)
}

fn message(status: u16, text: &str) -> String {
    serde_json::json!({"code": status, "message": text}).to_string()
}

fn kind(operation: &Operation, status: u16, challenged: bool, text: &str, seconds: u64) -> ErrorKind {
    read(operation, status, challenged, &message(status, text), seconds).unwrap().kind
}

#[test]
fn each_row_of_the_error_table_is_told_apart() {
    use ErrorKind as K;
    for (status, challenged, text, seconds, expected) in [
        (400, false, "Invalid field name bogus", 0, K::UpstreamInvalidArgument),
        (400, false, "Pipeline Exception [x] due to [null].", 0, K::PipelineServiceUnavailable),
        (400, false, "Failed to kill running workflows due to <body>", 0, K::PipelineServiceUnavailable),
        (401, true, "Expired token!", 0, K::BackendCredentialsInvalid),
        (401, true, "The given token does not match the current bot's token!", 18, K::UpstreamUnreachable),
        (
            403,
            true,
            "Principal: CatalogPrincipal{name='x'} operations [ViewAll] not allowed",
            0,
            K::BackendAccessDenied,
        ),
        (404, true, "testCase instance for a.b not found", 0, K::UpstreamNotFound),
        (404, false, "testCase instance for a.b not found", 9, K::UpstreamNotFound),
        (404, true, "testCase instance for a.b not found", 10, K::UpstreamUnreachable),
        (404, false, "HTTP 404 Not Found", 0, K::UpstreamUnrecognized),
        (404, true, "user instance for ghost not found", 0, K::BackendCredentialsInvalid),
        (405, false, "HTTP 405 Method Not Allowed", 0, K::UpstreamUnrecognized),
        (409, true, "Entity already exists", 0, K::UpstreamConflict),
        (412, true, "ETag", 0, K::UpstreamConflict),
        (413, false, "too many", 0, K::UpstreamUnrecognized),
        (429, false, "limit", 0, K::UpstreamThrottled),
        (500, false, "An exception with message [..] was thrown", 0, K::UpstreamInternal),
        (503, false, "away", 0, K::UpstreamInternal),
    ] {
        assert_eq!(kind(&READ, status, challenged, text, seconds), expected, "{status} {text}");
    }
}

#[test]
fn a_proxys_page_is_no_missing_entity() {
    let refused = read(&READ, 404, false, "<html>nginx</html>", 0).unwrap();
    assert_eq!(refused.kind, ErrorKind::UpstreamUnrecognized);
    assert!(!refused.message.contains('<'));
    assert_eq!(
        kind(&READ, 404, false, "no Route matched with those values", 0),
        ErrorKind::UpstreamUnrecognized
    );
}

#[test]
fn a_trigger_that_may_have_run_keeps_that_open() {
    let refused = kind(
        &TRIGGER,
        400,
        false,
        "Failed to deploy pipeline [x] due to [Failed to trigger IngestionPipeline].",
        0,
    );
    assert_eq!(refused, ErrorKind::UpstreamInternal);
    let body = message(400, "Failed to deploy pipeline [x] due to [null].");
    let refused = read(&TRIGGER, 400, false, &body, 0).unwrap();
    assert_eq!((refused.kind, refused.effect), (ErrorKind::PipelineServiceUnavailable, Effect::Possible));
    let refused =
        read(&TRIGGER, 404, true, &message(404, "ingestionPipeline instance for x not found"), 0).unwrap();
    assert_eq!((refused.kind, refused.effect), (ErrorKind::UpstreamNotFound, Effect::None));
    assert_eq!(read(&TRIGGER, 500, false, "", 0).unwrap().effect, Effect::Possible);
}

#[test]
fn a_200_can_hold_a_refusal() {
    let disabled = r#"{"code":200,"reason":"Pipeline Client Disabled"}"#;
    for operation in [&TRIGGER, &KILL] {
        let refused = read(operation, 200, false, disabled, 0).unwrap();
        assert_eq!((refused.kind, refused.effect), (ErrorKind::PipelineClientDisabled, Effect::None));
    }
    let inner = |code: u16| read(&TRIGGER, 200, false, &format!(r#"{{"code":{code},"reason":"no"}}"#), 0);
    assert_eq!(inner(403).unwrap().kind, ErrorKind::BackendAccessDenied);
    assert_eq!(inner(500).unwrap().effect, Effect::Possible);
    assert!(inner(200).is_none());
    assert!(
        read(
            &TRIGGER,
            200,
            false,
            r#"{"code":200,"reason":"{\"state\":\"queued\"}","platform":"Airflow"}"#,
            0
        )
        .is_none()
    );
    assert!(read(&READ, 200, false, disabled, 0).is_none(), "only trigger and kill are read for it");
}

fn outgoing() -> Outgoing {
    Outgoing {
        method: Method::GET,
        path_and_query: "/v1/system/version".to_owned(),
        body: Bytes::new(),
        content_type: "application/json",
    }
}

async fn sent(bearer: &Bearer) -> Result<String, BackendError> {
    let request = bearer.prepare(&outgoing(), Timestamp::UNIX_EPOCH).await?;
    Ok(request.headers()[AUTHORIZATION].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes_or_is_doubted() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "  first").unwrap();
    let bearer = Bearer::new("http://h/api/", Some(SecretSource::File(file.path().to_owned())));
    assert_eq!(sent(&bearer).await.unwrap(), "Bearer first");

    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    std::fs::write(file.path(), "second").unwrap();
    file.as_file().set_modified(modified).unwrap();
    assert_eq!(sent(&bearer).await.unwrap(), "Bearer first", "nothing tells of the change");
    bearer.renew().await;
    assert_eq!(sent(&bearer).await.unwrap(), "Bearer second");

    std::fs::write(file.path(), "third").unwrap();
    file.as_file().set_modified(modified + Duration::from_secs(1)).unwrap();
    assert_eq!(sent(&bearer).await.unwrap(), "Bearer third");
}

#[tokio::test]
async fn a_missing_or_broken_token_is_bad_credentials_and_never_shown() {
    for (source, said) in [
        (SecretSource::Env("TESTGATE_TEST_NO_SUCH_VARIABLE".to_owned()), "TESTGATE_TEST_NO_SUCH_VARIABLE"),
        (SecretSource::File("/nonexistent/token".into()), "/nonexistent/token"),
        (SecretSource::Fixed("  ".to_owned()), "empty"),
        (SecretSource::Fixed("se\ncret".to_owned()), "characters"),
    ] {
        let error = sent(&Bearer::new("http://h/api", Some(source))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BackendCredentialsInvalid);
        assert!(error.message.contains(said), "{}", error.message);
        assert!(!error.message.contains("cret"));
    }
    let bearer = Bearer::new("http://h/api", Some(SecretSource::Fixed("hush".to_owned())));
    assert!(!format!("{bearer:?}").contains("hush"));
    let request = bearer.prepare(&outgoing(), Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(!format!("{request:?}").contains("hush"));
    assert_eq!(request.url().as_str(), "http://h/api/v1/system/version");
}
