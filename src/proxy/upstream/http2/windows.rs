//! How much a server may send ahead, by the number of streams that share a connection.
//!
//! A window below bandwidth x delay keeps a link idle: 100 Mbit/s over 250 ms are 3 MiB. What is sent
//! ahead is held in memory while a client takes its time, so that the streams of a connection share
//! one window, and all connections of the process a budget.

/// The most that one stream may be sent ahead: 100 Mbit/s x 250 ms.
const STREAM_MOST: u32 = 3 * MIB;
/// The least.
const STREAM_LEAST: u32 = 64 * KIB;
/// What all streams of one connection may be sent ahead, while there are few connections.
const CONNECTION_MOST: u32 = 16 * MIB;
/// The same, however many there are.
const CONNECTION_LEAST: u32 = 4 * MIB;
/// What all connections together are meant to hold at most.
const BUDGET: usize = 1024 * 1024 * 1024;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// The window of a new connection, `connections` being open.
pub(super) fn of_connection(connections: usize) -> u32 {
    let share = u32::try_from(BUDGET / connections.max(1)).unwrap_or(u32::MAX);
    share.clamp(CONNECTION_LEAST, CONNECTION_MOST)
}

/// The window of each of `streams` on a connection with that window. It changes by steps, since each
/// change is a message to the server.
pub(super) fn of_stream(connection: u32, streams: usize) -> u32 {
    let sharing = match streams {
        0..=4 => 4,
        5..=16 => 16,
        _ => 64,
    };
    (connection / sharing).clamp(STREAM_LEAST, STREAM_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_the_window_of_their_connection() {
        for connections in [1, 64, 100, 256, 100_000] {
            let connection = of_connection(connections);
            for streams in [1, 4, 5, 16, 17, 64_u32] {
                let stream = of_stream(connection, usize::try_from(streams).expect("few"));
                assert!(u64::from(stream) * u64::from(streams) <= u64::from(connection), "{streams}");
            }
        }
        assert_eq!(of_stream(of_connection(1), 1), 3 * MIB);
        assert_eq!(of_stream(of_connection(1), 64), 256 * KIB);
        assert_eq!(of_stream(of_connection(100_000), 64), 64 * KIB);
    }

    #[test]
    fn connections_share_the_budget() {
        assert_eq!(of_connection(0), 16 * MIB);
        assert_eq!(of_connection(64), 16 * MIB);
        assert_eq!(of_connection(128), 8 * MIB);
        assert_eq!(of_connection(usize::MAX), 4 * MIB);
    }
}
