//! Lists, single resources, stop and record.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use testgate::proto::{DESCRIPTOR_SET, v1};

use crate::process::{client, finish, program, testgate};
use crate::support::World;

/// Reads JSON by the rules of the contract's JSON mapping.
fn from_json<T: Message + Default>(message: &str, json: &str) -> T {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let descriptor = pool.get_message_by_name(&format!("testgate.v1.{message}")).unwrap();
    let mut input = serde_json::Deserializer::from_str(json);
    let dynamic = DynamicMessage::deserialize(descriptor, &mut input).unwrap();
    input.end().unwrap();
    dynamic.transcode_to().unwrap()
}

fn first_column(table: &str) -> Vec<&str> {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect()
}

#[tokio::test]
async fn lists_are_tables_names_or_json_that_reads_back_as_the_reply() {
    let world = World::start().await;
    let table = testgate(&world, ["backends"]).await;
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.starts_with("NAME "), "{table:?}");
    assert_eq!(first_column(&table.out), ["backends/connect", "backends/lex", "backends/quality"]);
    assert_eq!(table.err, "");

    let names = testgate(&world, ["tests", "lex", "-o", "name"]).await;
    let reply = testgate(&world, ["tests", "lex", "-o", "json"]).await;
    let lines = testgate(&world, ["tests", "lex", "-o", "jsonl"]).await;
    let listed: v1::ListTestsResponse = from_json("ListTestsResponse", &reply.out);
    let request =
        v1::ListTestsRequest { parent: "backends/lex".into(), page_size: 1000, ..Default::default() };
    let direct = world.client.clone().list_tests(request).await.unwrap().into_inner();
    assert_eq!(listed.tests, direct.tests);
    assert_eq!(
        names.out.lines().collect::<Vec<_>>(),
        direct.tests.iter().map(|test| &test.name).collect::<Vec<_>>()
    );
    let from_lines: Vec<v1::Test> = lines.out.lines().map(|line| from_json("Test", line)).collect();
    assert_eq!(from_lines, direct.tests);

    let all = testgate(&world, ["tests", "-", "--filter", "startable = false", "-o", "name"]).await;
    for backend in ["connect", "lex", "quality"] {
        let prefix = format!("backends/{backend}/tests/");
        assert!(all.out.lines().any(|name| name.starts_with(&prefix)), "{backend}: {all:?}");
    }
    let limited = testgate(&world, ["tests", "-", "--limit", "2", "-o", "name"]).await;
    assert_eq!(limited.out.lines().count(), 2, "{limited:?}");
}

#[tokio::test]
async fn a_resource_is_shown_with_all_its_fields_and_what_belongs_to_it() {
    let world = World::start().await;
    let run = world.run("lex", "booking-mismatch").await;
    for (name, message) in [("lex", "Backend"), ("lex/booking", "Test"), (run.name.as_str(), "Execution")] {
        let shown = testgate(&world, ["get", name]).await;
        assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{name}: {shown:?}");
        assert!(shown.out.contains("displayName ") || shown.out.contains("testDisplayName "), "{shown:?}");
        let as_json = testgate(&world, ["get", name, "-o", "json"]).await.json();
        assert!(as_json["name"].as_str().unwrap().starts_with("backends/lex"), "{message}: {as_json}");
    }
    let shown = testgate(&world, ["get", &run.name, "-o", "json"]).await;
    let shown: v1::Execution = from_json("Execution", &shown.out);
    assert_eq!((shown.counts, shown.revision), (run.counts, run.revision));

    let id = run.name.rsplit('/').next().unwrap();
    let short = format!("lex/booking-mismatch/{id}");
    let items = testgate(&world, ["get", &short, "--items", "--kind", "conversation"]).await;
    assert_eq!(items.code, Some(0), "{items:?}");
    assert_eq!(items.out.lines().count(), 7, "a header and six conversations: {}", items.out);
    assert!(items.out.starts_with("KIND "), "{items:?}");
    let failed =
        testgate(&world, ["get", &short, "--items", "--filter", "verdict = FAILED", "-o", "jsonl"]).await;
    assert!(failed.out.lines().count() >= 2, "{failed:?}");
    for line in failed.out.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["verdict"], "VERDICT_FAILED");
    }
    let links = testgate(&world, ["get", &short, "--artifacts", "-o", "json"]).await.json();
    assert!(links["artifacts"][0]["uri"].as_str().unwrap().starts_with("http"), "{links}");

    let listed = testgate(&world, ["executions", "lex", "--filter", "verdict = FAILED", "-o", "name"]).await;
    assert_eq!(listed.out.trim_end(), run.name);
    let none = testgate(&world, ["executions", "lex/booking"]).await;
    assert_eq!((none.code, none.out.lines().count()), (Some(0), 1), "only a header: {none:?}");
}

#[tokio::test]
async fn short_names_are_found_by_id_or_display_name_and_never_guessed() {
    let world = World::start().await;
    let by_name = testgate(&world, ["get", "connect/greeting", "-o", "name"]).await;
    let by_id = testgate(&world, ["get", "connect/c0ffee00-0000-4000-8000-000000000001", "-o", "name"]).await;
    assert_eq!(by_name.out, "backends/connect/tests/c0ffee00-0000-4000-8000-000000000001\n");
    assert_eq!(by_id.out, by_name.out);
    let odd =
        testgate(&world, ["run", "connect/odd: name/with \"everything\" 100% ✓", "--validate-only"]).await;
    assert_eq!(odd.code, Some(0), "{odd:?}");

    let unknown = testgate(&world, ["run", "connect/greetings"]).await;
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.complaint().contains("no test with the id or display name `greetings`"), "{unknown:?}");
    let unknown = testgate(&world, ["tests", "elsewhere"]).await;
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.complaint().contains("NOT_FOUND RESOURCE_NOT_FOUND"), "{unknown:?}");

    world.control("connect", json!({"command": "add_test", "name": "greeting", "id": "second"}));
    let ambiguous = testgate(&world, ["run", "connect/greeting"]).await;
    assert_eq!(ambiguous.code, Some(2));
    let complaint = ambiguous.complaint();
    assert!(complaint.contains("the name of 2 tests") && complaint.contains("tests/second"), "{complaint}");
    let exact = testgate(&world, ["get", "connect/second", "-o", "name"]).await;
    assert_eq!(exact.out, "backends/connect/tests/second\n");
}

#[tokio::test]
async fn row_52_a_reader_that_leaves_is_no_error() {
    let world = World::start().await;
    for format in ["table", "json", "jsonl", "name"] {
        let mut child = client(&world, ["tests", "-", "-o", format]).spawn().unwrap();
        drop(child.stdout.take());
        let ended = crate::process::ended(child).await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{format}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_one_line_and_trouble() {
    let nobody = format!("127.0.0.1:{}", crate::process::free_port());
    for command in [&["backends"][..], &["run", "connect/greeting"], &["watch", "-"], &["get", "connect"]] {
        let ended = finish(program(command.iter().chain([&"--server", &nobody.as_str()]))).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{ended:?}");
        let complaint = ended.complaint();
        assert!(complaint.contains(&nobody) && complaint.contains("serve --sandbox"), "{complaint}");
    }
}

#[tokio::test]
async fn what_cannot_be_stopped_says_why_and_what_can_is_stopped() {
    let world = World::start().await;
    let slow = world.begin("connect", "slow-transfer").await;
    let stopped = testgate(&world, ["stop", &slow.name, "--reason", "enough seen", "-o", "json"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(stopped.json()["stopReason"], "enough seen");

    let lex = world.begin("lex", "slow").await;
    let refused = testgate(&world, ["stop", &lex.name]).await;
    assert_eq!(refused.code, Some(3));
    assert!(refused.complaint().contains("UNIMPLEMENTED CAPABILITY_NOT_SUPPORTED"), "{refused:?}");

    let pipeline = world.begin("quality", "Takes a minute").await;
    let refused = testgate(&world, ["stop", &pipeline.name]).await;
    assert_eq!(refused.code, Some(3));
    let complaint = refused.complaint();
    assert!(complaint.contains("FAILED_PRECONDITION STOP_SCOPE_NOT_ALLOWED"), "{complaint}");
    assert!(complaint.contains("--allow-test-scope"), "{complaint}");
    let consented = testgate(&world, ["stop", &pipeline.name, "--allow-test-scope"]).await;
    assert_eq!(consented.code, Some(0), "{consented:?}");
}

#[tokio::test]
async fn a_result_is_recorded_once_and_a_second_one_for_its_time_is_refused() {
    let world = World::start().await;
    let test = "quality/shop_pg.shop.public.orders.row_count";
    let test = testgate(&world, ["tests", "quality", "-o", "jsonl"])
        .await
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|row| {
            row["upstreamId"].as_str().is_some_and(|id| test.ends_with(id))
                || row["displayName"] == "row_count"
        })
        .expect("the sandbox has this test case")["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = (testgate::model::Clock::system().now() - time::Duration::hours(1)).unix_timestamp() * 1000;
    let at = at.to_string();
    let record = |verdict: &'static str| {
        let (test, at) = (test.clone(), at.clone());
        [
            "record".to_owned(),
            test,
            "--verdict".into(),
            verdict.into(),
            "--end-time".into(),
            at,
            "-o".into(),
            "json".into(),
        ]
    };
    let recorded =
        testgate(&world, record("failed").iter().chain(&["--message".to_owned(), "3 rows null".to_owned()]))
            .await;
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let stored = recorded.json();
    assert_eq!((&stored["verdict"], &stored["done"]), (&json!("VERDICT_FAILED"), &json!(true)), "{stored}");
    let other = testgate(&world, record("passed")).await;
    assert_eq!(other.code, Some(3));
    assert!(other.complaint().contains("ALREADY_EXISTS RESULT_EXISTS"), "{other:?}");

    let implausible =
        testgate(&world, ["record", &test, "--verdict", "passed", "--end-time", "1700000000"]).await;
    assert_eq!(implausible.code, Some(3));
    assert!(implausible.complaint().contains("end_time"), "{implausible:?}");
}
