//! What systemd is told of the program's state.

use sd_notify::NotifyState;

/// Reports a state to systemd. Does nothing where systemd did not start the program.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be notified");
    }
}
