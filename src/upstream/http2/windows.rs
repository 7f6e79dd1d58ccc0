//! Flow-control windows of connections to servers, by the number of streams that share one.
//!
//! A window below bandwidth x delay leaves a link idle: 100 Mbit/s over 125 ms are 1.5 MiB. Data sent ahead is held in
//! memory while a client is slow. A client's connection therefore has one exchange with a large window, eight with a middle one,
//! and all others with a small one, each on a connection to the server of its own kind: 4 MiB in all. Streams with large windows share
//! a budget, and all connections of the process another. A smaller share only affects data not sent yet: streams that got their
//! share one after another hold up to 2.5 times as much in total.

use crate::edge::holding::Ahead;

/// The most streams on one connection, whatever the server allows.
pub(crate) const STREAMS: usize = 64;

/// The connection's window never limits its streams: otherwise a few streams with slow clients would block
/// the others.
pub(crate) const CONNECTION: u32 = STREAMS as u32 * STREAM_MOST;

/// The largest window of a stream: 100 Mbit/s x 125 ms.
const STREAM_MOST: u32 = 1536 * KIB;
/// The window of [`Ahead::Some`]: an image in one or two round trips.
const STREAM_SOME: u32 = 32 * KIB;
/// The window of [`Ahead::Little`]: one frame of it fits, with its head, the 8 KiB that the h2 crate reads at a time. A larger one
/// would be held in 16 KiB.
const STREAM_LITTLE: u32 = 7 * KIB;
const STREAM_LEAST: u32 = 64 * KIB;
/// Shared by the streams of a connection while there are few connections.
const SHARED_MOST: u32 = 16 * MIB;
/// The same with any number of connections.
const SHARED_LEAST: u32 = 4 * MIB;
/// The target for all connections together, in bytes.
const BUDGET: usize = 1024 * 1024 * 1024;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// The share of a new connection when `connections` are open.
pub(crate) fn shared(connections: usize) -> u32 {
    let share = u32::try_from(BUDGET / connections.max(1)).unwrap_or(u32::MAX);
    share.clamp(SHARED_LEAST, SHARED_MOST)
}

/// The window of each of `streams`. Large ones share `shared`; they change in steps, since each change costs a SETTINGS frame.
pub(crate) fn of_stream(ahead: Ahead, shared: u32, streams: usize) -> u32 {
    match ahead {
        Ahead::Much => {}
        Ahead::Some => return STREAM_SOME,
        Ahead::Little => return STREAM_LITTLE,
    }
    let sharing = match streams {
        0..=4 => 4,
        5..=16 => 16,
        _ => 64,
    };
    (shared / sharing).clamp(STREAM_LEAST, STREAM_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_what_their_connection_may_hold() {
        for connections in [1, 64, 100, 256, 100_000] {
            let shared = shared(connections);
            for streams in [1, 4, 5, 16, 17, 64_u32] {
                let stream = of_stream(Ahead::Much, shared, usize::try_from(streams).expect("few"));
                assert!(u64::from(stream) * u64::from(streams) <= u64::from(shared), "{streams}");
            }
        }
        assert_eq!(of_stream(Ahead::Much, shared(1), 1), STREAM_MOST);
        assert_eq!(of_stream(Ahead::Much, shared(1), 64), 256 * KIB);
        assert_eq!(of_stream(Ahead::Much, shared(100_000), 64), 64 * KIB);
    }

    #[test]
    fn connections_share_the_budget() {
        assert_eq!(shared(0), 16 * MIB);
        assert_eq!(shared(64), 16 * MIB);
        assert_eq!(shared(128), 8 * MIB);
        assert_eq!(shared(usize::MAX), 4 * MIB);
    }
}
