//! The types that an error's `ResourceInfo` names: the contract's messages.

/// A backend.
pub const BACKEND: &str = "testgate.v1.Backend";
/// A test.
pub const TEST: &str = "testgate.v1.Test";
/// An execution.
pub const EXECUTION: &str = "testgate.v1.Execution";
