//! A connection to a clear-text listener: its head is read, then it is redirected, served or reset.
//!
//! Nothing is sent before the gate has permitted the host; the one exception is the answer to a
//! configured load balancer's probe.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::downstream::{EdgeStream, Transport};
use super::head::{self, EndOfHead, Head};
use super::{Accepted, Connection, HttpVersion, Named, Opened, refuse};
use crate::access::{AccessRecord, Event, record::RequestFacts};
use crate::config::{HealthCheck, Limits, Redirect};
use crate::gate::{Permit, Refusal};
use crate::metrics::status_class;
use crate::snapshot::Snapshot;

/// What a clear-text listener does with permitted requests.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Redirect them, or serve them.
    pub redirect: Redirect,
    /// A load balancer's probe.
    pub health_check: Option<HealthCheck>,
}

/// Reads the first head. The connection comes back when it is to be served.
pub async fn establish(mut accepted: Accepted, limits: Limits, policy: Policy) -> Option<Connection> {
    let began = Instant::now();
    let deadline = began + limits.request_head_timeout;
    let mut bytes = BytesMut::new();
    let mut end = EndOfHead::default();
    let length = loop {
        if bytes.len() >= limits.request_head_bytes {
            return refused(accepted, Refusal::BadHead, None);
        }
        let room = limits.request_head_bytes - bytes.len();
        let mut limited = (&mut accepted.socket).take(room as u64);
        match timeout_at(deadline, limited.read_buf(&mut bytes)).await {
            Err(_) if bytes.is_empty() => return refused(accepted, Refusal::HeadTimeout, None),
            Err(_) => return refused(accepted, Refusal::HeadTimeout, None),
            Ok(Ok(0)) | Ok(Err(_)) if bytes.is_empty() => {
                let listener = [&*accepted.listener];
                accepted.edge.metrics.connections_empty.with_label_values(&listener).inc();
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
    if let Some(check) = &policy.health_check
        && is_probe(check, &head, &accepted)
    {
        let status = if accepted.edge.is_draining() { 503 } else { 200 };
        answer(accepted, None, head, status, "", began).await;
        return None;
    }
    let snapshot = accepted.edge.snapshots.load_full();
    let permit =
        head.host.clone().and_then(|host| snapshot.decide(&accepted.listener, &host, accepted.edge.moment()));
    let permit = match permit {
        Ok(permit) => permit,
        Err(refusal) => return refused(accepted, refusal, head.shown),
    };
    if policy.redirect == Redirect::Https {
        let location = format!("Location: https://{}{}\r\n", permit.host(), head.target);
        answer(accepted, Some((&snapshot, &permit)), head, 308, &location, began).await;
        return None;
    }
    let facts = Arc::new(accepted.facts());
    let Accepted { edge, socket, admitted, .. } = accepted;
    Some(Connection {
        edge,
        opened: Arc::new(Opened { facts, host: permit.host().clone(), coverage: None }),
        stream: Box::new(EdgeStream::new(Transport::Tcp(socket), bytes)),
        protocol: HttpVersion::Http1,
        admitted,
    })
}

fn is_probe(check: &HealthCheck, head: &Head, accepted: &Accepted) -> bool {
    let path = head.target.split('?').next();
    let peer = accepted.peer.ip().to_canonical();
    path == Some(check.path.as_str()) && check.from.iter().any(|net| net.contains(&peer))
}

/// Answers without an origin, records it, and ends the connection.
async fn answer(
    accepted: Accepted,
    permitted: Option<(&Snapshot, &Permit)>,
    head: Head,
    mut status: u16,
    mut header: &str,
    began: Instant,
) {
    let slot = accepted.edge.recorder.reserve().ok();
    if slot.is_none() {
        // The store is full, and nothing may go unrecorded.
        (status, header) = (503, "");
    }
    let reason = match status {
        200 => "OK",
        308 => "Permanent Redirect",
        _ => "Service Unavailable",
    };
    let bytes =
        format!("HTTP/1.1 {status} {reason}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
    let edge = Arc::clone(&accepted.edge);
    let facts = Arc::new(accepted.facts());
    let peer = accepted.peer;
    refuse::finish(accepted.socket, bytes.as_bytes()).await;

    let snapshot = edge.snapshots.load_full();
    let site = permitted
        .and_then(|(snapshot, permit)| snapshot.site(permit.site()))
        .map(|site| Arc::clone(&site.name));
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, Some(Arc::from(&*snapshot.redaction.redact(query)))),
        None => (head.target.as_str(), None),
    };
    if let Some(site) = &site {
        edge.metrics.requests.with_label_values(&[&**site, status_class(Some(status))]).inc();
        edge.metrics.request_duration.observe(began.elapsed().as_secs_f64());
    }
    let record = AccessRecord {
        time: edge.clock.now(),
        event: Event::Request,
        reason: None,
        count: None,
        connection: facts,
        generation: snapshot.generation,
        request_id: None,
        client: peer,
        server_name: None,
        host: permitted.map(|(_, permit)| permit.host().shared()).or(head.shown.map(Arc::from)),
        protocol: Some(head.protocol),
        request: Some(RequestFacts {
            method: Some(Arc::from(head.method.as_str())),
            path: Some(Arc::from(path)),
            query,
            status: Some(status),
            duration: began.elapsed(),
            referer: head.referer.map(Arc::from),
            user_agent: head.user_agent.map(Arc::from),
            icp_number: permitted
                .and_then(|(_, permit)| permit.filing().number.as_ref())
                .map(|number| number.shared()),
            site,
            ..RequestFacts::default()
        }),
        upstream: None,
    };
    if let Some(slot) = slot {
        slot.keep(record);
    }
}

fn refused(accepted: Accepted, refusal: Refusal, host: Option<String>) -> Option<Connection> {
    accepted.record_refusal(refusal, Named { server_name: None, host });
    refuse::reset(&accepted.socket);
    None
}
