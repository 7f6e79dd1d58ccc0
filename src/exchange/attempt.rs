//! Sending one request to servers until one answers.
//!
//! A request that could not be sent goes to the next server. One that was sent is repeated only if its method
//! is idempotent, no byte of its body was sent, and the origin's attempts and retry budget allow it.

mod hedge;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};

use super::Proxy;
use super::candidates::{Candidate, Candidates};
use super::context::RequestContext;
use super::pump::{self, ExchangeEnd, FooterContext};
use super::routed::ForwardEdits;
use super::sticky::StickySource;
use crate::access::record::{ServerFacts, UNKNOWN_ADDRESS};
use crate::cache::Validators;
use crate::config::Limits;
use crate::downstream::session::Downstream;
use crate::edge::holding::Ahead;
use crate::message::ResponseHead;
use crate::origin::{Origin, ProxyProtocol, Region, Scheme, Timeouts};
use crate::rewrite::{self, Ask, Compress};
use crate::route::{Forward, Residency};
use crate::snapshot::{OriginState, Snapshot};
use crate::upstream::reach::Channel;
use crate::upstream::request::{BodyFraming, HeadEdits};
use crate::upstream::session::ServerSession;
use crate::upstream::{ConnectionOrigin, NegotiatedProtocol, ProxyHeader, UpstreamConnection, http1, http2};

pub(super) struct RoutedRequest<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) forward: &'a Forward,
    pub(super) edits: &'a ForwardEdits<'a>,
    pub(super) page: FooterContext<'a>,
    pub(super) compress: Compress<'a>,
    /// Without the query.
    pub(super) path: &'a str,
    /// `http` or `https`, as the client connected.
    pub(super) scheme: &'static str,
    /// The most bytes of the request's body.
    pub(super) max_body: Option<u64>,
    /// Those of the stored response that the request revalidates.
    pub(super) validators: Option<&'a Validators>,
}

pub(super) struct Attempt<'a, 'd> {
    proxy: &'a Proxy,
    down: &'a mut Downstream<'d>,
    context: &'a mut RequestContext<'d>,
    candidates: Candidates<'a>,
    page: FooterContext<'a>,
    route: &'a ForwardEdits<'a>,
    compress: Compress<'a>,
    path: &'a str,
    scheme: &'static str,
    max_body: Option<u64>,
    validators: Option<&'a Validators>,
    limits: &'a Limits,
    residency: Residency,
    framing: BodyFraming,
    /// What the footer requires of the response.
    ask: Ask,
    /// The 416 that a server sent before the whole was asked for.
    out_of_range: Option<Arc<ResponseHead>>,
    /// Whether the method is idempotent (RFC 9110, 9.2.2).
    idempotent: bool,
    /// How many times it was sent without an answer.
    failed_attempts: u32,
}

struct UsedConnection {
    reached: Arc<ServerFacts>,
    came_from: ConnectionOrigin,
    /// What is needed to keep it for another request; `None` for a shared HTTP/2 connection.
    reuse: Option<Reuse>,
}

struct Reuse {
    protocol: NegotiatedProtocol,
    proxy_header: Option<ProxyHeader>,
}

/// Prepares a connection to a server of `origin` for a request.
fn prepare(origin: &Origin, channel: Channel) -> (ServerSession, UsedConnection) {
    match channel {
        Channel::Http1(UpstreamConnection { stream, protocol, reached, origin: came_from, proxy_header }) => {
            let reuse = Some(Reuse { protocol, proxy_header });
            (
                ServerSession::Http1(http1::ServerHttp1::new(stream)),
                UsedConnection { reached, came_from, reuse },
            )
        }
        Channel::Http2(slot, reached, came_from) => {
            let session = http2::ServerHttp2::new(slot, origin.scheme.uri(), origin.timeouts.connect);
            (ServerSession::Http2(Box::new(session)), UsedConnection { reached, came_from, reuse: None })
        }
    }
}

impl<'a, 'd> Attempt<'a, 'd> {
    pub(super) fn new(
        proxy: &'a Proxy,
        routed: RoutedRequest<'a>,
        down: &'a mut Downstream<'d>,
        context: &'a mut RequestContext<'d>,
    ) -> Self {
        let RoutedRequest { snapshot, forward, edits, page, compress, path, scheme, max_body, validators } =
            routed;
        let done = down.is_body_done();
        let head = down.head;
        let sticky = StickySource { headers: &head.headers, client: context.client.ip() };
        let framing = BodyFraming::of(head, done);
        Self {
            proxy,
            candidates: Candidates::new(proxy, snapshot, forward, sticky, context.client_use()),
            ask: rewrite::ask(page.pages, &head.method, path, &head.headers),
            idempotent: is_idempotent(&head.method),
            page,
            route: edits,
            compress,
            path,
            scheme,
            max_body,
            validators,
            limits: &snapshot.config.limits,
            residency: forward.residency,
            out_of_range: None,
            framing,
            failed_attempts: 0,
            down,
            context,
        }
    }

    /// How much of the answer the server may send ahead of the client. It matters over HTTP/2 alone.
    fn ahead(&mut self, origin: &OriginState) -> Ahead {
        if origin.origin.scheme == Scheme::Http { Ahead::Little } else { self.context.ahead() }
    }

    /// The PROXY header for a new connection, where the origin wants one.
    fn proxy_header(&self, origin: &OriginState) -> Option<ProxyHeader> {
        match origin.origin.proxy_protocol {
            ProxyProtocol::None => None,
            ProxyProtocol::V2 => {
                Some(ProxyHeader::Client { client: self.context.client, destination: self.context.local() })
            }
        }
    }

    fn exchange_with(&self, candidate: &Candidate<'a>) -> pump::ExchangeSettings<'a> {
        let timeouts = candidate.origin.origin.timeouts;
        pump::ExchangeSettings {
            site: self.page,
            compress: self.compress,
            asked_for_codings: self.asks_for_codings(candidate),
            path: self.path,
            rewrite: self.route.path,
            max_body: self.max_body,
            timeouts: Timeouts { first_byte: self.first_byte(candidate), ..timeouts },
            limits: self.limits,
            framing: self.framing,
            ask: self.ask,
            out_of_range: self.out_of_range.clone(),
        }
    }

    fn edits(&self, candidate: &Candidate<'a>) -> HeadEdits<'a> {
        let (framing, ask, scheme) = (self.framing, self.ask, self.scheme);
        let codings = match self.asks_for_codings(candidate) {
            true => rewrite::accepted_from_origin(&self.down.head.headers),
            false => "identity",
        };
        let loop_id = self.proxy.loop_id.as_str();
        let (target, fields) = (self.route.target.as_deref(), self.route.fields.as_ref());
        HeadEdits {
            host: &candidate.origin.origin.host,
            framing,
            ask,
            codings,
            scheme,
            loop_id,
            target,
            fields,
            validators: self.validators,
        }
    }

    /// Whether a request that may return a page asks for it compressed: bytes across the border cost more than
    /// decoding them. A part of a coded page could not be decoded.
    fn asks_for_codings(&self, candidate: &Candidate<'a>) -> bool {
        let may_be_part = || self.down.head.headers.contains_key(header::RANGE);
        candidate.origin.origin.region == Region::Offshore
            && match self.ask {
                Ask::AsSent => false,
                Ask::Identity => !may_be_part(),
                Ask::Whole => true,
            }
    }

    /// Reports the server's result and keeps its connection if it can be reused.
    fn finish(
        &mut self,
        candidate: &Candidate<'a>,
        used: UsedConnection,
        mut ended: ExchangeEnd,
    ) -> ExchangeEnd {
        if let ExchangeEnd::Whole(_) | ExchangeEnd::Broken = ended {
            self.observe(candidate);
        }
        if let ExchangeEnd::Whole(stream) | ExchangeEnd::WholeWanted { kept: stream, .. } = &mut ended
            && let Some((stream, reuse)) = stream.take().zip(used.reuse)
        {
            let Reuse { protocol, proxy_header } = reuse;
            let UsedConnection { reached, came_from: origin, .. } = used;
            let connection = UpstreamConnection { stream, protocol, reached, origin, proxy_header };
            self.proxy.upstreams.idle.keep(candidate.server, connection, &candidate.origin.origin);
        }
        ended
    }

    /// How long this server has to start its response: `per_try` while the request could go to another
    /// server, else `first_byte`.
    fn first_byte(&self, candidate: &Candidate<'_>) -> Duration {
        let (retries, timeouts) = (candidate.origin.origin.retries, candidate.origin.origin.timeouts);
        let may_be_repeated = self.idempotent
            && self.framing == BodyFraming::None
            && self.failed_attempts + 1 < retries.attempts
            && candidate.origin.budget.has_one(retries);
        let per_try = retries.per_try.filter(|_| may_be_repeated);
        per_try.map_or(timeouts.first_byte, |per_try| per_try.min(timeouts.first_byte))
    }

    fn note(&mut self, candidate: &Candidate<'_>, over: &mut UsedConnection) {
        let Origin { region, servers, .. } = &candidate.origin.origin;
        // A connection outlives reloads; the new configuration may name its link and region differently.
        if let Some(server) = servers.get(candidate.index)
            && (over.reached.link != server.link || over.reached.region != *region)
        {
            let link = Arc::clone(&server.link);
            over.reached =
                Arc::new(ServerFacts { region: *region, link, ..ServerFacts::clone(&over.reached) });
        }
        self.context.used(Arc::clone(&over.reached));
    }

    /// Notes in the record where the request should have gone: the first server that was tried, unless one
    /// was reached.
    fn note_not_connected(&mut self, candidate: &Candidate<'_>, connected: Option<SocketAddr>) {
        let Origin { name, region, servers, .. } = &candidate.origin.origin;
        if let Some(server) = servers.get(candidate.index)
            && self.context.upstream.is_none()
        {
            let (origin, link) = (Arc::clone(name), Arc::clone(&server.link));
            let address = connected.or(server.address()).unwrap_or(UNKNOWN_ADDRESS);
            self.context.used(Arc::new(ServerFacts { origin, region: *region, link, address, local: None }));
        }
    }

    /// Reports the response, if one has started, to the server's statistics.
    fn observe(&self, candidate: &Candidate<'_>) {
        let upstream = self.context.upstream.as_ref();
        if let Some((status, first_byte)) = upstream.and_then(|facts| facts.status.zip(facts.first_byte)) {
            self.candidates.answered(candidate, status, first_byte);
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
