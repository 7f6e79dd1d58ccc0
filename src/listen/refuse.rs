//! How a connection ends by our will: with RST, an alert or FIN, or after a last answer.
//!
//! A reset sends nothing of the payload; an alert sends just the seven bytes of the record.

use std::os::fd::AsFd;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::RefusalMode;

/// A fatal `unrecognized_name` in a record of its own (RFC 8446, 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// How long the last bytes of a client are awaited after ours.
const LINGER: Duration = Duration::from_secs(1);
/// How many of them: as many as a client sends that learns of its answer only then.
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Refuses as `mode` says.
pub async fn refuse(socket: TcpStream, mode: RefusalMode) {
    match mode {
        RefusalMode::Reset => reset(&socket),
        RefusalMode::Alert => finish(socket, &UNRECOGNIZED_NAME).await,
        RefusalMode::Silent => finish(socket, &[]).await,
    }
}

/// Makes the kernel answer with RST when the socket is closed.
pub fn reset(socket: &impl AsFd) {
    // The socket may be gone already; then there is nothing left to reset.
    if let Err(error) = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::trace!(%error, "a connection could not be reset");
    }
}

/// Sends `bytes` and FIN, and waits a moment for the client's, since a close with unread bytes would
/// turn into RST and could overtake what was sent. Of what the client sends no more than a bound is read.
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
            // It may not have read what was sent, and a close would take that from it.
            std::future::pending::<()>().await;
        }
        std::io::Result::Ok(())
    };
    // It is the end either way.
    let _ = tokio::time::timeout(LINGER, polite).await;
}

/// A whole HTTP/1.1 answer that is the last of its connection. `fields` are whole header lines.
pub fn last_answer(status: StatusCode, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n{fields}\r\n{body}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
}
