//! Moving one request up and its answer down, both at once, every wait with its own deadline.
//!
//! Nothing is buffered beyond one read of either side; the footer is put in on the way.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, Version, header};
use tokio::time::Instant;

use super::context::RequestContext;
use super::deadline::Deadline;
use super::downstream::{ClientFailure, Downstream, Pace};
use super::request::{self, Framing, UpstreamRequest};
use super::response;
use super::upstream::{Part, Upstream, UpstreamFailure};
use crate::config::Limits;
use crate::gate::{Filing, SiteId};
use crate::listen::wire::Wire;
use crate::message::ResponseHead;
use crate::origin::Timeouts;
use crate::rewrite::{self, FooterPages, FooterResult, Footers, Injector, Rewrite};

/// What an exchange goes by.
pub(super) struct Exchange<'e> {
    pub(super) site: Page<'e>,
    pub(super) path: &'e str,
    pub(super) timeouts: Timeouts,
    pub(super) limits: &'e Limits,
    pub(super) framing: Framing,
}

/// Which pages get which footer.
#[derive(Clone, Copy)]
pub(super) struct Page<'e> {
    pub(super) pages: FooterPages,
    pub(super) footers: &'e Footers,
    pub(super) site: SiteId,
    pub(super) filing: &'e Arc<Filing>,
}

/// How an exchange with a server ended.
pub(super) enum Ended {
    /// The answer is whole; the connection to the server, where it may be kept.
    Whole(Option<Box<Wire>>),
    /// The answer has begun, and cannot be ended; or nobody is left to take it.
    Broken,
    /// The server closed the connection, or answered what is no HTTP.
    Unanswered {
        /// Whether it may have seen a part of the body.
        sent_body: bool,
    },
    /// The server has not looked at the request, and says so.
    Unprocessed {
        /// Whether a part of the body is gone.
        sent_body: bool,
    },
    /// The server did not answer in time.
    Late,
    /// The client stopped sending the body before the server answered.
    BodyLate,
}

/// Where the request's body stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Upload {
    /// The client has more to send.
    Open,
    /// All of it is with the server.
    Done,
    /// The server takes no more of it; its answer may still come.
    Refused,
}

/// Where the answer stands.
enum Answer {
    /// Its head has not come.
    Awaited,
    /// Its body passes as it is.
    Passing,
    /// The footer is put into its body.
    Injecting(Box<Injector>),
    /// There are no requests and answers any more, only bytes.
    Tunnel,
}

struct Pump<'p, 'd> {
    exchange: Exchange<'p>,
    up: Upstream,
    down: &'p mut Downstream<'d>,
    context: &'p mut RequestContext,
    upload: Upload,
    answer: Answer,
    /// When the whole request was with the server, as far as it is.
    sent: Instant,
    /// When bytes of the body last came from the client.
    uploaded: Instant,
    /// When bytes of the answer last came from the server.
    answered: Instant,
    sent_body: bool,
    /// What the server said behind the body.
    trailers: Option<http::HeaderMap>,
}

/// Sends the request to a server and brings back the answer.
pub(super) async fn run(
    exchange: Exchange<'_>,
    changes: request::Changes<'_>,
    mut up: Upstream,
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
) -> Ended {
    let has_body = exchange.framing.has_body();
    let sent = up.send_head(&UpstreamRequest::new(down.head(), context, changes)).await;
    if let Err(UpstreamFailure::Unprocessed) = sent {
        return Ended::Unprocessed { sent_body: false };
    }
    if sent.is_err() || (!has_body && up.flush().await.is_err()) {
        return Ended::Unanswered { sent_body: false };
    }
    if has_body && request::expects_continue(down.head()) {
        // The server may say at once what it thinks of the head alone.
        if up.flush().await.is_err() {
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
pub(super) async fn resume(
    exchange: Exchange<'_>,
    up: Upstream,
    (first, sent): (Part, Instant),
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
) -> Ended {
    let mut pump = Pump::new(exchange, up, sent, down, context);
    let outcome = match pump.on_answer(first).await {
        Ok(false) => pump.go_on().await,
        Ok(true) => Ok(()),
        Err(ClientFailure::Slow | ClientFailure::Gone) => Err(Ended::Broken),
    };
    match outcome {
        Ok(()) => pump.whole().await,
        Err(ended) => ended,
    }
}

impl<'p, 'd> Pump<'p, 'd> {
    /// Of a request whose head was `sent`.
    fn new(
        exchange: Exchange<'p>,
        up: Upstream,
        sent: Instant,
        down: &'p mut Downstream<'d>,
        context: &'p mut RequestContext,
    ) -> Self {
        let upload = if exchange.framing.has_body() { Upload::Open } else { Upload::Done };
        Self {
            exchange,
            up,
            down,
            context,
            upload,
            answer: Answer::Awaited,
            sent,
            uploaded: sent,
            answered: sent,
            sent_body: false,
            trailers: None,
        }
    }

    /// Until both sides have said all, with the timer of the client's connection.
    async fn go_on(&mut self) -> Result<(), Ended> {
        // Where the exchange is cut, the connection ends, or makes itself another one.
        let mut deadline = std::mem::take(self.down.deadline());
        let outcome = self.run(&mut deadline).await;
        *self.down.deadline() = deadline;
        outcome
    }
}

impl Pump<'_, '_> {
    async fn run(&mut self, deadline: &mut Deadline) -> Result<(), Ended> {
        loop {
            let body_done = self.upload != Upload::Open && !matches!(self.answer, Answer::Tunnel);
            let until = self.deadline();
            let step = tokio::select! {
                biased;
                part = self.up.read() => match part {
                    Ok(part) => self.on_answer(part).await,
                    Err(failure) => return Err(self.no_answer(&failure)),
                },
                // The server has nothing more for now: what was gathered leaves on the way.
                body = self.down.read_body_or_idle(body_done) => match body {
                    Ok(body) => self.on_body(body).await,
                    Err(failure) => Err(failure),
                },
                () = deadline.reached(until) => return Err(self.late()),
            };
            match step {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(ClientFailure::Slow | ClientFailure::Gone) => return Err(Ended::Broken),
            }
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
        match (&self.answer, self.upload) {
            (Answer::Awaited, Upload::Open) => self.uploaded + self.exchange.limits.body_idle_timeout,
            (Answer::Awaited, Upload::Done | Upload::Refused) => {
                self.sent + self.exchange.timeouts.first_byte
            }
            // A server that answers early may have to wait for the rest of the body.
            (Answer::Passing | Answer::Injecting(_), _) => {
                self.answered.max(self.uploaded) + self.exchange.timeouts.idle
            }
            (Answer::Tunnel, _) => self.answered.max(self.uploaded) + self.exchange.limits.idle_timeout,
        }
    }

    fn late(&self) -> Ended {
        match (&self.answer, self.upload) {
            (Answer::Awaited, Upload::Open) => Ended::BodyLate,
            (Answer::Awaited, Upload::Done | Upload::Refused) => Ended::Late,
            (Answer::Passing | Answer::Injecting(_) | Answer::Tunnel, _) => Ended::Broken,
        }
    }

    /// Takes bytes of the request's body up. `true` once the exchange is over.
    async fn on_body(&mut self, body: Option<Bytes>) -> Result<bool, ClientFailure> {
        let tunnel = matches!(self.answer, Answer::Tunnel);
        self.uploaded = Instant::now();
        // HTTP/2 may send parts of no bytes, which in chunks would be the end.
        let ended = body.is_none();
        if let Some(bytes) = body.filter(|bytes| !bytes.is_empty()) {
            self.context.facts.bytes_in += bytes.len() as u64;
            self.sent_body = true;
            if self.send(bytes).await.is_err() {
                // A server that takes no more may have said why.
                self.upload = Upload::Refused;
                self.sent = self.uploaded;
                return Ok(tunnel);
            }
        }
        if tunnel {
            return Ok(ended);
        }
        // The end is known with the last bytes mostly.
        if ended || self.down.is_body_done() {
            self.upload = match self.up.finish_body(self.down.take_trailers()).await {
                Ok(()) => Upload::Done,
                Err(_) => Upload::Refused,
            };
            self.sent = self.uploaded;
        }
        Ok(false)
    }

    /// Bytes of the body go up; a server that does not take them in time takes none.
    async fn send(&mut self, bytes: Bytes) -> Result<(), UpstreamFailure> {
        match tokio::time::timeout(self.exchange.timeouts.idle, self.up.send_body(bytes)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Takes a part of the answer down. `true` once the exchange is over.
    async fn on_answer(&mut self, part: Part) -> Result<bool, ClientFailure> {
        match part {
            Part::Head { head, end } => {
                self.answered = Instant::now();
                self.on_head(head, end)
            }
            Part::Body(bytes) => {
                self.pass(bytes).await?;
                self.answered = Instant::now();
                Ok(false)
            }
            Part::End(trailers) => {
                self.trailers = trailers;
                Ok(true)
            }
        }
    }

    fn on_head(&mut self, mut head: ResponseHead, end: bool) -> Result<bool, ClientFailure> {
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            // The client has been told to go on by this edge itself.
            if status != StatusCode::CONTINUE && self.down.protocol() != "http/1.0" {
                response::strip(&mut head.headers);
                self.down.write_head(head, false)?;
            }
            return Ok(false);
        }
        if let Some(upstream) = &mut self.context.upstream {
            upstream.status = Some(status.as_u16());
            upstream.first_byte = Some(self.answered.duration_since(self.sent));
        }
        self.context.facts.status = Some(status.as_u16());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if self.exchange.framing != Framing::Tunnel {
                // Nobody asked for it: what follows is no answer.
                return Err(ClientFailure::Gone);
            }
            self.up.tunnel();
            self.answer = Answer::Tunnel;
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.remove(header::TRANSFER_ENCODING);
            self.down.write_head(head, false)?;
            return Ok(false);
        }
        // The framing is that of this edge, whatever the server speaks.
        head.version = Version::HTTP_11;
        response::strip(&mut head.headers);
        if status == StatusCode::NO_CONTENT {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let is_head = self.down.head().method == http::Method::HEAD;
        let bodiless = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.answer = self.plan(&mut head);
        if bodiless {
            self.answer = Answer::Passing;
        }
        if self.context.is_draining() {
            self.down.close_after();
        }
        // The footer may be all that there is of a body.
        let nothing_follows = bodiless || (end && matches!(self.answer, Answer::Passing));
        if end && nothing_follows && !bodiless {
            head.headers.insert(header::CONTENT_LENGTH, 0.into());
        }
        self.down.write_head(head, nothing_follows)?;
        Ok(end || bodiless)
    }

    /// What is done to the body; the head is changed to go with it.
    fn plan(&mut self, head: &mut ResponseHead) -> Answer {
        let method = &self.down.head().method;
        let page = &self.exchange.site;
        let plan = rewrite::plan(page.pages, method, self.exchange.path, head.status, &head.headers);
        let charset = match plan {
            Rewrite::Inject(charset) => charset,
            Rewrite::HeadOnly => {
                rewrite::apply_to_head(&mut head.headers);
                return Answer::Passing;
            }
            Rewrite::Skipped(reason) => {
                self.context.footer = Some(FooterResult::Skipped(reason));
                return Answer::Passing;
            }
            Rewrite::NotApplicable => return Answer::Passing,
        };
        // An approved filing has a number; without one there is nothing to link.
        let Some(footer) = page.footers.of(page.site, page.filing) else { return Answer::Passing };
        rewrite::apply_to_head(&mut head.headers);
        Answer::Injecting(Box::new(Injector::new(footer, charset)))
    }

    async fn pass(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        let bytes = match &mut self.answer {
            Answer::Injecting(injector) => {
                let mut parts = Vec::new();
                injector.push(bytes, &mut |part| parts.push(part));
                return self.write_all(parts).await;
            }
            Answer::Awaited | Answer::Passing | Answer::Tunnel => bytes,
        };
        self.write(bytes).await
    }

    async fn write_all(&mut self, parts: Vec<Bytes>) -> Result<(), ClientFailure> {
        for part in parts {
            self.write(part).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.context.facts.bytes_out += bytes.len() as u64;
        if self.down.write_body(bytes).await? == Pace::Waited {
            self.up.read_less();
        }
        Ok(())
    }

    /// Ends the answer, and gives the connection to the server back where it may be kept.
    async fn whole(mut self) -> Ended {
        if let Answer::Injecting(injector) = std::mem::replace(&mut self.answer, Answer::Passing) {
            let mut rest = Vec::new();
            self.context.footer = Some(injector.finish(&mut |part| rest.push(part)));
            if self.write_all(rest).await.is_err() {
                return Ended::Broken;
            }
        }
        if self.down.finish(self.trailers.take()).is_err() {
            return Ended::Broken;
        }
        if self.upload == Upload::Open {
            // The server answered without the rest of the body, and nobody wants it now.
            self.down.close_after();
            return Ended::Whole(None);
        }
        Ended::Whole(self.up.into_kept())
    }
}
