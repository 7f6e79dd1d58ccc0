//! Hedging: a slow request is sent to a second server as well, and the first response wins.
//!
//! A hedge counts as an attempt and spends the retry budget, so that a slow origin does not get twice the
//! traffic. The loser is dropped, which resets its stream or closes its connection.

use std::future;
use std::pin::Pin;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep_until};

use super::{Attempt, UsedConnection};
use crate::exchange::candidates::Candidate;
use crate::exchange::pump::{ExchangeEnd, drive};
use crate::net::timer::Timer;
use crate::origin::HedgeAfter;
use crate::origin::health::Fault;
use crate::upstream::reach::{Channel, ConnectTarget, Purpose};
use crate::upstream::request::BodyFraming;
use crate::upstream::session::ServerSession;
use crate::upstream::{ConnectFailure, ConnectionOrigin, ResponsePart, UpstreamFailure};

/// One of the two requests in a race.
struct Runner {
    up: ServerSession,
    over: UsedConnection,
    sent: Instant,
}

impl Runner {
    /// The start of its response; pending for ever if there is no such request.
    async fn read(runner: &mut Option<Self>) -> Result<ResponsePart, UpstreamFailure> {
        match runner {
            Some(runner) => runner.up.read().await,
            None => future::pending().await,
        }
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Channel, ConnectFailure>> + Send + 'a>>;

async fn reached(connecting: &mut Option<Connecting<'_>>) -> Result<Channel, ConnectFailure> {
    match connecting {
        Some(connecting) => connecting.await,
        None => future::pending().await,
    }
}

struct Race<'a> {
    first: Option<Runner>,
    /// Whether the first request's connection was new, once it has failed.
    first_failed: Option<ConnectionOrigin>,
    /// Whether the first server said that it did not process the request.
    unprocessed: bool,
    /// The second server, once it is asked.
    rival: Option<Candidate<'a>>,
    connecting: Option<Connecting<'a>>,
    second: Option<Runner>,
}

enum RaceResult {
    First(Runner, ResponsePart),
    Second(Runner, ResponsePart),
    /// Neither answers: the result is that of a request without a hedge.
    Nobody(ExchangeEnd),
}

impl<'a> Attempt<'a, '_> {
    /// How long to wait for a response before hedging; `None` for a request that must not be hedged.
    pub(super) fn hedge_after(&self, candidate: &Candidate<'a>) -> Option<Duration> {
        let origin = candidate.origin;
        let after = origin.origin.hedge_after?;
        let fits = self.framing == BodyFraming::None
            && matches!(self.down.head.method, Method::GET | Method::HEAD)
            && self.failed_attempts + 1 < origin.origin.retries.attempts;
        match after {
            _ if !fits => None,
            HedgeAfter::Time(after) => Some(after),
            HedgeAfter::P95 => origin.links.to(candidate.index)?.p95(candidate.since),
        }
    }

    /// An exchange with `candidate` that is hedged after `after`.
    pub(super) async fn hedged(
        &mut self,
        candidate: &Candidate<'a>,
        up: ServerSession,
        over: UsedConnection,
        after: Duration,
    ) -> ExchangeEnd {
        let first = match self.start(candidate, up, over).await {
            Ok(first) => first,
            Err(UpstreamFailure::Unprocessed) => return ExchangeEnd::Unprocessed { sent_body: false },
            Err(_) => return ExchangeEnd::Unanswered { sent_body: false },
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
            self.report_race(candidate, rival, &race, &won);
        }
        let (winner, runner, part) = match (won, &race.rival) {
            (RaceResult::Nobody(ended), _) => return ended,
            (RaceResult::Second(mut runner, part), Some(rival)) => {
                self.note(rival, &mut runner.over);
                (rival, runner, part)
            }
            (RaceResult::First(runner, part) | RaceResult::Second(runner, part), _) => {
                (candidate, runner, part)
            }
        };
        drop((race.first, race.second, race.connecting));
        let Runner { up, over, sent } = runner;
        let exchange = self.exchange_with(winner);
        let ended = drive::resume(exchange, up, (part, sent), self.down, self.context).await;
        self.finish(winner, over, ended)
    }

    async fn race(&mut self, candidate: &Candidate<'a>, race: &mut Race<'a>, after: Duration) -> RaceResult {
        let began = Instant::now();
        let mut hedge_timer = std::pin::pin!(sleep_until(began + after));
        let mut hedged = false;
        let (mut deadline, mut until) = (Timer::default(), began + self.first_byte(candidate));
        loop {
            let failed = tokio::select! {
                biased;
                part = Runner::read(&mut race.first) => match (part, race.first.take()) {
                    (Ok(part), Some(first)) => return RaceResult::First(first, part),
                    (Err(UpstreamFailure::Unprocessed), _) => {
                        race.unprocessed = true;
                        true
                    }
                    (failed, first) => {
                        self.note_refused(&failed, first.as_ref());
                        race.first_failed = first.map(|first| first.over.came_from);
                        true
                    }
                },
                part = Runner::read(&mut race.second) => match (part, race.second.take()) {
                    (Ok(part), Some(second)) => return RaceResult::Second(second, part),
                    (Err(UpstreamFailure::Unprocessed), _) => true,
                    (failed, second) => {
                        self.note_refused(&failed, second.as_ref());
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
                            let (up, over) = super::prepare(&rival.origin.origin, made);
                            self.start(rival, up, over).await.ok()
                        }
                        _ => None,
                    };
                    race.second.is_none()
                }
                () = self.down.gone() => return RaceResult::Nobody(ExchangeEnd::Broken),
                () = deadline.reached(until) => return RaceResult::Nobody(ExchangeEnd::Late),
                () = &mut hedge_timer, if !hedged => {
                    hedged = true;
                    self.start_hedge(candidate, race);
                    if race.rival.is_some() {
                        until = until.max(Instant::now() + self.first_byte(candidate));
                    }
                    false
                }
            };
            if failed && race.first.is_none() && race.second.is_none() && race.connecting.is_none() {
                return RaceResult::Nobody(match race.unprocessed {
                    true => ExchangeEnd::Unprocessed { sent_body: false },
                    false => ExchangeEnd::Unanswered { sent_body: false },
                });
            }
        }
    }

    /// Hedges the request: sends it to a second server if there is one and the retry budget allows.
    fn start_hedge(&mut self, candidate: &Candidate<'a>, race: &mut Race<'a>) {
        let origin = candidate.origin;
        let now = self.proxy.upstreams.now();
        let Some(rival) = self.candidates.hedge_candidate(candidate) else { return };
        if !origin.budget.spend(origin.origin.retries, now) {
            return;
        }
        self.failed_attempts += 1;
        let (proxy, index) = (self.proxy, rival.index);
        let ahead = self.ahead(origin);
        let target = ConnectTarget { origin, index, proxy_header: self.proxy_header(origin), ahead };
        race.connecting = Some(Box::pin(proxy.upstreams.reach(target, Purpose::Answer, true)));
        race.rival = Some(rival);
    }

    async fn start(
        &mut self,
        candidate: &Candidate<'a>,
        mut up: ServerSession,
        over: UsedConnection,
    ) -> Result<Runner, UpstreamFailure> {
        let edits = self.edits(candidate);
        up.send_head(&self.context.upstream_request(self.down.head, edits)).await?;
        up.sent().await?;
        Ok(Runner { up, over, sent: Instant::now() })
    }

    /// Reports the result of a race to metrics and to the servers' health.
    fn report_race(
        &self,
        candidate: &Candidate<'a>,
        rival: &Candidate<'a>,
        race: &Race<'a>,
        won: &RaceResult,
    ) {
        let winner = match won {
            RaceResult::First(..) => "first",
            RaceResult::Second(..) => "second",
            RaceResult::Nobody(_) => "nobody",
        };
        let name = &*candidate.origin.origin.name;
        self.proxy.upstreams.metrics.hedges.with_label_values(&[name, winner]).inc();
        match (won, &race.first) {
            (RaceResult::Second(..), Some(first)) => {
                self.candidates.took_at_least(candidate, first.sent.elapsed())
            }
            (RaceResult::Second(..), None) => self.broke_off(candidate, race.first_failed),
            (RaceResult::Nobody(ExchangeEnd::Late), _) => self.candidates.blame(rival, Fault::NoAnswer),
            (RaceResult::First(..) | RaceResult::Nobody(_), _) => {}
        }
    }

    /// Logs a response that cannot be passed on, whoever wins.
    fn note_refused(&mut self, part: &Result<ResponsePart, UpstreamFailure>, runner: Option<&Runner>) {
        if let (Err(UpstreamFailure::Bad(bad)), Some(runner)) = (part, runner) {
            self.context.answer_refused(*bad, &runner.over.reached, self.path);
        }
    }

    fn broke_off(&self, server: &Candidate<'a>, came_from: Option<ConnectionOrigin>) {
        if came_from == Some(ConnectionOrigin::New) {
            self.candidates.blame(server, Fault::NoAnswer);
        }
    }
}
