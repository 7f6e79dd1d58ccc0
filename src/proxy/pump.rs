//! Moving one request up and its answer down, both at once, every wait with its own deadline.
//!
//! Nothing is buffered beyond one read of either side; the footer is put in on the way.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, Sleep, sleep_until};

use super::context::RequestContext;
use super::downstream::{ClientFailure, Downstream};
use super::request::{self, Framing};
use super::response;
use crate::config::Limits;
use crate::gate::Filing;
use crate::listen::downstream::EdgeStream;
use crate::origin::Timeouts;
use crate::rewrite::{self, Footer, FooterPages, FooterResult, Injector, Rewrite};

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
    pub(super) filing: &'e Filing,
}

/// How an exchange with a server ended.
pub(super) enum Ended {
    /// The answer is whole; the connection to the server, where it may be kept.
    Whole(Option<Box<EdgeStream>>),
    /// The answer has begun, and cannot be ended; or nobody is left to take it.
    Broken,
    /// The server closed the connection, or answered what is no HTTP.
    Unanswered {
        /// Whether it may have seen a part of the body.
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
    up: HttpSession,
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
}

/// Sends `head` over `connection` and brings back the answer.
pub(super) async fn run(
    exchange: Exchange<'_>,
    head: Box<RequestHeader>,
    stream: Box<EdgeStream>,
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
) -> Ended {
    let mut up = HttpSession::new(stream);
    up.write_timeout = Some(exchange.timeouts.idle);
    let upload = match exchange.framing {
        Framing::AsSent => Upload::Open,
        Framing::None | Framing::Tunnel => Upload::Done,
    };
    if up.write_request_header(head).await.is_err() {
        return Ended::Unanswered { sent_body: false };
    }
    if upload == Upload::Open
        && request::expects_continue(down.head())
        && down.write_continue().await.is_err()
    {
        return Ended::Broken;
    }
    let now = Instant::now();
    let pump = Pump {
        exchange,
        up,
        down,
        context,
        upload,
        answer: Answer::Awaited,
        sent: now,
        uploaded: now,
        answered: now,
        sent_body: false,
    };
    pump.run().await
}

impl Pump<'_, '_> {
    async fn run(mut self) -> Ended {
        let mut deadline = std::pin::pin!(sleep_until(self.deadline()));
        loop {
            rearm(deadline.as_mut(), self.deadline());
            let body_done = self.upload != Upload::Open && !matches!(self.answer, Answer::Tunnel);
            let step = tokio::select! {
                biased;
                task = self.up.read_response_task() => match task {
                    Ok(task) => self.on_answer(task).await,
                    Err(_) if matches!(self.answer, Answer::Awaited) => {
                        return Ended::Unanswered { sent_body: self.sent_body };
                    }
                    Err(_) => return Ended::Broken,
                },
                body = self.down.read_body_or_idle(body_done) => match body {
                    Ok(body) => self.on_body(body).await,
                    Err(failure) => Err(failure),
                },
                () = &mut deadline => {
                    if Instant::now() < self.deadline() {
                        continue;
                    }
                    return self.late();
                }
            };
            match step {
                Ok(false) => {}
                Ok(true) => return self.whole().await,
                Err(ClientFailure::Slow | ClientFailure::Gone) => return Ended::Broken,
            }
        }
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
        if let Some(bytes) = body.as_ref().filter(|bytes| !bytes.is_empty()) {
            self.context.facts.bytes_in += bytes.len() as u64;
            self.sent_body = true;
            if self.up.write_body(bytes).await.is_err() {
                // A server that takes no more may have said why.
                self.upload = Upload::Refused;
                self.sent = self.uploaded;
                return Ok(tunnel);
            }
        }
        if tunnel {
            return Ok(body.is_none());
        }
        // The engine tells of the end with the last bytes where it knows it then.
        if body.is_none() || self.down.is_body_done() {
            self.upload = match self.up.finish_body().await {
                Ok(_) => Upload::Done,
                Err(_) => Upload::Refused,
            };
            self.sent = self.uploaded;
        }
        Ok(false)
    }

    /// Takes a part of the answer down. `true` once the exchange is over.
    async fn on_answer(&mut self, task: HttpTask) -> Result<bool, ClientFailure> {
        let outcome = match task {
            HttpTask::Header(head, end) => self.on_head(head, end).await,
            HttpTask::Body(bytes, end) | HttpTask::UpgradedBody(bytes, end) => {
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    self.pass(bytes).await?;
                }
                Ok(end)
            }
            HttpTask::Done | HttpTask::Trailer(_) => Ok(true),
            HttpTask::Failed(_) => Err(ClientFailure::Gone),
        };
        self.answered = Instant::now();
        outcome
    }

    async fn on_head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<bool, ClientFailure> {
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            // The client has been told to go on by this edge itself.
            if status != StatusCode::CONTINUE && self.down.protocol() == "http/1.1" {
                let mut parts: http::response::Parts = (*head).into();
                response::strip(&mut parts.headers);
                self.down.write_head(Box::new(parts.into()), false).await?;
            }
            return Ok(false);
        }
        if let Some(upstream) = &mut self.context.upstream {
            upstream.status = Some(status.as_u16());
            upstream.first_byte = Some(self.sent.elapsed());
        }
        self.context.facts.status = Some(status.as_u16());
        if self.up.was_upgraded() && self.exchange.framing == Framing::Tunnel {
            self.up.maybe_upgrade_body_writer();
            self.answer = Answer::Tunnel;
            self.down.write_head(head, false).await?;
            return Ok(false);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: what follows is no answer.
            return Err(ClientFailure::Gone);
        }
        let mut parts: http::response::Parts = (*head).into();
        // The framing is that of this edge, whatever the server speaks.
        parts.version = Version::HTTP_11;
        response::strip(&mut parts.headers);
        if status == StatusCode::NO_CONTENT {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        self.answer = self.plan(&mut parts);
        let is_head = self.down.head().method == Method::HEAD;
        let bodiless = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if self.context.is_draining() {
            self.down.close_after();
        }
        if !bodiless {
            response::frame(&mut parts.headers, self.down);
        }
        self.down.write_head(Box::new(parts.into()), bodiless).await?;
        if bodiless {
            self.answer = Answer::Passing;
        }
        Ok(end || bodiless)
    }

    /// What is done to the body; the head is changed to go with it.
    fn plan(&mut self, parts: &mut http::response::Parts) -> Answer {
        let head = self.down.head();
        let page = &self.exchange.site;
        let plan = rewrite::plan(page.pages, &head.method, self.exchange.path, parts.status, &parts.headers);
        let charset = match plan {
            Rewrite::Inject(charset) => charset,
            Rewrite::HeadOnly => {
                rewrite::apply_to_head(&mut parts.headers);
                return Answer::Passing;
            }
            Rewrite::Skipped(reason) => {
                self.context.footer = Some(FooterResult::Skipped(reason));
                return Answer::Passing;
            }
            Rewrite::NotApplicable => return Answer::Passing,
        };
        // An approved filing has a number; without one there is nothing to link.
        let Some(number) = &page.filing.number else { return Answer::Passing };
        rewrite::apply_to_head(&mut parts.headers);
        let footer = Footer::new(number, page.filing.public_security.as_ref());
        Answer::Injecting(Box::new(Injector::new(footer, charset)))
    }

    async fn pass(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        let bytes = match &mut self.answer {
            Answer::Injecting(injector) => {
                let mut out = Vec::with_capacity(bytes.len());
                injector.push(&bytes, &mut out);
                Bytes::from(out)
            }
            Answer::Awaited | Answer::Passing | Answer::Tunnel => bytes,
        };
        self.write(bytes).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.context.facts.bytes_out += bytes.len() as u64;
        self.down.write_body(bytes).await
    }

    /// Ends the answer, and gives the connection to the server back where it may be kept.
    async fn whole(mut self) -> Ended {
        if let Answer::Injecting(injector) = std::mem::replace(&mut self.answer, Answer::Passing) {
            let mut rest = Vec::new();
            self.context.footer = Some(injector.finish(&mut rest));
            if self.write(Bytes::from(rest)).await.is_err() {
                return Ended::Broken;
            }
        }
        if self.down.finish().await.is_err() {
            return Ended::Broken;
        }
        if self.upload == Upload::Open {
            // The server answered without the rest of the body, and nobody wants it now.
            self.down.close_after();
            return Ended::Whole(None);
        }
        self.up.respect_keepalive();
        let stream = match tokio::time::timeout(CLOSING, self.up.reuse()).await {
            Ok(Some(stream)) => stream.into_any().downcast::<EdgeStream>().ok(),
            Ok(None) | Err(_) => None,
        };
        Ended::Whole(stream)
    }
}

/// How long a connection to a server may take to close.
const CLOSING: Duration = Duration::from_secs(1);

/// Moves a timer only when it would fire too late: one that fires too early is set again then, which
/// costs less than setting it for every read.
fn rearm(mut timer: Pin<&mut Sleep>, deadline: Instant) {
    if deadline < timer.deadline() || timer.is_elapsed() {
        timer.as_mut().reset(deadline);
    }
}
