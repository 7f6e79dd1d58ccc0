//! A ClientHello with an unfiled name, read to the end of the connection.
//!
//! A refusal is an alert, a reset or a silent close.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::Act;

/// The content type of an alert.
const ALERT: u8 = 21;

/// The ClientHello of all clients.
#[derive(Debug)]
pub(crate) struct Refusal {
    server: SocketAddr,
    hello: Arc<[u8]>,
}

impl Refusal {
    pub(crate) fn new(server: SocketAddr, hello: impl AsRef<Path>) -> anyhow::Result<Self> {
        let hello = hello.as_ref();
        let bytes = std::fs::read(hello).with_context(|| hello.display().to_string())?;
        Ok(Self { server, hello: bytes.into() })
    }

    pub(crate) fn client(&self) -> Act {
        let (server, hello) = (self.server, Arc::clone(&self.hello));
        Box::new(move || ask(server, &hello))
    }
}

fn ask(server: SocketAddr, hello: &[u8]) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(server).context("connecting")?;
    socket.write_all(hello).context("sending the ClientHello")?;
    let mut some = [0; 4096];
    loop {
        match socket.read(&mut some) {
            Ok(0) => return Ok(()),
            Ok(count) => only_alerts(&some[..count])?,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("waiting for the end"),
        }
    }
}

/// Fails unless the bytes are whole alert records. They are few and arrive in one piece.
fn only_alerts(mut received: &[u8]) -> anyhow::Result<()> {
    while !received.is_empty() {
        let [ALERT, _, _, high, low, rest @ ..] = received else {
            bail!("an unfiled name is answered: {received:02x?}");
        };
        let Some(after) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else {
            bail!("an alert that is not whole: {received:02x?}");
        };
        received = after;
    }
    Ok(())
}
