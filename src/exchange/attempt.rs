//! One request on its way to a server that answers it.
//!
//! A request that could not be sent goes to the next server. One that was sent is sent again only if it
//! may be repeated, nothing of its body has gone out, and the origin's attempts and budget allow it.

mod hedge;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::Proxy;
use super::candidates::{Candidate, Candidates};
use super::context::RequestContext;
use super::pump::{self, Ended, Page};
use crate::access::record::{ServerFacts, UNKNOWN_ADDRESS};
use crate::config::Limits;
use crate::downstream::session::Downstream;
use crate::origin::{Origin, ProxyProtocol, Timeouts};
use crate::rewrite::{self, Ask};
use crate::route::{Residency, Route};
use crate::snapshot::{OriginState, Snapshot};
use crate::upstream::reach::Way;
use crate::upstream::request::{Changes, Framing};
use crate::upstream::stream::Upstream;
use crate::upstream::{ConnectionOrigin, Speaks, Told, UpstreamConnection, http1, http2};

/// What is known of a request once its route is.
pub(super) struct Routed<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) route: &'a Route,
    pub(super) page: Page<'a>,
    /// Without the query.
    pub(super) path: &'a str,
    /// What the client speaks.
    pub(super) scheme: &'static str,
}

/// A request that is being sent.
pub(super) struct Attempt<'a, 'd> {
    proxy: &'a Proxy,
    down: &'a mut Downstream<'d>,
    context: &'a mut RequestContext<'d>,
    candidates: Candidates<'a>,
    page: Page<'a>,
    path: &'a str,
    scheme: &'static str,
    limits: &'a Limits,
    residency: Residency,
    framing: Framing,
    /// What the footer needs of the answer.
    ask: Ask,
    /// Whether asking twice changes nothing.
    idempotent: bool,
    /// How many times it was sent in vain.
    in_vain: u32,
}

/// What is known of the way that a request is sent over.
struct SentOver {
    reached: Arc<ServerFacts>,
    came_from: ConnectionOrigin,
    /// How it is kept, for one that is not shared.
    keeps: Option<Keeps>,
}

struct Keeps {
    speaks: Speaks,
    told: Option<Told>,
}

/// Makes a way to a server of `origin` ready for a request.
fn open(origin: &Origin, way: Way) -> (Upstream, SentOver) {
    match way {
        Way::Http1(UpstreamConnection { wire, speaks, reached, origin: came_from, told }) => {
            let keeps = Some(Keeps { speaks, told });
            (Upstream::Http1(http1::Session::new(wire)), SentOver { reached, came_from, keeps })
        }
        Way::Http2(slot, reached, came_from) => {
            let session = http2::Session::new(slot, origin.scheme.uri(), origin.timeouts.connect);
            (Upstream::Http2(Box::new(session)), SentOver { reached, came_from, keeps: None })
        }
    }
}

impl<'a, 'd> Attempt<'a, 'd> {
    pub(super) fn new(
        proxy: &'a Proxy,
        routed: Routed<'a>,
        down: &'a mut Downstream<'d>,
        context: &'a mut RequestContext<'d>,
    ) -> Self {
        let Routed { snapshot, route, page, path, scheme } = routed;
        let done = down.is_body_done();
        let head = down.head;
        let framing = Framing::of(head, done);
        Self {
            proxy,
            candidates: Candidates::new(proxy, snapshot, route),
            ask: rewrite::ask(page.pages, &head.method, path, &head.headers),
            idempotent: is_idempotent(&head.method),
            page,
            path,
            scheme,
            limits: &snapshot.config.limits,
            residency: route.residency,
            framing,
            in_vain: 0,
            down,
            context,
        }
    }

    /// What the server is told of the client when a connection is made.
    fn told(&self, origin: &OriginState) -> Option<Told> {
        match origin.origin.proxy_protocol {
            ProxyProtocol::None => None,
            ProxyProtocol::V2 => {
                Some(Told::Client { client: self.context.client, destination: self.context.local() })
            }
        }
    }

    /// What an exchange with that server goes by.
    fn exchange_with(&self, candidate: &Candidate<'a>) -> pump::Exchange<'a> {
        let timeouts = candidate.origin.origin.timeouts;
        pump::Exchange {
            site: self.page,
            path: self.path,
            timeouts: Timeouts { first_byte: self.first_byte(candidate), ..timeouts },
            limits: self.limits,
            framing: self.framing,
        }
    }

    /// What is changed of the request for that server.
    fn changes(&self, candidate: &Candidate<'a>) -> Changes<'a> {
        let (framing, ask, scheme) = (self.framing, self.ask, self.scheme);
        Changes { host: &candidate.origin.origin.host, framing, ask, scheme }
    }

    /// What an exchange tells of its server; its connection is kept where it may be.
    fn finish(&mut self, candidate: &Candidate<'a>, sent_over: SentOver, mut ended: Ended) -> Ended {
        if let Ended::Whole(_) | Ended::Broken = ended {
            self.observe(candidate);
        }
        if let Ended::Whole(wire) = &mut ended
            && let Some((wire, keeps)) = wire.take().zip(sent_over.keeps)
        {
            let Keeps { speaks, told } = keeps;
            let SentOver { reached, came_from: origin, .. } = sent_over;
            let connection = UpstreamConnection { wire, speaks, reached, origin, told };
            self.proxy.upstreams.kept.keep(candidate.server, connection, &candidate.origin.origin);
        }
        ended
    }

    /// How long this server has to begin its answer: less while another could be asked.
    fn first_byte(&self, candidate: &Candidate<'_>) -> Duration {
        let (retries, timeouts) = (candidate.origin.origin.retries, candidate.origin.origin.timeouts);
        let may_be_repeated = self.idempotent
            && self.framing == Framing::None
            && self.in_vain + 1 < retries.attempts
            && candidate.origin.budget.has_one(retries);
        let per_try = retries.per_try.filter(|_| may_be_repeated);
        per_try.map_or(timeouts.first_byte, |per_try| per_try.min(timeouts.first_byte))
    }

    /// What the record says of where the request went.
    fn note(&mut self, candidate: &Candidate<'_>, over: &mut SentOver) {
        let Origin { region, servers, .. } = &candidate.origin.origin;
        // A connection outlives a reload, after which link and region may be called otherwise.
        if let Some(server) = servers.get(candidate.place)
            && (over.reached.link != server.link || over.reached.region != *region)
        {
            let link = Arc::clone(&server.link);
            over.reached =
                Arc::new(ServerFacts { region: *region, link, ..ServerFacts::clone(&over.reached) });
        }
        self.context.sent_over(Arc::clone(&over.reached));
    }

    /// What the record says of where the request was to go, unless it went somewhere: of the first server that
    /// was tried.
    fn note_unreached(&mut self, candidate: &Candidate<'_>, connected: Option<SocketAddr>) {
        let Origin { name, region, servers, .. } = &candidate.origin.origin;
        if let Some(server) = servers.get(candidate.place)
            && self.context.upstream.is_none()
        {
            let (origin, link) = (Arc::clone(name), Arc::clone(&server.link));
            let address = connected.or(server.address()).unwrap_or(UNKNOWN_ADDRESS);
            self.context.sent_over(Arc::new(ServerFacts {
                origin,
                region: *region,
                link,
                address,
                local: None,
            }));
        }
    }

    /// What an answer, if one has begun, tells of its server.
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
