//! Upstreams that answer every call with the same thing, whatever it is.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use testgate::backend::registry;
use testgate::backend::{Backend, Call, ListHint, PageRequest, Priority, Shared, Target, TestHint};
use testgate::config::backend::{AwsConfig, BackendConfig, SecretSource, StaticCredentials, SystemConfig};
use testgate::config::{Config, Overrides};
use testgate::metrics::Metrics;
use testgate::model::{Clock, ExecutionId, TestId, Timestamp, Verdict};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Too short to wait for a second try of what was not understood.
const CALL: Duration = Duration::from_millis(25);
/// The first byte of an input picks the status; most answers are good ones.
const STATUSES: [u16; 8] = [200, 200, 200, 200, 400, 403, 404, 409];
const TEST: &str = "c0ffee00-0000-4000-8000-000000000001";

/// What every call is answered with.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

struct Upstreams {
    runtime: Runtime,
    backends: Vec<Arc<dyn Backend>>,
    answer: Arc<Mutex<Answer>>,
}

thread_local! {
    static UPSTREAMS: Upstreams = Upstreams::start().expect("loopback can be listened on");
}

/// Every call that the adapter can make gets this answer: none panics, and none takes long.
pub(crate) fn answers(backend: &str, input: &[u8]) {
    UPSTREAMS.with(|upstreams| {
        let (first, body) = input.split_first().map_or((0, input), |(first, body)| (*first, body));
        *upstreams.answer.lock().unwrap_or_else(PoisonError::into_inner) =
            Answer { status: STATUSES[usize::from(first) % STATUSES.len()], body: body.to_vec() };
        let backend = upstreams
            .backends
            .iter()
            .find(|known| known.info().id.as_str() == backend)
            .expect("the configuration has it");
        upstreams.runtime.block_on(ask_everything(backend.as_ref()));
    });
}

async fn ask_everything(backend: &dyn Backend) {
    let call = || Call { deadline: Instant::now() + CALL, priority: Priority::Read, caller: "".into() };
    let page = PageRequest { size: 100, token: None };
    let is_openmetadata = backend.info().id.as_str() == "quality";
    let ids: &[&str] = match is_openmetadata {
        true => {
            &["case-c0ffee00-0000-4000-8000-000000000001", "pipeline-c0ffee00-0000-4000-8000-000000000001"]
        }
        false => &[TEST],
    };
    let _any = backend.probe(&call()).await.is_ok();
    let _any = backend.list_tests(&call(), &page).await.is_ok();
    let hint = TestHint { reads_labels: true, labels: vec![("team".to_owned(), "voice".to_owned())] };
    let _any = backend.find_tests(&call(), &hint, &page).await.is_ok();
    for id in ids {
        let test = TestId::new(id).expect("it is an id");
        let _any = backend.get_test(&call(), &test).await.is_ok();
        let _any = backend.list_executions(&call(), Some(&test), &page, &ListHint::default()).await.is_ok();
        for id in ["1790000000000", TEST] {
            let target = target(&test, id);
            if let Ok(observation) = backend.observe(&call(), &target).await {
                let passed = observation.verdict == Verdict::Passed;
                assert!(!passed || observation.state.is_done(), "passed and not done: {observation:?}");
            }
            for kind in backend.info().capabilities.result_kinds.iter().copied() {
                let _any = backend.list_items(&call(), &target, Some(kind), &page).await.is_ok();
            }
            let _any = backend.list_artifacts(&call(), &target).await.is_ok();
        }
    }
    let _any = backend.list_executions(&call(), None, &page, &ListHint::default()).await.is_ok();
}

fn target(test: &TestId, execution: &str) -> Target {
    Target {
        test: Some(test.clone()),
        execution: ExecutionId::new(execution).expect("it is an id"),
        upstream_id: None,
        create_time: Some(Timestamp::UNIX_EPOCH),
        end_time: None,
        stop_requested: false,
        settling: None,
        claimed: Arc::new([]),
        want_counts: true,
        first_seen: Some(Timestamp::UNIX_EPOCH),
        counts: None,
    }
}

impl Upstreams {
    fn start() -> anyhow::Result<Self> {
        let answer = Arc::new(Mutex::new(Answer::default()));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let served = answer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = served.clone();
                // Its end is the connection's end.
                std::thread::spawn(move || drop(serve(stream, &answer)));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let shared = Shared::new(Clock::system(), Metrics::new());
        let backends = registry::build(&configured(&format!("http://{address}"))?, &shared);
        drop(guard);
        Ok(Self { runtime, backends, answer })
    }
}

/// One backend of each kind, all at one address.
fn configured(url: &str) -> anyhow::Result<Vec<BackendConfig>> {
    let text = format!(
        r#"
[store]
path = ":memory:"
[[backend]]
id = "connect"
kind = "amazon-connect"
region = "us-west-2"
instance_id = "11111111-2222-4333-8444-555555555555"
endpoint_url = "{url}"
max_requests_per_second = 10000.0
[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "eu-west-1"
endpoint_url = "{url}"
max_requests_per_second = 10000.0
[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "{url}/api"
token_env = "TOKEN"
max_requests_per_second = 10000.0
"#
    );
    let config = Config::parse(&text, Path::new(""), &Overrides::default(), &|_| None);
    let mut backends = config.map_err(|problems| anyhow::anyhow!("{problems:?}"))?.backends;
    for backend in &mut backends {
        let aws: Option<&mut AwsConfig> = match &mut backend.system {
            SystemConfig::Connect(connect) => Some(&mut connect.aws),
            SystemConfig::Lex(lex) => Some(&mut lex.aws),
            SystemConfig::OpenMetadata(openmetadata) => {
                openmetadata.token = Some(SecretSource::Fixed("any".to_owned()));
                None
            }
        };
        if let Some(aws) = aws {
            aws.static_credentials = Some(StaticCredentials {
                access_key_id: "any".to_owned(),
                secret_access_key: "any".to_owned(),
            });
        }
    }
    Ok(backends)
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, answer: &Mutex<Answer>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let mut reply = Vec::new();
        {
            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            write!(
                reply,
                "HTTP/1.1 {} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.status,
                answer.body.len()
            )?;
            reply.extend_from_slice(&answer.body);
        }
        stream.write_all(&reply)?;
    }
}
