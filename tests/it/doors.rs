//! The doors for those who don't speak gRPC, with the clients that such people have.

mod browser;
mod closed;
mod curl;
mod http1;
mod json;
mod permission;
mod stream;
mod text;
mod tls;

use crate::rig::{hurried, unthrottled};
use crate::support::{Setup, World};

pub(crate) const SERVICE: &str = "testgate.v1.TestExecutionService";

/// Whose pages may call.
pub(crate) const ORIGIN: &str = "https://app.example.com";

/// An environment that opens both doors.
pub(crate) fn both(name: &str) -> Option<String> {
    match name {
        "TESTGATE_DOORS" => Some("grpc-web,connect".to_owned()),
        "TESTGATE_CORS_ORIGINS" => Some(ORIGIN.to_owned()),
        _ => None,
    }
}

/// A world whose gateway has both doors open.
pub(crate) async fn open_world() -> World {
    unthrottled(World::with(Setup { env: both, ..hurried(1.0) }).await)
}
