//! Taking a new configuration while the gateway serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use testgate::proto::v1;
use testgate::proto::v1::execution_update::Type;
use tokio::process::Child;
use tokio::sync::mpsc;
use tonic::Code;

use crate::metrics::Scrape;
use crate::process::{Serving, eventually, line_with, signal, stderr_lines, stdout_lines};
use crate::rig::{Stream, quick, start_elsewhere, watching};
use crate::support::{Client, PATIENCE, World, admin, admin_at, connect, told};

fn list(backend: &str) -> v1::ListTestsRequest {
    v1::ListTestsRequest { parent: format!("backends/{backend}"), ..Default::default() }
}

/// A gateway process with its ports and its log.
struct Process {
    serving: Serving,
    child: Child,
    client: Client,
    admin: std::net::SocketAddr,
    /// Read all the time: a full pipe would hold the process up.
    log: mpsc::UnboundedReceiver<String>,
    _out: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>,
}

impl Process {
    async fn start(world: &World) -> Self {
        let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
        let mut child = serving.command().stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut out = stdout_lines(&mut child);
        let line = line_with(&mut out, "serves gRPC on ").await;
        let client = connect(line.rsplit(' ').next().unwrap()).await;
        let line = line_with(&mut out, "health and metrics on ").await;
        let admin = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let mut lines = stderr_lines(&mut child);
        let (sender, log) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                drop(sender.send(line));
            }
        });
        Self { serving, child, client, admin, log, _out: out }
    }

    /// Changes the file.
    fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.serving.config()).unwrap();
        std::fs::write(self.serving.config(), change(text)).unwrap();
    }

    /// The next line of the log that holds a text.
    async fn logged(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let line = self.log.recv().await.expect("the log ended");
                if line.contains(text) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no line with {text:?}"))
    }

    async fn reloads(&self, result: &str) -> f64 {
        let (_, text) = admin_at(self.admin, "GET", "/metrics", "").await;
        Scrape::parse(&text).sum("testgate_config_reloads_total", &[&format!("result=\"{result}\"")])
    }

    /// Sends SIGHUP and waits until it was obeyed, or was not.
    async fn hang_up(&self, result: &str) {
        let before = self.reloads(result).await;
        signal(&self.child, "HUP").await;
        eventually("the file is read again", async || self.reloads(result).await > before).await;
    }
}

#[tokio::test]
async fn row_45_a_bad_file_and_sighup_change_nothing_and_are_logged_and_counted() {
    let world = World::start().await;
    let mut process = Process::start(&world).await;
    let before = admin_at(process.admin, "GET", "/config", "").await;
    let good = std::fs::read_to_string(process.serving.config()).unwrap();

    process.rewrite(|text| {
        text.replace("id = \"lex\"", "id = \"lex\"\nretries = 3") + "[[backend]]\nid = \"half\"\n"
    });
    process.hang_up("failed").await;
    let line = process.logged("all stays as it was").await;
    assert!(line.contains("retries"), "{line}");
    assert_eq!(admin_at(process.admin, "GET", "/config", "").await, before);
    process.client.list_tests(list("lex")).await.unwrap();
    assert_eq!(process.reloads("ok").await, 0.0);

    // What only a restart can change is named, and what stands beside it is not taken either.
    std::fs::write(process.serving.config(), good.replace("[store]", "[store]\nretention = \"3d\"")).unwrap();
    process.rewrite(|text| text.replace("testgate.redb", "other.redb"));
    process.hang_up("failed").await;
    let line = process.logged("store.path").await;
    assert!(line.contains("restart"), "{line}");
    assert_eq!(admin_at(process.admin, "GET", "/config", "").await, before);

    std::fs::write(process.serving.config(), good).unwrap();
    process.hang_up("ok").await;
    assert_eq!(process.reloads("failed").await, 2.0);
}

#[tokio::test]
async fn no_request_fails_while_the_configuration_is_read_again_and_again() {
    let world = World::start().await;
    let process = Process::start(&world).await;
    let mut watched = process.client.clone();
    let parent = "backends/lex/tests/-".to_owned();
    let request = v1::WatchExecutionsRequest { parent, ..Default::default() };
    let mut stream = watched.watch_executions(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, over, answered) = (process.client.clone(), over.clone(), answered.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let name = "backends/lex".to_owned();
                    client.get_backend(v1::GetBackendRequest { name }).await.unwrap();
                    client.list_backends(v1::ListBackendsRequest::default()).await.unwrap();
                    answered.fetch_add(2, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..10 {
        // The backend itself is made anew each time, and another one comes and goes.
        process.rewrite(|text| {
            let named = text.replace(&format!("display_name = \"Round {}\"\n", round - 1), "");
            let named = named.replace("id = \"lex\"\n", &format!("id = \"lex\"\ndisplay_name = \"Round {round}\"\n"));
            match named.split_once("\n# more\n") {
                Some((before, _)) => before.to_owned(),
                None => named.clone() + "\n# more\n[[backend]]\nid = \"more\"\nkind = \"openmetadata\"\nbase_url = \"http://127.0.0.1:9/api\"\n",
            }
        });
        let before = answered.load(Ordering::SeqCst);
        process.hang_up("ok").await;
        eventually("calls go on", async || answered.load(Ordering::SeqCst) > before).await;
        let name = "backends/lex".to_owned();
        let backend = process.client.clone().get_backend(v1::GetBackendRequest { name }).await.unwrap();
        assert_eq!(backend.into_inner().backend.unwrap().display_name, format!("Round {round}"));
    }
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("a request failed");
    }
    // The stream is still there: a run that is started shows up on it.
    let start =
        v1::StartExecutionRequest { parent: "backends/lex/tests/BOOKINGOK1".into(), ..Default::default() };
    let started =
        process.client.clone().start_execution(start).await.unwrap().into_inner().execution.unwrap();
    let shown = async {
        loop {
            let message = stream.message().await.unwrap().expect("the stream ended");
            if format!("{message:?}").contains(&started.name) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the run did not show up");
}

#[tokio::test]
async fn backends_come_and_go_and_streams_are_told() {
    let world = quick(1.0).await;
    let whole = world.gateway.config();
    let name = start_elsewhere(&world, "lex", "slow");
    let mut stream = Stream::open(&world, watching([&name])).await.unwrap();
    stream.opening().await;

    let mut without = testgate::config::Config::clone(&whole);
    without.backends.retain(|backend| backend.id.as_str() != "lex");
    world.gateway.reconfigure(without).unwrap();
    stream.until(|update| update.r#type() == Type::Removed).await;
    let error = world.client.clone().list_tests(list("lex")).await.unwrap_err();
    assert_eq!(told(&error).0, Code::NotFound);
    let listed = world.client.clone().list_backends(v1::ListBackendsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().backends.len(), 2);
    let (_, shown) = admin(&world.gateway, "GET", "/config", "").await;
    assert!(!shown.contains("amazon-lex-v2"), "{shown}");

    world.gateway.reconfigure(testgate::config::Config::clone(&whole)).unwrap();
    world.client.clone().list_tests(list("lex")).await.unwrap();
    let executed = world.run("lex", "booking").await;
    assert!(executed.done);
}

#[tokio::test]
async fn budgets_follow_the_new_configuration() {
    let world = quick(1.0).await;
    let mut slower = testgate::config::Config::clone(&world.gateway.config());
    for backend in &mut slower.backends {
        backend.max_requests_per_second = 0.001;
    }
    let faster = testgate::config::Config::clone(&world.gateway.config());
    world.gateway.reconfigure(slower).unwrap();
    // Whatever was saved up is soon used up, and then there is no more.
    let exhausted = async || {
        let mut request = tonic::Request::new(list("lex"));
        request.set_timeout(std::time::Duration::from_secs(5));
        world
            .client
            .clone()
            .list_tests(request)
            .await
            .is_err_and(|error| told(&error).1 == "BACKEND_BUDGET_EXHAUSTED")
    };
    eventually("the budget is used up", exhausted).await;
    world.gateway.reconfigure(faster).unwrap();
    eventually("there is a budget again", async || !exhausted().await).await;
}

#[tokio::test]
async fn the_log_level_is_read_and_set_while_it_runs() {
    let world = World::start().await;
    let mut process = Process::start(&world).await;
    assert_eq!(admin_at(process.admin, "GET", "/loglevel", "").await, (200, "info\n".to_owned()));
    let set = admin_at(process.admin, "PUT", "/loglevel", "debug").await;
    assert_eq!(set, (200, "debug\n".to_owned()));
    process.client.list_tests(list("lex")).await.unwrap();
    process.logged("upstream call").await;
    assert_eq!(admin_at(process.admin, "PUT", "/loglevel", "loud").await.0, 400);
    assert_eq!(admin_at(process.admin, "GET", "/loglevel", "").await.1, "debug\n");
    // A reload that says nothing of the level leaves it, one that does sets it.
    process.hang_up("ok").await;
    assert_eq!(admin_at(process.admin, "GET", "/loglevel", "").await.1, "debug\n");
    process.rewrite(|text| text + "\n[telemetry]\nlog_level = \"warn\"\n");
    process.hang_up("ok").await;
    assert_eq!(admin_at(process.admin, "GET", "/loglevel", "").await.1, "warn\n");
    assert_eq!(admin_at(process.admin, "POST", "/drain", "").await.0, 202);
    let status = tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn row_40_an_expired_openmetadata_token_degrades_readiness_until_its_file_is_renewed() {
    use testgate::config::backend::{SecretSource, SystemConfig};
    use testgate::sandbox::openmetadata::DEFAULT_TOKEN;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, DEFAULT_TOKEN).unwrap();
    let world = quick(1.0).await;
    let mut config = testgate::config::Config::clone(&world.gateway.config());
    for backend in &mut config.backends {
        if let SystemConfig::OpenMetadata(system) = &mut backend.system {
            system.token = Some(SecretSource::File(file.clone()));
        }
    }
    world.gateway.reconfigure(config).unwrap();
    let ready = async || admin(&world.gateway, "GET", "/readyz?verbose", "").await;
    world.client.clone().list_tests(list("quality")).await.unwrap();
    assert!(ready().await.1.contains("backends/quality ready\n"));

    world.control("openmetadata", json!({"do": "token_trouble", "kind": "expired"}));
    let error = world.client.clone().list_tests(list("quality")).await.unwrap_err();
    assert_eq!(told(&error), (Code::FailedPrecondition, "BACKEND_CREDENTIALS_INVALID".to_owned()));
    let (status, body) = ready().await;
    assert_eq!(status, 200, "one backend's trouble is not the gateway's");
    assert!(body.contains("backends/quality unready: BACKEND_CREDENTIALS_INVALID"), "{body}");
    let refused = ["backend=\"quality\"", "code=\"401\""];
    assert!(Scrape::of(&world).await.sum("testgate_upstream_requests_total", &refused) >= 1.0);

    // The token is renewed where it came from; nobody tells the gateway. Until then the old one is no good.
    world.control("openmetadata", json!({"do": "token_trouble", "kind": "none"}));
    std::fs::write(&file, "somebody-elses").unwrap();
    let error = world.client.clone().list_tests(list("quality")).await.unwrap_err();
    assert_eq!(told(&error).1, "BACKEND_CREDENTIALS_INVALID");
    std::fs::write(&file, format!("{DEFAULT_TOKEN}\n")).unwrap();
    world.client.clone().list_tests(list("quality")).await.unwrap();
    assert!(ready().await.1.contains("backends/quality ready\n"));
}
