//! A connection to a TLS listener, from accept to a finished handshake.
//!
//! The ClientHello is read whole under one deadline before anything is sent; the certificate comes
//! from the snapshot that permitted the name.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::Acceptor;
use rustls::{CipherSuite, ProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::hello::{HelloReader, Progress};
use super::{Accepted, Connection, HttpVersion, Named, Opened, Port, refuse};
use crate::config::{Limits, RefusalMode};
use crate::edge::Edge;
use crate::gate::{Permit, Refusal};
use crate::net::edge_stream::EdgeStream;
use crate::net::tls_stream::ServerStream;
use crate::net::transport::Transport;
use crate::tls::Certificate;

/// How much is read at once: most hellos come whole in one segment.
pub(super) const READ_BYTES: usize = 4096;

/// A client whose name is permitted, and what TLS goes on with.
#[derive(Debug)]
pub(super) struct Greeting {
    permit: Permit,
    certificate: Arc<Certificate>,
    /// The hello, and what came after it.
    records: Vec<u8>,
}

/// What the bytes of a client come to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// More are to come.
    Wanting,
    /// The gate permits the name.
    Permitted(Greeting),
    /// It does not, or there is no hello.
    Refused(Refused),
}

/// A refusal, and how it is shown.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// What was asked for, as far as it was said.
    pub(super) server_name: Option<Arc<str>>,
    pub(super) mode: RefusalMode,
}

impl From<Refusal> for Refused {
    /// Of what is no hello: reset in every mode.
    fn from(refusal: Refusal) -> Self {
        Self { refusal, server_name: None, mode: RefusalMode::Reset }
    }
}

/// Judges the next `bytes` of a client of `port`; a refusal is shown as `mode` says.
pub(super) fn judge(
    edge: &Edge,
    port: &Port,
    mode: RefusalMode,
    reader: &mut HelloReader,
    bytes: &[u8],
) -> Verdict {
    let hello = match reader.advance(bytes) {
        Progress::Wanting => return Verdict::Wanting,
        Progress::Refused(refusal) => return Verdict::Refused(refusal.into()),
        Progress::Whole(hello) => hello,
    };
    let snapshot = edge.snapshots.load();
    let permit = hello.host.and_then(|host| snapshot.decide(&port.listener, &host, edge.moment()));
    let certified = permit.and_then(|permit| {
        let certificate = snapshot.certificate(permit.site()).ok_or(Refusal::NoCertificate)?;
        Ok((permit, Arc::clone(certificate)))
    });
    match certified {
        Ok((permit, certificate)) => {
            let records = std::mem::take(reader).into_records(bytes).into_owned();
            Verdict::Permitted(Greeting { permit, certificate, records })
        }
        Err(refusal) => Verdict::Refused(Refused { refusal, server_name: hello.shown, mode }),
    }
}

/// Waits for the rest of a hello, one deadline for all of it, and for the handshake of a permitted name;
/// anything else is refused, counted and recorded.
pub(super) async fn establish(
    mut accepted: Accepted,
    limits: &Limits,
    mode: RefusalMode,
    reader: HelloReader,
) -> Option<Connection> {
    let deadline = accepted.began + limits.client_hello_timeout;
    match timeout_at(deadline, hello(&mut accepted, mode, reader)).await {
        Ok(Some(Verdict::Permitted(greeting))) => handshake(accepted, limits, greeting).await,
        Ok(Some(Verdict::Refused(refused))) => refuse(accepted, refused).await,
        Ok(None | Some(Verdict::Wanting)) => {
            accepted.count_empty();
            None
        }
        Err(_) => refuse(accepted, Refusal::HelloTimeout.into()).await,
    }
}

/// Reads on until there is a verdict; `None` when the connection ends before its first byte.
async fn hello(accepted: &mut Accepted, mode: RefusalMode, mut reader: HelloReader) -> Option<Verdict> {
    let mut chunk = [0; READ_BYTES];
    loop {
        let read = match accepted.socket.read(&mut chunk).await {
            Ok(0) | Err(_) if !reader.has_begun() => return None,
            Ok(0) | Err(_) => return Some(Verdict::Refused(Refusal::BadHello.into())),
            Ok(read) => read,
        };
        match judge(&accepted.edge, &accepted.port, mode, &mut reader, &chunk[..read]) {
            Verdict::Wanting => {}
            verdict => return Some(verdict),
        }
    }
}

/// Shakes hands with the certificate of the snapshot that permitted the name.
pub(super) async fn handshake(accepted: Accepted, limits: &Limits, greeting: Greeting) -> Option<Connection> {
    let Greeting { permit, certificate, records } = greeting;
    let Some(start) = accept(&records) else {
        let server_name = Some(permit.host().shared());
        let refused = Refused { refusal: Refusal::BadHello, server_name, mode: RefusalMode::Reset };
        return refuse(accepted, refused).await;
    };
    drop(records);
    let facts = accepted.facts();
    let Accepted { edge, socket, ends, admitted, .. } = accepted;
    let handshake = ServerStream::accept(start, Arc::clone(&certificate.server), socket);
    // The name was permitted: what fails from here on is between the client and TLS, and says so there.
    let stream = tokio::time::timeout(limits.handshake_timeout, handshake).await.ok()?.ok()?;
    let session = stream.session();
    if session.server_name() != Some(permit.host().as_str()) {
        return None;
    }
    let protocol =
        if session.alpn_protocol() == Some(b"h2") { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let facts = crate::access::record::ConnectionFacts {
        server_name: Some(permit.host().shared()),
        tls_version: session.protocol_version().and_then(version_name),
        tls_cipher: session.negotiated_cipher_suite().and_then(|suite| cipher_name(suite.suite())),
        ..facts
    };
    Some(Connection {
        edge,
        opened: Arc::new(Opened {
            facts: Arc::new(facts),
            client: ends.client,
            host: permit.host().clone(),
            coverage: Some(Arc::clone(&certificate.coverage)),
        }),
        stream: Box::new(EdgeStream::new(Transport::Server(Box::new(stream)), BytesMut::new())),
        protocol,
        admitted,
    })
}

/// Gives the hello to rustls; `None` when it takes it for malformed.
fn accept(mut bytes: &[u8]) -> Option<rustls::server::Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        let read = acceptor.read_tls(&mut bytes).ok()?;
        match acceptor.accept() {
            Ok(Some(accepted)) if bytes.is_empty() => return Some(accepted),
            // A client has nothing to say between its hello and the answer to it but early data,
            // which is not offered.
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) if read == 0 => return None,
            Ok(None) => {}
        }
    }
}

fn version_name(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

/// The name in IANA's registry; rustls marks those of TLS 1.3 with a name of its own.
fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

/// Records a refusal, and ends the connection.
pub(super) async fn refuse(accepted: Accepted, refused: Refused) -> Option<Connection> {
    let Refused { refusal, server_name, mode } = refused;
    accepted.record_refusal(refusal, Named { server_name, host: None });
    refuse::refuse(accepted.socket, mode).await;
    None
}
