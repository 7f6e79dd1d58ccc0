//! Sending a request to one server after another, until one answers.

use std::io::ErrorKind;

use http::StatusCode;

use super::{Attempt, open};
use crate::exchange::After;
use crate::exchange::candidates::Candidate;
use crate::exchange::pump::{Ended, drive};
use crate::origin::health::Fault;
use crate::route::Residency;
use crate::upstream::reach::{Purpose, Target, Way};
use crate::upstream::request::Framing;
use crate::upstream::{ConnectionOrigin, Unreached};

/// How often a server may refuse one request for no fault of it before it is left.
const REFUSALS: u32 = 2;

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

impl<'a> Attempt<'a, '_> {
    /// Sends the request to the first server that takes it. The error is the status to answer with.
    pub(in crate::exchange) async fn run(mut self) -> Result<After, StatusCode> {
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

    /// Sends the request over one connection, and brings back what is answered.
    async fn exchange(&mut self, candidate: &Candidate<'a>, way: Way) -> Ended {
        let (up, mut sent_over) = open(&candidate.origin.origin, way);
        self.note(candidate, &mut sent_over);
        if let Some(after) = self.hedge_after(candidate) {
            // Seldom, and larger than the rest.
            return Box::pin(self.hedged(candidate, up, sent_over, after)).await;
        }
        let (exchange, changes) = (self.exchange_with(candidate), self.changes(candidate));
        let ended = drive::run(exchange, changes, up, self.down, self.context).await;
        self.finish(candidate, sent_over, ended)
    }
}
