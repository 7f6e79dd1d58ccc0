//! A raw socket that reports exactly what it receives.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, eventually};

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// RST.
    Reset,
    /// FIN.
    Closed,
    /// Still open when the patience ended.
    Open,
}

/// All bytes received, and how the connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ending: Ending,
}

impl Answer {
    /// RST, and not one byte.
    pub(crate) const RESET: Self = Self { bytes: Vec::new(), ending: Ending::Reset };
    /// FIN, and not one byte.
    pub(crate) const CLOSED: Self = Self { bytes: Vec::new(), ending: Ending::Closed };

    /// The bytes as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status of the HTTP answer.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let text = self.text();
        let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        status.unwrap_or_else(|| panic!("no HTTP answer: {self:?}"))
    }
}

/// Sends `bytes`, and reads until the edge ends the connection.
pub(crate) async fn probe(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut socket = connect(address).await;
    let reset = is_reset(socket.write_all(bytes).await);
    Sent { socket, reset }.answer().await
}

/// A connection after everything has been sent.
pub(crate) struct Sent {
    socket: TcpStream,
    /// The kernel reports a reset once, here to a write.
    reset: bool,
}

impl Sent {
    /// Reads until the edge ends the connection.
    pub(crate) async fn answer(mut self) -> Answer {
        let mut answer = read_to_end(&mut self.socket, PATIENCE).await;
        if self.reset {
            answer.ending = Ending::Reset;
        }
        answer
    }

    /// The first bytes received.
    pub(crate) async fn first_bytes<const COUNT: usize>(mut self) -> [u8; COUNT] {
        let mut bytes = [0; COUNT];
        match tokio::time::timeout(PATIENCE, self.socket.read_exact(&mut bytes)).await {
            Ok(Ok(_)) => bytes,
            outcome => panic!("no answer: {outcome:?}"),
        }
    }
}

/// The pieces to send on one connection, each in its own segment.
pub(crate) type Split = Vec<Vec<u8>>;

/// Sends each of `splits` on its own connection, all in parallel. A piece is sent once
/// the edge has read the previous one.
pub(crate) async fn send_split(address: SocketAddr, splits: &[Split]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for _ in splits {
        sent.push(Sent { socket: connect(address).await, reset: false });
    }
    for round in 0..splits.iter().map(Vec::len).max().unwrap_or_default() {
        let sending = || sent.iter().zip(splits).filter(|(sent, split)| !sent.reset && split.len() > round);
        if round > 0 {
            taken(&sending().map(|(sent, _)| &sent.socket).collect::<Vec<_>>()).await;
        }
        for (sent, split) in sent.iter_mut().zip(splits) {
            if let Some(piece) = split.get(round).filter(|_| !sent.reset) {
                sent.reset = is_reset(sent.socket.write_all(piece).await);
            }
        }
    }
    sent
}

fn is_reset(outcome: std::io::Result<()>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    }
}

/// A connection with TCP_NODELAY.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.set_nodelay(true).expect("it is open");
    socket
}

/// Whether connections to `address` are refused.
pub(crate) async fn is_refused(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => true,
        // It was in the backlog of a socket that was just closed.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// Reads until the edge ends the connection or `patience` is over.
pub(crate) async fn read_to_end(socket: &mut TcpStream, patience: Duration) -> Answer {
    let mut bytes = Vec::new();
    let ending = match tokio::time::timeout(patience, socket.read_to_end(&mut bytes)).await {
        Err(_) => Ending::Open,
        Ok(Ok(_)) => Ending::Closed,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
        Ok(Err(error)) => panic!("{error}"),
    };
    Answer { bytes, ending }
}

/// Waits until the edge has read everything sent on `sockets`, or has closed them, by
/// the unread bytes in the kernel's table of connections.
pub(crate) async fn taken(sockets: &[&TcpStream]) {
    // The table shows addresses in hexadecimal, in native byte order.
    let shown = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => panic!("{address}: tests keep to IPv4"),
    };
    let ends: Vec<(String, String)> = sockets
        .iter()
        .filter_map(|socket| Some((shown(socket.peer_addr().ok()?), shown(socket.local_addr().ok()?))))
        .collect();
    eventually("the other side reads", PATIENCE, async || {
        let table = fs_err::read_to_string("/proc/net/tcp").expect("the table of connections");
        let unread: HashSet<(&str, &str)> = table
            .lines()
            .filter_map(|row| {
                let fields: Vec<&str> = row.split_whitespace().take(5).collect();
                let [_, local, remote, _, queues] = fields[..] else { return None };
                (!queues.ends_with(":00000000")).then_some((local, remote))
            })
            .collect();
        let is_unread =
            |(theirs, ours): &(String, String)| unread.contains(&(theirs.as_str(), ours.as_str()));
        (!ends.iter().any(is_unread)).then_some(())
    })
    .await;
}
