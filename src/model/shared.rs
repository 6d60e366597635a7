//! An execution that many hold.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Execution;

/// An execution that what is known, what is shown and what waits to be saved hold in common. Whoever changes theirs gets a
/// copy first, if others hold it too.
#[derive(Clone)]
pub struct SharedExecution(Arc<Shared>);

struct Shared {
    execution: Execution,
    encoded: OnceLock<Encoded>,
}

/// The form in which an execution leaves the process.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether nothing was cut, as it is where it would be too long.
    pub is_whole: bool,
}

impl SharedExecution {
    /// Its encoded form, made by the first who needs it.
    pub fn encoded(&self, encode: impl FnOnce(&Execution) -> Encoded) -> &Encoded {
        self.0.encoded.get_or_init(|| encode(&self.0.execution))
    }
}

/// A copy is about to be changed.
impl Clone for Shared {
    fn clone(&self) -> Self {
        Self { execution: self.execution.clone(), encoded: OnceLock::new() }
    }
}

impl From<Execution> for SharedExecution {
    fn from(execution: Execution) -> Self {
        Self(Arc::new(Shared { execution, encoded: OnceLock::new() }))
    }
}

impl PartialEq for SharedExecution {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// As its execution.
impl fmt::Debug for SharedExecution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.execution.fmt(f)
    }
}

impl Deref for SharedExecution {
    type Target = Execution;

    fn deref(&self) -> &Execution {
        &self.0.execution
    }
}

impl DerefMut for SharedExecution {
    fn deref_mut(&mut self) -> &mut Execution {
        let shared = Arc::make_mut(&mut self.0);
        shared.encoded = OnceLock::new();
        &mut shared.execution
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExecutionName;

    #[test]
    fn a_change_of_one_holder_is_its_own() {
        let name = ExecutionName::parse("backends/b/tests/t/executions/e").unwrap();
        let shown = SharedExecution::from(Execution::unread(name));
        let mut known = shown.clone();
        known.revision = 1;
        assert_eq!((known.revision, shown.revision), (1, 0));
        let held: *const Execution = &*known;
        known.revision = 2;
        assert!(std::ptr::eq(held, &*known), "nobody else holds it, so it is not copied");
    }

    #[test]
    fn it_is_encoded_once_for_all_who_hold_it_and_anew_after_a_change() {
        let name = ExecutionName::parse("backends/b/tests/t/executions/e").unwrap();
        let encode =
            |execution: &Execution| Encoded { bytes: execution.revision.to_string().into(), is_whole: true };
        let shown = SharedExecution::from(Execution::unread(name));
        let mut known = shown.clone();
        assert_eq!(shown.encoded(encode).bytes, "0");
        assert_eq!(known.encoded(|_| unreachable!("the other one has it")).bytes, "0");
        for (revision, bytes) in [(1, "1"), (2, "2")] {
            known.revision = revision;
            assert_eq!(known.encoded(encode).bytes, bytes);
        }
        assert_eq!(shown.encoded(encode).bytes, "0");
    }
}
