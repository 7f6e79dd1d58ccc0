//! How much a server may send ahead, by the number of streams that share a connection.
//!
//! A window below bandwidth x delay keeps a link idle: 100 Mbit/s over 250 ms are 3 MiB. What is sent
//! ahead is held in memory while a client takes its time, so that the streams of a connection share what it
//! may hold, and all connections of the process a budget. A share becomes smaller for what is not sent yet:
//! streams that came to theirs one after the other hold up to 2.5 times as much in all.

/// The most streams on one connection, whatever the server allows.
pub(crate) const STREAMS: usize = 64;

/// The window of a connection is not what bounds it: all its streams at their most fit, or a few whose clients do
/// not read would hold up the others.
pub(crate) const CONNECTION: u32 = STREAMS as u32 * STREAM_MOST;

/// The most that one stream may be sent ahead: 100 Mbit/s x 250 ms.
const STREAM_MOST: u32 = 3 * MIB;
/// The least.
const STREAM_LEAST: u32 = 64 * KIB;
/// What all streams of one connection share, while there are few connections.
const SHARED_MOST: u32 = 16 * MIB;
/// The same, however many there are.
const SHARED_LEAST: u32 = 4 * MIB;
/// What all connections together are meant to hold at most.
const BUDGET: usize = 1024 * 1024 * 1024;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// What the streams of a new connection share, `connections` being open.
pub(crate) fn shared(connections: usize) -> u32 {
    let share = u32::try_from(BUDGET / connections.max(1)).unwrap_or(u32::MAX);
    share.clamp(SHARED_LEAST, SHARED_MOST)
}

/// The window of each of `streams` that share so much. It changes by steps, since each change is a message to the
/// server.
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
