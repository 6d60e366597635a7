//! A state as everyone gets it.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message as _;

use crate::model::{Execution, SharedExecution};
use crate::proto::{convert, v1};

/// An execution's state, with its bytes in replies: encoded when first needed, and once for all who get it.
pub struct Published {
    execution: SharedExecution,
    encoded: OnceLock<Bytes>,
}

impl Published {
    pub(super) fn new(execution: impl Into<SharedExecution>) -> Arc<Self> {
        Arc::new(Self { execution: execution.into(), encoded: OnceLock::new() })
    }

    /// The state as replies and watches carry it.
    pub fn encoded(&self) -> Bytes {
        let encode = || match self.execution.observe_time {
            Some(_) => convert::encoded(&self.execution).bytes.clone(),
            None => unread(&self.execution).encode_to_vec().into(),
        };
        self.encoded.get_or_init(encode).clone()
    }
}

/// An execution that could not be read yet has a name and a condition, and no state.
fn unread(execution: &Execution) -> v1::Execution {
    let mut message = convert::execution(execution);
    message.state = v1::execution::State::Unspecified.into();
    message.verdict = v1::Verdict::Unspecified.into();
    message
}

impl Deref for Published {
    type Target = Execution;

    fn deref(&self) -> &Execution {
        &self.execution
    }
}

/// As its execution.
impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.execution.fmt(f)
    }
}
