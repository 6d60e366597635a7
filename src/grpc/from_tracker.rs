//! What a failed request on the tracker is to the caller.

use super::error::{Failure, Violation};
use crate::model::resource;
use crate::store::StoreError;
use crate::tracker::Error;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Backend { backend, error, request_id } => {
                let failure = Self::from_backend(&error, Some(&backend));
                match request_id {
                    Some(id) => failure.with_request_id(&id),
                    None => failure,
                }
            }
            Error::NotFound { resource_type, name } => Self::resource_not_found(resource_type, &name),
            Error::NamesNotFound(missing) => {
                let first = missing.first().map(|(_, name)| name.clone()).unwrap_or_default();
                let violations = missing
                    .into_iter()
                    .map(|(at, name)| {
                        Violation::new(format!("names[{at}]"), format!("{name} does not exist"))
                    })
                    .collect();
                Self::resources_not_found(resource::EXECUTION, &first, violations)
            }
            Error::RequestIdReused { backend, request_id } => {
                Self::request_id_reused(&request_id).with_backend(&backend)
            }
            Error::StartNotConfirmed { backend, request_id } => {
                Self::start_not_confirmed(&request_id).with_backend(&backend)
            }
            Error::NotDone(name) => Self::execution_not_done(&name),
            Error::SelectionTooLarge(limit) => Self::selection_too_large(limit),
            Error::Store(error) => error.into(),
            Error::DeadlineExceeded => Self::deadline_exceeded(),
            Error::Draining => {
                tracing::debug!(message, "a request met the drain");
                Self::draining()
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::store_unavailable(error.to_string())
    }
}
