//! What the service manager is told, where one asks for it: systemd's `sd_notify`.
//!
//! Without `NOTIFY_SOCKET` and `WATCHDOG_USEC` in the environment nothing here does anything. The variables are left
//! where they are: taking them away is not safe once there are threads.

use sd_notify::NotifyState;

use crate::tasks::Tasks;

/// Calls are answered.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] says that this is over.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager could not be told"),
    }
}

/// The process has begun to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows the watchdog, if there is one, that the runtime still runs what is due.
pub(super) fn spawn_watchdog(tasks: &Tasks) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    tasks.spawn_loop("watchdog", async move {
        let mut due = tokio::time::interval(limit / 2);
        loop {
            due.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
