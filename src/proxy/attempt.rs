//! One request on its way to a server that answers it.
//!
//! A request that could not be sent goes to the next server. One that was sent is sent again only if it
//! may be repeated, nothing of its body has gone out, and the origin's attempts and budget allow it.

mod hedge;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::Proxy;
use super::candidates::{Candidate, Candidates};
use super::connect::{ConnectionOrigin, Purpose, Speaks, Target, Told, Unreached, UpstreamConnection, Way};
use super::context::RequestContext;
use super::downstream::Downstream;
use super::exchange::After;
use super::pump::{self, Ended, Page};
use super::request::{Changes, Framing};
use super::upstream::{Upstream, http1, http2};
use crate::access::record::{Reached, UNKNOWN_ADDRESS};
use crate::config::Limits;
use crate::origin::health::Fault;
use crate::origin::{Origin, ProxyProtocol, Timeouts};
use crate::rewrite::{self, Ask};
use crate::route::{Residency, Route};
use crate::snapshot::{OriginState, Snapshot};

/// How often a server may refuse one request for no fault of it before it is left.
const REFUSALS: u32 = 2;

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
    reached: Arc<Reached>,
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

/// What came of asking one server.
enum Asked {
    /// The exchange is over.
    Over(After),
    /// It could not be connected to.
    Unreached,
    /// It broke off before it answered, and has nothing of the request's body.
    BrokeOff,
    /// It did not answer within the time for one try.
    TooSlow,
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

    /// Sends the request to the first server that takes it. The error is the status to answer with.
    pub(super) async fn run(mut self) -> Result<After, StatusCode> {
        let mut next = self.candidates.next();
        while let Some(candidate) = next {
            next = match self.send_to(&candidate).await? {
                Asked::Over(after) => return Ok(after),
                Asked::Unreached => self.candidates.next(),
                Asked::BrokeOff => Some(self.repeat(candidate).ok_or(StatusCode::BAD_GATEWAY)?),
                Asked::TooSlow => Some(self.repeat(candidate).ok_or(StatusCode::GATEWAY_TIMEOUT)?),
            };
        }
        Err(self.exhausted())
    }

    /// The status for a request that no server took.
    fn exhausted(&self) -> StatusCode {
        if !self.candidates.found()
            && let Some(full) = self.candidates.full()
        {
            self.proxy.edge.metrics.upstream_overflow.with_label_values(&[&*full.origin.name]).inc();
        }
        match self.residency {
            Residency::Any if self.candidates.found() => StatusCode::BAD_GATEWAY,
            Residency::Any => StatusCode::SERVICE_UNAVAILABLE,
            // Others may be up, and must not be tried.
            Residency::Within(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Who is asked after a server that broke off: another one, else the same once more.
    fn repeat(&mut self, broke_off: Candidate<'a>) -> Option<Candidate<'a>> {
        let origin = broke_off.origin;
        let retries = origin.origin.retries;
        self.in_vain += 1;
        if !self.idempotent || self.in_vain >= retries.attempts {
            return None;
        }
        let next = self.candidates.next().unwrap_or_else(|| broke_off.anew());
        if !origin.budget.spend(retries, self.proxy.upstreams.now()) {
            return None;
        }
        self.proxy.edge.metrics.retries.with_label_values(&[&*origin.origin.name]).inc();
        Some(next)
    }

    /// Sends the request to one server, over a kept connection if there is one.
    async fn send_to(&mut self, candidate: &Candidate<'a>) -> Result<Asked, StatusCode> {
        let origin = candidate.origin;
        let told = self.told(origin);
        let target = Target { origin, place: candidate.place, told };
        let purpose = if self.framing == Framing::Tunnel { Purpose::Tunnel } else { Purpose::Answer };
        let mut kept = !candidate.anew;
        let mut refused = 0;
        if self.in_vain == 0 {
            origin.budget.earn(origin.origin.retries, candidate.since);
        }
        loop {
            let way = tokio::select! {
                // A client may reset streams faster than a server accepts connections.
                () = self.down.is_reset() => return Ok(Asked::Over(After::Abort)),
                way = self.proxy.upstreams.reach(&self.proxy.edge, target, purpose, kept) => way,
            };
            let way = match way {
                Ok(way) => way,
                Err(Unreached { error, address }) => {
                    self.note_unreached(candidate, address);
                    // One that does not do what is asked of it is there.
                    if error.kind() != ErrorKind::Unsupported {
                        self.candidates.unreached(candidate);
                    }
                    return Ok(Asked::Unreached);
                }
            };
            // What fails once more is no matter of luck.
            let came_from = if kept { way.origin() } else { ConnectionOrigin::New };
            kept = false;
            match self.exchange(candidate, way).await {
                Ended::Whole(_) => return Ok(Asked::Over(After::Continue)),
                Ended::Broken => return Ok(Asked::Over(After::Abort)),
                // A server closes a kept connection when it likes: nothing was wrong with the request.
                Ended::Unanswered { sent_body: false }
                    if came_from == ConnectionOrigin::Kept && self.idempotent => {}
                Ended::Unanswered { sent_body } => {
                    if came_from == ConnectionOrigin::New {
                        self.candidates.blame(candidate, Fault::NoAnswer);
                    }
                    return if sent_body { Err(StatusCode::BAD_GATEWAY) } else { Ok(Asked::BrokeOff) };
                }
                // Nothing was wrong with the request, nor, as far as is known, with the server.
                Ended::Unprocessed { sent_body: false } if refused < REFUSALS => refused += 1,
                Ended::Unprocessed { sent_body: false } => return Ok(Asked::Unreached),
                Ended::Unprocessed { sent_body: true } => return Err(StatusCode::BAD_GATEWAY),
                Ended::Late => {
                    self.candidates.blame(candidate, Fault::NoAnswer);
                    let first_byte = origin.origin.timeouts.first_byte;
                    let given_up = self.first_byte(candidate) < first_byte;
                    return if given_up { Ok(Asked::TooSlow) } else { Err(StatusCode::GATEWAY_TIMEOUT) };
                }
                Ended::BodyLate => return Err(StatusCode::REQUEST_TIMEOUT),
            }
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

    /// Sends the request over one connection, and brings back what is answered.
    async fn exchange(&mut self, candidate: &Candidate<'a>, way: Way) -> Ended {
        let (up, mut sent_over) = open(&candidate.origin.origin, way);
        self.note(candidate, &mut sent_over);
        if let Some(after) = self.hedge_after(candidate) {
            // Seldom, and larger than the rest.
            return Box::pin(self.hedged(candidate, up, sent_over, after)).await;
        }
        let (exchange, changes) = (self.exchange_with(candidate), self.changes(candidate));
        let ended = pump::run(exchange, changes, up, self.down, self.context).await;
        self.finish(candidate, sent_over, ended)
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
            over.reached = Arc::new(Reached { region: *region, link, ..Reached::clone(&over.reached) });
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
            self.context.sent_over(Arc::new(Reached { origin, region: *region, link, address, local: None }));
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
