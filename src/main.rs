//! The `testgate` binary.
fn main() {}
