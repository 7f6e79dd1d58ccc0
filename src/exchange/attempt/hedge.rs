//! A request that is sent to a second server when the first one takes long: the first answer wins.
//!
//! It counts as an attempt and takes a retry from the budget, so that a slow origin does not get twice
//! the traffic. The loser is dropped, which ends what it was sent over.

use std::future;
use std::pin::Pin;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep_until};

use super::{Attempt, SentOver};
use crate::exchange::candidates::Candidate;
use crate::exchange::pump::{Ended, drive};
use crate::net::deadline::Deadline;
use crate::origin::HedgeAfter;
use crate::origin::health::Fault;
use crate::upstream::reach::{Purpose, Target, Way};
use crate::upstream::request::Framing;
use crate::upstream::stream::Upstream;
use crate::upstream::{ConnectionOrigin, Part, Unreached, UpstreamFailure};

/// One of the two that are asked.
struct Runner {
    up: Upstream,
    over: SentOver,
    sent: Instant,
}

impl Runner {
    /// The beginning of its answer; never, where there is nobody.
    async fn read(runner: &mut Option<Self>) -> Result<Part, UpstreamFailure> {
        match runner {
            Some(runner) => runner.up.read().await,
            None => future::pending().await,
        }
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Way, Unreached>> + Send + 'a>>;

async fn reached(connecting: &mut Option<Connecting<'_>>) -> Result<Way, Unreached> {
    match connecting {
        Some(connecting) => connecting.await,
        None => future::pending().await,
    }
}

/// The two, and how far they have come.
struct Race<'a> {
    first: Option<Runner>,
    /// What the first was sent over, once it has broken off.
    first_failed: Option<ConnectionOrigin>,
    /// Whether it has said that it does not look at the request.
    unprocessed: bool,
    /// The other server, once it is asked.
    rival: Option<Candidate<'a>>,
    connecting: Option<Connecting<'a>>,
    second: Option<Runner>,
}

/// How a race ended.
enum Won {
    First(Runner, Part),
    Second(Runner, Part),
    /// Nobody answers: it is as with one server.
    Nobody(Ended),
}

impl<'a> Attempt<'a, '_> {
    /// How long the answer of this server is waited for before another one is asked as well; `None` for
    /// a request that is never sent twice at once.
    pub(super) fn hedge_after(&self, candidate: &Candidate<'a>) -> Option<Duration> {
        let origin = candidate.origin;
        let after = origin.origin.hedge_after?;
        let fits = self.framing == Framing::None
            && matches!(self.down.head.method, Method::GET | Method::HEAD)
            && self.in_vain + 1 < origin.origin.retries.attempts;
        match after {
            _ if !fits => None,
            HedgeAfter::Time(after) => Some(after),
            HedgeAfter::P95 => origin.links.to(candidate.place)?.first_bytes().p95(candidate.since),
        }
    }

    /// The same as an exchange with `candidate` alone, unless it takes longer than `after`.
    pub(super) async fn hedged(
        &mut self,
        candidate: &Candidate<'a>,
        up: Upstream,
        over: SentOver,
        after: Duration,
    ) -> Ended {
        let first = match self.start(candidate, up, over).await {
            Ok(first) => first,
            Err(UpstreamFailure::Unprocessed) => return Ended::Unprocessed { sent_body: false },
            Err(_) => return Ended::Unanswered { sent_body: false },
        };
        let mut race = Race {
            first: Some(first),
            first_failed: None,
            unprocessed: false,
            rival: None,
            connecting: None,
            second: None,
        };
        let won = self.race(candidate, &mut race, after).await;
        if let Some(rival) = &race.rival {
            self.tell(candidate, rival, &race, &won);
        }
        let (winner, runner, part) = match (won, &race.rival) {
            (Won::Nobody(ended), _) => return ended,
            (Won::Second(mut runner, part), Some(rival)) => {
                self.note(rival, &mut runner.over);
                (rival, runner, part)
            }
            (Won::First(runner, part) | Won::Second(runner, part), _) => (candidate, runner, part),
        };
        drop((race.first, race.second, race.connecting));
        let Runner { up, over, sent } = runner;
        let exchange = self.exchange_with(winner);
        let ended = drive::resume(exchange, up, (part, sent), self.down, self.context).await;
        self.finish(winner, over, ended)
    }

    async fn race(&mut self, candidate: &Candidate<'a>, race: &mut Race<'a>, after: Duration) -> Won {
        let began = Instant::now();
        let mut asks_another = std::pin::pin!(sleep_until(began + after));
        let mut asked_another = false;
        let (mut deadline, mut until) = (Deadline::default(), began + self.first_byte(candidate));
        loop {
            let failed = tokio::select! {
                biased;
                part = Runner::read(&mut race.first) => match (part, race.first.take()) {
                    (Ok(part), Some(first)) => return Won::First(first, part),
                    (Err(UpstreamFailure::Unprocessed), _) => {
                        race.unprocessed = true;
                        true
                    }
                    (_, first) => {
                        race.first_failed = first.map(|first| first.over.came_from);
                        true
                    }
                },
                part = Runner::read(&mut race.second) => match (part, race.second.take()) {
                    (Ok(part), Some(second)) => return Won::Second(second, part),
                    (Err(UpstreamFailure::Unprocessed), _) => true,
                    (_, second) => {
                        if let Some(rival) = &race.rival {
                            self.broke_off(rival, second.map(|second| second.over.came_from));
                        }
                        true
                    }
                },
                made = reached(&mut race.connecting) => {
                    race.connecting = None;
                    race.second = match (made, &race.rival) {
                        (Ok(made), Some(rival)) => {
                            let (up, over) = super::open(&rival.origin.origin, made);
                            self.start(rival, up, over).await.ok()
                        }
                        _ => None,
                    };
                    race.second.is_none()
                }
                () = self.down.gone() => return Won::Nobody(Ended::Broken),
                () = deadline.reached(until) => return Won::Nobody(Ended::Late),
                () = &mut asks_another, if !asked_another => {
                    asked_another = true;
                    self.ask_another(candidate, race);
                    if race.rival.is_some() {
                        until = until.max(Instant::now() + self.first_byte(candidate));
                    }
                    false
                }
            };
            if failed && race.first.is_none() && race.second.is_none() && race.connecting.is_none() {
                return Won::Nobody(match race.unprocessed {
                    true => Ended::Unprocessed { sent_body: false },
                    false => Ended::Unanswered { sent_body: false },
                });
            }
        }
    }

    /// Sends the request to another server too, if there is one and the budget allows it.
    fn ask_another(&mut self, candidate: &Candidate<'a>, race: &mut Race<'a>) {
        let origin = candidate.origin;
        let now = self.proxy.upstreams.now();
        let Some(rival) = self.candidates.beside(candidate) else { return };
        if !origin.budget.spend(origin.origin.retries, now) {
            return;
        }
        self.in_vain += 1;
        let (proxy, place) = (self.proxy, rival.place);
        let target = Target { origin, place, told: self.told(origin) };
        race.connecting = Some(Box::pin(proxy.upstreams.reach(&proxy.edge, target, Purpose::Answer, true)));
        race.rival = Some(rival);
    }

    /// Sends the request, whole.
    async fn start(
        &mut self,
        candidate: &Candidate<'a>,
        mut up: Upstream,
        over: SentOver,
    ) -> Result<Runner, UpstreamFailure> {
        let changes = self.changes(candidate);
        up.send_head(&self.context.upstream_request(self.down.head, changes)).await?;
        up.sent().await?;
        Ok(Runner { up, over, sent: Instant::now() })
    }

    /// What a race tells of those who did not win it.
    fn tell(&self, candidate: &Candidate<'a>, rival: &Candidate<'a>, race: &Race<'a>, won: &Won) {
        let winner = match won {
            Won::First(..) => "first",
            Won::Second(..) => "second",
            Won::Nobody(_) => "nobody",
        };
        let name = &*candidate.origin.origin.name;
        self.proxy.edge.metrics.hedges.with_label_values(&[name, winner]).inc();
        match (won, &race.first) {
            (Won::Second(..), Some(first)) => self.candidates.took_at_least(candidate, first.sent.elapsed()),
            (Won::Second(..), None) => self.broke_off(candidate, race.first_failed),
            (Won::Nobody(Ended::Late), _) => self.candidates.blame(rival, Fault::NoAnswer),
            (Won::First(..) | Won::Nobody(_), _) => {}
        }
    }

    fn broke_off(&self, server: &Candidate<'a>, came_from: Option<ConnectionOrigin>) {
        if came_from == Some(ConnectionOrigin::New) {
            self.candidates.blame(server, Fault::NoAnswer);
        }
    }
}
