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
use tokio_rustls::StartHandshake;

use super::downstream::EdgeStream;
use super::hello::{Hello, HelloReader, Progress};
use super::transport::Transport;
use super::{Accepted, Connection, HttpVersion, Named, Opened, refuse};
use crate::config::{Limits, RefusalMode};
use crate::gate::{Permit, Refusal};
use crate::snapshot::Snapshot;

/// How much is read at once: most hellos come whole in one segment.
const READ_BYTES: usize = 4096;

/// Establishes TLS for a permitted name; anything else is refused, counted and recorded.
pub async fn establish(mut accepted: Accepted, limits: Limits, mode: RefusalMode) -> Option<Connection> {
    let deadline = accepted.began + limits.client_hello_timeout;
    let mut reader = HelloReader::default();
    let mut chunk = [0; READ_BYTES];
    let mut begun = false;
    let (hello, rest) = loop {
        let read = match timeout_at(deadline, accepted.socket.read(&mut chunk)).await {
            Err(_) => return refused(accepted, Refusal::HelloTimeout, None, RefusalMode::Reset).await,
            Ok(Ok(0)) | Ok(Err(_)) if !begun => {
                accepted.count_empty();
                return None;
            }
            Ok(Ok(0)) | Ok(Err(_)) => {
                return refused(accepted, Refusal::BadHello, None, RefusalMode::Reset).await;
            }
            Ok(Ok(read)) => read,
        };
        begun = true;
        match reader.advance(&chunk[..read]) {
            Progress::Wanting => {}
            Progress::Whole(hello) => break (hello, &chunk[read - reader.unread()..read]),
            Progress::Refused(refusal) => return refused(accepted, refusal, None, RefusalMode::Reset).await,
        }
    };
    let snapshot = accepted.edge.snapshots.load_full();
    let permit = match permit(&accepted, &snapshot, &hello) {
        Ok(permit) => permit,
        Err(refusal) => return refused(accepted, refusal, hello.shown, mode).await,
    };
    let Some(certificate) = snapshot.certificate(permit.site()) else {
        return refused(accepted, Refusal::NoCertificate, hello.shown, mode).await;
    };
    let mut bytes = reader.into_records();
    bytes.extend_from_slice(rest);
    let Some(start) = accept(&bytes) else {
        return refused(accepted, Refusal::BadHello, hello.shown, RefusalMode::Reset).await;
    };
    let facts = accepted.facts();
    let Accepted { edge, socket, ends, admitted, .. } = accepted;
    let handshake = StartHandshake::from_parts(start, socket).into_stream(Arc::clone(&certificate.server));
    // The name was permitted: what fails from here on is between the client and TLS, and says so there.
    let stream = tokio::time::timeout(limits.handshake_timeout, handshake).await.ok()?.ok()?;
    let session = stream.get_ref().1;
    if session.server_name() != Some(permit.host().as_str()) {
        return None;
    }
    let protocol =
        if session.alpn_protocol() == Some(b"h2") { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let facts = crate::access::record::ConnectionFacts {
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

fn permit(accepted: &Accepted, snapshot: &Snapshot, hello: &Hello) -> Result<Permit, Refusal> {
    let host = hello.host.as_ref().map_err(|refusal| *refusal)?;
    snapshot.decide(&accepted.listener, host, accepted.edge.moment())
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

async fn refused(
    accepted: Accepted,
    refusal: Refusal,
    server_name: Option<String>,
    mode: RefusalMode,
) -> Option<Connection> {
    accepted.record_refusal(refusal, Named { server_name, host: None });
    refuse::refuse(accepted.socket, mode).await;
    None
}
