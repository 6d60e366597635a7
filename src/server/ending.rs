//! What ends streams before their time: those of a connection that is due to go, or all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Ends streams once it has come. Cheap to clone; all clones are the same.
///
/// A token alone would do, but for its lock, which each message would take twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    has_come: AtomicBool,
    token: CancellationToken,
    /// Comes for more streams than this one.
    wider: Option<Ending>,
}

impl Ending {
    /// One for some of the streams, which comes with this one at the latest.
    pub(super) fn narrower(&self) -> Self {
        let token = self.0.token.child_token();
        Self(Arc::new(Shared { has_come: AtomicBool::default(), token, wider: Some(self.clone()) }))
    }

    /// Has it come.
    pub(super) fn come(&self) {
        self.0.has_come.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    /// Whether it has come. Whoever waited for it and was woken sees it.
    pub(super) fn has_come(&self) -> bool {
        self.0.has_come.load(Ordering::Acquire) || self.0.wider.as_ref().is_some_and(Self::has_come)
    }

    /// Waits until it comes.
    pub(super) fn wait(&self) -> WaitForCancellationFutureOwned {
        self.0.token.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_comes_for_those_within_and_for_nobody_else() {
        let all = Ending::default();
        let (one, other) = (all.narrower(), all.narrower());
        one.come();
        one.wait().await;
        assert!(one.has_come() && !all.has_come() && !other.has_come());
        let waiting = other.wait();
        all.come();
        waiting.await;
        assert!(all.has_come() && other.has_come());
    }
}
