//! A connection to a clear-text listener: its first head is read, then it may send requests or is reset.
//!
//! Nothing is sent before the gate has permitted the host; the one exception is the answer to a
//! configured load balancer's probe.

use std::sync::Arc;

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use super::head::{self, Head};
use super::{Accepted, Connection, HttpVersion, Named, Opened, refuse};
use crate::access::record::RequestFacts;
use crate::access::texts::RequestTexts;
use crate::access::{AccessRecord, Event};
use crate::config::{HealthCheck, Limits};
use crate::gate::Refusal;
use crate::message::fields::EndOfHead;
use crate::net::edge_stream::EdgeStream;
use crate::net::transport::Transport;

/// Reads the first head. The connection comes back, the head still to be read, when the gate permits
/// its host.
pub async fn establish(
    mut accepted: Accepted,
    limits: Limits,
    health_check: Option<&HealthCheck>,
) -> Option<Connection> {
    let deadline = accepted.began + limits.request_head_timeout;
    let mut bytes = BytesMut::new();
    let mut end = EndOfHead::default();
    let length = loop {
        if bytes.len() >= limits.request_head_bytes {
            return refused(accepted, Refusal::BadHead, None);
        }
        let room = limits.request_head_bytes - bytes.len();
        let mut limited = (&mut accepted.socket).take(room as u64);
        match timeout_at(deadline, limited.read_buf(&mut bytes)).await {
            Err(_) => return refused(accepted, Refusal::HeadTimeout, None),
            Ok(Ok(0)) | Ok(Err(_)) if bytes.is_empty() => {
                accepted.count_empty();
                return None;
            }
            Ok(Ok(0)) | Ok(Err(_)) => return refused(accepted, Refusal::BadHead, None),
            Ok(Ok(_)) => {}
        }
        // A method is made of letters; whatever begins otherwise, TLS above all, need not be awaited.
        if !bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"\r\n".contains(byte)) {
            return refused(accepted, Refusal::BadHead, None);
        }
        if let Some(length) = end.find(&bytes) {
            break length;
        }
    };
    let head = match head::parse(&bytes[..length]) {
        Ok(head) => head,
        Err(refusal) => return refused(accepted, refusal, None),
    };
    let client = accepted.ends.client.ip();
    if health_check.is_some_and(|check| check.is_asked(head.path().as_bytes(), client)) {
        answer_probe(accepted, &head).await;
        return None;
    }
    let permit = head.host.and_then(|host| {
        accepted.edge.snapshots.load().decide(&accepted.port.listener, &host, accepted.edge.moment())
    });
    let permit = match permit {
        Ok(permit) => permit,
        Err(refusal) => return refused(accepted, refusal, head.shown),
    };
    let facts = Arc::new(accepted.facts());
    let Accepted { edge, socket, ends, admitted, .. } = accepted;
    Some(Connection {
        edge,
        opened: Arc::new(Opened { facts, client: ends.client, host: permit.host().clone(), coverage: None }),
        stream: Box::new(EdgeStream::new(Transport::Tcp(socket), bytes)),
        protocol: HttpVersion::Http1,
        admitted,
    })
}

/// Answers a probe, records it, and ends the connection.
async fn answer_probe(accepted: Accepted, head: &Head) {
    let edge = Arc::clone(&accepted.edge);
    let slot = edge.recorder.reserve().ok();
    let status =
        if edge.is_draining() || slot.is_none() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let connection = Arc::new(accepted.facts());
    let (client, began) = (accepted.ends.client, accepted.began);
    let record = AccessRecord {
        time: edge.clock.now(),
        event: Event::Request,
        reason: None,
        count: 1,
        connection,
        generation: edge.snapshots.load().generation,
        request_id: None,
        client,
        host: head.shown.as_deref().map(Arc::from),
        protocol: Some(head.version),
        request: Some(RequestFacts {
            status: Some(status.as_u16()),
            duration: began.elapsed(),
            ..RequestFacts::default()
        }),
        upstream: None,
    };
    // Kept first: a client may take its time to close, and the program may end meanwhile.
    if let Some(slot) = slot {
        let sent = RequestTexts {
            method: head.method.as_str().as_bytes(),
            path: head.path().as_bytes(),
            user_agent: head.user_agent.as_deref().unwrap_or_default().as_bytes(),
            ..RequestTexts::default()
        };
        slot.keep(record, &sent);
    }
    refuse::finish(accepted.socket, refuse::last_answer(status, "", "").as_bytes()).await;
}

fn refused(accepted: Accepted, refusal: Refusal, host: Option<String>) -> Option<Connection> {
    accepted.record_refusal(refusal, Named { server_name: None, host: host.map(Arc::from) });
    refuse::reset(&accepted.socket);
    None
}
