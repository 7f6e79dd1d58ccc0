//! The signals that end the program or make it reload.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All of them, handled from the moment this value exists.
pub(super) struct Signals {
    pub(super) stop: Stop,
    /// SIGHUP: reload.
    pub(super) hangup: Signal,
}

/// SIGTERM and SIGINT: stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let stop = Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        Ok(Self { stop, hangup: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Unhandled, this signal would end the program and cut every connection.
                _ = self.user2.recv() => tracing::warn!("SIGUSR2: zero-downtime upgrades are not part of this build; restart instead"),
            }
        }
    }
}
