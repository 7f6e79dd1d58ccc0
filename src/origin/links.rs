//! The links that lead to an origin's servers: what is measured on each, and which are in use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::first_bytes::{FirstBytes, Observations};
use super::metered::{Metered, Status};
use super::timing::{Histogram, microseconds};
use super::{Origin, Server, ServerHost};

/// How long a computed quantile is reused: computing it reads every bucket of every server.
const FRESH: Duration = Duration::from_millis(250);

/// The links of one origin.
#[derive(Clone, Debug, Default)]
pub struct Links {
    all: Vec<OriginLink>,
    /// By the index of the server.
    servers: Vec<LinkedServer>,
    /// Whether any link is metered.
    any_metered: bool,
}

/// A server as the end of a link.
#[derive(Clone, Debug)]
struct LinkedServer {
    /// The index of the link.
    link: usize,
    first_bytes: Arc<FirstBytes>,
}

/// A link, as one origin uses it.
#[derive(Clone, Debug)]
pub struct OriginLink {
    /// Its label.
    pub name: Arc<str>,
    /// When it is used, if it is metered.
    pub metered: Option<Metered>,
    servers: Vec<(ServerHost, u16, Arc<FirstBytes>)>,
    /// What servers counted that have left the link: totals never fall, and observations stay valid.
    former: Arc<FirstBytes>,
    state: Arc<LinkState>,
}

/// What outlives a reload.
#[derive(Debug, Default)]
struct LinkState {
    in_use: AtomicBool,
    last_look: Mutex<Look>,
    /// The last answer of [`OriginLink::p95`] in microseconds, zero for none, and when it was computed.
    p95: AtomicU64,
    p95_at: AtomicU64,
}

/// The result of the last [`Links::judge`] for one link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// When that was.
    pub at: Duration,
    /// How its servers answered in the last one to two minutes.
    pub observations: Observations,
    /// Whether it is in use and why, for a metered link.
    pub status: Status,
}

impl OriginLink {
    /// The link `name` of `origin`. What `before` knows of the same link goes on.
    fn new(origin: &Origin, name: &Arc<str>, before: Option<&Self>) -> Self {
        let servers = origin.servers.iter().filter(|server| server.link == *name);
        let servers: Vec<_> = servers
            .map(|server| {
                let known = before.and_then(|before| before.server(server)).map(Arc::clone);
                (server.host.clone(), server.port, known.unwrap_or_default())
            })
            .collect();
        let is_gone = |known: &Arc<FirstBytes>| !servers.iter().any(|(.., kept)| Arc::ptr_eq(kept, known));
        let gone = before.iter().flat_map(|before| before.first_bytes()).filter(|known| is_gone(known));
        let former = FirstBytes::default();
        gone.for_each(|known| former.absorb(known));
        let metered = origin.metered.iter().find(|(known, _)| known == name);
        Self {
            name: Arc::clone(name),
            metered: metered.map(|(_, metered)| metered.clone()),
            servers,
            former: Arc::new(former),
            state: before.map(|before| Arc::clone(&before.state)).unwrap_or_default(),
        }
    }

    fn server(&self, server: &Server) -> Option<&Arc<FirstBytes>> {
        let known = self.servers.iter().find(|(host, port, _)| (host, *port) == (&server.host, server.port));
        known.map(|(.., first_bytes)| first_bytes)
    }

    /// Of its servers, then of those that have left.
    fn first_bytes(&self) -> impl Iterator<Item = &Arc<FirstBytes>> {
        self.servers.iter().map(|(.., first_bytes)| first_bytes).chain([&self.former])
    }

    /// First-byte times of all its servers since the start.
    pub fn histogram(&self) -> Histogram {
        let mut sum = Histogram::default();
        self.first_bytes().for_each(|server| sum.add(&server.histogram()));
        sum
    }

    /// How its servers answered in the last one to two minutes.
    pub fn observations(&self, now: Duration) -> Observations {
        Observations::of(self.first_bytes().map(|server| &**server), now)
    }

    /// The 95th percentile of its first-byte times, up to 250 ms old.
    pub fn p95(&self, now: Duration) -> Option<Duration> {
        let LinkState { p95, p95_at, .. } = &*self.state;
        let known = p95.load(Ordering::Relaxed);
        let age = microseconds(now).saturating_sub(p95_at.load(Ordering::Relaxed));
        if known > 0 && age <= microseconds(FRESH) {
            return Some(Duration::from_micros(known));
        }
        let computed = self.observations(now).p95;
        p95.store(computed.map_or(0, microseconds), Ordering::Relaxed);
        p95_at.store(microseconds(now), Ordering::Relaxed);
        computed
    }

    /// The result of the last [`Links::judge`].
    pub fn last_look(&self) -> Look {
        *self.state.last_look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_use(&self) -> bool {
        self.metered.is_some() && self.state.in_use.load(Ordering::Relaxed)
    }
}

/// The order in which servers that may be tried are preferred: the lowest tier first.
pub type Tier = u8;
/// How many tiers there are.
pub(super) const TIERS: Tier = 3;

impl Links {
    /// The links of an origin. What `before` knows of the same links and servers goes on.
    pub fn new(origin: &Origin, before: Option<&Self>) -> Self {
        let mut links = Self::default();
        for server in &origin.servers {
            let known = links.all.iter().position(|link| link.name == server.link);
            let link = known.unwrap_or_else(|| {
                let before = before.and_then(|links| links.all.iter().find(|link| link.name == server.link));
                links.all.push(OriginLink::new(origin, &server.link, before));
                links.all.len() - 1
            });
            let first_bytes = links.all.get(link).and_then(|link| link.server(server)).map(Arc::clone);
            links.servers.push(LinkedServer { link, first_bytes: first_bytes.unwrap_or_default() });
        }
        links.any_metered = links.all.iter().any(|link| link.metered.is_some());
        links
    }

    /// Each once, in the order of the servers.
    pub fn iter(&self) -> impl Iterator<Item = &OriginLink> {
        self.all.iter()
    }

    /// The link that leads to the server at `index`.
    pub fn to(&self, index: usize) -> Option<&OriginLink> {
        self.all.get(self.servers.get(index)?.link)
    }

    /// First-byte times of the server at `index`.
    pub fn first_bytes(&self, index: usize) -> Option<&FirstBytes> {
        self.servers.get(index).map(|server| &*server.first_bytes)
    }

    /// The server at `index` began its answer after `time`.
    pub fn answered(&self, index: usize, time: Duration, now: Duration) {
        if let Some(first_bytes) = self.first_bytes(index) {
            first_bytes.answered(time, now);
        }
    }

    /// The server at `index` had not answered after `time`, when its answer was given up.
    pub fn abandoned(&self, index: usize, time: Duration, now: Duration) {
        if let Some(first_bytes) = self.first_bytes(index) {
            first_bytes.abandoned(time, now);
        }
    }

    /// The server at `index` did not answer, or could not be connected to.
    pub fn failed(&self, index: usize, now: Duration) {
        if let Some(first_bytes) = self.first_bytes(index) {
            first_bytes.failed(now);
        }
    }

    /// Whether the server at `index` is on a metered link that is not in use.
    pub fn is_spared(&self, index: usize) -> bool {
        self.any_metered && self.to(index).is_some_and(|link| link.metered.is_some() && !link.is_in_use())
    }

    /// The tier of the server at `index`. A request that is to `look` prefers the links that are not
    /// metered even while a metered one is in use, so that their state stays known.
    pub fn tier(&self, server: &Server, index: usize, look: bool) -> Tier {
        if server.backup {
            return 2;
        }
        if !self.any_metered {
            return 0;
        }
        let in_use = !look && self.all.iter().any(OriginLink::is_in_use);
        let preferred = match self.to(index) {
            Some(link) if link.metered.is_some() => in_use && link.is_in_use(),
            Some(_) | None => !in_use,
        };
        Tier::from(!preferred)
    }

    /// Judges the metered links at `now`; `minute` is that of the day in Shanghai. Returns those that came
    /// into use or went out of it.
    pub fn judge(&self, minute: u16, now: Duration) -> Vec<(&OriginLink, Status)> {
        let others = self.all.iter().filter(|link| link.metered.is_none());
        let others = others.flat_map(OriginLink::first_bytes).map(|server| &**server);
        let others = if self.any_metered { Observations::of(others, now) } else { Observations::default() };
        let mut switched = Vec::new();
        for link in &self.all {
            let mut look = link.state.last_look.lock().unwrap_or_else(PoisonError::into_inner);
            let before = look.status;
            let judge = |metered: &Metered| metered.judge(before, others, minute, now);
            let status = link.metered.as_ref().map(judge).unwrap_or_default();
            *look = Look { at: now, observations: link.observations(now), status };
            link.state.in_use.store(status.in_use, Ordering::Relaxed);
            if status.in_use != before.in_use && link.metered.is_some() {
                switched.push((link, status));
            }
        }
        switched
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Balance, Hostname, Pool, ProxyProtocol, Region, Retries, Scheme, Timeouts, UpstreamHost,
    };
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// An origin of servers by name and link.
    fn origin(servers: &[(&str, &str)]) -> Origin {
        let server = |(name, link): &(&str, &str)| Server {
            host: ServerHost::Name(Hostname::parse(&format!("{name}.example.com")).expect("a name")),
            port: 80,
            weight: 1,
            backup: false,
            link: (*link).into(),
        };
        Origin {
            name: "main".into(),
            region: Region::Offshore,
            scheme: Scheme::Http,
            servers: servers.iter().map(server).collect(),
            timeouts: Timeouts::default(),
            host: UpstreamHost::Preserve,
            proxy_protocol: ProxyProtocol::None,
            retries: Retries::default(),
            health: None,
            hedge_after: None,
            metered: Vec::new(),
            balance: Balance::default(),
            max_in_flight: 1,
            pool: Pool::default(),
            congestion: None,
        }
    }

    fn counts(links: &Links) -> Vec<(u64, u64)> {
        links.iter().map(|link| (link.histogram().count, link.observations(MS).answers)).collect()
    }

    #[test]
    fn what_a_link_has_counted_outlives_its_servers() {
        let before = Links::new(&origin(&[("a", "public"), ("b", "public"), ("c", "cn2")]), None);
        for index in [0, 1, 1, 2] {
            before.answered(index, MS, MS);
        }
        assert_eq!(counts(&before), [(3, 3), (1, 1)]);
        let moved = Links::new(&origin(&[("a", "public"), ("c", "public"), ("b", "cn2")]), Some(&before));
        assert_eq!(counts(&moved), [(3, 3), (1, 1)], "a server on another link begins anew");
        moved.answered(1, MS, MS);
        assert_eq!(counts(&moved), [(4, 4), (1, 1)]);
        let alone = Links::new(&origin(&[("d", "public")]), Some(&moved));
        assert_eq!(counts(&alone), [(4, 4)]);
        assert_eq!(counts(&before), [(3, 3), (1, 1)], "a reload may be rejected");
        let again = Links::new(&origin(&[("d", "public")]), Some(&alone));
        again.answered(0, MS, MS);
        assert_eq!(counts(&alone), [(5, 5)], "the same server");
    }

    #[test]
    fn a_quantile_is_reused_while_it_is_fresh() {
        let links = Links::new(&origin(&[("a", "public")]), None);
        let link = links.to(0).expect("a link");
        assert_eq!(link.p95(MS), None);
        (0..20).for_each(|_| links.answered(0, 10 * MS, MS));
        let first = link.p95(MS);
        assert!(first.is_some_and(|p95| p95 >= 10 * MS && p95 <= 12 * MS));
        (0..20).for_each(|_| links.answered(0, 900 * MS, MS));
        assert_eq!(link.p95(MS + FRESH), first);
        assert!(link.p95(MS + FRESH + MS) >= Some(900 * MS));
    }
}
