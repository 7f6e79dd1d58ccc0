//! TLS connections, from accept to a finished handshake.
//!
//! The ClientHello is read completely, under one deadline, before anything is sent. The certificate comes
//! from the snapshot that permitted the name.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::Acceptor;
use rustls::{CipherSuite, ProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::hello::{HelloProgress, HelloReader, Offer};
use super::refuse::Farewell;
use super::{Accepted, Connection, Established, HttpVersion, NamedHost, refuse};
use crate::config::{Limits, RefusalMode};
use crate::edge::Edge;
use crate::gate::{self, ListenerId, Permit, Refusal};
use crate::net::http2_stream::Http2Stream;
use crate::net::tls_stream::ServerStream;
use crate::net::transport::Transport;
use crate::snapshot::Snapshot;
use crate::tls::Certificate;

/// Bytes per read: most ClientHellos arrive in one segment.
pub(super) const READ_BYTES: usize = 4096;

/// A permitted ClientHello with what the handshake needs.
#[derive(Debug)]
pub(super) struct PermittedHello {
    permit: Permit,
    certificate: Arc<Certificate>,
    /// The ClientHello and the bytes after it.
    records: Vec<u8>,
}

/// The verdict on a client's bytes so far.
#[derive(Debug)]
pub(super) enum HelloVerdict {
    Wanting,
    Permitted(PermittedHello),
    /// The gate refuses the name, or the bytes are no ClientHello.
    Refused(HelloRefusal),
}

/// A refusal and how to carry it out.
#[derive(Debug)]
pub(super) struct HelloRefusal {
    pub(super) refusal: Refusal,
    /// The requested name, if it was sent.
    pub(super) server_name: Option<Arc<str>>,
    pub(super) farewell: Farewell,
}

impl From<Refusal> for HelloRefusal {
    /// For bytes that are no ClientHello: reset in every mode.
    fn from(refusal: Refusal) -> Self {
        Self { refusal, server_name: None, farewell: Farewell::Configured(RefusalMode::Reset) }
    }
}

/// Judges the next `bytes` of a client; refusals are carried out in `mode`.
pub(super) fn judge(
    edge: &Edge,
    snapshot: &Snapshot,
    listener: Option<ListenerId>,
    mode: RefusalMode,
    reader: &mut HelloReader,
    bytes: &[u8],
) -> HelloVerdict {
    let hello = match reader.advance(bytes) {
        HelloProgress::Wanting => return HelloVerdict::Wanting,
        HelloProgress::Refused(refusal) => return HelloVerdict::Refused(refusal.into()),
        HelloProgress::Whole(hello) => hello,
    };
    let permit = hello.host.and_then(|host| {
        gate::decide(&snapshot.gate, listener.ok_or(Refusal::NoSite)?, &host, edge.moment())
    });
    let certified = permit.and_then(|permit| {
        let certificate = snapshot.certificate(permit.site()).ok_or(Refusal::NoCertificate)?;
        Ok((permit, Arc::clone(certificate)))
    });
    match (certified, hello.offer) {
        (Ok(_), Offer::Old { minor }) => HelloVerdict::Refused(HelloRefusal {
            refusal: Refusal::TlsVersion,
            server_name: hello.shown,
            farewell: Farewell::OldVersion { minor },
        }),
        (Ok((permit, certificate)), Offer::Modern) => {
            let records = std::mem::take(reader).into_records(bytes).into_owned();
            HelloVerdict::Permitted(PermittedHello { permit, certificate, records })
        }
        (Err(refusal), _) => {
            let farewell = Farewell::Configured(mode);
            HelloVerdict::Refused(HelloRefusal { refusal, server_name: hello.shown, farewell })
        }
    }
}

/// Reads the rest of a ClientHello under one deadline and performs the handshake if the name is permitted.
/// All other connections are refused, counted and recorded.
pub(super) async fn establish(
    mut accepted: Accepted,
    limits: &Limits,
    mode: RefusalMode,
    reader: HelloReader,
) -> Option<Connection> {
    let deadline = accepted.began + limits.client_hello_timeout;
    match timeout_at(deadline, hello(&mut accepted, mode, reader)).await {
        Ok(Some(HelloVerdict::Permitted(greeting))) => handshake(accepted, limits, greeting).await,
        Ok(Some(HelloVerdict::Refused(refused))) => refuse(accepted, refused).await,
        Ok(None | Some(HelloVerdict::Wanting)) => {
            accepted.count_empty();
            None
        }
        Err(_) => refuse(accepted, Refusal::HelloTimeout.into()).await,
    }
}

/// Reads until there is a verdict; `None` if the connection ends before its first byte.
async fn hello(accepted: &mut Accepted, mode: RefusalMode, mut reader: HelloReader) -> Option<HelloVerdict> {
    let mut chunk = [0; READ_BYTES];
    loop {
        let read = match accepted.socket.read(&mut chunk).await {
            Ok(0) | Err(_) if !reader.has_begun() => return None,
            Ok(0) | Err(_) => return Some(HelloVerdict::Refused(Refusal::BadHello.into())),
            Ok(read) => read,
        };
        let Accepted { edge, port, .. } = &*accepted;
        let snapshot = edge.snapshots.load();
        match judge(edge, &snapshot, snapshot.listener(&port.listener), mode, &mut reader, &chunk[..read]) {
            HelloVerdict::Wanting => {}
            verdict => return Some(verdict),
        }
    }
}

/// Performs the handshake with the certificate of the snapshot that permitted the name.
pub(super) async fn handshake(
    accepted: Accepted,
    limits: &Limits,
    greeting: PermittedHello,
) -> Option<Connection> {
    let PermittedHello { permit, certificate, records } = greeting;
    let Some(start) = accept(&records) else {
        let server_name = Some(permit.host().shared());
        let refused = HelloRefusal { server_name, ..Refusal::BadHello.into() };
        return refuse(accepted, refused).await;
    };
    drop(records);
    let facts = accepted.facts();
    let Accepted { edge, socket, endpoints, port, admitted, .. } = accepted;
    let handshake = ServerStream::accept(start, Arc::clone(&certificate.server), socket);
    // The name was permitted: TLS itself tells the client what fails from here on.
    let outcome = tokio::time::timeout(limits.handshake_timeout, handshake).await;
    let is_for_permit =
        |stream: &ServerStream| stream.session().server_name() == Some(permit.host().as_str());
    let Some(stream) = outcome.ok().and_then(Result::ok).filter(is_for_permit) else {
        let named = NamedHost { server_name: Some(permit.host().shared()), host: None };
        port.refused(&edge, Refusal::Handshake, endpoints, named);
        return None;
    };
    let session = stream.session();
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
        established: Arc::new(Established {
            port,
            facts: Arc::new(facts),
            client: endpoints.client,
            uses: admitted.uses(),
            presence: admitted.presence(),
            host: Some(permit.host().clone()),
            coverage: Some(Arc::clone(&certificate.coverage)),
        }),
        stream: Box::new(Http2Stream::new(Transport::Server(Box::new(stream)), BytesMut::new())),
        protocol,
        first: None,
        admitted,
    })
}

/// Passes the ClientHello to rustls; `None` if rustls rejects it.
fn accept(mut bytes: &[u8]) -> Option<rustls::server::Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        let read = acceptor.read_tls(&mut bytes).ok()?;
        match acceptor.accept() {
            Ok(Some(accepted)) if bytes.is_empty() => return Some(accepted),
            // Between ClientHello and ServerHello a client may send only early data, which is not offered.
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

/// The name in IANA's registry; rustls has its own names for the suites of TLS 1.3.
fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

/// Records a refusal and closes the connection.
pub(super) async fn refuse(accepted: Accepted, refused: HelloRefusal) -> Option<Connection> {
    let HelloRefusal { refusal, server_name, farewell } = refused;
    accepted.record_refusal(refusal, NamedHost { server_name, host: None });
    refuse::refuse(accepted.socket, farewell).await;
    None
}
