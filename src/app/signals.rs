//! The signals that end the program, replace it or make it reload.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All of them, handled from the moment this value exists.
pub(super) struct Signals {
    pub(super) stop: Stop,
    /// SIGUSR2: upgrade.
    pub(super) upgrade: Signal,
    /// SIGHUP: reload.
    pub(super) hangup: Signal,
    /// SIGHUP again: try failed orders of certificates again.
    pub(super) retry: Signal,
}

/// SIGTERM and SIGINT: stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        let upgrade = signal(SignalKind::user_defined2())?;
        let (hangup, retry) = (signal(SignalKind::hangup())?, signal(SignalKind::hangup())?);
        Ok(Self { stop, upgrade, hangup, retry })
    }
}

impl Stop {
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
