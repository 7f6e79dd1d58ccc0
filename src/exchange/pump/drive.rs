//! Driving a pump: what happens next, and what it means when a side is late.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::{Answer, Ended, Exchange, Pump, Upload};
use crate::downstream::session::{Downstream, Session};
use crate::downstream::{ClientFailure, Wanted};
use crate::exchange::context::RequestContext;
use crate::exchange::request::expects_continue;
use crate::net::deadline::Deadline;
use crate::upstream::request::Changes;
use crate::upstream::stream::Upstream;
use crate::upstream::{Part, UpstreamFailure};

/// Sends the request to a server and brings back the answer.
pub(in crate::exchange) async fn run<'d>(
    exchange: Exchange<'_>,
    changes: Changes<'_>,
    mut up: Upstream,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Ended {
    let has_body = exchange.framing.has_body();
    let sent = up.send_head(&context.upstream_request(down.head, changes)).await;
    if let Err(UpstreamFailure::Unprocessed) = sent {
        return Ended::Unprocessed { sent_body: false };
    }
    if sent.is_err() || (!has_body && up.sent().await.is_err()) {
        return Ended::Unanswered { sent_body: false };
    }
    if has_body && expects_continue(down.head) {
        // The server may say at once what it thinks of the head alone.
        if up.sent().await.is_err() {
            return Ended::Unanswered { sent_body: false };
        }
        if down.write_continue().await.is_err() {
            return Ended::Broken;
        }
    }
    let mut pump = Pump::new(exchange, up, Instant::now(), down, context);
    match pump.go_on().await {
        Ok(()) => pump.whole().await,
        Err(ended) => ended,
    }
}

/// Goes on with an answer that has begun: with its first part, to a request without a body that was sent then.
pub(in crate::exchange) async fn resume<'d>(
    exchange: Exchange<'_>,
    up: Upstream,
    (first, sent): (Part, Instant),
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Ended {
    let mut pump = Pump::new(exchange, up, sent, down, context);
    let outcome = match pump.on_answer(first) {
        Ok(false) => pump.go_on().await,
        Ok(true) => Ok(()),
        Err(ClientFailure::Slow | ClientFailure::Gone) => Err(Ended::Broken),
    };
    match outcome {
        Ok(()) => pump.whole().await,
        Err(ended) => ended,
    }
}

impl Pump<'_, '_> {
    /// Until both sides have said all, with the timer of the client's connection.
    async fn go_on(&mut self) -> Result<(), Ended> {
        // Where the exchange is cut, the connection ends, or makes itself another one.
        let mut deadline = std::mem::take(self.down.deadline());
        let outcome = loop {
            match poll_fn(|cx| self.poll_step(cx, &mut deadline)).await {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(ended) => break Err(ended),
            }
        };
        *self.down.deadline() = deadline;
        outcome
    }

    /// The next thing that happens. `true` once the exchange is over.
    fn poll_step(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Result<bool, Ended>> {
        if self.up_since.is_some()
            && let Poll::Ready(sent) = self.up.poll_sent(cx)
        {
            return Poll::Ready(Ok(self.on_sent(&sent)));
        }
        if self.down_since.is_some() {
            match self.down.poll_taken(cx) {
                Poll::Ready(taken) => return told(taken.and_then(|()| self.leave()).map(|()| false)),
                // The windows of HTTP/2 bound what is held.
                Poll::Pending if matches!(self.down.session, Session::Http1(_)) => self.up.read_less(),
                Poll::Pending => {}
            }
        } else if self.has_to_decode() {
            let outcome = ready!(self.poll_decode(cx));
            return told(outcome);
        } else if let Poll::Ready(part) = self.up.poll_read(cx) {
            return match part {
                Ok(part) => told(self.on_answer(part)),
                Err(failure) => Poll::Ready(Err(self.no_answer(&failure))),
            };
        }
        // The server has nothing more for now: what was gathered leaves on the way.
        if let Poll::Ready(body) = self.down.poll_body(cx, self.wanted()) {
            return told(body.map(|body| self.on_body(body)));
        }
        // Nor has the client: the head leaves before the body.
        if self.upload == Upload::Open
            && self.up_since.is_none()
            && let Poll::Ready(Err(failure)) = self.up.poll_sent(cx)
        {
            return Poll::Ready(Ok(self.on_sent(&Err(failure))));
        }
        ready!(deadline.poll_reached(cx, self.deadline()));
        Poll::Ready(self.late())
    }

    /// What the client is to do.
    fn wanted(&self) -> Wanted {
        if self.up_since.is_some() {
            Wanted::Nothing
        } else if self.upload == Upload::Open || matches!(self.answer, Answer::Tunnel) {
            Wanted::Body
        } else {
            Wanted::Presence
        }
    }

    /// The server will say no more.
    fn no_answer(&self, failure: &UpstreamFailure) -> Ended {
        if !matches!(self.answer, Answer::Awaited) {
            return Ended::Broken;
        }
        tracing::debug!(%failure, "no answer");
        if let UpstreamFailure::Unprocessed = failure {
            return Ended::Unprocessed { sent_body: self.sent_body };
        }
        Ended::Unanswered { sent_body: self.sent_body }
    }

    /// When the side that is waited for is late.
    fn deadline(&self) -> Instant {
        let (limits, timeouts) = (self.exchange.limits, self.exchange.timeouts);
        let takes = [
            self.down_since.map(|since| since + limits.body_idle_timeout),
            self.up_since.map(|since| since + timeouts.idle),
        ];
        if let Some(late) = takes.into_iter().flatten().min() {
            return late;
        }
        match (&self.answer, self.upload) {
            (Answer::Awaited, Upload::Open) => self.uploaded + limits.body_idle_timeout,
            (Answer::Awaited, Upload::Ending | Upload::Done | Upload::Refused) => {
                self.sent + timeouts.first_byte
            }
            // A server that answers early may have to wait for the rest of the body.
            (Answer::Passing | Answer::Injecting(_) | Answer::Decoding(_), _) => {
                self.answered.max(self.uploaded) + timeouts.idle
            }
            (Answer::Tunnel, _) => self.answered.max(self.uploaded) + limits.idle_timeout,
        }
    }

    /// What it means that it is late.
    fn late(&mut self) -> Result<bool, Ended> {
        let limit = self.exchange.limits.body_idle_timeout;
        if self.down_since.is_some_and(|since| since.elapsed() >= limit) {
            return Err(Ended::Broken);
        }
        if self.up_since.is_some() {
            return Ok(self.refused());
        }
        Err(match (&self.answer, self.upload) {
            (Answer::Awaited, Upload::Open) => Ended::BodyLate,
            (Answer::Awaited, Upload::Ending | Upload::Done | Upload::Refused) => Ended::Late,
            (Answer::Passing | Answer::Injecting(_) | Answer::Decoding(_) | Answer::Tunnel, _) => {
                Ended::Broken
            }
        })
    }
}

/// A client that fails leaves nobody to answer.
fn told(outcome: Result<bool, ClientFailure>) -> Poll<Result<bool, Ended>> {
    Poll::Ready(outcome.map_err(|(ClientFailure::Slow | ClientFailure::Gone)| Ended::Broken))
}
