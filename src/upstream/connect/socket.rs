//! Socket options of connections to servers, and what they guarantee.
//!
//! A dead path is noticed within 15 seconds, idle or not. Lost segments of a request, one or two, are
//! retransmitted without exponential backoff.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::edge::descriptors::{Descriptors, Room};

/// Idle time before keep-alive probes.
const PROBED_AFTER: Duration = Duration::from_secs(5);
/// Between two probes.
const PROBED_EVERY: Duration = Duration::from_secs(3);
/// Unanswered probes before the connection is closed.
const PROBES: u32 = 3;
/// TCP_USER_TIMEOUT: data must be acknowledged within this time. The kernel checks it at its next
/// retransmission or probe. A segment is sent at least six times within it, so that heavy loss alone hardly
/// ever ends a connection.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(13);

/// Connects to `address`. A congestion control that the kernel lacks is skipped; loading the configuration
/// has warned of it.
pub(crate) async fn connect(address: SocketAddr, congestion: Option<Arc<str>>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The kernel's own answer once the limit is reached; the last descriptors are for files.
    if Descriptors::of_process().room(&socket) == Room::Exhausted {
        return Err(Errno::MFILE.into());
    }
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_thin_linear_timeouts(true)?;
    let probes = TcpKeepalive::new().with_time(PROBED_AFTER).with_interval(PROBED_EVERY).with_retries(PROBES);
    SockRef::from(&socket).set_tcp_keepalive(&probes)?;
    if let Some(name) = congestion
        && let Err(error) = SockRef::from(&socket).set_tcp_congestion(name.as_bytes())
    {
        tracing::debug!(%name, %error, "the kernel lacks this congestion control; the system's default is used");
    }
    let stream = socket.connect(address).await?;
    // Set after connecting: it would otherwise override the origin's connect timeout.
    SockRef::from(&stream).set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_set_as_promised() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // An unknown congestion control is skipped.
        let connected = connect(listener.local_addr().unwrap(), Some("nonsense".into())).await.unwrap();
        assert!(connected.nodelay().unwrap());
        let set = SockRef::from(&connected);
        assert!(set.tcp_thin_linear_timeouts().unwrap());
        assert!(set.keepalive().unwrap());
        let probed = set.tcp_keepalive_time().unwrap()
            + set.tcp_keepalive_interval().unwrap() * set.tcp_keepalive_retries().unwrap();
        assert!(probed <= Duration::from_secs(15), "{probed:?}");
        assert_eq!(set.tcp_user_timeout().unwrap(), Some(Duration::from_secs(13)));
    }
}
