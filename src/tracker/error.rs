//! How a request on the tracker fails.

use crate::backend::BackendError;
use crate::model::BackendId;
use crate::store::StoreError;

/// A request that failed, before it becomes a gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A backend call failed.
    #[error("{error}")]
    Backend {
        /// Where.
        backend: BackendId,
        /// How.
        error: Box<BackendError>,
        /// The request id of the start it was for, made up or given.
        request_id: Option<String>,
    },
    /// No such backend, test or execution: found here, not upstream.
    #[error("{name} does not exist")]
    NotFound {
        /// `Backend`, `Test` or `Execution`.
        resource_type: &'static str,
        /// Its name.
        name: String,
    },
    /// Several names of a watch are missing.
    #[error("{} of the names do not exist", .0.len())]
    NamesNotFound(Vec<(usize, String)>),
    /// A request id that an earlier start used with other parameters.
    #[error("request_id {request_id:?} was used for another start of this test")]
    RequestIdReused {
        /// Where.
        backend: BackendId,
        /// Which.
        request_id: String,
    },
    /// A start whose reply was lost and that never appeared upstream.
    #[error("the start with request_id {request_id:?} never appeared upstream; a new start needs a new id")]
    StartNotConfirmed {
        /// Where.
        backend: BackendId,
        /// Which.
        request_id: String,
    },
    /// Artifacts of an execution that is not done.
    #[error("{0} is not done")]
    NotDone(String),
    /// A watch that selects more than it may.
    #[error("the selection matches more than {0} executions")]
    SelectionTooLarge(usize),
    /// The store can't take writes.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The caller's deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The gateway is draining.
    #[error("the gateway is draining")]
    Draining,
}

impl Error {
    pub(super) fn backend(backend: &BackendId, error: BackendError) -> Self {
        Self::Backend { backend: backend.clone(), error: Box::new(error), request_id: None }
    }
}
