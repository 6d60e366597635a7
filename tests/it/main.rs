//! The gateway over real sockets, in front of the simulated upstreams.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "modules of one binary, and no part of the product"
)]
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]

mod flow;
mod record;
mod restart;
mod start;
mod stop;
mod support;
