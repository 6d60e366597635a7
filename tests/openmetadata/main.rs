//! The OpenMetadata adapter against the simulated server, over real sockets. Time stands still unless a test moves it.

mod lists;
mod records;
mod rig;
mod runs;
mod trouble;
