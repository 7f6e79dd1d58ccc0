//! Drives an attempt: sends the request to one server after another until one answers.

use std::io::ErrorKind;

use http::StatusCode;

use super::{Attempt, prepare};
use crate::exchange::Outcome;
use crate::exchange::candidates::Candidate;
use crate::exchange::pump::{ExchangeEnd, drive};
use crate::origin::health::Fault;
use crate::rewrite::Ask;
use crate::route::Residency;
use crate::upstream::reach::{Channel, ConnectTarget, Purpose};
use crate::upstream::request::BodyFraming;
use crate::upstream::{ConnectFailure, ConnectionOrigin};

/// How often one server may refuse a request as unprocessed before the next one is tried.
const REFUSALS: u32 = 2;

enum AttemptResult {
    Over(Outcome),
    NotConnected,
    /// The server failed before it answered, and has received nothing of the body.
    BrokeOff,
    /// The server did not answer within the time of one try.
    TooSlow,
}

impl<'a> Attempt<'a, '_> {
    /// Sends the request to the first server that takes it. The error is the status to answer with.
    pub(in crate::exchange) async fn run(mut self) -> Result<Outcome, StatusCode> {
        let mut next = self.candidates.next();
        while let Some(candidate) = next {
            next = match self.send_to(&candidate).await? {
                AttemptResult::Over(after) => return Ok(after),
                AttemptResult::NotConnected => self.candidates.next(),
                AttemptResult::BrokeOff => Some(self.repeat(candidate).ok_or(StatusCode::BAD_GATEWAY)?),
                AttemptResult::TooSlow => Some(self.repeat(candidate).ok_or(StatusCode::GATEWAY_TIMEOUT)?),
            };
        }
        Err(self.exhausted())
    }

    /// The status for a request that no server took.
    fn exhausted(&self) -> StatusCode {
        if !self.candidates.found()
            && let Some(full) = self.candidates.full()
        {
            self.proxy.upstreams.metrics.overflow.with_label_values(&[&*full.origin.name]).inc();
        }
        match self.residency {
            Residency::Any if self.candidates.found() => StatusCode::BAD_GATEWAY,
            Residency::Any => StatusCode::SERVICE_UNAVAILABLE,
            // Servers in other regions may be up, but must not be used.
            Residency::Within(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The server for a retry: another one, else the same one again.
    fn repeat(&mut self, broke_off: Candidate<'a>) -> Option<Candidate<'a>> {
        let origin = broke_off.origin;
        let retries = origin.origin.retries;
        self.failed_attempts += 1;
        if !self.idempotent || self.failed_attempts >= retries.attempts {
            return None;
        }
        let next = self.candidates.next().unwrap_or_else(|| broke_off.fresh_only());
        if !origin.budget.spend(retries, self.proxy.upstreams.now()) {
            return None;
        }
        self.proxy.upstreams.metrics.retries.with_label_values(&[&*origin.origin.name]).inc();
        Some(next)
    }

    /// Sends the request to one server, over an idle connection if there is one.
    async fn send_to(&mut self, candidate: &Candidate<'a>) -> Result<AttemptResult, StatusCode> {
        let origin = candidate.origin;
        let proxy_header = self.proxy_header(origin);
        let ahead = self.ahead(origin);
        let target = ConnectTarget { origin, index: candidate.index, proxy_header, ahead };
        let purpose = if self.framing == BodyFraming::Tunnel { Purpose::Tunnel } else { Purpose::Answer };
        let mut reuse_idle = !candidate.fresh_only;
        let mut refused = 0;
        if self.failed_attempts == 0 {
            origin.budget.earn(origin.origin.retries, candidate.since);
        }
        loop {
            let channel = tokio::select! {
                // A client may reset streams faster than a server accepts connections.
                () = self.down.is_reset() => return Ok(AttemptResult::Over(Outcome::Abort)),
                channel = self.proxy.upstreams.reach(target, purpose, reuse_idle) => channel,
            };
            let channel = match channel {
                Ok(channel) => channel,
                Err(ConnectFailure { error, address }) => {
                    self.note_not_connected(candidate, address);
                    // The server is up, but does not speak what the request needs: no fault.
                    if error.kind() != ErrorKind::Unsupported {
                        self.candidates.not_connected(candidate);
                    }
                    return Ok(AttemptResult::NotConnected);
                }
            };
            // A failure of a second connection is blamed on the server, not on an idle connection that it had
            // closed.
            let came_from = if reuse_idle { channel.origin() } else { ConnectionOrigin::New };
            reuse_idle = false;
            match self.exchange(candidate, channel).await {
                ExchangeEnd::Whole(_) => return Ok(AttemptResult::Over(Outcome::KeepAlive)),
                ExchangeEnd::Broken => return Ok(AttemptResult::Over(Outcome::Abort)),
                // At most once: the next request has no range.
                ExchangeEnd::WholeWanted { out_of_range, .. } => {
                    (self.ask, self.out_of_range) = (Ask::Whole, out_of_range);
                    reuse_idle = true;
                }
                // A server may close an idle connection at any time: the request is not at fault.
                ExchangeEnd::Unanswered { sent_body: false }
                    if came_from == ConnectionOrigin::Reused && self.idempotent => {}
                ExchangeEnd::Unanswered { sent_body } => {
                    if came_from == ConnectionOrigin::New {
                        self.candidates.blame(candidate, Fault::NoAnswer);
                    }
                    return if sent_body {
                        Err(StatusCode::BAD_GATEWAY)
                    } else {
                        Ok(AttemptResult::BrokeOff)
                    };
                }
                // What an earlier response left on an idle connection looks like a malformed one.
                ExchangeEnd::Refused { sent_body: false, .. }
                    if came_from == ConnectionOrigin::Reused && self.idempotent => {}
                // The server has processed the request, and another one would answer the same.
                ExchangeEnd::Refused { bad, .. } => {
                    self.context.answer_of_server_refused(bad, self.path);
                    self.candidates.blame(candidate, Fault::NoAnswer);
                    return Err(StatusCode::BAD_GATEWAY);
                }
                // Neither the request nor, as far as is known, the server is at fault.
                ExchangeEnd::Unprocessed { sent_body: false } if refused < REFUSALS => refused += 1,
                ExchangeEnd::Unprocessed { sent_body: false } => return Ok(AttemptResult::NotConnected),
                ExchangeEnd::Unprocessed { sent_body: true } => return Err(StatusCode::BAD_GATEWAY),
                ExchangeEnd::Late => {
                    self.candidates.blame(candidate, Fault::NoAnswer);
                    let first_byte = origin.origin.timeouts.first_byte;
                    let given_up = self.first_byte(candidate) < first_byte;
                    return if given_up {
                        Ok(AttemptResult::TooSlow)
                    } else {
                        Err(StatusCode::GATEWAY_TIMEOUT)
                    };
                }
                ExchangeEnd::BodyTooLarge => return Err(StatusCode::PAYLOAD_TOO_LARGE),
                ExchangeEnd::BodyLate => return Err(StatusCode::REQUEST_TIMEOUT),
            }
        }
    }

    async fn exchange(&mut self, candidate: &Candidate<'a>, channel: Channel) -> ExchangeEnd {
        let (up, mut used) = prepare(&candidate.origin.origin, channel);
        self.note(candidate, &mut used);
        if let Some(after) = self.hedge_after(candidate) {
            // Rare, and larger than the rest of this future.
            return Box::pin(self.hedged(candidate, up, used, after)).await;
        }
        let (exchange, edits) = (self.exchange_with(candidate), self.edits(candidate));
        let ended = drive::run(exchange, edits, up, self.down, self.context).await;
        self.finish(candidate, used, ended)
    }
}
