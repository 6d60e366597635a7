//! The baseline: a tonic service that does nothing but answer, tuned as the gateway's transport is.

mod hub;

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
use hub::Hub;
use prost::Message;
use testgate::proto::codec::Codec;
use testgate::proto::encoded::{GetExecutionResponse, WatchExecutionsResponse};
use testgate::proto::v1;
use testgate::proto::v1::test_execution_service_server::SERVICE_NAME;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::process::{Server, free_port};

/// Makes this program the bare service.
pub(crate) const ARGUMENT: &str = "bare";

/// What the bare service is to serve.
#[derive(Debug)]
pub(crate) struct Bare<'a> {
    /// The reply to each read from memory, and what all executions are made from.
    pub(crate) reply: &'a v1::GetExecutionResponse,
    /// Where it reads executions, and how many there are.
    pub(crate) upstream: Option<(SocketAddr, usize)>,
}

impl Bare<'_> {
    /// Starts it in a process of its own; the reply goes through a file in `folder`.
    pub(crate) async fn start(&self, folder: &Path) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.arguments(port, folder)?).env_clear();
        Server::start(&mut command, port).await
    }

    fn arguments(&self, port: u16, folder: &Path) -> anyhow::Result<Vec<String>> {
        let file = folder.join("reply");
        std::fs::write(&file, self.reply.encode_to_vec())?;
        let mut arguments = vec![ARGUMENT.to_owned(), port.to_string(), file.display().to_string()];
        if let Some((address, executions)) = self.upstream {
            arguments.extend([address.to_string(), executions.to_string()]);
        }
        Ok(arguments)
    }
}

/// Serves until it is killed.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [port, file, upstream @ ..] = arguments else { bail!("the bare service takes a port and a file") };
    let reply =
        v1::GetExecutionResponse::decode(std::fs::read(file).with_context(|| file.clone())?.as_slice())?;
    let template = reply.execution.unwrap_or_default();
    let execution = template.encode_to_vec().into();
    let hub = match upstream {
        [address, executions] => Some(Hub::new(template, executions.parse()?, address.parse()?)?),
        _ => None,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    let connections = TcpListenerStream::new(TcpListener::bind(address).await?).map(|accepted| {
        let stream = accepted?;
        stream.set_nodelay(true)?;
        io::Result::Ok(Gathering(stream))
    });
    let service = Service { execution, hub };
    // As many streams as the gateway allows on a connection.
    let mut server = tonic::transport::Server::builder().max_concurrent_streams(4096);
    server.add_service(service).serve_with_incoming(connections).await?;
    Ok(())
}

#[derive(Clone, Debug)]
struct Service {
    /// The answer to each read from memory: copied, less than which no service does.
    execution: Bytes,
    hub: Option<Arc<Hub>>,
}

impl Service {
    fn hub(&self) -> Result<&Arc<Hub>, Status> {
        self.hub.as_ref().ok_or_else(|| Status::unimplemented("there is no upstream"))
    }
}

impl NamedService for Service {
    const NAME: &'static str = SERVICE_NAME;
}

impl UnaryService<v1::GetExecutionRequest> for Service {
    type Response = GetExecutionResponse;
    type Future = BoxFuture<'static, Result<Response<GetExecutionResponse>, Status>>;

    fn call(&mut self, request: Request<v1::GetExecutionRequest>) -> Self::Future {
        let service = self.clone();
        let request = request.into_inner();
        Box::pin(async move {
            let execution = match request.max_staleness {
                None => service.execution,
                Some(_) => {
                    let read = service.hub()?.read(&request.name).await;
                    read.map_err(|error| Status::unavailable(error.to_string()))?
                }
            };
            Ok(Response::new(GetExecutionResponse { execution }))
        })
    }
}

impl UnaryService<v1::ListBackendsRequest> for Service {
    type Response = v1::ListBackendsResponse;
    type Future = BoxFuture<'static, Result<Response<v1::ListBackendsResponse>, Status>>;

    fn call(&mut self, _request: Request<v1::ListBackendsRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(v1::ListBackendsResponse::default())) })
    }
}

/// Changes all executions at once.
impl UnaryService<v1::ListExecutionsRequest> for Service {
    type Response = v1::ListExecutionsResponse;
    type Future = BoxFuture<'static, Result<Response<v1::ListExecutionsResponse>, Status>>;

    fn call(&mut self, _request: Request<v1::ListExecutionsRequest>) -> Self::Future {
        let changed = self.hub().map(|hub| hub.change_all());
        Box::pin(async { changed.map(|()| Response::new(v1::ListExecutionsResponse::default())) })
    }
}

impl ServerStreamingService<v1::WatchExecutionsRequest> for Service {
    type Response = WatchExecutionsResponse;
    type ResponseStream = hub::Messages;
    type Future = BoxFuture<'static, Result<Response<hub::Messages>, Status>>;

    fn call(&mut self, request: Request<v1::WatchExecutionsRequest>) -> Self::Future {
        let name = request.into_inner().names.pop().unwrap_or_default();
        let watched = self.hub().and_then(|hub| hub.watch(&name).ok_or_else(|| Status::not_found(name)));
        Box::pin(async { watched.map(Response::new) })
    }
}

/// What the generated code does with a request, for these methods.
impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let method = request.uri().path().strip_prefix("/testgate.v1.TestExecutionService/");
        match method.unwrap_or_default() {
            "GetExecution" => unary::<v1::GetExecutionRequest>(service, request),
            "ListBackends" => unary::<v1::ListBackendsRequest>(service, request),
            "ListExecutions" => unary::<v1::ListExecutionsRequest>(service, request),
            "WatchExecutions" => Box::pin(async move {
                let codec: Codec<WatchExecutionsResponse, v1::WatchExecutionsRequest> = Codec::default();
                Ok(Grpc::new(codec).server_streaming(service, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

fn unary<R: Message + Default + 'static>(
    service: Service,
    request: http::Request<Body>,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>>
where
    Service: UnaryService<R, Response: Message + 'static, Future: Send>,
{
    Box::pin(async move {
        let codec: Codec<<Service as UnaryService<R>>::Response, R> = Codec::default();
        Ok(Grpc::new(codec).unary(service, request).await)
    })
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
