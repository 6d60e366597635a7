//! Bodies of gRPC calls, sent to a gateway over a socket as a client would.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use testgate::app::Gateway;
use testgate::config::{Config, Overrides};
use testgate::model::Clock;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// The first byte of an input picks the method.
pub(crate) const METHODS: [&str; 14] = [
    "ListBackends",
    "GetBackend",
    "ListTests",
    "GetTest",
    "StartExecution",
    "StopExecution",
    "RecordExecution",
    "GetExecution",
    "BatchGetExecutions",
    "ListExecutions",
    "ListResultItems",
    "ListArtifacts",
    "WaitExecution",
    "WatchExecutions",
];
/// What is well formed goes on to upstreams that are not there.
const CALL: Duration = Duration::from_millis(100);

/// A gateway whose upstreams are not there.
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "off"
[store]
path = ":memory:"
[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "eu-west-1"
endpoint_url = "http://127.0.0.1:9"
[[backend]]
id = "quality"
kind = "openmetadata"
base_url = "http://127.0.0.1:9/api"
token_env = "TOKEN"
"#;

struct Served {
    runtime: Runtime,
    client: Grpc<Channel>,
    _gateway: Gateway,
}

thread_local! {
    static SERVED: Served = Served::start().expect("a gateway starts on loopback");
}

/// Whatever a body holds, the answer is a status, and never that of a panic.
pub(crate) fn call(input: &[u8]) {
    let (first, body) = input.split_first().map_or((0, input), |(first, body)| (*first, body));
    let method = METHODS[usize::from(first) % METHODS.len()];
    let path = format!("/testgate.v1.TestExecutionService/{method}");
    let path = PathAndQuery::try_from(path).expect("a method is a path");
    let body = Bytes::copy_from_slice(body);
    SERVED.with(|served| {
        let mut client = served.client.clone();
        let answer = served.runtime.block_on(async move {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let mut request = Request::new(body);
            request.set_timeout(CALL);
            let mut stream = client.server_streaming(request, path, Raw).await?.into_inner();
            while stream.message().await?.is_some() {}
            Ok::<_, Status>(())
        });
        if let Err(status) = answer {
            assert!(!matches!(status.code(), Code::Internal | Code::DataLoss), "{method}: {status:?}");
        }
    });
}

impl Served {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = Config::parse(CONFIG, "".as_ref(), &Overrides::default(), &|_| None);
        let config = config.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let gateway = runtime.block_on(Gateway::start(config, None, Clock::system()))?;
        let address = gateway.addresses().first().map(ToString::to_string).unwrap_or_default();
        let channel = runtime.block_on(Endpoint::from_shared(format!("http://{address}"))?.connect())?;
        Ok(Self { runtime, client: Grpc::new(channel), _gateway: gateway })
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
