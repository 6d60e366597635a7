//! Configuration: load, check, report every problem together.

pub mod backend;
