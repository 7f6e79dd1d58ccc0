//! Who the client of a connection is, where a load balancer in front says so.
//!
//! Only a trusted peer may connect, and it must say so; its header is read to its last byte and not
//! further, so that what follows is the client's own.

use std::io;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::{Accepted, Named, refuse};
use crate::config::Limits;
use crate::gate::Refusal;
use crate::net::proxy_protocol::{self, HEADER_BYTES, Progress, Source};

/// How much is looked at once: all of a usual header.
const LOOK_BYTES: usize = 256;

/// Learns the client of a connection from a peer among `trusted`, and counts it. The connection comes
/// back when it may say what it wants.
pub async fn client(mut accepted: Accepted, trusted: &[IpNet], limits: &Limits) -> Option<Accepted> {
    let peer = accepted.ends.peer.ip().to_canonical();
    if !trusted.iter().any(|net| net.contains(&peer)) {
        return refused(&accepted, Refusal::ProxyProtocol);
    }
    match timeout_at(accepted.began + limits.client_hello_timeout, header(&mut accepted)).await {
        Ok(Ok(Source::Client(client))) => accepted.ends.client = client,
        Ok(Ok(Source::Sender)) => {}
        Ok(Err(Unread::Empty)) => {
            accepted.count_empty();
            return None;
        }
        Ok(Err(Unread::Malformed)) | Err(_) => return refused(&accepted, Refusal::ProxyProtocol),
    }
    match accepted.admitted.count(accepted.ends.client.ip(), limits) {
        true => Some(accepted),
        false => refused(&accepted, Refusal::TooManyConnections),
    }
}

/// Why there is no header.
enum Unread {
    /// The connection ended before a byte came.
    Empty,
    /// What came is none.
    Malformed,
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Self::Malformed
    }
}

/// Takes the header off the connection.
async fn header(accepted: &mut Accepted) -> Result<Source, Unread> {
    let mut bytes = Vec::new();
    let mut chunk = [0; LOOK_BYTES];
    loop {
        let seen = match accepted.socket.peek(&mut chunk).await {
            Ok(0) | Err(_) if bytes.is_empty() => return Err(Unread::Empty),
            Ok(0) | Err(_) => return Err(Unread::Malformed),
            Ok(seen) => seen,
        };
        let before = bytes.len();
        bytes.extend_from_slice(&chunk[..seen]);
        let (belongs, source) = match proxy_protocol::read(&bytes) {
            Progress::Wanting if bytes.len() < HEADER_BYTES => (seen, None),
            Progress::Whole(source, length) => (length - before, Some(source)),
            Progress::Wanting | Progress::Malformed => return Err(Unread::Malformed),
        };
        accepted.socket.read_exact(&mut chunk[..belongs]).await?;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

fn refused(accepted: &Accepted, refusal: Refusal) -> Option<Accepted> {
    accepted.record_refusal(refusal, Named::default());
    refuse::reset(&accepted.socket);
    None
}
