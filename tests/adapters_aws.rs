//! The Connect and Lex adapters against the simulated upstreams, and their requests against botocore's models.

#[path = "adapters_aws/connect.rs"]
mod connect;
#[path = "adapters_aws/lex.rs"]
mod lex;
#[path = "adapters_aws/model.rs"]
mod model;
#[path = "adapters_aws/support.rs"]
mod support;
