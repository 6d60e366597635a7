//! An execution that many hold.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Execution;

/// An execution that what is known, what is shown and what waits to be saved hold in common. Whoever changes theirs gets a
/// copy first, if others hold it too.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedExecution(Arc<Execution>);

impl From<Execution> for SharedExecution {
    fn from(execution: Execution) -> Self {
        Self(Arc::new(execution))
    }
}

impl Deref for SharedExecution {
    type Target = Execution;

    fn deref(&self) -> &Execution {
        &self.0
    }
}

impl DerefMut for SharedExecution {
    fn deref_mut(&mut self) -> &mut Execution {
        Arc::make_mut(&mut self.0)
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
}
