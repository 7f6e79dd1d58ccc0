//! The servers that a request may be sent to, in order, and what the request learns about them.
//!
//! The next server is chosen only when it is needed: nearly always the first one answers. Servers in a region
//! that the route's residency rule excludes are never candidates.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::sticky::StickySource;
use crate::edge::client_use::ClientUse;
use crate::origin::OriginId;
use crate::origin::health::Fault;
use crate::origin::load::InFlight;
use crate::route::Forward;
use crate::snapshot::{OriginState, ServerState, Snapshot};

pub(super) struct Candidate<'s> {
    pub(super) id: OriginId,
    pub(super) origin: &'s Arc<OriginState>,
    pub(super) index: usize,
    pub(super) server: &'s Arc<ServerState>,
    pub(super) since: Duration,
    /// Whether idle connections must not be used.
    pub(super) fresh_only: bool,
    _in_flight: InFlight<'s>,
}

impl Candidate<'_> {
    /// The same server again, over a new connection.
    pub(super) fn fresh_only(self) -> Self {
        Self { fresh_only: true, ..self }
    }
}

/// The servers of a route, in the order in which they are tried.
pub(super) struct Candidates<'s> {
    proxy: &'s Proxy,
    snapshot: &'s Snapshot,
    forward: &'s Forward,
    sticky: StickySource<'s>,
    tried: Tried,
    found: bool,
    /// What the client uses; `None` for a trusted proxy, which stands for many clients.
    uses: Option<&'s ClientUse>,
    /// An origin whose places the client has had its share of.
    beyond_share: Option<&'s Arc<OriginState>>,
}

/// Servers tried so far. The first one needs no allocation.
#[derive(Default)]
struct Tried {
    last: Option<(OriginId, usize)>,
    earlier: Vec<(OriginId, usize)>,
}

impl Tried {
    fn push(&mut self, id: OriginId, index: usize) {
        self.earlier.extend(self.last.replace((id, index)));
    }

    fn contains(&self, id: OriginId, index: usize) -> bool {
        self.last == Some((id, index)) || self.earlier.contains(&(id, index))
    }
}

impl<'s> Candidates<'s> {
    pub(super) fn new(
        proxy: &'s Proxy,
        snapshot: &'s Snapshot,
        forward: &'s Forward,
        sticky: StickySource<'s>,
        uses: Option<&'s ClientUse>,
    ) -> Self {
        Self {
            proxy,
            snapshot,
            forward,
            sticky,
            tried: Tried::default(),
            found: false,
            uses,
            beyond_share: None,
        }
    }

    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// The first origin with a server at its limit of concurrent requests, or one whose limit the client has had its share of.
    pub(super) fn full(&self) -> Option<&'s Arc<OriginState>> {
        let is_full = |origin: &OriginState| {
            origin.servers.iter().any(|server| !server.load.has_room(origin.origin.max_in_flight))
        };
        let mut origins = allowed(self.snapshot, self.forward).map(|(_, origin)| origin);
        self.beyond_share.or_else(|| origins.find(|origin| is_full(origin)))
    }

    /// The next server: from the first origin that has an available one, else the ejected server whose pause
    /// ends first, so that the last server is never given up.
    pub(super) fn next(&mut self) -> Option<Candidate<'s>> {
        let now = self.proxy.upstreams.now();
        let next = self.healthy(now).or_else(|| self.last_resort(now));
        self.found |= next.is_some();
        next
    }

    fn healthy(&mut self, now: Duration) -> Option<Candidate<'s>> {
        for (id, origin) in allowed(self.snapshot, self.forward) {
            let key = self.sticky.key(&origin.origin.balance);
            while let Some(index) = origin.pick(key.as_deref(), |index| self.tried.contains(id, index), now) {
                let candidate = self.take(id, origin, index, now);
                if let Some(candidate) = candidate.filter(|one| one.server.health.claim(now)) {
                    return Some(candidate);
                }
            }
        }
        None
    }

    fn last_resort(&mut self, now: Duration) -> Option<Candidate<'s>> {
        let paused = allowed(self.snapshot, self.forward)
            .flat_map(|(id, origin)| {
                origin.servers.iter().enumerate().map(move |(index, _)| (id, origin, index))
            })
            .filter(|(id, _, index)| !self.tried.contains(*id, *index));
        let until = |origin: &OriginState, index: usize| {
            origin.servers.get(index).map(|one| one.health.paused_until()).filter(|until| *until > now)
        };
        let paused =
            paused.filter_map(|(id, origin, index)| Some((until(origin, index)?, id, origin, index)));
        let (_, id, origin, index) = paused.min_by_key(|(until, ..)| *until)?;
        let candidate = self.take(id, origin, index, now)?;
        // A request that has already failed elsewhere does not wait for the pause to end.
        (self.found || candidate.server.health.claim_as_last_resort(now)).then_some(candidate)
    }

    /// `None` for a server at its limit of concurrent requests, or at the client's share of it.
    fn take(
        &mut self,
        id: OriginId,
        origin: &'s Arc<OriginState>,
        index: usize,
        since: Duration,
    ) -> Option<Candidate<'s>> {
        self.tried.push(id, index);
        let server = origin.servers.get(index)?;
        let most = origin.origin.max_in_flight;
        if self.uses.is_some_and(|uses| uses.exceeds_share(server.load.in_flight(), most as usize)) {
            self.beyond_share = Some(origin);
            return None;
        }
        let in_flight = server.load.begin(most)?;
        Some(Candidate { id, origin, index, server, since, fresh_only: false, _in_flight: in_flight })
    }

    /// A server of the same origin for a hedged request: another one, else the same one over another
    /// connection.
    pub(super) fn hedge_candidate(&mut self, candidate: &Candidate<'s>) -> Option<Candidate<'s>> {
        let Candidate { id, origin, index, server, .. } = *candidate;
        let now = self.proxy.upstreams.now();
        let backup = |index: usize| origin.origin.servers.get(index).map(|server| server.backup);
        // A hedge must not use backups or metered links that the first attempt avoids.
        let kind = |index: usize| (backup(index), origin.links.is_spared(index));
        let (same, tried) = (kind(index), |index| self.tried.contains(id, index));
        let other = origin.pick(None, |index| tried(index) || kind(index) != same, now);
        match other.filter(|other| origin.servers.get(*other).is_some_and(|other| !other.health.is_ejected()))
        {
            Some(other) => self.take(id, origin, other, now),
            None if server.health.is_ejected() => None,
            None => self.take(id, origin, index, now),
        }
    }

    /// Reports that a server has not answered after `time`, when the answer is no longer needed.
    pub(super) fn took_at_least(&self, candidate: &Candidate<'_>, time: Duration) {
        candidate.origin.abandoned(candidate.index, time, self.proxy.upstreams.now());
    }

    /// Counts a fault of a server. It is ejected only if another server can take over.
    pub(super) fn blame(&self, candidate: &Candidate<'_>, fault: Fault) {
        let now = self.proxy.upstreams.now();
        if fault == Fault::NoAnswer {
            candidate.origin.links.failed(candidate.index, now);
        }
        let others = allowed(self.snapshot, self.forward)
            .flat_map(|(_, origin)| &origin.servers)
            .any(|other| !Arc::ptr_eq(other, candidate.server) && other.health.may_be_tried(now));
        if candidate.server.health.fault(fault, candidate.since, now, others) {
            let (origin, server) = (&candidate.origin.origin.name, &candidate.server.label);
            tracing::warn!(%origin, %server, ?fault, "the server is ejected: it is left alone for a while");
        }
    }

    /// Reports that a server could not be connected to. Its health was updated by the connect.
    pub(super) fn not_connected(&self, candidate: &Candidate<'_>) {
        candidate.origin.links.failed(candidate.index, self.proxy.upstreams.now());
    }

    pub(super) fn answered(&self, candidate: &Candidate<'_>, status: u16, first_byte: Duration) {
        let Candidate { origin, index, server, .. } = candidate;
        let now = self.proxy.upstreams.now();
        origin.answered(*index, first_byte, now);
        if status >= 500 {
            self.blame(candidate, Fault::ServerError);
        } else if server.health.succeeded(candidate.since, now) {
            let name = &origin.origin.name;
            tracing::info!(origin = %name, server = %server.label, "the server answers again");
        }
    }
}

/// The origins of a route whose region its residency rule allows.
fn allowed<'s>(
    snapshot: &'s Snapshot,
    forward: &'s Forward,
) -> impl Iterator<Item = (OriginId, &'s Arc<OriginState>)> {
    let origins = forward.origins.iter().filter_map(|id| Some((*id, snapshot.origin(*id)?)));
    origins.filter(|(_, origin)| forward.residency.allows(origin.origin.region))
}
