//! Background tasks that have a name, are joined, and are missed when they die.
//!
//! [`Tasks`] is the one place that spawns. A task that panics is reported; one that the process cannot do
//! without also when it ends early, so that no gateway looks alive while its accept loop or poller is dead.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod last_waker;
mod lifecycle;
mod signals;

pub use last_waker::LastWaker;
pub use lifecycle::{Lifecycle, Phase};
pub use signals::Signals;

/// A task's name, for logs and for the list of those that did not end.
pub type Name = Cow<'static, str>;

/// A group of background tasks. Cheap to clone; all clones are the same group.
#[derive(Clone)]
pub struct Tasks(Arc<Group>);

struct Group {
    tracker: TaskTracker,
    /// Asks tasks to end.
    cancel: CancellationToken,
    /// Ends them where they stand.
    abort: CancellationToken,
    running: Mutex<BTreeMap<Name, usize>>,
    failure: watch::Sender<Option<TaskFailure>>,
}

/// Why a critical task is gone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TaskFailure {
    /// It panicked.
    #[error("the task {name} panicked: {message}")]
    Panicked {
        /// The task.
        name: Name,
        /// The panic's message.
        message: String,
    },
    /// It ended although nobody asked it to.
    #[error("the task {name} ended unasked")]
    Ended {
        /// The task.
        name: Name,
    },
}

/// Tasks that had to be aborted, with how many there were of each name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("tasks did not end in time: {}", list(.0))]
pub struct Unfinished(pub BTreeMap<Name, usize>);

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self(Arc::new(Group {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            abort: CancellationToken::new(),
            running: Mutex::default(),
            failure: watch::Sender::new(None),
        }))
    }

    /// Is cancelled when tasks shall end; every loop has a branch for it.
    pub fn token(&self) -> CancellationToken {
        self.0.cancel.clone()
    }

    /// Runs a task that may end whenever it is done. A panic is logged and harms nobody else.
    pub fn spawn(&self, name: impl Into<Name>, task: impl Future<Output = ()> + Send + 'static) {
        self.run(name.into(), task, |_, _| {});
    }

    /// Runs a loop that the process cannot do without until [`Tasks::token`] is cancelled; its panic, and its end
    /// before that, are given to [`Tasks::failed`].
    pub fn spawn_loop(&self, name: impl Into<Name>, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.token();
        self.spawn_critical(name, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a task that the process cannot do without: its panic, and its end before [`Tasks::token`] is
    /// cancelled, are given to [`Tasks::failed`].
    pub fn spawn_critical(&self, name: impl Into<Name>, task: impl Future<Output = ()> + Send + 'static) {
        self.run(name.into(), task, |group, failure| {
            if matches!(failure, TaskFailure::Ended { .. }) && group.cancel.is_cancelled() {
                return;
            }
            tracing::error!(%failure, "a task that the process cannot do without is gone");
            group.failure.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(failure);
                is_first
            });
        });
    }

    /// Waits for the first failure of a critical task; for ever if there is none.
    pub async fn failed(&self) -> TaskFailure {
        let mut failure = self.0.failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                // Unreachable while `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks all tasks to end and waits for them; what is left at the deadline is aborted.
    ///
    /// # Errors
    /// Names the tasks that had to be aborted.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Unfinished> {
        let group = &self.0;
        group.cancel.cancel();
        group.tracker.close();
        if tokio::time::timeout(deadline, group.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let left = group.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        group.abort.cancel();
        // A task that blocks its thread cannot be aborted; waiting for it would make the deadline a lie.
        let aborted = tokio::time::timeout(Duration::from_millis(100), group.tracker.wait()).await;
        if aborted.is_err() {
            tracing::warn!("a task blocks its thread and could not be aborted");
        }
        if left.is_empty() { Ok(()) } else { Err(Unfinished(left)) }
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.0.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.0.tracker.is_empty()
    }

    fn run(
        &self,
        name: Name,
        task: impl Future<Output = ()> + Send + 'static,
        report: impl FnOnce(&Group, TaskFailure) + Send + 'static,
    ) {
        let running = Running::start(Arc::clone(&self.0), name);
        self.0.tracker.spawn(async move {
            let group = &running.group;
            let task = AssertUnwindSafe(task).catch_unwind();
            let ended = tokio::select! {
                biased;
                () = group.abort.cancelled() => return,
                ended = task => ended,
            };
            let name = running.name.clone();
            let failure = match ended {
                Ok(()) => TaskFailure::Ended { name },
                Err(panic) => {
                    let message = panic_message(&*panic);
                    tracing::error!(task = %name, panic = message, "a task panicked");
                    TaskFailure::Panicked { name, message }
                }
            };
            report(group, failure);
        });
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&self.0.running).finish()
    }
}

/// Keeps a task on the list of those that run.
struct Running {
    group: Arc<Group>,
    name: Name,
}

impl Running {
    fn start(group: Arc<Group>, name: Name) -> Self {
        *group.running.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default() += 1;
        Self { group, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.group.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.name);
            }
        }
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

fn list(tasks: &BTreeMap<Name, usize>) -> String {
    let one = |(name, count): (&Name, &usize)| match count {
        1 => name.to_string(),
        _ => format!("{name} ({count})"),
    };
    tasks.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
