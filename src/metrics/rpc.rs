//! The gRPC server's metrics, named and labelled as the usual gRPC middlewares do, so that ready-made dashboards fit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Histogram, Registrar};

const UNARY: &str = "unary";
const SERVER_STREAM: &str = "server_stream";
const BIDI_STREAM: &str = "bidi_stream";

/// Every method that is served, by its path. A path that is not here is counted as unknown, so that no caller can
/// make up series.
const METHODS: [(&str, &str); 18] = [
    ("/testgate.v1.TestExecutionService/ListBackends", UNARY),
    ("/testgate.v1.TestExecutionService/GetBackend", UNARY),
    ("/testgate.v1.TestExecutionService/ListTests", UNARY),
    ("/testgate.v1.TestExecutionService/GetTest", UNARY),
    ("/testgate.v1.TestExecutionService/StartExecution", UNARY),
    ("/testgate.v1.TestExecutionService/StopExecution", UNARY),
    ("/testgate.v1.TestExecutionService/RecordExecution", UNARY),
    ("/testgate.v1.TestExecutionService/GetExecution", UNARY),
    ("/testgate.v1.TestExecutionService/BatchGetExecutions", UNARY),
    ("/testgate.v1.TestExecutionService/ListExecutions", UNARY),
    ("/testgate.v1.TestExecutionService/ListResultItems", UNARY),
    ("/testgate.v1.TestExecutionService/ListArtifacts", UNARY),
    ("/testgate.v1.TestExecutionService/WaitExecution", UNARY),
    ("/testgate.v1.TestExecutionService/WatchExecutions", SERVER_STREAM),
    ("/grpc.health.v1.Health/Check", UNARY),
    ("/grpc.health.v1.Health/Watch", SERVER_STREAM),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", BIDI_STREAM),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", BIDI_STREAM),
];

/// The codes by their numbers, spelled as Go's middlewares do.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_code: &'static str,
}

/// What is counted of each method.
#[derive(Debug)]
pub struct Rpc {
    methods: HashMap<&'static str, Arc<Method>>,
    unknown: Arc<Method>,
}

/// The handles of one method.
#[derive(Debug)]
pub struct Method {
    path: &'static str,
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: [Counter; CODES.len()],
    handling: Histogram,
}

impl Rpc {
    pub(super) fn new(registrar: &mut Registrar<'_>) -> Self {
        let started: Family<Labels, Counter> =
            registrar.add("grpc_server_started", "RPCs that began", Family::default());
        let handled: Family<Ended, Counter> =
            registrar.add("grpc_server_handled", "RPCs that ended, by their code", Family::default());
        let received: Family<Labels, Counter> =
            registrar.add("grpc_server_msg_received", "Messages that came from callers", Family::default());
        let sent: Family<Labels, Counter> =
            registrar.add("grpc_server_msg_sent", "Messages that went to callers", Family::default());
        let handling: Family<Labels, Histogram> = registrar.add(
            "grpc_server_handling_seconds",
            "How long RPCs took, streams to their end",
            Family::default(),
        );
        let method = |path: &'static str, grpc_type| {
            let (grpc_service, grpc_method) = path
                .strip_prefix('/')
                .and_then(|path| path.split_once('/'))
                .unwrap_or(("unknown", "unknown"));
            let labels = Labels { grpc_type, grpc_service, grpc_method };
            Arc::new(Method {
                path,
                started: started.get_or_create_owned(&labels),
                received: received.get_or_create_owned(&labels),
                sent: sent.get_or_create_owned(&labels),
                handled: CODES.map(|grpc_code| {
                    handled.get_or_create_owned(&Ended { grpc_type, grpc_service, grpc_method, grpc_code })
                }),
                handling: handling.get_or_create_owned(&labels),
            })
        };
        let methods = METHODS.map(|(path, grpc_type)| (path, method(path, grpc_type))).into();
        Self { methods, unknown: method("unknown", UNARY) }
    }

    /// The handles of a path's method.
    pub fn method(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.methods.get(path).unwrap_or(&self.unknown))
    }
}

impl Method {
    /// Its path; `unknown` where nothing is served at the path that was called.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Counts a call that begins.
    pub fn started(&self) {
        self.started.inc();
    }

    /// Counts messages that came from the caller.
    pub fn received(&self, messages: u64) {
        self.received.inc_by(messages);
    }

    /// Counts messages that went to the caller.
    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    /// Counts a call that ended with the code of this number.
    pub fn handled(&self, code: i32, took: Duration) {
        let code = usize::try_from(code).ok().and_then(|code| self.handled.get(code));
        if let Some(handled) = code.or(self.handled.get(2)) {
            handled.inc();
        }
        self.handling.observe(took);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_contract_is_counted_under_its_type() {
        let set = FileDescriptorSet::decode(crate::proto::DESCRIPTOR_SET).unwrap();
        let mut served = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let kind = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => UNARY,
                        (false, true) => SERVER_STREAM,
                        (_, true) => BIDI_STREAM,
                        (true, false) => "client_stream",
                    };
                    served
                        .insert((format!("/{}.{}/{}", file.package(), service.name(), method.name()), kind));
                }
            }
        }
        let counted = METHODS.iter().filter(|(path, _)| path.starts_with("/testgate"));
        assert_eq!(served, counted.map(|(path, kind)| ((*path).to_owned(), *kind)).collect());
    }
}
