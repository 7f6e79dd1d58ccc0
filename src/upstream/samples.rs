//! Samples the kernel's statistics of connections to servers.
//!
//! Connections that live shorter than a sampling period may be missed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::tcp_info::{Kernel, TcpFigures};
use crate::snapshot::ServerState;

/// The most connections sampled; new ones are skipped until others end.
const CONNECTIONS: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Samples {
    followed: Mutex<Vec<Followed>>,
}

#[derive(Debug)]
struct Followed {
    server: Weak<ServerState>,
    local: SocketAddr,
    remote: SocketAddr,
    /// At the last sample.
    segments: u32,
    retransmitted: u32,
}

impl Samples {
    pub(crate) fn follow(&self, server: &Arc<ServerState>, local: SocketAddr, remote: SocketAddr) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.len() < CONNECTIONS {
            let server = Arc::downgrade(server);
            followed.push(Followed { server, local, remote, segments: 0, retransmitted: 0 });
        }
    }

    /// Samples every connection and forgets those that have ended.
    pub(crate) fn take(&self, kernel: &Kernel, now: Duration) {
        let taken = std::mem::take(&mut *self.followed.lock().unwrap_or_else(PoisonError::into_inner));
        let mut open: Vec<Followed> =
            taken.into_iter().filter_map(|followed| followed.sampled(kernel, now)).collect();
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).append(&mut open);
    }
}

impl Followed {
    /// The connection after a sample at `now`; `None` once it or its server is gone.
    fn sampled(self, kernel: &Kernel, now: Duration) -> Option<Self> {
        let server = self.server.upgrade()?;
        // A failed query counts as a closed connection: the next one is sampled instead.
        let TcpFigures { round_trip, segments, retransmitted } =
            kernel.ask(self.local, self.remote).ok().flatten()?;
        let path = &server.path;
        let since = |now: u32, before: u32| u64::from(now.saturating_sub(before));
        path.add_segments(since(segments, self.segments), since(retransmitted, self.retransmitted), now);
        if segments > self.segments {
            path.add_round_trip(round_trip, now);
        }
        Some(Self { segments, retransmitted, ..self })
    }
}
