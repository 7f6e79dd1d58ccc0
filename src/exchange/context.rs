//! The state of an exchange, and the record that it leaves.
//!
//! Dropping the context hands over the record: exactly once, however the exchange ends.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use tokio::time::Instant;

use super::Proxy;
use super::families::{Tally, status_class};
use crate::access::fields::IdText;
use crate::access::record::{CacheResult, RequestFacts, ServerFacts, UpstreamFacts};
use crate::access::redact::redact_userinfo;
use crate::access::texts::RequestTexts;
use crate::access::trace_id::TraceId;
use crate::access::{AccessRecord, Event, QueryRedaction, Reason, RequestId};
use crate::clock::Moment;
use crate::config::Listener;
use crate::edge::client_use::{ClientUse, CountedRequest};
use crate::edge::holding::{Ahead, AheadPlace, HeldBytes};
use crate::gate::{ListenerId, Permit, Refusal, SiteId};
use crate::listen::Established;
use crate::message::{BadMessage, RequestHead};
use crate::net::address::{ClientAddress, LocalAddress};
use crate::retention::{SLOTS, Slot, is_unrecorded};
use crate::rewrite::{EncodedBytes, MapResult};
use crate::snapshot::Snapshot;
use crate::upstream::request::{HeadEdits, UpstreamRequest};

/// The longest request id that is accepted from a trusted proxy, in bytes.
const REQUEST_ID_BYTES: usize = 128;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

pub(crate) struct RequestContext<'x> {
    proxy: &'x Proxy,
    established: &'x Established,
    snapshot: &'x Snapshot,
    /// The connection's listener in this snapshot; `None` if it is no longer configured.
    pub(crate) listener: Option<ListenerId>,
    /// The request head; `None` if it could not be parsed.
    head: Option<&'x RequestHead>,
    version: Version,
    began: Instant,
    /// When the head was complete.
    pub(crate) moment: Moment,
    slot: Option<Slot<'x>>,
    /// What the request makes the program hold.
    pub(crate) held: HeldBytes<'x>,
    /// How much of the answer may come ahead, once asked.
    ahead: Option<AheadPlace<'x>>,
    /// Counts the request among those of its client.
    _counted: CountedRequest<'x>,
    /// The client has had its share of the record store's slots.
    beyond_share: bool,
    site: Option<SiteId>,
    request_id: RequestId,
    /// Whether the connection comes from a trusted proxy.
    pub(crate) proxy_is_trusted: bool,
    /// The connection's client, or the one that a trusted proxy names.
    pub(crate) client: ClientAddress,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) refusal: Option<Refusal>,
    /// Why the request is not served otherwise.
    pub(crate) reason: Option<Reason>,
    /// The record's fields about the exchange itself.
    pub(crate) facts: RequestFacts,
    /// Where the request was sent, or should have been sent first.
    pub(crate) upstream: Option<UpstreamFacts>,
    /// What the encoder has done, if the response is encoded here.
    pub(crate) encoded: Option<EncodedBytes>,
}

impl<'x> RequestContext<'x> {
    pub(crate) fn begin(
        proxy: &'x Proxy,
        established: &'x Established,
        snapshot: &'x Snapshot,
        head: &'x RequestHead,
    ) -> Self {
        let mut context = Self::of_nothing(proxy, established, snapshot, head.version);
        context.head = Some(head);
        let listener = context.listener.and_then(|id| snapshot.listener_config(id));
        context.proxy_is_trusted =
            listener.is_some_and(|listener| is_trusted(listener, established.client.ip()));
        if context.proxy_is_trusted {
            let trusted = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
            if let Some(client) =
                forwarded_client(&head.headers, |ip| trusted.iter().any(|net| net.contains(&ip)))
            {
                context.client = ClientAddress(SocketAddr::new(client, 0));
            }
            if let Some(id) = believable_id(&head.headers) {
                context.request_id = id;
            }
        }
        let slots = proxy.edge.recorder.stats().slots_in_use();
        context.beyond_share = context.client_use().is_some_and(|uses| uses.exceeds_share(slots, SLOTS));
        context
    }

    /// Starts a fetch on this edge's own behalf: it is neither recorded nor counted.
    pub(crate) fn of_own_fetch(
        proxy: &'x Proxy,
        established: &'x Established,
        snapshot: &'x Snapshot,
    ) -> Self {
        let mut context = Self::of_nothing(proxy, established, snapshot, Version::HTTP_11);
        context.slot = None;
        context
    }

    /// What the client uses of what all share; `None` for a trusted proxy, which stands for many clients.
    pub(crate) fn client_use(&self) -> Option<&'x ClientUse> {
        (!self.proxy_is_trusted).then_some(&*self.established.uses)
    }

    /// Starts an exchange whose head could not be parsed.
    pub(crate) fn of_nothing(
        proxy: &'x Proxy,
        established: &'x Established,
        snapshot: &'x Snapshot,
        version: Version,
    ) -> Self {
        Self {
            proxy,
            established,
            snapshot,
            listener: snapshot.listener(&established.facts.listener),
            head: None,
            version,
            began: Instant::now(),
            moment: proxy.edge.moment(),
            slot: proxy.edge.recorder.reserve().ok(),
            held: established.presence.holding.begin(),
            ahead: None,
            _counted: established.uses.begin(),
            beyond_share: false,
            site: None,
            request_id: established.facts.ids.next(),
            proxy_is_trusted: false,
            client: established.client,
            host: None,
            refusal: None,
            reason: None,
            facts: RequestFacts::default(),
            upstream: None,
            encoded: None,
        }
    }

    /// How much of the answer a server may send ahead of the client: by the exchanges of its connection. A trusted proxy stands
    /// for many clients.
    pub(crate) fn ahead(&mut self) -> Ahead {
        if self.proxy_is_trusted {
            return Ahead::Much;
        }
        let holding = &self.established.presence.holding;
        self.ahead.get_or_insert_with(|| holding.place()).ahead()
    }

    pub(crate) fn request_id(&self) -> IdText<'_> {
        self.established.facts.ids.text_of(&self.request_id)
    }

    /// The trace that the client says the request belongs to.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.head.and_then(|head| trace_id(&head.headers))
    }

    /// The connection's client, whatever `x-forwarded-for` says.
    pub(crate) fn opened_by(&self) -> ClientAddress {
        self.established.client
    }

    pub(crate) fn upstream_request<'r>(
        &'r self,
        head: &'r RequestHead,
        edits: HeadEdits<'r>,
    ) -> UpstreamRequest<'r> {
        UpstreamRequest {
            head,
            edits,
            proxy_is_trusted: self.proxy_is_trusted,
            request_id: self.request_id(),
            opened_by: self.opened_by().ip().to_canonical(),
        }
    }

    /// The wall clock, in seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.proxy.edge.clock.now().as_second()
    }

    pub(crate) fn local(&self) -> LocalAddress {
        LocalAddress(self.established.facts.local)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.proxy.edge.is_draining()
    }

    /// Whether the record store has room for its record, within the client's share; if not, the request is answered with 503.
    pub(crate) fn can_be_recorded(&self) -> bool {
        self.slot.is_some() && !self.beyond_share
    }

    pub(crate) fn permitted(&mut self, permit: &Permit) {
        self.site = Some(permit.site());
        self.facts.site = self.snapshot.site(permit.site()).map(|site| Arc::clone(&site.name));
        self.facts.icp_number = permit.filing().number.as_ref().map(|number| number.shared());
    }

    /// Notes the connection that the request is sent on, or should have been sent on.
    pub(crate) fn used(&mut self, reached: Arc<ServerFacts>) {
        self.upstream = Some(UpstreamFacts { server: reached, status: None, first_byte: None });
    }

    /// Logs and notes that a server's response cannot be passed on.
    pub(crate) fn answer_refused(&mut self, bad: BadMessage, server: &ServerFacts, path: &str) {
        let reason = Reason::Answer(bad);
        self.reason = Some(reason);
        tracing::warn!(
            reason = reason.label(),
            origin = &*server.origin,
            server = %server.address,
            path,
            request_id = &*self.request_id(),
            trace_id = self.trace_id().map(tracing::field::display),
            "a server's answer is refused: {bad}"
        );
    }

    /// The same, of the server that the request was sent to.
    pub(crate) fn answer_of_server_refused(&mut self, bad: BadMessage, path: &str) {
        if let Some(server) = self.upstream.as_ref().map(|upstream| Arc::clone(&upstream.server)) {
            self.answer_refused(bad, &server, path);
        }
    }

    /// Nothing of the server's response was sent: the record has the edge's own.
    pub(crate) fn forget_answer(&mut self) {
        self.facts.footer = None;
        if let Some(upstream) = &mut self.upstream {
            (upstream.status, upstream.first_byte) = (None, None);
        }
    }

    /// Counts fields of the response that were dropped.
    pub(crate) fn count_dropped_fields(&self, dropped: u32) {
        if let Some(upstream) = self.upstream.as_ref().filter(|_| dropped > 0) {
            let counter = &self.proxy.upstreams.metrics.fields_dropped;
            counter.with_label_values(&[&*upstream.server.origin]).inc_by(dropped.into());
        }
    }

    /// Counts the foreign assets of a page.
    pub(crate) fn count_assets(&self, found: &[(&'static str, u64)]) {
        if let Some(site) = &self.facts.site {
            self.proxy.counters.add_assets(site, found);
        }
    }

    /// Counts a page or style sheet whose references were looked for.
    pub(crate) fn count_mapped(&self, result: MapResult) {
        if let Some(site) = &self.facts.site {
            self.proxy.counters.add_mapped(site, result);
        }
    }

    fn count(&self) {
        if let (Some(id), Some(site)) = (self.site, &self.facts.site) {
            // Without a server's response, the bytes are this edge's own and count as no egress.
            // Nor do those of the cache.
            let is_cached = self.facts.cache.is_some_and(CacheResult::is_from_cache);
            let answered = self.upstream.as_ref().filter(|upstream| upstream.status.is_some() && !is_cached);
            let tally = Tally {
                class: status_class(self.facts.status),
                egress: answered.map(|upstream| (upstream.server.region, self.facts.bytes_out)),
                footer: self.facts.footer,
                encoded: self.encoded,
                cache: self.facts.cache,
                duration: self.facts.duration,
                limited: self.reason == Some(Reason::RateLimit),
                site,
            };
            self.proxy.counters.add(self.snapshot.generation, id, tally);
        }
        if let Some(reason) = self.refusal {
            self.established.port.counters.refused(reason, self.host.as_ref(), self.moment.now);
        }
    }

    fn record(&mut self, slot: Slot<'_>) {
        self.facts.trace_id = self.trace_id();
        let record = AccessRecord {
            time: self.moment.now,
            event: Event::Request,
            reason: self.refusal.map(Reason::from).or(self.reason),
            count: 1,
            connection: Arc::clone(&self.established.facts),
            generation: self.snapshot.generation,
            request_id: Some(self.request_id.clone()),
            client: self.client.0,
            host: self.host.take(),
            protocol: Some(self.version),
            request: Some(std::mem::take(&mut self.facts)),
            upstream: self.upstream.take(),
        };
        match self.head {
            Some(head) => slot.keep(record, &RecordTexts::of(head, &self.snapshot.redaction).sent()),
            None => slot.keep(record, &RequestTexts::default()),
        }
    }
}

impl Drop for RequestContext<'_> {
    fn drop(&mut self) {
        self.facts.duration = self.began.elapsed();
        self.count();
        if let Some(slot) = self.slot.take()
            && !is_unrecorded()
        {
            self.record(slot);
        }
    }
}

fn is_trusted(listener: &Listener, client: IpAddr) -> bool {
    let client = client.to_canonical();
    listener.trusted_proxies.iter().any(|net| net.contains(&client))
}

/// The last address of `x-forwarded-for` that is not itself a trusted proxy: all earlier entries are the
/// client's own claims.
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

/// The trace id of the only `traceparent`: of several, none may be believed (W3C Trace Context, 3.2).
fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut sent = headers.get_all(TRACEPARENT).iter();
    let value = sent.next()?;
    TraceId::of_traceparent(value.as_bytes()).filter(|_| sent.next().is_none())
}

fn believable_id(headers: &HeaderMap) -> Option<RequestId> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let fits =
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| RequestId::Given(Arc::from(id)))
}

/// What a record takes from a head, with secrets redacted.
struct RecordTexts<'h> {
    head: &'h RequestHead,
    path: &'h [u8],
    query: Cow<'h, [u8]>,
    referer: Cow<'h, [u8]>,
}

impl<'h> RecordTexts<'h> {
    fn of(head: &'h RequestHead, redaction: &QueryRedaction) -> Self {
        let (path, query) = match memchr::memchr(b'?', &head.target) {
            Some(at) => (&head.target[..at], redact(&head.target[at + 1..], redaction)),
            None => (&*head.target, Cow::default()),
        };
        let from = head.headers.get(header::REFERER);
        let referer = from.map_or(Cow::default(), |from| referer(from.as_bytes(), redaction));
        Self { head, path, query, referer }
    }

    fn sent(&self) -> RequestTexts<'_> {
        RequestTexts {
            method: self.head.method.as_str().as_bytes(),
            path: self.path,
            query: &self.query,
            referer: &self.referer,
            user_agent: self.head.headers.get(header::USER_AGENT).map_or(&[], HeaderValue::as_bytes),
            is_truncated: false,
        }
    }
}

fn redact<'q>(query: &'q [u8], redaction: &QueryRedaction) -> Cow<'q, [u8]> {
    match redaction.redact(&String::from_utf8_lossy(query)) {
        Cow::Borrowed(_) => query.into(),
        Cow::Owned(redacted) => redacted.into_bytes().into(),
    }
}

/// The referer with its query and userinfo redacted, which are as private as the request's own.
fn referer<'u>(sent: &'u [u8], redaction: &QueryRedaction) -> Cow<'u, [u8]> {
    let (page, query) = sent.split_at(memchr::memchr(b'?', sent).map_or(sent.len(), |at| at + 1));
    let (scheme, rest) = page.split_at(memchr::memmem::find(page, b"://").map_or(page.len(), |at| at + 3));
    let (authority, path) = rest.split_at(memchr::memchr(b'/', rest).unwrap_or(rest.len()));
    match (redact_userinfo(authority), redact(query, redaction)) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => sent.into(),
        (authority, query) => [scheme, &*authority, path, &*query].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;

    #[test]
    fn values_are_redacted_in_queries_of_targets_and_of_pages() {
        let redaction = QueryRedaction::new(["token"]);
        let of = |target: &'static [u8], from: Option<&'static [u8]>| {
            let value = |bytes: &'static [u8]| HeaderValue::from_bytes(bytes).expect("a value");
            let mut headers = HeaderMap::new();
            headers.extend(from.map(|from| (header::REFERER, value(from))));
            headers.insert(header::USER_AGENT, value(b"caf\xe9"));
            let (method, target, version) = (Method::PUT, Bytes::from_static(target), Version::HTTP_11);
            let head = RequestHead { method, target, authority: None, version, headers };
            let texts = RecordTexts::of(&head, &redaction);
            let sent = texts.sent();
            assert_eq!((sent.method, sent.user_agent), (&b"PUT"[..], &b"caf\xe9"[..]));
            [sent.path, sent.query, sent.referer].map(<[u8]>::to_vec)
        };
        let parts = |parts: [&[u8]; 3]| parts.map(<[u8]>::to_vec);
        let both = of(b"/a?token=1&b=2", Some(b"/b?token=3"));
        assert_eq!(both, parts([b"/a", b"token=***&b=2", b"/b?token=***"]));
        assert_eq!(of(b"/a?b=2", Some(b"/b?c=3")), parts([b"/a", b"b=2", b"/b?c=3"]));
        assert_eq!(of(b"/a?", Some(b"/b?")), parts([b"/a", b"", b"/b?"]));
        assert_eq!(of(b"/a", None), parts([b"/a", b"", b""]));
        assert_eq!(of(b"/a?caf\xe9", Some(b"/b?caf\xe9")), parts([b"/a", b"caf\xe9", b"/b?caf\xe9"]));
        let with = of(b"/a?caf\xe9&token=1", Some(b"/b?caf\xe9&token=1"));
        let shown = "caf\u{fffd}&token=***";
        assert_eq!(with, parts([b"/a", shown.as_bytes(), format!("/b?{shown}").as_bytes()]));
        let referer = |from: &'static str| {
            let [.., referer] = of(b"/", Some(from.as_bytes()));
            String::from_utf8(referer).expect("it is UTF-8")
        };
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
