//! The answer's way down: its head is made ours, the footer is put into its body.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{StatusCode, Version, header};
use tokio::time::Instant;

use super::{Answer, Compressed, Ended, Pump, Upload};
use crate::downstream::ClientFailure;
use crate::exchange::response;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::{self, Decoder, FooterResult, Injector, Rewrite, SkipReason};
use crate::upstream::Part;
use crate::upstream::request::Framing;

impl Pump<'_, '_> {
    /// Takes a part of the answer down. `true` once the exchange is over.
    pub(super) fn on_answer(&mut self, part: Part) -> Result<bool, ClientFailure> {
        match part {
            Part::Head { head, end } => {
                self.answered = Instant::now();
                self.on_head(head, end)
            }
            Part::Body(bytes) => {
                self.pass(bytes)?;
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
            if status != StatusCode::CONTINUE && self.down.head.version != Version::HTTP_10 {
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
        let is_head = self.down.head.method == http::Method::HEAD;
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
        let RequestHead { method, headers: asked, .. } = self.down.head;
        let page = &self.exchange.site;
        let plan = rewrite::plan(page.pages, method, self.exchange.path, asked, head.status, &head.headers);
        let (coding, charset) = match plan {
            Rewrite::Inject(charset) => (None, charset),
            Rewrite::Decode(coding, charset) => (Some(coding), charset),
            Rewrite::HeadOnly => {
                rewrite::apply_to_head(&mut head.headers);
                return Answer::Passing;
            }
            Rewrite::Skipped(reason) => {
                if matches!(reason, SkipReason::Frame | SkipReason::Subresource) {
                    rewrite::vary(&mut head.headers);
                }
                self.context.facts.footer = Some(FooterResult::Skipped(reason));
                return Answer::Passing;
            }
            Rewrite::NotApplicable => return Answer::Passing,
        };
        // An approved filing has a number; without one there is nothing to link.
        let Some(footer) = page.footers.of(page.site, page.filing) else { return Answer::Passing };
        rewrite::apply_to_head(&mut head.headers);
        let injector = Injector::new(footer, charset);
        match coding {
            None => Answer::Injecting(Box::new(injector)),
            Some(coding) => {
                let decoder = Decoder::new(coding);
                Answer::Decoding(Box::new(Compressed { decoder, injector, waits: false }))
            }
        }
    }

    fn pass(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.answer {
            Answer::Injecting(injector) => injector.push(bytes, &mut |part| self.leaving.push_back(part)),
            Answer::Decoding(page) => page.decoder.feed(bytes),
            // Mostly nothing is done to it.
            Answer::Awaited | Answer::Passing | Answer::Tunnel if !bytes.is_empty() => {
                return self.put(bytes, Instant::now());
            }
            Answer::Awaited | Answer::Passing | Answer::Tunnel => {}
        }
        self.leave()
    }

    /// Whether there is something to decode before more is read.
    pub(super) fn has_to_decode(&self) -> bool {
        matches!(&self.answer, Answer::Decoding(page) if !page.decoder.is_hungry())
    }

    /// Takes the next step with a page that comes compressed, once others have had their turn. `true` once the
    /// exchange is over.
    pub(super) fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientFailure>> {
        let Answer::Decoding(page) = &mut self.answer else { return Poll::Ready(Ok(false)) };
        page.waits = !page.waits;
        if page.waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Ok(bytes) = page.decoder.step() else { return Poll::Ready(Ok(true)) };
        page.injector.push(bytes, &mut |part| self.leaving.push_back(part));
        Poll::Ready(self.leave().map(|()| false))
    }

    /// The client has taken what was put: the next part goes.
    pub(super) fn leave(&mut self) -> Result<(), ClientFailure> {
        self.answered = Instant::now();
        self.down_since = None;
        match self.leaving.pop_front() {
            Some(part) => self.put(part, self.answered),
            None => Ok(()),
        }
    }

    fn put(&mut self, bytes: Bytes, now: Instant) -> Result<(), ClientFailure> {
        self.context.facts.bytes_out += bytes.len() as u64;
        self.down_since = Some(now);
        self.down.put_body(bytes)
    }

    /// Ends the answer, and gives the connection to the server back where it may be kept.
    pub(super) async fn whole(mut self) -> Ended {
        if let Answer::Decoding(page) = &self.answer
            && !page.decoder.is_whole()
        {
            // It is broken, whether the client takes what there is of it or not.
            let _ = self.break_off().await;
            return Ended::Broken;
        }
        if self.end().await.is_err() {
            return Ended::Broken;
        }
        if self.upload != Upload::Done {
            // The server answered without the rest of the body, and nobody wants it now.
            self.down.close_after();
            return Ended::Whole(None);
        }
        Ended::Whole(self.up.into_kept())
    }

    async fn end(&mut self) -> Result<(), ClientFailure> {
        let injector = match std::mem::replace(&mut self.answer, Answer::Passing) {
            Answer::Injecting(injector) => Some(*injector),
            Answer::Decoding(page) => Some(page.injector),
            Answer::Awaited | Answer::Passing | Answer::Tunnel => None,
        };
        if let Some(injector) = injector {
            self.context.facts.footer = Some(injector.finish(&mut |part| self.leaving.push_back(part)));
            self.leave()?;
        }
        self.taken().await?;
        self.down.finish(self.trailers.take())
    }

    /// Until the client has taken all that was put.
    async fn taken(&mut self) -> Result<(), ClientFailure> {
        while self.down_since.is_some() {
            self.down.taken().await?;
            self.leave()?;
        }
        Ok(())
    }

    /// Lets what was decoded of a page leave, though its end cannot be had.
    async fn break_off(&mut self) -> Result<(), ClientFailure> {
        tracing::debug!("a page is not in its content coding up to its end");
        self.taken().await?;
        self.down.flush().await
    }
}
