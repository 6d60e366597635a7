use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testgate::backend::{Backend, ListHint, StartIntent, StartPlan, TestHint};
use testgate::model::{
    Clock, ConnectDetails, Details, ExecutionId, ItemKind, Labels, LexApiMode, LexDetails, LexModality,
    LexTarget, TestId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{call, connect_at, lex_at, page, target};

/// Notes every request and knows nothing of what it is asked for.
async fn recorder(service: &'static str, seen: Arc<Mutex<Vec<Value>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, length) = loop {
                assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    break (head.to_owned(), head.len() + 4);
                }
            };
            let header = |name: &str| {
                let found =
                    head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name));
                found.map(|(_, value)| value.to_owned()).unwrap_or_default()
            };
            let body: usize = header("content-length").parse().unwrap_or(0);
            while bytes.len() < length + body {
                assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
            }
            let mut first = head.split(' ');
            seen.lock().unwrap().push(json!({
                "service": service,
                "method": first.next().unwrap(),
                "target": first.next().unwrap(),
                "body": String::from_utf8_lossy(&bytes[length..]),
                "content_type": header("content-type"),
            }));
            let reply = b"HTTP/1.1 404 Not Found\r\nx-amzn-errortype: ResourceNotFoundException\r\n\
                content-length: 2\r\nconnection: close\r\n\r\n{}";
            stream.write_all(reply).await.unwrap();
        }
    });
    url
}

fn intent(test: &str, details: Details) -> StartIntent {
    let plan = StartPlan { details, upstream_labels: Labels::new(), test_display_name: String::new() };
    StartIntent {
        test: TestId::new(test).unwrap(),
        plan,
        token: "ab".repeat(32),
        time: time::macros::datetime!(2026-11-21 06:00:00 UTC),
    }
}

async fn drive_connect(url: &str, test: &str) {
    let connect = connect_at(url, Clock::system());
    let execution = ExecutionId::new("ex/1 é").unwrap();
    let target = target(test, &execution);
    let token = || Some("AAAb/c+d==~ é%2F*".to_owned());
    let mut errors = 0;
    let mut count = |failed: bool| errors += usize::from(failed);
    count(connect.probe(&call()).await.is_err());
    count(connect.list_tests(&call(), &page(50, token())).await.is_err());
    let hint = TestHint { reads_labels: true, labels: vec![("suite".into(), "smoke & more".into())] };
    count(connect.find_tests(&call(), &hint, &page(5000, token())).await.is_err());
    let hint = TestHint { reads_labels: true, labels: Vec::new() };
    count(connect.find_tests(&call(), &hint, &page(50, None)).await.is_err());
    count(connect.get_test(&call(), &TestId::new(test).unwrap()).await.is_err());
    let start = intent(test, Details::Connect(ConnectDetails::default()));
    count(connect.start(&call(), &start).await.is_err());
    count(connect.stop(&call(), &target, "stop-token").await.is_err());
    count(connect.observe(&call(), &target).await.is_err());
    count(connect.list_items(&call(), &target, None, &page(0, token())).await.is_err());
    let test = TestId::new(test).unwrap();
    let from = Some(time::macros::datetime!(2026-11-21 06:00:00.123 UTC));
    for hint in [
        ListHint::default(),
        ListHint { created_from: from, ..ListHint::default() },
        ListHint { unfinished_only: true, ..ListHint::default() },
    ] {
        count(connect.list_executions(&call(), Some(&test), &page(5000, None), &hint).await.is_err());
    }
    count(connect.list_executions(&call(), None, &page(10, token()), &ListHint::default()).await.is_err());
    assert_eq!(errors, 13, "every call was refused");
}

async fn drive_lex(url: &str) {
    let lex = lex_at(url, Clock::system());
    let target = target("TESTSET001", &ExecutionId::new("EXECUTION1").unwrap());
    let test = TestId::new("TESTSET001").unwrap();
    let token = || Some("t+/=".to_owned());
    let mut errors = 0;
    let mut count = |failed: bool| errors += usize::from(failed);
    count(lex.probe(&call()).await.is_err());
    count(lex.list_tests(&call(), &page(5000, token())).await.is_err());
    count(lex.get_test(&call(), &test).await.is_err());
    for modality in [None, Some(LexModality::Text), Some(LexModality::Audio)] {
        let details = LexDetails {
            target: Some(LexTarget {
                bot_id: "BOT0000001".into(),
                bot_alias_id: "TSTALIASID".into(),
                locale_id: "en_US".into(),
            }),
            api_mode: Some(LexApiMode::Streaming),
            modality,
            ..LexDetails::default()
        };
        let start = intent("TESTSET001", Details::Lex(details));
        count(lex.start(&call(), &start).await.is_err());
        count(lex.find_started(&call(), &start).await.is_err());
    }
    count(lex.observe(&call(), &target).await.is_err());
    count(lex.list_executions(&call(), None, &page(10, token()), &ListHint::default()).await.is_err());
    for kind in
        [ItemKind::Overall, ItemKind::Conversation, ItemKind::Intent, ItemKind::Slot, ItemKind::Utterance]
    {
        let page = page(10, Some("0:t+/=".into()));
        count(lex.list_items(&call(), &target, Some(kind), &page).await.is_err());
    }
    count(lex.list_artifacts(&call(), &target).await.is_err());
    assert_eq!(errors, 17, "every call was refused");
}

#[tokio::test]
async fn requests_agree_with_botocores_service_models() {
    let Ok(python) = std::env::var("TESTGATE_PYTHON_AWS") else {
        panic!("TESTGATE_PYTHON_AWS is not set: run tests/run, which installs boto3 and sets it");
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let connect = recorder("connect", Arc::clone(&seen)).await;
    let lex = recorder("lexv2-models", Arc::clone(&seen)).await;
    for test in ["11111111-2222-4333-8444-555555555555", "odd/id: with \"quotes\", 100% + ünï✓", "..a"] {
        drive_connect(&connect, test).await;
    }
    drive_lex(&lex).await;
    let requests = Value::Array(seen.lock().unwrap().clone()).to_string();
    let mut child = tokio::process::Command::new(python)
        .arg("aws_model_check.py")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(requests.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the Python side failed; its output is above");
    assert!(text.contains("requests agree with botocore"));
}
