//! Clear-text connections: the first request head is read and judged; the connection may then send requests
//! or is reset.
//!
//! No byte is sent before the gate has permitted the host. The one exception is the response to a configured
//! load balancer's probe.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::requested_host::{host_as_sent, requested_host};
use super::{Accepted, Connection, Established, HttpVersion, NamedHost, refuse};
use crate::config::{HealthCheck, Limits};
use crate::gate::Refusal;
use crate::message::RequestHead;
use crate::message::fields::EndOfHead;
use crate::message::request::{self, NoRequest, Request};
use crate::net::http2_stream::Http2Stream;
use crate::net::transport::Transport;

/// Reads and parses the first request head. Returns the connection with it if the gate permits its host, or
/// if it is a probe for `health_check`.
pub async fn establish(
    mut accepted: Accepted,
    limits: Limits,
    health_check: Option<&HealthCheck>,
) -> Option<Connection> {
    let mut bytes = BytesMut::new();
    let head = match read_head(&mut accepted, &limits, &mut bytes).await {
        Ok(Some(head)) => head,
        Ok(None) => {
            accepted.count_empty();
            return None;
        }
        Err(refusal) => return refused(accepted, refusal, None),
    };
    let first = request::parse(&head);
    let Some(head) = named_once(&first) else { return refused(accepted, Refusal::BadHead, None) };
    let host = if health_check.is_some_and(|check| is_probe(check, &first, &accepted)) {
        None
    } else {
        let permit = requested_host(head, None).and_then(|host| {
            let Accepted { edge, port, .. } = &accepted;
            edge.snapshots.load().decide(&port.listener, &host, edge.moment())
        });
        match permit {
            Ok(permit) => Some(permit.host().clone()),
            Err(refusal) => return refused(accepted, refusal, host_as_sent(head)),
        }
    };
    let facts = Arc::new(accepted.facts());
    let Accepted { edge, socket, endpoints, port, admitted, .. } = accepted;
    Some(Connection {
        edge,
        established: Arc::new(Established {
            port,
            facts,
            client: endpoints.client,
            uses: admitted.uses(),
            presence: admitted.presence(),
            host,
            coverage: None,
        }),
        stream: Box::new(Http2Stream::new(Transport::Tcp(socket), bytes)),
        protocol: HttpVersion::Http1,
        first: Some(Box::new(first)),
        admitted,
    })
}

/// Reads a complete head, leaving what follows in `bytes`; `None` if the connection ends before its first
/// byte.
async fn read_head(
    accepted: &mut Accepted,
    limits: &Limits,
    bytes: &mut BytesMut,
) -> Result<Option<Bytes>, Refusal> {
    let deadline = accepted.began + limits.request_head_timeout;
    let mut end = EndOfHead::default();
    loop {
        if bytes.len() >= limits.request_head_bytes {
            return Err(Refusal::BadHead);
        }
        let room = limits.request_head_bytes - bytes.len();
        let mut limited = (&mut accepted.socket).take(room as u64);
        match timeout_at(deadline, limited.read_buf(bytes)).await {
            Err(_) => return Err(Refusal::HeadTimeout),
            Ok(Ok(0) | Err(_)) if bytes.is_empty() => return Ok(None),
            Ok(Ok(0) | Err(_)) => return Err(Refusal::BadHead),
            Ok(Ok(_)) => {}
        }
        // A method starts with a letter. Anything else, such as TLS, is refused at once.
        if !bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"\r\n".contains(byte)) {
            return Err(Refusal::BadHead);
        }
        if let Some(length) = end.find(bytes) {
            return Ok(Some(bytes.split_to(length).freeze()));
        }
    }
}

/// The head, if the request may be answered with 400 at worst. Bytes that cannot be parsed, and heads with
/// two `host` fields, are reset.
fn named_once(first: &Result<Request, NoRequest>) -> Option<&RequestHead> {
    let head = match first {
        Ok(request) => &request.head,
        Err(no_request) => no_request.head.as_deref()?,
    };
    (head.headers.get_all(header::HOST).iter().count() < 2).then_some(head)
}

fn is_probe(check: &HealthCheck, first: &Result<Request, NoRequest>, accepted: &Accepted) -> bool {
    first.as_ref().is_ok_and(|request| check.is_asked(request.head.path(), accepted.endpoints.client.ip()))
}

fn refused(accepted: Accepted, refusal: Refusal, host: Option<Arc<str>>) -> Option<Connection> {
    accepted.record_refusal(refusal, NamedHost { server_name: None, host });
    refuse::reset(&accepted.socket);
    None
}
