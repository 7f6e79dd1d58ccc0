//! The scenario of object stores that are killed and answer badly: every record arrives all the same.

use std::time::Duration;

use super::gateway::{Gateway, Trouble};
use super::{RECORDS, Spool, records};
use crate::support::{PATIENCE, eventually};

/// A server of objects that is killed as by `kill -9`.
pub(crate) trait ObjectServer {
    async fn kill(&mut self);

    /// Starts it again, with what it held.
    async fn start(&mut self);

    /// The records of the segments that it holds.
    async fn records(&self) -> Vec<String>;
}

/// From the server's start to the last record that was sealed: the pause between two attempts has grown meanwhile.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// What the upload of one segment meets in each round.
const TROUBLES: [Trouble; 5] = [
    Trouble::Answers("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
    Trouble::Answers("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
    Trouble::HalfCloses,
    Trouble::Slow,
    Trouble::CutsAnswer,
];

/// Ships [`RECORDS`] to the only sink of `spool`, named `name` and reached through `gateway`. In each round the server is
/// killed while records are written, and the upload of the round's segment meets one of [`TROUBLES`].
pub(super) async fn ships_everything(
    (spool, sink, name): (&mut Spool, &str, &str),
    gateway: &Gateway,
    server: &mut impl ObjectServer,
) {
    let config = spool.configure(sink);
    let mut recorded = 0;
    for trouble in TROUBLES {
        server.kill().await;
        let board = spool.start(&config);
        let look = || board.look().remove(0);
        eventually("the sink is down", PATIENCE, async || look().last_error).await;
        tokio::join!(spool.record(RECORDS / TROUBLES.len() as u64), server.start());
        // What the end of the round before has sealed arrives now, if it has not then.
        eventually("the sink catches up", CATCHING_UP, async || {
            (look().acknowledged_seq == recorded && look().last_error.is_none()).then_some(())
        })
        .await;
        recorded += RECORDS / TROUBLES.len() as u64;
        gateway.befalls(trouble).await;
        // The segment is sealed and shipped now. Without a second attempt if that fails: the program ends here.
        spool.close().await;
        assert!(gateway.is_over(), "{trouble:?}");
    }
    let board = spool.start(&config);
    let all = async || (board.look()[0].acknowledged_seq == RECORDS).then_some(());
    eventually("everything is acknowledged", PATIENCE, all).await;
    spool.close().await;

    let kept = records(&spool.path("access"));
    assert_eq!(kept.len() as u64, RECORDS);
    assert_eq!(server.records().await, kept);
    let verified = spool.verify(name).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["records"], RECORDS);
}
