//! The baseline: a tonic service that does nothing but answer, tuned as the gateway's transport is.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use prost::Message;
use testgate::proto::codec::Codec;
use testgate::proto::v1;
use testgate::proto::v1::test_execution_service_server::SERVICE_NAME;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::process::{Server, free_port};

/// Makes this program the bare service.
pub(crate) const ARGUMENT: &str = "bare";

/// How the bare service has its reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// As the message, which is cloned and encoded for each read.
    Message,
    /// As the message's bytes, which are copied for each read: no service does less.
    Bytes,
}

impl Reply {
    fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Bytes => "bytes",
        }
    }
}

/// The arguments that make this program serve a reply from a file.
fn arguments(port: u16, reply: Reply, file: &Path) -> Vec<String> {
    vec![ARGUMENT.to_owned(), port.to_string(), reply.word().to_owned(), file.display().to_string()]
}

/// Starts it in a process of its own, with a reply that is in a file.
pub(crate) async fn start(reply: Reply, file: &Path) -> anyhow::Result<Server> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments(port, reply, file)).env_clear();
    Server::start(&mut command, port).await
}

/// Serves until it is killed.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [port, reply, file] = arguments else { bail!("the bare service takes a port, a word and a file") };
    let reply_bytes = Bytes::from(std::fs::read(file).with_context(|| file.clone())?);
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    let message = v1::GetExecutionResponse::decode(reply_bytes)?;
    if reply == Reply::Message.word() {
        serve_reply(address, message).await
    } else {
        let execution = message.execution.map(|execution| execution.encode_to_vec().into());
        serve_reply(address, Encoded { execution: execution.unwrap_or_default() }).await
    }
}

async fn serve_reply<T: Message + Clone + 'static>(address: SocketAddr, reply: T) -> anyhow::Result<()> {
    let connections = TcpListenerStream::new(TcpListener::bind(address).await?).map(|accepted| {
        let stream = accepted?;
        stream.set_nodelay(true)?;
        io::Result::Ok(Gathering(stream))
    });
    let service = Bare(Arc::new(reply));
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections).await?;
    Ok(())
}

/// `GetExecutionResponse` on the wire, encoded but for its frame.
#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(bytes = "bytes", tag = "1")]
    execution: Bytes,
}

struct Bare<T>(Arc<T>);

impl<T> Clone for Bare<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> NamedService for Bare<T> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<T: Message + Clone + 'static> UnaryService<v1::GetExecutionRequest> for Bare<T> {
    type Response = T;
    type Future = BoxFuture<'static, Result<Response<T>, Status>>;

    fn call(&mut self, _request: Request<v1::GetExecutionRequest>) -> Self::Future {
        let reply = self.0.clone();
        Box::pin(async move { Ok(Response::new(T::clone(&reply))) })
    }
}

impl<T: Message> UnaryService<v1::ListBackendsRequest> for Bare<T> {
    type Response = v1::ListBackendsResponse;
    type Future = BoxFuture<'static, Result<Response<v1::ListBackendsResponse>, Status>>;

    fn call(&mut self, _request: Request<v1::ListBackendsRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(v1::ListBackendsResponse::default())) })
    }
}

/// What the generated code does with a request, for two methods.
impl<T: Message + Clone + 'static> tower_service::Service<http::Request<Body>> for Bare<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        match request.uri().path() {
            "/testgate.v1.TestExecutionService/GetExecution" => Box::pin(async move {
                let codec: Codec<T, v1::GetExecutionRequest> = Codec::default();
                Ok(Grpc::new(codec).unary(service, request).await)
            }),
            "/testgate.v1.TestExecutionService/ListBackends" => Box::pin(async move {
                let codec: Codec<v1::ListBackendsResponse, v1::ListBackendsRequest> = Codec::default();
                Ok(Grpc::new(codec).unary(service, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// A socket that can't write from several buffers, so that h2 gathers small frames into one write.
struct Gathering(TcpStream);

impl Connected for Gathering {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
