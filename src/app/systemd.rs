//! Notices to systemd, where it supervises the program.

use sd_notify::NotifyState;

/// Sends a notice; without systemd it does nothing.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}
