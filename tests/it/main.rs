//! The gateway over real sockets, in front of the simulated upstreams.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]

mod flow;
mod health;
mod input;
mod lists;
mod polling;
mod rig;
mod support;
mod watch;
