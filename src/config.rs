//! Configuration: load, check, report every problem together.
