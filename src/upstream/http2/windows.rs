//! Flow-control windows of connections to servers, by the number of streams that share one.
//!
//! A window below bandwidth x delay leaves a link idle: 100 Mbit/s over 250 ms are 3 MiB. Data sent ahead is held in
//! memory while a client is slow, so that a connection's streams share a budget, and all connections of the process
//! another. A smaller share only affects data not sent yet: streams that got their share one after another hold up to
//! 2.5 times as much in total.

/// The most streams on one connection, whatever the server allows.
pub(crate) const STREAMS: usize = 64;

/// The connection's window never limits its streams: otherwise a few streams with slow clients would block
/// the others.
pub(crate) const CONNECTION: u32 = STREAMS as u32 * STREAM_MOST;

/// The largest window of a stream: 100 Mbit/s x 250 ms.
const STREAM_MOST: u32 = 3 * MIB;
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

/// The window of each of `streams` that share `shared`. It changes in steps, since each change costs a
/// SETTINGS frame.
pub(crate) fn of_stream(shared: u32, streams: usize) -> u32 {
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
                let stream = of_stream(shared, usize::try_from(streams).expect("few"));
                assert!(u64::from(stream) * u64::from(streams) <= u64::from(shared), "{streams}");
            }
        }
        assert_eq!(of_stream(shared(1), 1), 3 * MIB);
        assert_eq!(of_stream(shared(1), 64), 256 * KIB);
        assert_eq!(of_stream(shared(100_000), 64), 64 * KIB);
    }

    #[test]
    fn connections_share_the_budget() {
        assert_eq!(shared(0), 16 * MIB);
        assert_eq!(shared(64), 16 * MIB);
        assert_eq!(shared(128), 8 * MIB);
        assert_eq!(shared(usize::MAX), 4 * MIB);
    }
}
