//! testgate: one gRPC service in front of Amazon Connect, Amazon Lex V2 and OpenMetadata test runs.
//!
//! `docs/architecture.md` is the map; `tests/layering.rs` checks which module may import which.

pub mod admin;
pub mod app;
pub mod audit;
pub mod auth;
pub mod backend;
pub mod cli;
pub mod config;
pub mod doors;
pub mod grpc;
pub mod metrics;
pub mod model;
pub mod proto;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod trace;
pub mod tracker;
