//! Sockets to upstream servers: how they are set, and what that promises.
//!
//! A path that has died is noticed within 15 seconds, whether something was sent along it or not. What gets
//! lost of a request, which is a segment or two, is sent again without growing pauses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// A connection that is silent for so long is probed.
const PROBED_AFTER: Duration = Duration::from_secs(5);
/// From one probe to the next.
const PROBED_EVERY: Duration = Duration::from_secs(3);
/// So many probes without an answer end it.
const PROBES: u32 = 3;
/// What was sent must be acknowledged within this time, and probes answered: the kernel looks at the next
/// probe whether it is over. A segment is sent at least six times in it, so that heavy loss alone ends hardly
/// any connection.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(13);

/// Connects to `address`. A congestion control that the kernel does not offer is done without, which the
/// configuration was warned of.
pub(crate) async fn connect(address: SocketAddr, congestion: Option<Arc<str>>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_thin_linear_timeouts(true)?;
    let probes = TcpKeepalive::new().with_time(PROBED_AFTER).with_interval(PROBED_EVERY).with_retries(PROBES);
    SockRef::from(&socket).set_tcp_keepalive(&probes)?;
    if let Some(name) = congestion
        && let Err(error) = SockRef::from(&socket).set_tcp_congestion(name.as_bytes())
    {
        tracing::debug!(%name, %error, "the system's congestion control is used");
    }
    let stream = socket.connect(address).await?;
    // Not earlier, since it would bound the time to connect, which the origin's own timeout does.
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
        // A congestion control that there is not is done without.
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
