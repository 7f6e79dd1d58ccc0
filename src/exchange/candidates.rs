//! The servers that a request may be sent to, one after the other, and what it makes known of them.
//!
//! A server is looked for only when it is needed: nearly always the first is the only one. No server
//! of a region that the route does not allow is ever one of them.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use crate::origin::health::Fault;
use crate::origin::load::InFlight;
use crate::origin::{DEFAULT_LINK, OriginId};
use crate::route::Route;
use crate::snapshot::{OriginState, ServerState, Snapshot};

/// A server that a request is sent to.
pub(super) struct Candidate<'s> {
    pub(super) id: OriginId,
    pub(super) origin: &'s Arc<OriginState>,
    pub(super) place: usize,
    pub(super) server: &'s Arc<ServerState>,
    /// When it was chosen.
    pub(super) since: Duration,
    /// Whether only a new connection will do.
    pub(super) anew: bool,
    _in_flight: InFlight<'s>,
}

impl Candidate<'_> {
    /// The same server once more.
    pub(super) fn anew(self) -> Self {
        Self { anew: true, ..self }
    }
}

/// The servers of a route, in the order of trying them.
pub(super) struct Candidates<'s> {
    proxy: &'s Proxy,
    snapshot: &'s Snapshot,
    route: &'s Route,
    tried: Tried,
    /// Whether any could be tried.
    found: bool,
}

/// Servers that were offered already. The first takes no memory of its own.
#[derive(Default)]
struct Tried {
    last: Option<(OriginId, usize)>,
    earlier: Vec<(OriginId, usize)>,
}

impl Tried {
    fn push(&mut self, id: OriginId, place: usize) {
        self.earlier.extend(self.last.replace((id, place)));
    }

    fn contains(&self, id: OriginId, place: usize) -> bool {
        self.last == Some((id, place)) || self.earlier.contains(&(id, place))
    }
}

impl<'s> Candidates<'s> {
    pub(super) fn new(proxy: &'s Proxy, snapshot: &'s Snapshot, route: &'s Route) -> Self {
        Self { proxy, snapshot, route, tried: Tried::default(), found: false }
    }

    /// Whether any server could be tried.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// The first origin that has a server with as many requests as it may have.
    pub(super) fn full(&self) -> Option<&'s Arc<OriginState>> {
        let is_full = |origin: &OriginState| {
            origin.servers.iter().any(|server| !server.load.has_room(origin.origin.max_in_flight))
        };
        allowed(self.snapshot, self.route).map(|(_, origin)| origin).find(|origin| is_full(origin))
    }

    /// The next server: of the first origin that has one which may be tried; else the one whose pause
    /// ends first, so that the last of all is not given up.
    pub(super) fn next(&mut self) -> Option<Candidate<'s>> {
        let now = self.proxy.upstreams.now();
        let next = self.healthy(now).or_else(|| self.last_resort(now));
        self.found |= next.is_some();
        next
    }

    fn healthy(&mut self, now: Duration) -> Option<Candidate<'s>> {
        for (id, origin) in allowed(self.snapshot, self.route) {
            while let Some(place) = origin.pick(|place| self.tried.contains(id, place), now) {
                let candidate = self.take(id, origin, place, now);
                if let Some(candidate) = candidate.filter(|one| one.server.health.claim(now)) {
                    return Some(candidate);
                }
            }
        }
        None
    }

    fn last_resort(&mut self, now: Duration) -> Option<Candidate<'s>> {
        let paused = allowed(self.snapshot, self.route)
            .flat_map(|(id, origin)| {
                origin.servers.iter().enumerate().map(move |(place, _)| (id, origin, place))
            })
            .filter(|(id, _, place)| !self.tried.contains(*id, *place));
        let until = |origin: &OriginState, place: usize| {
            origin.servers.get(place).map(|one| one.health.paused_until()).filter(|until| *until > now)
        };
        let paused =
            paused.filter_map(|(id, origin, place)| Some((until(origin, place)?, id, origin, place)));
        let (_, id, origin, place) = paused.min_by_key(|(until, ..)| *until)?;
        let candidate = self.take(id, origin, place, now)?;
        // Whoever has failed elsewhere already need not wait for it.
        (self.found || candidate.server.health.claim_as_last_resort(now)).then_some(candidate)
    }

    /// `None` for a server that has as many requests as it may have.
    fn take(
        &mut self,
        id: OriginId,
        origin: &'s Arc<OriginState>,
        place: usize,
        since: Duration,
    ) -> Option<Candidate<'s>> {
        self.tried.push(id, place);
        let server = origin.servers.get(place)?;
        let in_flight = server.load.begin(origin.origin.max_in_flight)?;
        Some(Candidate { id, origin, place, server, since, anew: false, _in_flight: in_flight })
    }

    /// A server of the same origin that may be asked besides: another one, else the same once more, over
    /// another connection that is ready if there is one.
    pub(super) fn beside(&mut self, candidate: &Candidate<'s>) -> Option<Candidate<'s>> {
        let Candidate { id, origin, place, server, .. } = *candidate;
        let now = self.proxy.upstreams.now();
        let backup = |place: usize| origin.origin.servers.get(place).map(|server| server.backup);
        // Nobody is asked besides that is not to be asked without need.
        let kind = |place: usize| (backup(place), origin.links.is_spared(place));
        let (same, tried) = (kind(place), |place| self.tried.contains(id, place));
        let other = origin.pick(|place| tried(place) || kind(place) != same, now);
        match other.filter(|other| origin.servers.get(*other).is_some_and(|other| !other.health.is_ejected()))
        {
            Some(other) => self.take(id, origin, other, now),
            None if server.health.is_ejected() => None,
            None => self.take(id, origin, place, now),
        }
    }

    /// A server has not answered after that long, and nobody waits for it any more.
    pub(super) fn took_at_least(&self, candidate: &Candidate<'_>, time: Duration) {
        let now = self.proxy.upstreams.now();
        candidate.server.load.answered(time, now);
        if let Some(link) = candidate.origin.links.to(candidate.place) {
            link.first_bytes().answered(time, now);
        }
    }

    /// Holds a fault against a server. It is ejected for it only where another could serve instead.
    pub(super) fn blame(&self, candidate: &Candidate<'_>, fault: Fault) {
        let now = self.proxy.upstreams.now();
        if fault == Fault::NoAnswer {
            Self::unanswered(candidate, now);
        }
        let others = allowed(self.snapshot, self.route)
            .flat_map(|(_, origin)| &origin.servers)
            .any(|other| !Arc::ptr_eq(other, candidate.server) && other.health.may_be_tried(now));
        if candidate.server.health.fault(fault, candidate.since, now, others) {
            let (origin, server) = (&candidate.origin.origin.name, &candidate.server.label);
            self.proxy.edge.metrics.origin_up.with_label_values(&[&**origin, &**server]).set(0);
            tracing::warn!(%origin, %server, ?fault, "is left alone for a while");
        }
    }

    /// A server could not be connected to. Its own health knows that already.
    pub(super) fn unreached(&self, candidate: &Candidate<'_>) {
        Self::unanswered(candidate, self.proxy.upstreams.now());
    }

    fn unanswered(candidate: &Candidate<'_>, now: Duration) {
        if let Some(link) = candidate.origin.links.to(candidate.place) {
            link.first_bytes().failed(now);
        }
    }

    /// What an answer tells of its server.
    pub(super) fn answered(&self, candidate: &Candidate<'_>, status: u16, first_byte: Duration) {
        let Candidate { id, origin, place, server, .. } = candidate;
        let metrics = &self.proxy.edge.metrics;
        let name = &origin.origin.name;
        let link = origin.origin.servers.get(*place).map_or(DEFAULT_LINK, |server| &server.link);
        let labels = [&**name, link];
        metrics.answered(self.snapshot.generation, (*id, *place), labels, first_byte);
        let now = self.proxy.upstreams.now();
        server.load.answered(first_byte, now);
        server.measured.first_byte.took(first_byte, now);
        if let Some(link) = origin.links.to(*place) {
            link.first_bytes().answered(first_byte, now);
        }
        if status >= 500 {
            self.blame(candidate, Fault::ServerError);
        } else if server.health.succeeded(candidate.since, now) {
            metrics.origin_up.with_label_values(&[&**name, &*server.label]).set(1);
            tracing::info!(origin = %name, server = %server.label, "answers again");
        }
    }
}

/// The origins of a route whose region its residency allows.
fn allowed<'s>(
    snapshot: &'s Snapshot,
    route: &'s Route,
) -> impl Iterator<Item = (OriginId, &'s Arc<OriginState>)> {
    let origins = route.origins.iter().filter_map(|id| Some((*id, snapshot.origin(*id)?)));
    origins.filter(|(_, origin)| route.residency.allows(origin.origin.region))
}
