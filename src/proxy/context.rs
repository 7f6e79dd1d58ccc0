//! What is known of an exchange while it goes on, and the record that it leaves.
//!
//! The record is handed over when the value is dropped: exactly once, however the exchange ends.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use tokio::time::Instant;

use crate::access::fields::ShownId;
use crate::access::record::{Reached, RequestFacts, UpstreamFacts};
use crate::access::redact::redact_userinfo;
use crate::access::texts::{NAME_BYTES, Text};
use crate::access::{AccessRecord, Event, QueryRedaction, RequestId, RequestTexts};
use crate::clock::Moment;
use crate::config::Listener;
use crate::gate::{Permit, SiteId};
use crate::listen::{Edge, Opened};
use crate::message::RequestHead;
use crate::metrics::{Counted, status_class};
use crate::retention::{Slot, UNRECORDED};
use crate::snapshot::Snapshot;

/// The longest request id that is believed, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// An exchange, as far as it has come.
pub(super) struct RequestContext {
    edge: Arc<Edge>,
    opened: Arc<Opened>,
    began: Instant,
    /// When its head was there.
    pub(super) moment: Moment,
    slot: Option<Slot>,
    site: Option<SiteId>,
    /// Whether whoever opened the connection is a trusted proxy.
    pub(super) proxy_is_trusted: bool,
    /// Its record, as far as that is known.
    pub(super) record: AccessRecord,
    /// What goes with that.
    texts: RequestTexts,
}

impl RequestContext {
    /// Begins with the head of a request.
    pub(super) fn begin(
        edge: &Arc<Edge>,
        opened: &Arc<Opened>,
        snapshot: &Snapshot,
        head: &RequestHead,
    ) -> Self {
        let mut context = Self::of_nothing(edge, opened, snapshot, head.version);
        let listener = snapshot.listener(&opened.facts.listener).and_then(|id| snapshot.listener_config(id));
        context.proxy_is_trusted = listener.is_some_and(|listener| is_trusted(listener, opened.client.ip()));
        if context.proxy_is_trusted {
            let trusted = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
            if let Some(client) =
                forwarded_client(&head.headers, |ip| trusted.iter().any(|net| net.contains(&ip)))
            {
                context.record.client = SocketAddr::new(client, 0);
            }
            if let Some(id) = believable_id(&head.headers) {
                context.record.request_id = Some(id);
            }
        }
        if !UNRECORDED {
            context.texts = texts(head, &snapshot.redaction);
        }
        context
    }

    /// An exchange whose head could not be read.
    pub(super) fn of_nothing(
        edge: &Arc<Edge>,
        opened: &Arc<Opened>,
        snapshot: &Snapshot,
        version: Version,
    ) -> Self {
        let moment = edge.moment();
        Self {
            edge: Arc::clone(edge),
            opened: Arc::clone(opened),
            began: Instant::now(),
            moment,
            slot: edge.recorder.reserve().ok(),
            site: None,
            proxy_is_trusted: false,
            record: AccessRecord {
                time: moment.now,
                event: Event::Request,
                reason: None,
                count: 1,
                connection: Arc::clone(&opened.facts),
                generation: snapshot.generation,
                request_id: Some(opened.facts.ids.next()),
                client: opened.client,
                host: None,
                protocol: Some(version),
                request: Some(RequestFacts::default()),
                upstream: None,
            },
            texts: RequestTexts::default(),
        }
    }

    /// What the record says of the exchange itself.
    pub(super) fn facts(&mut self) -> &mut RequestFacts {
        self.record.request.get_or_insert_default()
    }

    /// The id of the exchange.
    pub(super) fn request_id(&self) -> ShownId<'_> {
        let id = self.record.request_id.as_ref();
        id.map(|id| self.opened.facts.ids.shown(id)).unwrap_or_default()
    }

    /// Who opened the connection, as far as the connection itself tells.
    pub(super) fn opened_by(&self) -> SocketAddr {
        self.opened.client
    }

    /// This end of the connection.
    pub(super) fn local(&self) -> SocketAddr {
        self.opened.facts.local
    }

    /// Whether the program ends.
    pub(super) fn is_draining(&self) -> bool {
        self.edge.is_draining()
    }

    /// Whether a record of it can be kept. Without that it is answered with 503.
    pub(super) fn can_be_recorded(&self) -> bool {
        self.slot.is_some()
    }

    /// The gate has permitted it.
    pub(super) fn permitted(&mut self, snapshot: &Snapshot, permit: &Permit) {
        self.site = Some(permit.site());
        let facts = self.facts();
        facts.site = snapshot.site(permit.site()).map(|site| Arc::clone(&site.name));
        facts.icp_number = permit.filing().number.as_ref().map(|number| number.shared());
    }

    /// It is sent over that connection, or was to be sent there.
    pub(super) fn sent_over(&mut self, reached: Arc<Reached>) {
        self.record.upstream = Some(UpstreamFacts { reached, status: None, first_byte: None });
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        self.facts().duration = duration;
        let (metrics, record) = (&self.edge.metrics, &self.record);
        if let (Some(id), Some(facts)) = (self.site, &record.request)
            && let Some(site) = &facts.site
        {
            // Without an answer of a server, the bytes are this edge's own.
            let answered = record.upstream.as_ref().filter(|upstream| upstream.status.is_some());
            let counted = Counted {
                class: status_class(facts.status),
                egress: answered.map(|upstream| (upstream.reached.region, facts.bytes_out)),
                footer: facts.footer,
                duration,
                site,
            };
            metrics.exchanged(record.generation, id, counted);
        }
        if let Some(reason) = record.reason {
            metrics.refused(&record.connection.listener, reason);
        }
        if let Some(slot) = self.slot.take() {
            slot.keep(&mut self.record, &self.texts.sent());
        }
    }
}

fn is_trusted(listener: &Listener, client: IpAddr) -> bool {
    let client = client.to_canonical();
    listener.trusted_proxies.iter().any(|net| net.contains(&client))
}

/// The last address of `x-forwarded-for` that is not itself a trusted proxy: everything before it
/// is what that client claims.
fn forwarded_client(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut client = None;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for address in value.to_str().ok()?.rsplit(',') {
            let address: IpAddr = address.trim().parse().ok()?;
            client = Some(address.to_canonical());
            if !is_trusted(address.to_canonical()) {
                return client;
            }
        }
    }
    client
}

fn believable_id(headers: &HeaderMap) -> Option<RequestId> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let fits =
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| RequestId::Given(Arc::from(id)))
}

fn texts(head: &RequestHead, redaction: &QueryRedaction) -> RequestTexts {
    let (path, query) = path_and_query(&head.target, redaction);
    let from = head.headers.get(header::REFERER);
    RequestTexts {
        method: Some(head.method.clone()),
        path,
        query,
        referer: from.map_or(Text::Absent, |from| referer(from, redaction)),
        user_agent: head.headers.get(header::USER_AGENT).into(),
    }
}

fn path_and_query(target: &Bytes, redaction: &QueryRedaction) -> (Text, Text) {
    let Some(at) = memchr::memchr(b'?', target) else { return (target.clone().into(), Text::Absent) };
    let query = match redaction.redact(&String::from_utf8_lossy(&target[at + 1..])) {
        Cow::Borrowed(_) => target.slice(at + 1..),
        Cow::Owned(redacted) => redacted.into(),
    };
    (target.slice(..at).into(), query.into())
}

/// The page that a request comes from: its query is as private as a request's own, and so is who it says asks.
fn referer(url: &HeaderValue, redaction: &QueryRedaction) -> Text {
    let sent = url.as_bytes();
    let (page, query) = sent.split_at(memchr::memchr(b'?', sent).map_or(sent.len(), |at| at + 1));
    let (scheme, rest) = page.split_at(memchr::memmem::find(page, b"://").map_or(page.len(), |at| at + 3));
    let (authority, path) = rest.split_at(memchr::memchr(b'/', rest).unwrap_or(rest.len()));
    match (redact_userinfo(authority), redaction.redact(&String::from_utf8_lossy(query))) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => Some(url).into(),
        (authority, query) => Bytes::from([scheme, &*authority, path, query.as_bytes()].concat()).into(),
    }
}

/// A host that is none, as a record keeps it.
pub(super) fn host_shown(bytes: impl AsRef<[u8]>) -> Arc<str> {
    let bytes = redact_userinfo(bytes.as_ref());
    Arc::from(String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES)]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_host_that_is_none_is_cut_and_made_utf_8() {
        assert_eq!(&*host_shown("exa mple"), "exa mple");
        assert_eq!(&*host_shown(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(host_shown([b'x'; 9_000]).len(), NAME_BYTES);
        assert_eq!(&*host_shown("me:secret@a.cn"), "***@a.cn");
    }

    #[test]
    fn values_are_redacted_in_queries_of_targets_and_of_pages() {
        let redaction = QueryRedaction::new(["token"]);
        let of = |target: &'static str, from: Option<&'static str>| {
            let (path, query) = path_and_query(&Bytes::from_static(target.as_bytes()), &redaction);
            let referer =
                from.map_or(Text::Absent, |from| referer(&HeaderValue::from_static(from), &redaction));
            let texts = RequestTexts { path, query, referer, ..RequestTexts::default() };
            let sent = texts.sent();
            [sent.path, sent.query, sent.referer].map(|text| String::from_utf8_lossy(text).into_owned())
        };
        assert_eq!(of("/a?token=1&b=2", Some("/b?token=3")), ["/a", "token=***&b=2", "/b?token=***"]);
        assert_eq!(of("/a?b=2", Some("/b?c=3")), ["/a", "b=2", "/b?c=3"]);
        assert_eq!(of("/a?", Some("/b?")), ["/a", "", "/b?"]);
        assert_eq!(of("/a", None), ["/a", "", ""]);
        let referer = |from| of("/", Some(from))[2].clone();
        assert_eq!(referer("http://me:pass@b.cn/x@y?c=d@e"), "http://***@b.cn/x@y?c=d@e");
        assert_eq!(referer("http://me@b.cn?token=1"), "http://***@b.cn?token=***");
        assert_eq!(referer("/x@y"), "/x@y");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let client = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            forwarded_client(&headers, trusted).map(|ip| ip.to_string())
        };
        assert_eq!(client(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["198.51.100.9, 192.0.2.1, 10.0.0.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["198.51.100.9, 192.0.2.1", "10.0.0.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["10.0.0.2, 10.0.0.1"]).as_deref(), Some("10.0.0.2"));
        assert_eq!(client(&["192.0.2.1, unknown"]), None);
        assert_eq!(client(&[]), None);
    }
}
