//! The gateway over real sockets, in front of the simulated upstreams.

mod flow;
mod support;
