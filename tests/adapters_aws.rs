//! The Connect and Lex adapters against the simulated upstreams, and their requests against botocore's models.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, whose tasks end with them"
)]

#[path = "adapters_aws/connect.rs"]
mod connect;
#[path = "adapters_aws/credentials.rs"]
mod credentials;
#[path = "adapters_aws/lex.rs"]
mod lex;
#[path = "adapters_aws/model.rs"]
mod model;
#[path = "adapters_aws/support.rs"]
mod support;
