//! The OpenMetadata adapter against the simulated server, over real sockets. Time stands still unless a test moves it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod lists;
mod records;
mod rig;
mod runs;
mod trouble;
