//! The kernel's statistics of a TCP connection, queried by its addresses (sock_diag(7)).
//!
//! The connection's user is not involved.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

#[derive(Debug)]
pub(crate) struct Kernel(OwnedFd);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TcpFigures {
    /// Smoothed.
    pub(crate) round_trip: Duration,
    /// Data segments sent, retransmissions included.
    pub(crate) segments: u32,
    pub(crate) retransmitted: u32,
}

const HEADER: usize = 16;
const QUESTION: usize = 56;
const ANSWER: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;
const ESTABLISHED: u32 = 1 << 1;
/// The attribute type of `struct tcp_info` (INET_DIAG_INFO).
const INFO: u16 = 2;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// Offsets in `struct tcp_info`, which only grows at its end.
const ROUND_TRIP: usize = 68;
const RETRANSMITTED: usize = 100;
const SEGMENTS: usize = 156;

impl Kernel {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
        net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The statistics of the connection from `local` to `remote`; `None` if there is none.
    pub(crate) fn ask(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<TcpFigures>> {
        net::send(&self.0, &question(local, remote), SendFlags::empty())?;
        // The answer is ready once the query has been sent.
        let mut answer = [0; 1024];
        let (length, _) = net::recv(&self.0, &mut answer, RecvFlags::empty())?;
        Ok(figures(answer.get(..length).unwrap_or_default()))
    }
}

fn question(local: SocketAddr, remote: SocketAddr) -> [u8; HEADER + QUESTION] {
    let mut question = [0; HEADER + QUESTION];
    let mut put = |index: usize, bytes: &[u8]| {
        if let Some(room) = question.get_mut(index..index + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    };
    put(0, &((HEADER + QUESTION) as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    let family = if local.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
    put(16, &[family, TCP, 1 << (INFO - 1), 0]);
    put(20, &ESTABLISHED.to_ne_bytes());
    put(24, &local.port().to_be_bytes());
    put(26, &remote.port().to_be_bytes());
    for (index, address) in [(28, local.ip()), (44, remote.ip())] {
        match address {
            IpAddr::V4(v4) => put(index, &v4.octets()),
            IpAddr::V6(v6) => put(index, &v6.octets()),
        }
    }
    // Any interface, and any socket with these addresses.
    put(64, &[0xff; 8]);
    question
}

/// Parses an answer; `None` if it names no connection.
fn figures(answer: &[u8]) -> Option<TcpFigures> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut attributes = answer.get(HEADER + ANSWER..)?;
    loop {
        let number =
            |index: usize| Some(u16::from_ne_bytes(attributes.get(index..index + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(number(0)?), number(2)?);
        let value = attributes.get(4..length)?;
        if kind == INFO {
            return of_info(value);
        }
        // Attributes are aligned to four bytes.
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn of_info(info: &[u8]) -> Option<TcpFigures> {
    let number = |index: usize| Some(u32::from_ne_bytes(info.get(index..index + 4)?.try_into().ok()?));
    let round_trip = Duration::from_micros(number(ROUND_TRIP)?.into());
    Some(TcpFigures { round_trip, segments: number(SEGMENTS)?, retransmitted: number(RETRANSMITTED)? })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_is_known_by_its_addresses() {
        let kernel = Kernel::open().unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind((ip, 0)).await.unwrap();
            let mut one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut other, _) = listener.accept().await.unwrap();
            for _ in 0..5 {
                one.write_all(b"ping").await.unwrap();
                other.read_exact(&mut [0; 4]).await.unwrap();
            }
            let (local, remote) = (one.local_addr().unwrap(), one.peer_addr().unwrap());
            let figures = kernel.ask(local, remote).unwrap().expect("it is open");
            assert!(figures.segments >= 5 && figures.retransmitted == 0, "{figures:?}");
            assert!(
                !figures.round_trip.is_zero() && figures.round_trip < Duration::from_secs(1),
                "{figures:?}"
            );
            let nobody = SocketAddr::new(remote.ip(), 1);
            assert_eq!(kernel.ask(local, nobody).unwrap(), None);
        }
    }

    #[test]
    fn no_beginning_of_an_answer_panics() {
        let mut answer = vec![0; HEADER + ANSWER];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        // Another attribute first, whose length is not a multiple of four.
        answer.extend([5, 0, 9, 0, 1, 0, 0, 0]);
        let mut info = vec![7; 160];
        info[ROUND_TRIP..ROUND_TRIP + 4].copy_from_slice(&2_000_u32.to_ne_bytes());
        info[SEGMENTS..].copy_from_slice(&90_u32.to_ne_bytes());
        info[RETRANSMITTED..RETRANSMITTED + 4].copy_from_slice(&3_u32.to_ne_bytes());
        answer.extend([164, 0, 2, 0]);
        answer.extend(info);
        let round_trip = Duration::from_millis(2);
        assert_eq!(figures(&answer), Some(TcpFigures { round_trip, segments: 90, retransmitted: 3 }));
        for end in 0..answer.len() {
            assert_eq!(figures(&answer[..end]), None, "{end}");
        }
        // An attribute of length zero ends the list.
        answer[HEADER + ANSWER] = 0;
        assert_eq!(figures(&answer), None);
    }
}
