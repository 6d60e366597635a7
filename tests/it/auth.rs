//! Who may call, and what they may see and do.

use testgate::proto::v1;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::guard::{Bearer, Client, Files, Guarded};
use crate::process::eventually;
use crate::support::{PATIENCE, told};

/// A viewer of lex, an operator of lex and connect who sees transcripts of connect, and one without a grant.
const CALLERS: &str = r#"
[[auth.token]]
subject = "viewer"
token_file = "viewer"
[[auth.token]]
subject = "operator"
token_file = "operator"
[[auth.token]]
subject = "idle"
token_file = "idle"
[[auth.grant]]
subjects = ["token:viewer"]
role = "viewer"
backends = ["lex"]
[[auth.grant]]
subjects = ["token:oper*"]
role = "operator"
backends = ["lex", "conn*"]
[[auth.grant]]
subjects = ["token:operator"]
role = "viewer"
backends = ["connect"]
transcripts = true
"#;

async fn guarded() -> Guarded {
    let files = Files::new();
    for name in ["viewer", "operator", "idle"] {
        files.write(name, &format!("{name}-s3cret\n"));
    }
    Guarded::start(files, CALLERS).await
}

async fn client(gateway: &Guarded, name: &str) -> Client {
    gateway.client(&format!("{name}-s3cret")).await
}

fn list(parent: &str) -> v1::ListExecutionsRequest {
    v1::ListExecutionsRequest { parent: parent.to_owned(), ..Default::default() }
}

async fn start(client: &mut Client, parent: &str, request_id: &str) -> Result<v1::Execution, Status> {
    let request = v1::StartExecutionRequest {
        parent: parent.to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    Ok(client.start_execution(request).await?.into_inner().execution.unwrap())
}

const LEX_TEST: &str = "backends/lex/tests/BOOKINGOK1";

fn not_permitted() -> (Code, String) {
    (Code::PermissionDenied, "CALLER_NOT_PERMITTED".to_owned())
}

#[tokio::test]
async fn nobody_in_particular_is_refused_everywhere_but_at_the_gateway_s_health() {
    let gateway = guarded().await;
    for token in ["", "wrong", "viewer-s3cre"] {
        let mut client = gateway.client(token).await;
        let refused = client.list_backends(v1::ListBackendsRequest::default()).await.unwrap_err();
        assert_eq!(told(&refused), (Code::Unauthenticated, "CALLER_UNAUTHENTICATED".to_owned()));
        assert!(refused.get_details_retry_info().is_none());
        assert!(!format!("{refused:?}").contains("s3cret"));
        let watch = v1::WatchExecutionsRequest { parent: "backends/-/tests/-".into(), ..Default::default() };
        assert_eq!(client.watch_executions(watch).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_caller_can_t_tell_a_backend_out_of_its_grants_from_one_that_does_not_exist() {
    let gateway = guarded().await;
    let mut viewer = client(&gateway, "viewer").await;
    let mut messages = Vec::new();
    for backend in ["connect", "nowhere"] {
        let parent = format!("backends/{backend}/tests/t");
        let name = format!("{parent}/executions/e");
        let names = vec![format!("{LEX_TEST}/executions/e"), name.clone()];
        let backend_name = format!("backends/{backend}");
        let refusals = [
            viewer.get_backend(v1::GetBackendRequest { name: backend_name.clone() }).await.map(|_| ()),
            viewer
                .list_tests(v1::ListTestsRequest { parent: backend_name, ..Default::default() })
                .await
                .map(|_| ()),
            viewer.get_test(v1::GetTestRequest { name: parent.clone() }).await.map(|_| ()),
            viewer.list_executions(list(&parent)).await.map(|_| ()),
            viewer
                .get_execution(v1::GetExecutionRequest { name: name.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .batch_get_executions(v1::BatchGetExecutionsRequest {
                    names: names.clone(),
                    ..Default::default()
                })
                .await
                .map(|_| ()),
            viewer
                .list_result_items(v1::ListResultItemsRequest { parent: name.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .list_artifacts(v1::ListArtifactsRequest { parent: name.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .wait_execution(v1::WaitExecutionRequest { name: name.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .watch_executions(v1::WatchExecutionsRequest { names, ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .watch_executions(v1::WatchExecutionsRequest { parent: parent.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            start(&mut viewer, &parent, "").await.map(|_| ()),
            viewer
                .stop_execution(v1::StopExecutionRequest { name: name.clone(), ..Default::default() })
                .await
                .map(|_| ()),
            viewer
                .record_execution(v1::RecordExecutionRequest {
                    parent,
                    end_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
                    verdict: v1::Verdict::Passed.into(),
                    ..Default::default()
                })
                .await
                .map(|_| ()),
        ];
        let refusals = refusals.map(Result::unwrap_err);
        for refusal in &refusals {
            assert_eq!(told(refusal), not_permitted(), "{refusal:?}");
        }
        messages.push(refusals.map(|refusal| refusal.message().replace(backend, "…")));
    }
    assert_eq!(messages[0], messages[1]);
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see_and_nothing_else() {
    let gateway = guarded().await;
    for (name, expected) in [
        ("viewer", &["backends/lex"][..]),
        ("operator", &["backends/connect", "backends/lex"]),
        ("idle", &[]),
    ] {
        let mut client = client(&gateway, name).await;
        let page = client.list_backends(v1::ListBackendsRequest::default()).await.unwrap().into_inner();
        let mut seen: Vec<_> = page.backends.iter().map(|backend| backend.name.as_str()).collect();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{name}");

        let request =
            v1::ListTestsRequest { parent: "backends/-".into(), page_size: 1000, ..Default::default() };
        let page = client.list_tests(request).await.unwrap().into_inner();
        assert_eq!(page.tests.is_empty(), expected.is_empty(), "{name}");
        for test in &page.tests {
            assert!(
                expected.iter().any(|backend| test.name.starts_with(&format!("{backend}/"))),
                "{}",
                test.name
            );
        }
        let page = client.list_executions(list("backends/-/tests/-")).await.unwrap().into_inner();
        assert_eq!(page.unreachable, Vec::<String>::new());
        assert!(page.executions.iter().all(|execution| {
            expected.iter().any(|backend| execution.name.starts_with(&format!("{backend}/")))
        }));
    }
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_starts() {
    let gateway = guarded().await;
    let (mut viewer, mut operator) = (client(&gateway, "viewer").await, client(&gateway, "operator").await);
    assert_eq!(told(&start(&mut viewer, LEX_TEST, "id").await.unwrap_err()), not_permitted());
    let started = start(&mut operator, LEX_TEST, "id").await.unwrap();
    assert_eq!(started.creator, "token:operator");
    let request = v1::GetExecutionRequest { name: started.name.clone(), ..Default::default() };
    assert_eq!(
        viewer.get_execution(request).await.unwrap().into_inner().execution.unwrap().name,
        started.name
    );
    let stop = v1::StopExecutionRequest { name: started.name, ..Default::default() };
    assert_eq!(told(&viewer.stop_execution(stop).await.unwrap_err()), not_permitted());
}

#[tokio::test]
async fn payloads_and_artifacts_are_for_those_who_may_see_transcripts() {
    let gateway = guarded().await;
    let (mut viewer, mut operator) = (client(&gateway, "viewer").await, client(&gateway, "operator").await);
    let connect = v1::ListTestsRequest { parent: "backends/connect".into(), ..Default::default() };
    let connect_test = operator.list_tests(connect).await.unwrap().into_inner().tests[0].name.clone();
    let seen = operator.get_test(v1::GetTestRequest { name: connect_test }).await.unwrap().into_inner();
    let seen = seen.test.unwrap();
    assert!(!seen.payload_json.is_empty() && !seen.payload_omitted);
    for client in [&mut viewer, &mut operator] {
        let hidden =
            client.get_test(v1::GetTestRequest { name: LEX_TEST.into() }).await.unwrap().into_inner();
        let hidden = hidden.test.unwrap();
        assert!(hidden.payload_json.is_empty() && hidden.payload_omitted, "{hidden:?}");
    }
    let started = start(&mut operator, LEX_TEST, "").await.unwrap();
    let artifacts = v1::ListArtifactsRequest { parent: started.name, ..Default::default() };
    assert_eq!(told(&operator.list_artifacts(artifacts).await.unwrap_err()), not_permitted());
}

#[tokio::test]
async fn result_items_come_without_their_payloads_for_those_who_may_not_see_them() {
    let gateway = guarded().await;
    let mut operator = client(&gateway, "operator").await;
    let started = start(&mut operator, LEX_TEST, "").await.unwrap();
    let end = serde_json::json!({"command": "finish", "execution": started.upstream_id, "outcome": "passed"});
    gateway.sandbox.control("lex", &end).unwrap();
    eventually("items are there", async || {
        let request = v1::ListResultItemsRequest { parent: started.name.clone(), ..Default::default() };
        let Ok(page) = operator.list_result_items(request).await else { return false };
        let found = page.into_inner().result_items;
        assert!(found.iter().all(|item| item.payload_json.is_empty() && item.payload_omitted), "{found:?}");
        !found.is_empty()
    })
    .await;
}

#[tokio::test]
async fn request_ids_and_page_tokens_are_each_caller_s_own() {
    let files = Files::new();
    files.write("a", "one");
    files.write("b", "two");
    let text = "[[auth.token]]\nsubject = \"a\"\ntoken_file = \"a\"\n[[auth.token]]\nsubject = \"b\"\ntoken_file = \"b\"\n\
                [[auth.grant]]\nsubjects = [\"*\"]\nrole = \"operator\"\nbackends = [\"*\"]\n";
    let gateway = Guarded::start(files, text).await;
    let (mut a, mut b) = (gateway.client("one").await, gateway.client("two").await);
    let first = start(&mut a, LEX_TEST, "same").await.unwrap();
    let second = start(&mut b, LEX_TEST, "same").await.unwrap();
    assert_ne!(first.name, second.name);
    assert_eq!(start(&mut a, LEX_TEST, "same").await.unwrap().name, first.name);

    let page = |token: String| v1::ListBackendsRequest { page_size: 1, page_token: token };
    let token = a.list_backends(page(String::new())).await.unwrap().into_inner().next_page_token;
    assert!(!token.is_empty());
    let refused = b.list_backends(page(token.clone())).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned()));
    assert!(a.list_backends(page(token)).await.is_ok());
}

#[tokio::test]
async fn row_10_a_resume_token_of_another_caller_is_refused() {
    let files = Files::new();
    files.write("a", "one");
    files.write("b", "two");
    let text = "[[auth.token]]\nsubject = \"a\"\ntoken_file = \"a\"\n[[auth.token]]\nsubject = \"b\"\ntoken_file = \"b\"\n\
                [[auth.grant]]\nsubjects = [\"token:*\"]\nrole = \"viewer\"\nbackends = [\"lex\"]\n";
    let gateway = Guarded::start(files, text).await;
    let watch = |token: &str| v1::WatchExecutionsRequest {
        parent: "backends/lex/tests/-".into(),
        resume_token: token.to_owned(),
        ..Default::default()
    };
    let mut a = gateway.client("one").await;
    let mut stream = a.watch_executions(watch("")).await.unwrap().into_inner();
    let token = async {
        loop {
            let message = stream.message().await.unwrap().unwrap();
            if !message.resume_token.is_empty() {
                return message.resume_token;
            }
        }
    };
    let token = tokio::time::timeout(PATIENCE, token).await.unwrap();
    let refused = gateway.client("two").await.watch_executions(watch(&token)).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "RESUME_TOKEN_INVALID".to_owned()));
    assert!(a.watch_executions(watch(&token)).await.is_ok());
}

#[tokio::test]
async fn a_token_that_is_replaced_in_its_file_is_taken_and_the_old_one_is_not() {
    let gateway = guarded().await;
    let calls = async |token: &str| {
        gateway.client(token).await.list_backends(v1::ListBackendsRequest::default()).await.is_ok()
    };
    assert!(calls("viewer-s3cret").await);
    gateway.files.write("viewer", "viewer-s3cret\nnext\n");
    eventually("both hold", async || calls("next").await).await;
    assert!(calls("viewer-s3cret").await);
    gateway.files.write("viewer", "next\n");
    eventually("only the next one holds", async || !calls("viewer-s3cret").await).await;
    assert!(calls("next").await);
}

#[tokio::test]
async fn a_backend_s_health_is_for_those_who_may_see_it_and_the_gateway_s_for_everybody() {
    let gateway = guarded().await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", gateway.address()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let check = async |token: &str, service: &str| {
        let mut client = HealthClient::with_interceptor(channel.clone(), Bearer::new(token));
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|_| ()).map_err(|status| status.code())
    };
    for token in ["", "wrong", "idle-s3cret"] {
        for service in ["", "testgate.v1.TestExecutionService"] {
            assert_eq!(check(token, service).await, Ok(()), "{token:?} {service:?}");
        }
    }
    for backend in ["backends/lex", "backends/nowhere"] {
        assert_eq!(check("", backend).await, Err(Code::Unauthenticated));
        assert_eq!(check("wrong", backend).await, Err(Code::Unauthenticated));
        assert_eq!(check("idle-s3cret", backend).await, Err(Code::PermissionDenied));
    }
    eventually("its backends were probed", async || check("viewer-s3cret", "backends/lex").await.is_ok())
        .await;
    assert_eq!(check("viewer-s3cret", "backends/connect").await, Err(Code::PermissionDenied));
}
