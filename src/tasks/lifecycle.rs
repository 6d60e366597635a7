//! Where the process stands between start and end, for everyone who must know.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// Where the process stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// It listens, but cannot answer yet.
    Starting,
    /// It answers.
    Serving,
    /// It finishes what is under way and takes nothing new. There is no way back.
    Draining,
}

/// The process's phase. Cheap to clone; all clones are the same one.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<watch::Sender<Phase>>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A process that starts.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Starting)))
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// The phase and its changes.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Says that calls can be answered. Has no effect on a drain.
    pub fn serve(&self) {
        self.advance(Phase::Serving);
    }

    /// Begins the drain. Returns whether this call began it.
    pub fn drain(&self) -> bool {
        self.advance(Phase::Draining)
    }

    /// Ends when the drain begins, at once if it has.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.subscribe();
        async move {
            // Without a sender nothing can change any more, so nobody is left to tell: end too.
            if phase.wait_for(|phase| *phase == Phase::Draining).await.is_err() {
                tracing::debug!("the lifecycle is gone");
            }
        }
    }

    fn advance(&self, to: Phase) -> bool {
        self.0.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        })
    }
}
