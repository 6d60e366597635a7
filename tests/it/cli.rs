//! The commands, as processes, against a gateway and a sandbox in this one.

pub(crate) mod check;
mod commands;
mod follow;
mod junit;
mod live;
mod sandbox;
mod serve;
mod settings;
mod several;
mod trust;
