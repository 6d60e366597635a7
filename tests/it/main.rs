//! The gateway over real sockets, in front of the simulated upstreams.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "nothing is reachable from outside of a test")]

mod cli;
mod flow;
mod grpcurl;
mod process;
mod readme;
mod shutdown;
mod support;
