//! Drives a pump: the order in which it polls both sides, and what a timeout means.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{ExchangeEnd, ExchangeSettings, Pump, ResponsePhase, Upload};
use crate::access::Reason;
use crate::downstream::session::{ClientSession, Downstream};
use crate::downstream::{ClientFailure, Wanted};
use crate::exchange::context::RequestContext;
use crate::net::timer::Timer;
use crate::upstream::request::HeadEdits;
use crate::upstream::session::ServerSession;
use crate::upstream::{ResponsePart, UpstreamFailure};

pub(in crate::exchange) async fn run<'d>(
    exchange: ExchangeSettings<'_>,
    edits: HeadEdits<'_>,
    mut up: ServerSession,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> ExchangeEnd {
    let has_body = exchange.framing.has_body();
    let sent = up.send_head(&context.upstream_request(down.head, edits)).await;
    if let Err(UpstreamFailure::Unprocessed) = sent {
        return ExchangeEnd::Unprocessed { sent_body: false };
    }
    if sent.is_err() || (!has_body && up.sent().await.is_err()) {
        return ExchangeEnd::Unanswered { sent_body: false };
    }
    if has_body && down.expects_continue() {
        // The server may answer from the head alone.
        if up.sent().await.is_err() {
            return ExchangeEnd::Unanswered { sent_body: false };
        }
        if down.write_continue().await.is_err() {
            return ExchangeEnd::Broken;
        }
    }
    let mut pump = Pump::new(exchange, up, Instant::now(), down, context);
    match pump.go_on().await {
        Ok(()) => pump.whole().await,
        Err(ended) => ended,
    }
}

/// Continues with a response whose first part has arrived, to a request without a body that was sent at that
/// time.
pub(in crate::exchange) async fn resume<'d>(
    exchange: ExchangeSettings<'_>,
    up: ServerSession,
    (first, sent): (ResponsePart, Instant),
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> ExchangeEnd {
    let mut pump = Pump::new(exchange, up, sent, down, context);
    pump.count_dropped();
    let outcome = match pump.on_answer(first) {
        Ok(false) => pump.go_on().await,
        Ok(true) => Ok(()),
        Err(ClientFailure::Slow | ClientFailure::Gone) => Err(ExchangeEnd::Broken),
    };
    match outcome {
        Ok(()) => pump.whole().await,
        Err(ended) => ended,
    }
}

impl Pump<'_, '_> {
    /// Polls both sides until they are done, with the timer of the client's connection.
    async fn go_on(&mut self) -> Result<(), ExchangeEnd> {
        // If the exchange is cut here, the connection ends or creates a new timer.
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

    /// The next event. `true` once the exchange is over.
    fn poll_step(&mut self, cx: &mut Context<'_>, deadline: &mut Timer) -> Poll<Result<bool, ExchangeEnd>> {
        if self.up_since.is_some()
            && let Poll::Ready(sent) = self.up.poll_sent(cx)
        {
            return Poll::Ready(Ok(self.on_sent(&sent)));
        }
        if self.down_since.is_some() {
            match self.down.poll_taken(cx) {
                Poll::Ready(taken) => return stepped(taken.and_then(|()| self.leave()).map(|()| false)),
                // HTTP/2's flow control bounds what is buffered.
                Poll::Pending if matches!(self.down.session, ClientSession::Http1(_)) => self.up.read_less(),
                Poll::Pending => {}
            }
        } else if self.has_to_convert() {
            let outcome = ready!(self.poll_convert(cx));
            return stepped(outcome);
        } else if matches!(self.answer, ResponsePhase::TunnelEnding) {
            if let Poll::Ready(ended) = self.down.poll_end_tunnel(cx) {
                self.answer = ResponsePhase::TunnelEnded;
                return stepped(ended.map(|()| self.is_tunnel_over()));
            }
        } else if !matches!(self.answer, ResponsePhase::TunnelEnded) {
            match self.up.poll_read(cx) {
                Poll::Ready(Ok(part)) => {
                    self.count_dropped();
                    return stepped(self.release_head().and_then(|()| self.on_answer(part)));
                }
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(self.no_answer(&failure))),
                Poll::Pending => {
                    if let Err(failure) = self.release_head() {
                        return stepped(Err(failure));
                    }
                    if let Some(flushed) = ready!(self.poll_pause(cx)) {
                        return stepped(flushed);
                    }
                }
            }
        }
        // The server has nothing more for now: buffered output is flushed on the way.
        if let Poll::Ready(body) = self.down.poll_body(cx, self.wanted()) {
            if let Ok(Some(bytes)) = &body
                && self.is_too_large(bytes.len())
            {
                return Poll::Ready(Err(self.too_large()));
            }
            return stepped(body.map(|body| self.on_body(body)));
        }
        // Nor has the client: the head is sent before the body.
        if self.upload == Upload::Open
            && self.up_since.is_none()
            && let Poll::Ready(Err(failure)) = self.up.poll_sent(cx)
        {
            return Poll::Ready(Ok(self.on_sent(&Err(failure))));
        }
        let held = self.held_bytes();
        self.context.held.set(held);
        ready!(deadline.poll_reached(cx, self.deadline()));
        Poll::Ready(self.late())
    }

    /// What the exchange holds while it waits.
    fn held_bytes(&mut self) -> usize {
        let leaving = if self.down_since.is_some() { self.leaving_bytes } else { 0 };
        let queued: usize = self.leaving.iter().map(Bytes::len).sum();
        let conversion = match &self.answer {
            ResponsePhase::Converting(body) => body.conversion.bytes(),
            _ => 0,
        };
        leaving + queued + conversion + self.up.unread()
    }

    fn wanted(&self) -> Wanted {
        if self.up_since.is_some() {
            Wanted::Nothing
        } else if self.upload == Upload::Open {
            Wanted::Body
        } else {
            Wanted::Presence
        }
    }

    fn no_answer(&mut self, failure: &UpstreamFailure) -> ExchangeEnd {
        if let UpstreamFailure::Bad(bad) = failure {
            if self.held.is_some() || matches!(self.answer, ResponsePhase::Awaited) {
                self.context.forget_answer();
                return ExchangeEnd::Refused { bad: *bad, sent_body: self.sent_body };
            }
            self.context.answer_of_server_refused(*bad, self.exchange.path);
        }
        if !matches!(self.answer, ResponsePhase::Awaited) {
            return ExchangeEnd::Broken;
        }
        tracing::debug!(
            %failure,
            request_id = &*self.context.request_id(),
            trace_id = self.context.trace_id().map(tracing::field::display),
            "no answer"
        );
        if let UpstreamFailure::Unprocessed = failure {
            return ExchangeEnd::Unprocessed { sent_body: self.sent_body };
        }
        ExchangeEnd::Unanswered { sent_body: self.sent_body }
    }

    /// The result when the body is larger than the site takes.
    fn too_large(&mut self) -> ExchangeEnd {
        self.context.reason = Some(Reason::MaxBody);
        if self.held.is_some() || matches!(self.answer, ResponsePhase::Awaited) {
            self.context.forget_answer();
            return ExchangeEnd::BodyTooLarge;
        }
        ExchangeEnd::Broken
    }

    fn count_dropped(&mut self) {
        self.context.count_dropped_fields(self.up.take_dropped());
    }

    /// Whether both sides of a tunnel have ended.
    pub(super) fn is_tunnel_over(&self) -> bool {
        matches!(self.answer, ResponsePhase::TunnelEnded)
            && matches!(self.upload, Upload::Done | Upload::Refused)
    }

    /// The deadline of whichever side is waited for.
    fn deadline(&self) -> Instant {
        let (limits, timeouts) = (self.exchange.limits, self.exchange.timeouts);
        let takes = [
            self.down_since.map(|since| since + self.client_patience()),
            self.up_since.map(|since| since + timeouts.idle),
        ];
        if let Some(late) = takes.into_iter().flatten().min() {
            return late;
        }
        match (&self.answer, self.upload) {
            (ResponsePhase::Awaited, Upload::Open) => {
                let idle = self.uploaded + limits.body_idle_timeout;
                idle.min(self.wanted_since + self.upload_pace.patience(0, limits.body_idle_timeout))
            }
            (ResponsePhase::Awaited, Upload::Ending | Upload::Done | Upload::Refused) => {
                self.sent + timeouts.first_byte
            }
            // A server that answers early may still be waiting for the rest of the body.
            (ResponsePhase::Passing | ResponsePhase::Injecting(_) | ResponsePhase::Converting(_), _) => {
                self.answered.max(self.uploaded) + timeouts.idle
            }
            _ => self.half_closed.unwrap_or(self.answered.max(self.uploaded)) + limits.idle_timeout,
        }
    }

    /// How long one write to the client may take.
    fn client_patience(&self) -> Duration {
        let idle = self.exchange.limits.body_idle_timeout;
        if self.is_tunnel() { idle } else { self.download_pace.patience(self.leaving_bytes, idle) }
    }

    /// The result when that deadline has passed.
    fn late(&mut self) -> Result<bool, ExchangeEnd> {
        let limit = self.client_patience();
        if self.down_since.is_some_and(|since| since.elapsed() >= limit) {
            return Err(ExchangeEnd::Broken);
        }
        if self.up_since.is_some() {
            return Ok(self.refused());
        }
        if self.half_closed.is_some() {
            // One side of the tunnel has ended, the other does not end by itself.
            return Ok(true);
        }
        Err(match (&self.answer, self.upload) {
            (ResponsePhase::Awaited, Upload::Open) => ExchangeEnd::BodyLate,
            (ResponsePhase::Awaited, Upload::Ending | Upload::Done | Upload::Refused) => ExchangeEnd::Late,
            _ => ExchangeEnd::Broken,
        })
    }
}

/// A failed client leaves nobody to answer.
fn stepped(outcome: Result<bool, ClientFailure>) -> Poll<Result<bool, ExchangeEnd>> {
    Poll::Ready(outcome.map_err(|(ClientFailure::Slow | ClientFailure::Gone)| ExchangeEnd::Broken))
}
