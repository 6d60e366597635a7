//! What the gateway knows and nobody must read: credentials in logs at every level, errors, dumps and metrics.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use http::Response;
use testgate::auth::{Auth, Caller};
use testgate::model::Clock;
use testgate::proto::v1;
use testgate::sandbox::{openmetadata, sigv4};
use testgate::server::{Options, ReplyBody, RequestBody};
use tokio::io::AsyncReadExt as _;
use tonic::{Code, Request, Status};

use crate::guard::Files;
use crate::listener::{Listening, framed, post};
use crate::metrics::Scrape;
use crate::process::{Serving, eventually, signal};
use crate::support::{Client, PATIENCE, World, admin_at, connect, told};

const CALLER: &str = "canary-of-the-caller-4f1d";
const STRANGER: &str = "canary-of-a-stranger-77ab";
const UPSTREAM: &str = "canary-of-an-upstream-c0de";
const MISPLACED: &str = "canary-in-the-wrong-place-9e2b";

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn list(backend: &str) -> v1::ListTestsRequest {
    v1::ListTestsRequest { parent: format!("backends/{backend}"), ..Default::default() }
}

/// All that a failure says, details included.
fn words(status: &Status) -> String {
    format!("{status:?} {:?} {}", status.metadata(), String::from_utf8_lossy(status.details()))
}

async fn call_everything(client: &mut Client) -> Vec<String> {
    let mut told = Vec::new();
    for backend in ["connect", "lex", "quality", "locked"] {
        for token in [CALLER, STRANGER] {
            match client.list_tests(with_token(list(backend), token)).await {
                Ok(page) => told.push(format!("{page:?}")),
                Err(status) => told.push(words(&status)),
            }
        }
    }
    let start =
        v1::StartExecutionRequest { parent: "backends/lex/tests/BOOKINGOK1".into(), ..Default::default() };
    told.push(format!("{:?}", client.start_execution(with_token(start, CALLER)).await.unwrap()));
    told
}

#[tokio::test]
async fn row_44_no_secret_is_logged_told_dumped_or_counted() {
    let world = World::start().await;
    let serving = Serving::before(&world.sandbox, "127.0.0.1:0");
    let write = |name: &str, text: &str| std::fs::write(serving.folder().join(name), text).unwrap();
    write("caller", CALLER);
    write("upstream", UPSTREAM);
    let locked = world.sandbox.address("openmetadata").unwrap();
    let good = std::fs::read_to_string(serving.config()).unwrap()
        + &format!(
            r#"
[[backend]]
id = "locked"
kind = "openmetadata"
base_url = "http://{locked}/api"
token_file = "upstream"

[[auth.token]]
subject = "ci"
token_file = "caller"
[[auth.grant]]
subjects = ["token:ci"]
role = "operator"
backends = ["*"]

[telemetry]
log_level = "trace"
audit_file = "audit.log"
"#
        );
    std::fs::write(serving.config(), &good).unwrap();
    let mut served = serving.start_logging().await;
    let (mut log, admin) = (served.child.stderr.take().unwrap(), served.admin);
    let logged = tokio::spawn(async move {
        let mut text = String::new();
        log.read_to_string(&mut text).await.unwrap();
        text
    });
    let mut client = connect(&served.address).await;

    let mut told = call_everything(&mut client).await;
    // Secrets where they do not belong: as a key that is none, and where the name of a variable belongs.
    for wrong in [format!("token = \"{MISPLACED}\""), format!("token_env = \"{MISPLACED}!\"")] {
        let failed = async || {
            let (_, text) = admin_at(admin, "GET", "/metrics", "").await;
            Scrape::parse(&text).sum("testgate_config_reloads_total", &["result=\"failed\""])
        };
        let before = failed().await;
        std::fs::write(serving.config(), good.replace("token_file = \"upstream\"", &wrong)).unwrap();
        signal(&served.child, "HUP").await;
        eventually("the file is refused", async || failed().await > before).await;
    }
    for page in ["/metrics", "/config", "/readyz?verbose", "/loglevel"] {
        told.push(admin_at(admin, "GET", page, "").await.1);
    }
    signal(&served.child, "TERM").await;
    tokio::time::timeout(PATIENCE, served.child.wait()).await.unwrap().unwrap();
    let logged = tokio::time::timeout(PATIENCE, logged).await.unwrap().unwrap();
    assert!(logged.contains("\"TRACE\"") && logged.contains("not taken"), "the log is not that of the level");
    told.push(std::fs::read_to_string(serving.folder().join("audit.log")).unwrap());
    assert!(told.iter().any(|text| text.contains("refused")), "a stranger is not in the audit log");
    told.push(logged);

    let secrets = [
        CALLER,
        STRANGER,
        UPSTREAM,
        MISPLACED,
        sigv4::DEFAULT_SECRET_ACCESS_KEY,
        openmetadata::DEFAULT_TOKEN,
    ];
    for secret in secrets {
        for text in &told {
            let leak = text.lines().find(|line| line.contains(secret));
            assert!(leak.is_none(), "{secret} stands in: {}", leak.unwrap_or_default());
        }
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn row_44_a_panic_that_shows_all_that_a_call_came_with_shows_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let _logs = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let files = Files::new();
    files.write("caller", CALLER);
    let config = files.config("[[auth.token]]\nsubject = \"ci\"\ntoken_file = \"caller\"\n");
    let auth = Auth::new(config.auth.as_ref(), &config.limits, Clock::system()).unwrap();
    let service = tower::service_fn(move |request: http::Request<RequestBody>| {
        let config = config.clone();
        async move {
            let caller = request.extensions().get::<Caller>().unwrap();
            if request.uri().path().ends_with("GetBackend") {
                panic!("{request:?} of {caller:?} with {config:?}");
            }
            Ok::<_, Infallible>(Response::new(ReplyBody::default()))
        }
    });
    let listening = Listening::start(Options { auth, ..Options::default() }, service).await;
    let shown = format!("Bearer {CALLER}");
    let headers = [("authorization", shown.as_str())];
    let status = post(&listening.address.to_string(), "GetBackend", &headers, framed(0, 0, b"")).await;
    assert_eq!(told(&status), (Code::Internal, "INTERNAL_ERROR".into()));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let panic = log.lines().find(|line| line.contains("a call panicked")).expect("the panic is logged");
    assert!(panic.contains("token:ci"), "it shows less than there was: {panic}");
    for text in [&words(&status), &log] {
        let leak = text.lines().find(|line| line.contains(CALLER));
        assert!(leak.is_none(), "{}", leak.unwrap_or_default());
    }
}
