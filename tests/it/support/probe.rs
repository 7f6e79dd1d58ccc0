//! A raw socket that reports exactly what came back.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, eventually};

/// How a connection stands once there is nothing more to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// RST.
    Reset,
    /// FIN.
    Closed,
    /// Neither, for as long as was waited.
    Open,
}

/// All that came back.
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

/// Sends `bytes` and gives all that came back, once the other side has ended the connection.
pub(crate) async fn probe(address: SocketAddr, bytes: &[u8]) -> Answer {
    probe_pieces(address, [bytes]).await
}

/// The same for bytes sent in pieces: each is sent when the other side has taken the one before.
pub(crate) async fn probe_pieces<'p>(
    address: SocketAddr,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Answer {
    let mut socket = connect(address).await;
    let reset = send_pieces(&mut socket, pieces).await;
    let mut answer = read_to_end(&mut socket, PATIENCE).await;
    if reset {
        // The system tells of a reset once.
        answer.ending = Ending::Reset;
    }
    answer
}

/// The first six bytes that are answered to `pieces`, as many as tell a record's kind and its message's.
pub(crate) async fn first_bytes<'p>(
    address: SocketAddr,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> [u8; 6] {
    let mut socket = connect(address).await;
    send_pieces(&mut socket, pieces).await;
    let mut bytes = [0; 6];
    match tokio::time::timeout(PATIENCE, socket.read_exact(&mut bytes)).await {
        Ok(Ok(_)) => bytes,
        outcome => panic!("{address}: no answer: {outcome:?}"),
    }
}

/// Sends each piece in a segment of its own; whether the connection was reset meanwhile.
async fn send_pieces<'p>(socket: &mut TcpStream, pieces: impl IntoIterator<Item = &'p [u8]>) -> bool {
    for (place, piece) in pieces.into_iter().enumerate() {
        if place > 0 {
            taken(socket).await;
        }
        if let Err(error) = socket.write_all(piece).await {
            return error.kind() == ErrorKind::ConnectionReset;
        }
    }
    false
}

/// A connection whose segments leave at once.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.set_nodelay(true).expect("it is open");
    socket
}

/// Whether the system refuses a connection to `address`, as it does when nobody listens there.
pub(crate) async fn is_refused(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => true,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// Reads until the other side ends the connection, for `patience` at most.
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

/// Waits until the other process has read all that was sent on `socket`, or has ended the connection:
/// the kernel's table of sockets tells what lies unread in its queue.
pub(crate) async fn taken(socket: &TcpStream) {
    let (Ok(SocketAddr::V4(ours)), Ok(SocketAddr::V4(theirs))) = (socket.local_addr(), socket.peer_addr())
    else {
        return;
    };
    let shown = |address: std::net::SocketAddrV4| {
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let ends = format!("{} {} ", shown(theirs), shown(ours));
    eventually("the other side reads", PATIENCE, async || {
        let table = fs_err::read_to_string("/proc/net/tcp").expect("the table of sockets");
        let Some(row) = table.lines().find(|line| line.contains(&ends)) else { return Some(()) };
        let queues = row.split_whitespace().nth(4).expect("the queues");
        queues.ends_with(":00000000").then_some(())
    })
    .await;
}
