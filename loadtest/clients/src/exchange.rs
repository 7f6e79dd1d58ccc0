//! One request on a new connection, after a handshake of the measured kind.
//!
//! The answer must be the expected bytes, and the handshake of that kind.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};

use crate::Act;
use crate::connection::Connection;
use crate::tls::Tls;

/// The kind of handshakes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handshakes {
    /// A full handshake each time.
    Full,
    /// Each with the previous connection's ticket.
    Resumed,
}

/// The request of all clients, and the expected answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    server: SocketAddr,
    name: ServerName<'static>,
    tls: Tls,
    request: Arc<[u8]>,
    body: Arc<[u8]>,
}

impl Exchange {
    pub(crate) fn new(
        server: SocketAddr,
        host: &str,
        path: &str,
        chain: impl AsRef<Path>,
        body: impl AsRef<Path>,
    ) -> anyhow::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host}: no name"))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: icpgate-loadtest\r\naccept: */*\r\n\r\n"
        );
        let body = body.as_ref();
        let bytes = std::fs::read(body).with_context(|| body.display().to_string())?;
        Ok(Self {
            server,
            name,
            tls: Tls::new(chain)?,
            request: request.into_bytes().into(),
            body: bytes.into(),
        })
    }

    /// A client that is ready: for resumed handshakes it has a ticket.
    pub(crate) fn client(&self, handshakes: Handshakes) -> anyhow::Result<Act> {
        let config = match handshakes {
            Handshakes::Full => self.tls.forgetful()?,
            Handshakes::Resumed => self.tls.resuming()?,
        };
        let client = Client {
            server: self.server,
            name: self.name.clone(),
            config: Arc::new(config),
            request: Arc::clone(&self.request),
            body: Arc::clone(&self.body),
        };
        let kind = match handshakes {
            Handshakes::Full => HandshakeKind::Full,
            Handshakes::Resumed => {
                client.ask(HandshakeKind::Full)?;
                HandshakeKind::Resumed
            }
        };
        Ok(Box::new(move || client.ask(kind)))
    }
}

struct Client {
    server: SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    request: Arc<[u8]>,
    body: Arc<[u8]>,
}

impl Client {
    /// Connects, sends one request, and closes in order.
    fn ask(&self, kind: HandshakeKind) -> anyhow::Result<()> {
        let mut connection = Connection::establish(self.server, &self.config, self.name.clone())?;
        let found = connection.handshake();
        ensure!(found == Some(kind), "a handshake that is {found:?}, not {kind:?}");
        connection.send(&self.request)?;
        let mut received = Vec::with_capacity(self.body.len() + 1024);
        while !is_whole(&received, &self.body)? {
            connection.receive(&mut received)?;
        }
        connection.close()
    }
}

/// Whether the answer is complete; fails if it is not the expected one.
fn is_whole(received: &[u8], body: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, found) = (&received[..end], &received[end + 4..]);
    let shown = String::from_utf8_lossy(head);
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "an answer that is not 200: {shown}");
    let length = shown.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>())
    });
    match length {
        Some(Ok(length)) if length == body.len() => {}
        _ => bail!("an answer without the length of the body, {}: {shown}", body.len()),
    }
    ensure!(
        found.len() < body.len() || found == body,
        "a body that is not the expected one: {}",
        String::from_utf8_lossy(found)
    );
    Ok(found.len() == body.len())
}
