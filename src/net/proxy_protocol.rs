//! The PROXY protocol, versions 1 and 2: a load balancer's statement of who the client is.
//!
//! Reading and writing are pure. A header is accepted only if it is complete and follows the specification;
//! TLVs are skipped by their length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest version 1 header, CRLF included (specification, 2.1).
const LINE_BYTES: usize = 107;
/// The longest version 2 header accepted. Senders use a few hundred bytes; the format allows 64 KiB.
pub const HEADER_BYTES: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
const LINE_BEGINS: &[u8] = b"PROXY ";

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// The version 2 header for a connection on the sender's own behalf.
pub const LOCAL_HEADER: [u8; FIXED_BYTES] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionSource {
    /// From this client.
    Client(SocketAddr),
    /// From the sender itself (`LOCAL`, for instance a health check), or unknown (`UNKNOWN`).
    Sender,
}

/// How much of a header has arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderProgress {
    /// It is incomplete; all bytes so far belong to it.
    Wanting,
    /// It is complete and has this many bytes; the client's own bytes follow.
    Whole(ConnectionSource, usize),
    /// The bytes are no PROXY header.
    Malformed,
}

/// Parses the header at the start of `bytes`.
pub fn read(bytes: &[u8]) -> HeaderProgress {
    let begins = |with: &[u8]| {
        let known = bytes.len().min(with.len());
        bytes[..known] == with[..known]
    };
    let outcome = if bytes.is_empty() {
        Some(HeaderProgress::Wanting)
    } else if begins(SIGNATURE) {
        read_binary(bytes)
    } else if begins(LINE_BEGINS) {
        read_line(bytes)
    } else {
        None
    };
    outcome.unwrap_or(HeaderProgress::Malformed)
}

fn read_binary(bytes: &[u8]) -> Option<HeaderProgress> {
    let Some(fixed) = bytes.get(..FIXED_BYTES) else {
        let known = bytes.get(SIGNATURE.len()).is_none_or(|command| [LOCAL, PROXY].contains(command));
        return known.then_some(HeaderProgress::Wanting);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if ![LOCAL, PROXY].contains(&command) || length > HEADER_BYTES {
        return None;
    }
    let Some(header) = bytes.get(..length) else { return Some(HeaderProgress::Wanting) };
    let addresses = &header[FIXED_BYTES..];
    let source = match (command, family) {
        (LOCAL, _) | (_, UNSPECIFIED | UNIX_STREAM) => ConnectionSource::Sender,
        (_, TCP_OVER_IPV4) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses.first_chunk::<12>()?;
            client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }
        (_, TCP_OVER_IPV6) => {
            let addresses = addresses.first_chunk::<36>()?;
            let ip = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
            client(ip.into(), u16::from_be_bytes([addresses[32], addresses[33]]))
        }
        // Datagrams do not arrive over a stream; all other values are unassigned.
        _ => return None,
    };
    Some(HeaderProgress::Whole(source, length))
}

fn read_line(bytes: &[u8]) -> Option<HeaderProgress> {
    let within = &bytes[..bytes.len().min(LINE_BYTES)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return (bytes.len() < LINE_BYTES).then_some(HeaderProgress::Wanting);
    };
    let line = std::str::from_utf8(&within[LINE_BEGINS.len()..end]).ok()?;
    let mut words = line.split(' ');
    let source = match words.next()? {
        // The rest of such a line must be ignored (specification, 2.1).
        "UNKNOWN" => return Some(HeaderProgress::Whole(ConnectionSource::Sender, end + 2)),
        "TCP4" => addresses::<Ipv4Addr>(&mut words)?,
        "TCP6" => addresses::<Ipv6Addr>(&mut words)?,
        _ => return None,
    };
    words.next().is_none().then_some(HeaderProgress::Whole(source, end + 2))
}

/// Source, destination and their ports.
fn addresses<'w, A: std::str::FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<ConnectionSource> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    Some(client(source.into(), source_port))
}

/// A number without sign or leading zeros.
fn port(word: &str) -> Option<u16> {
    let plain = word == "0" || word.starts_with(|first: char| ('1'..='9').contains(&first));
    plain.then(|| word.parse().ok()).flatten()
}

fn client(ip: IpAddr, port: u16) -> ConnectionSource {
    ConnectionSource::Client(SocketAddr::new(ip.to_canonical(), port))
}

/// The version 2 header for a connection of `client` to `destination`.
pub fn write(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED_BYTES + 36);
    header.extend_from_slice(SIGNATURE);
    header.push(PROXY);
    match (client.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(destination)) => {
            header.extend_from_slice(&[TCP_OVER_IPV4, 0, 12]);
            header.extend_from_slice(&client.octets());
            header.extend_from_slice(&destination.octets());
        }
        // A header has both addresses in one family.
        (client, destination) => {
            header.extend_from_slice(&[TCP_OVER_IPV6, 0, 36]);
            header.extend_from_slice(&mapped(client).octets());
            header.extend_from_slice(&mapped(destination).octets());
        }
    }
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests;
