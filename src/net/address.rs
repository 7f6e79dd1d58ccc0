//! The roles that a socket address has for a connection with a client.
//!
//! A balancer in front makes peer and client two different hosts: limits, rules and records must not mix them up.

use std::net::{IpAddr, SocketAddr};

/// The other end of the socket: the client itself, or a load balancer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerAddress(pub SocketAddr);

/// Who sends the requests: the peer, or the client that a trusted balancer or proxy names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientAddress(pub SocketAddr);

/// The network that limits count as one client: an IPv4 address, also one mapped into IPv6, or the first 64 bits of an IPv6
/// address, which one subscriber has (RFC 6177).
pub fn client_network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(client) => IpAddr::V6((client.to_bits() >> 64 << 64).into()),
        client @ IpAddr::V4(_) => client,
    }
}

/// This end of the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalAddress(pub SocketAddr);

impl ClientAddress {
    /// The address without its port; an IPv4 address mapped into IPv6 stays as it came.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl PeerAddress {
    /// The client, as long as nobody in front of this edge names another one.
    pub fn as_client(self) -> ClientAddress {
        ClientAddress(self.0)
    }
}
