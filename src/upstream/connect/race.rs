//! Happy Eyeballs (RFC 8305): connects to the first of several addresses that accepts.
//!
//! Each address gets a short head start before the next one is tried as well; a failure ends it at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// The head start of an address over the next (RFC 8305, 8: 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Finish<T> {
    /// The first connection, or the error of the last address.
    pub(crate) winner: io::Result<(SocketAddr, T)>,
    pub(crate) failed: Vec<SocketAddr>,
    /// The addresses that had not answered yet.
    pub(crate) overtaken: Vec<SocketAddr>,
}

/// Connects to `addresses` in order; untried ones stay in the queue.
pub(crate) async fn race<T, F>(
    addresses: &mut VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Finish<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut failed = Vec::new();
    let mut running = Vec::new();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::other("there is no address");
    loop {
        if let Some(address) = addresses.pop_front() {
            running.push(address);
            let attempt = connect(address);
            attempts.spawn(async move { (address, attempt.await) });
        }
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok((address, outcome))) => {
                    running.retain(|one| *one != address);
                    match outcome {
                        Ok(winner) => {
                            return Finish { winner: Ok((address, winner)), failed, overtaken: running };
                        }
                        Err(error) => {
                            last = error;
                            failed.push(address);
                        }
                    }
                }
                // Connecting never panics, so this is unreachable in practice.
                Some(Err(error)) => last = io::Error::other(error),
                None => return Finish { winner: Err(last), failed, overtaken: running },
            },
            () = sleep(HEAD_START), if !addresses.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A test address: its last number is the time in tenths of a second; odd ports fail.
    async fn connect(address: SocketAddr) -> io::Result<u16> {
        let SocketAddr::V4(v4) = address else { panic!("{address}") };
        sleep(Duration::from_millis(u64::from(v4.ip().octets()[3]) * 100)).await;
        if address.port() % 2 == 1 {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            Ok(address.port())
        }
    }

    async fn run(addresses: &[&str]) -> (Finish<u16>, usize, Duration) {
        let mut addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let began = Instant::now();
        let finish = race(&mut addresses, connect).await;
        (finish, addresses.len(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_wins_after_a_head_start_for_each() {
        let (finish, left, took) = run(&["10.0.0.2:2", "10.0.0.0:4"]).await;
        assert_eq!((finish.winner.unwrap().1, left, took.as_millis()), (2, 1, 200), "it was fast enough");
        let (finish, left, took) = run(&["10.0.0.9:2", "10.0.0.9:4", "10.0.0.1:6", "10.0.0.0:8"]).await;
        assert_eq!((finish.winner.unwrap().1, left, took.as_millis()), (6, 1, 600));
        assert_eq!(finish.overtaken, ["10.0.0.9:2".parse().unwrap(), "10.0.0.9:4".parse().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_has_no_head_start() {
        let (finish, _, took) = run(&["10.0.0.0:1", "10.0.0.1:3", "10.0.0.1:4"]).await;
        assert_eq!((finish.winner.unwrap().1, took.as_millis()), (4, 200));
        assert_eq!(finish.failed.len(), 2);
        let (finish, _, took) = run(&["10.0.0.9:1", "10.0.0.0:3"]).await;
        assert_eq!(finish.winner.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!((finish.failed.len(), took.as_millis()), (2, 900));
        assert!(run(&[]).await.0.winner.is_err());
    }
}
