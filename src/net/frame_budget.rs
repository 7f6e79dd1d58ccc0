//! How many frames a peer may send that move no message.
//!
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM and unknown frames cost work. Each takes from an allowance; requests,
//! body bytes of either direction and time fill it up again.

use tokio::time::Instant;

use super::frames::{CONTINUATION, DATA, FrameHeader, FrameHeaders, HEADERS, SETTINGS};

/// The allowance of a new connection, and the most that can be saved up.
const MOST: u32 = 2000;
/// What a second gives back. Keep-alive PINGs come once in 10 s or less often.
const PER_SECOND: u32 = 100;
/// What a request gives back: clients send a priority, a window and a reset for each; servers up to 16 informational heads, the
/// response and trailers.
const PER_REQUEST: u32 = 24;
/// What a DATA frame gives back: a WINDOW_UPDATE of the stream and one of the connection...
const PER_DATA: u32 = 2;
/// ...and one more for each so many bytes, since some clients give windows back by small reads.
const BYTES_PER_UPDATE: u32 = 512;
/// A smaller DATA frame gives nothing back: a window that opens byte by byte is no progress. The shortest message of gRPC has
/// 5 bytes.
const LEAST_DATA: u32 = 5;
/// What SETTINGS cost: they are acknowledged, and a new window is applied to every stream.
const SETTINGS_COST: u32 = 20;
/// A frame costs one more for each so many bytes, which are read, held and thrown away.
const BYTES_PER_COST: u32 = 64;

/// Who sends the frames that are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// Its HEADERS are requests.
    Client,
    /// Its HEADERS are answers to requests, and informational heads without number.
    Server,
}

/// Follows both directions of a connection to a server.
#[derive(Debug)]
pub(crate) struct PeerFrames {
    received: FrameHeaders,
    sent: FrameHeaders,
    budget: FrameBudget,
}

impl PeerFrames {
    pub(crate) fn of_server() -> Self {
        let (received, sent) = (FrameHeaders::of_server(), FrameHeaders::of_client());
        Self { received, sent, budget: FrameBudget::new(Peer::Server) }
    }

    /// Follows bytes of the server. `false` once it has sent more frames than it may.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> bool {
        self.received.observe(bytes, |frame| self.budget.received(frame));
        !self.budget.is_exhausted()
    }

    /// Follows bytes to the server.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.sent.observe(bytes, |frame| self.budget.sent(frame));
    }
}

/// The allowance of one connection.
#[derive(Debug)]
pub(super) struct FrameBudget {
    peer: Peer,
    left: u32,
    filled: Instant,
    exhausted: bool,
}

impl FrameBudget {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, left: MOST, filled: Instant::now(), exhausted: false }
    }

    /// Counts a frame of the peer.
    pub(super) fn received(&mut self, frame: FrameHeader) {
        match frame.kind {
            DATA => self.moved(frame.length),
            HEADERS if self.peer == Peer::Client => self.give(PER_REQUEST),
            HEADERS => self.take(1),
            // The h2 crate limits them.
            CONTINUATION => {}
            SETTINGS => self.take(SETTINGS_COST + frame.length / BYTES_PER_COST),
            _ => self.take(1 + frame.length / BYTES_PER_COST),
        }
    }

    /// Counts a frame to the peer.
    pub(super) fn sent(&mut self, frame: FrameHeader) {
        match frame.kind {
            DATA => self.moved(frame.length),
            HEADERS if self.peer == Peer::Server => self.give(PER_REQUEST),
            _ => {}
        }
    }

    /// The peer has sent more than it may of something else.
    pub(super) fn exhaust(&mut self) {
        self.exhausted = true;
    }

    /// Whether the peer has sent more than it may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    fn moved(&mut self, bytes: u32) {
        if bytes >= LEAST_DATA {
            self.give(PER_DATA + bytes / BYTES_PER_UPDATE);
        }
    }

    fn give(&mut self, frames: u32) {
        self.left = (self.left + frames).min(MOST);
    }

    fn take(&mut self, frames: u32) {
        if self.left < frames {
            let passed = self.filled.elapsed();
            self.filled += passed;
            let given = passed.as_millis().saturating_mul(PER_SECOND.into()) / 1000;
            self.give(u32::try_from(given).unwrap_or(MOST));
        }
        self.exhausted |= self.left < frames;
        self.left = self.left.saturating_sub(frames);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::frames::RST_STREAM;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, length: u32) -> FrameHeader {
        FrameHeader { kind, flags: 0, stream: 1, length }
    }

    /// How many times `step` fits into a budget, up to 100,000.
    fn fits(peer: Peer, mut step: impl FnMut(&mut FrameBudget)) -> usize {
        let mut budget = FrameBudget::new(peer);
        let steps = (0..100_000).take_while(|_| {
            step(&mut budget);
            !budget.is_exhausted()
        });
        steps.count()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_move_nothing_are_limited() {
        for kind in [PING, WINDOW_UPDATE, RST_STREAM, 2, 0xbe] {
            assert_eq!(fits(Peer::Client, |budget| budget.received(frame(kind, 8))), 2000, "{kind}");
        }
        assert_eq!(fits(Peer::Client, |budget| budget.received(frame(SETTINGS, 6))), 100);
        assert!(fits(Peer::Client, |budget| budget.received(frame(0xbe, 16_384))) < 8);
        assert_eq!(fits(Peer::Server, |budget| budget.received(frame(HEADERS, 10))), 2000);
        // A window that opens byte by byte.
        let drip = |budget: &mut FrameBudget| {
            budget.received(frame(WINDOW_UPDATE, 4));
            budget.sent(frame(DATA, 1));
        };
        assert_eq!(fits(Peer::Client, drip), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn honest_connections_never_run_out() {
        let endless = |peer, step: fn(&mut FrameBudget)| assert_eq!(fits(peer, step), 100_000);
        // A download whose client gives back both windows for each frame, and one that reads 1 KiB at a time.
        endless(Peer::Client, |budget| {
            budget.sent(frame(DATA, 15));
            (0..2).for_each(|_| budget.received(frame(WINDOW_UPDATE, 4)));
        });
        endless(Peer::Client, |budget| {
            budget.sent(frame(DATA, 16_384));
            (0..32).for_each(|_| budget.received(frame(WINDOW_UPDATE, 4)));
        });
        // Requests with a priority, a window and a cancellation; pings with each message.
        endless(Peer::Client, |budget| {
            budget.received(frame(HEADERS, 100));
            for kind in [2, WINDOW_UPDATE, 0x10, RST_STREAM] {
                budget.received(frame(kind, 20));
            }
        });
        endless(Peer::Client, |budget| {
            budget.received(frame(DATA, 20));
            budget.received(frame(PING, 8));
        });
        // A server with 16 informational heads and trailers for each request.
        endless(Peer::Server, |budget| {
            budget.sent(frame(HEADERS, 100));
            (0..18).for_each(|_| budget.received(frame(HEADERS, 100)));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn time_gives_back() {
        let mut budget = FrameBudget::new(Peer::Client);
        for _ in 0..100 {
            (0..100).for_each(|_| budget.received(frame(PING, 8)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(!budget.is_exhausted());
    }
}
