//! The client address, where a load balancer sends it in a PROXY header.
//!
//! Only trusted peers may connect, and they must send a header. Not a byte beyond the header is taken from
//! the socket.

use std::io;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::{Accepted, NamedHost, refuse};
use crate::config::Limits;
use crate::gate::Refusal;
use crate::net::address::ClientAddress;
use crate::net::proxy_protocol::{self, ConnectionSource, HEADER_BYTES, HeaderProgress};

/// Bytes looked at per step: a usual header fits.
const LOOK_BYTES: usize = 256;

/// Reads the PROXY header of a peer among `trusted` and counts the client it names. `None` if the connection
/// is refused.
pub async fn client(mut accepted: Accepted, trusted: &[IpNet], limits: &Limits) -> Option<Accepted> {
    let peer = accepted.endpoints.peer.0.ip().to_canonical();
    if !trusted.iter().any(|net| net.contains(&peer)) {
        return refused(&accepted, Refusal::ProxyProtocol);
    }
    match timeout_at(accepted.began + limits.client_hello_timeout, header(&mut accepted)).await {
        Ok(Ok(ConnectionSource::Client(client))) => accepted.endpoints.client = ClientAddress(client),
        Ok(Ok(ConnectionSource::Sender)) => {}
        Ok(Err(HeaderFailure::Empty)) => {
            accepted.count_empty();
            return None;
        }
        Ok(Err(HeaderFailure::Malformed)) | Err(_) => return refused(&accepted, Refusal::ProxyProtocol),
    }
    match accepted.admitted.count(accepted.endpoints.client.ip(), limits) {
        true => Some(accepted),
        false => refused(&accepted, Refusal::TooManyConnections),
    }
}

enum HeaderFailure {
    /// The connection ended before its first byte.
    Empty,
    /// The bytes are no PROXY header.
    Malformed,
}

impl From<io::Error> for HeaderFailure {
    fn from(_: io::Error) -> Self {
        Self::Malformed
    }
}

async fn header(accepted: &mut Accepted) -> Result<ConnectionSource, HeaderFailure> {
    let mut bytes = Vec::new();
    let mut chunk = [0; LOOK_BYTES];
    loop {
        let seen = match accepted.socket.peek(&mut chunk).await {
            Ok(0) | Err(_) if bytes.is_empty() => return Err(HeaderFailure::Empty),
            Ok(0) | Err(_) => return Err(HeaderFailure::Malformed),
            Ok(seen) => seen,
        };
        let before = bytes.len();
        bytes.extend_from_slice(&chunk[..seen]);
        let (belongs, source) = match proxy_protocol::read(&bytes) {
            HeaderProgress::Wanting if bytes.len() < HEADER_BYTES => (seen, None),
            HeaderProgress::Whole(source, length) => (length - before, Some(source)),
            HeaderProgress::Wanting | HeaderProgress::Malformed => return Err(HeaderFailure::Malformed),
        };
        accepted.socket.read_exact(&mut chunk[..belongs]).await?;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

fn refused(accepted: &Accepted, refusal: Refusal) -> Option<Accepted> {
    accepted.record_refusal(refusal, NamedHost::default());
    refuse::reset(&accepted.socket);
    None
}
