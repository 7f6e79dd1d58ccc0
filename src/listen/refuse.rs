//! How this edge ends a connection: by RST, a TLS alert, FIN, or a last response.
//!
//! A reset sends no payload; an alert sends only the seven bytes of its record.

use std::os::fd::AsFd;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::RefusalMode;

/// A fatal `unrecognized_name` alert in its own record (RFC 8446, 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The description of the alert `protocol_version`.
const PROTOCOL_VERSION: u8 = 70;
/// How long to wait for the client's FIN.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read meanwhile: a client may still be sending a body when it gets its response.
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// How a refused TLS connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Farewell {
    /// As the listener's `refusal` says.
    Configured(RefusalMode),
    /// With the alert `protocol_version`, in a record of the client's own version: old clients take no other.
    OldVersion {
        /// The minor version of the record, 1 for TLS 1.0.
        minor: u8,
    },
}

/// Closes a refused connection.
pub async fn refuse(socket: TcpStream, farewell: Farewell) {
    match farewell {
        Farewell::Configured(RefusalMode::Reset) => reset(&socket),
        Farewell::Configured(RefusalMode::Alert) => finish(socket, &UNRECOGNIZED_NAME).await,
        Farewell::Configured(RefusalMode::Silent) => finish(socket, &[]).await,
        Farewell::OldVersion { minor } => finish(socket, &[21, 3, minor, 0, 2, 2, PROTOCOL_VERSION]).await,
    }
}

/// Makes the kernel send RST when the socket is closed.
pub fn reset(socket: &impl AsFd) {
    // The socket may already be closed.
    if let Err(error) = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::trace!(%error, "a connection could not be reset");
    }
}

/// Sends `bytes` and FIN, then reads until the client's FIN, within limits. Closing with unread input would
/// send RST, which could overtake the response.
pub async fn finish(mut socket: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let polite = async {
        socket.write_all(bytes).await?;
        socket.shutdown().await?;
        let mut left = LINGER_BYTES;
        let mut buffer = [0; 1024];
        while left > 0 {
            match socket.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        if left == 0 {
            // The client may not have read the response yet: wait out the time instead of sending RST.
            std::future::pending::<()>().await;
        }
        std::io::Result::Ok(())
    };
    // The connection is closed either way.
    let _ = tokio::time::timeout(LINGER, polite).await;
}

/// A complete HTTP/1.1 response, the last of its connection. `fields` are complete header lines.
pub fn last_answer(status: StatusCode, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n{fields}\r\n{body}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
}
