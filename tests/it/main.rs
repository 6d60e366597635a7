//! The gateway over real sockets, in front of the simulated upstreams.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "tests may panic and spawn, and are no part of the product"
)]

mod auth;
mod budget;
mod cli;
mod conformance;
mod crowded;
mod deadline;
mod doors;
mod flow;
mod grpcurl;
mod guard;
mod h2spec;
mod health;
mod hostile;
mod input;
mod jwt;
mod large_store;
mod limits;
mod listener;
mod lists;
mod logs;
mod metrics;
mod monitoring;
mod pages;
mod place;
mod polling;
mod process;
mod readme;
mod reconnect;
mod record;
mod release_gate;
mod reload;
mod restart;
mod resume;
mod revoke;
mod rig;
mod rotation;
mod secrets;
mod selection;
mod service_manager;
mod shutdown;
mod slow_readers;
mod start;
mod start_refused;
mod stop;
mod stop_again;
mod store;
mod support;
mod terminal;
mod tls;
mod traces;
mod upstreams;
mod watch;
