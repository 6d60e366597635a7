//! What is done with one input of each kind, and what must hold whatever it is.
//!
//! `cargo fuzz run NAME` feeds these to libFuzzer; `tests/fuzz.rs` runs the seeds in `fuzz/seeds` and mutations of them.

mod calls;
mod doors;
mod text;
mod upstream;

/// A parser that reads what others wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Resource names.
    Names,
    /// Filters.
    Filters,
    /// Page and resume tokens.
    Tokens,
    /// Configuration files.
    Config,
    /// The bodies of gRPC calls.
    Calls,
    /// Requests of gRPC-Web and Connect.
    Doors,
    /// What Amazon Connect answers.
    Connect,
    /// What Amazon Lex answers.
    Lex,
    /// What OpenMetadata answers.
    OpenMetadata,
}

impl Target {
    /// All of them, each with the name of its seeds' folder.
    pub const ALL: [(Self, &str); 9] = [
        (Self::Names, "names"),
        (Self::Filters, "filters"),
        (Self::Tokens, "tokens"),
        (Self::Config, "config"),
        (Self::Calls, "calls"),
        (Self::Doors, "doors"),
        (Self::Connect, "connect"),
        (Self::Lex, "lex"),
        (Self::OpenMetadata, "openmetadata"),
    ];

    /// The one of that name.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|(_, known)| *known == name).expect("a target of that name").0
    }
}

/// Feeds one input to a target; panics where anything does not hold that must.
pub fn run(target: Target, input: &[u8]) {
    match target {
        Target::Names => text::names(input),
        Target::Filters => text::filters(input),
        Target::Tokens => text::tokens(input),
        Target::Config => text::config(input),
        Target::Calls => calls::call(input),
        Target::Doors => doors::request(input),
        Target::Connect => upstream::answers("connect", input),
        Target::Lex => upstream::answers("lex", input),
        Target::OpenMetadata => upstream::answers("quality", input),
    }
}
