//! The response on its way to the client: the head is cleaned, the footer injected.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use tokio::time::Instant;

use super::{Compressed, ExchangeEnd, Pump, ResponsePhase, Upload};
use crate::downstream::ClientFailure;
use crate::exchange::response;
use crate::message::trailers::passable;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::{self, Ask, Decoder, FooterResult, Injector, Rewrite, SkipReason};
use crate::upstream::ResponsePart;
use crate::upstream::request::BodyFraming;

impl Pump<'_, '_> {
    /// Forwards a part of the response. `true` once the exchange is over.
    pub(super) fn on_answer(&mut self, part: ResponsePart) -> Result<bool, ClientFailure> {
        match part {
            ResponsePart::Head { head, end } => {
                self.answered = Instant::now();
                self.on_head(head, end)
            }
            ResponsePart::Body(bytes) => {
                self.pass(bytes)?;
                Ok(false)
            }
            ResponsePart::End(_) if matches!(self.answer, ResponsePhase::Tunnel) => {
                self.half_closed.get_or_insert_with(Instant::now);
                self.answer = ResponsePhase::TunnelEnding;
                Ok(false)
            }
            ResponsePart::End(trailers) => {
                self.trailers = trailers.and_then(|trailers| passable(trailers, &self.nominated));
                Ok(true)
            }
        }
    }

    fn on_head(&mut self, mut head: ResponseHead, end: bool) -> Result<bool, ClientFailure> {
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            // This edge has already sent 100 itself.
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
            self.up.tunnel();
            self.answer = ResponsePhase::Tunnel;
            self.upload = Upload::Open;
            self.uploaded = self.answered;
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.remove(header::TRANSFER_ENCODING);
            self.down.write_head(head, false)?;
            // The client may have ended its side with its request.
            return Ok(self.ends(false));
        }
        // A response that was refused before, of a hedged request, does not matter any more.
        self.context.reason = None;
        // This edge frames the body itself, whatever the server speaks.
        head.version = Version::HTTP_11;
        self.nominated = response::strip(&mut head.headers);
        if let Some(rewrite) = self.exchange.rewrite {
            response::lead_back(&mut head.headers, rewrite, self.down.head);
        }
        if status == StatusCode::NO_CONTENT {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        if self.context.is_draining() {
            self.down.close_after();
        }
        let is_head = self.down.head.method == Method::HEAD;
        let bodiless = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let plan = self.plan(&head);
        if self.may_ask_for_whole()
            && let Rewrite::Partial | Rewrite::OutOfRange = plan
        {
            let out_of_range = (plan == Rewrite::OutOfRange).then(|| Arc::new(head));
            self.answer = ResponsePhase::Dropped(out_of_range);
            return Ok(true);
        }
        if let Some(out_of_range) = self.exchange.out_of_range.take()
            && !plan.is_of_page()
        {
            return self.on_out_of_range(&out_of_range);
        }
        self.answer = self.phase(plan, &mut head);
        if bodiless {
            self.answer = ResponsePhase::Passing;
        }
        // An empty page may still get a footer.
        let nothing_follows = bodiless || (end && matches!(self.answer, ResponsePhase::Passing));
        if end && nothing_follows && !bodiless {
            head.headers.insert(header::CONTENT_LENGTH, 0.into());
        }
        if end || bodiless {
            self.down.write_head(head, nothing_follows)?;
            return Ok(true);
        }
        self.held = Some(head);
        Ok(false)
    }

    /// Sends a head that was held until something is known of what follows it.
    pub(super) fn release_head(&mut self) -> Result<(), ClientFailure> {
        match self.held.take() {
            Some(head) => self.down.write_head(head, false),
            None => Ok(()),
        }
    }

    /// What the footer requires of this response.
    fn plan(&self, head: &ResponseHead) -> Rewrite {
        let RequestHead { method, headers: asked, .. } = self.down.head;
        let page = &self.exchange.site;
        rewrite::plan(page.pages, method, self.exchange.path, asked, head.status, &head.headers)
    }

    /// Whether there is a footer, and the client's range can be left out in another request: it has not been, and there
    /// is no body.
    fn may_ask_for_whole(&self) -> bool {
        let page = &self.exchange.site;
        self.exchange.ask != Ask::Whole
            && self.exchange.framing == BodyFraming::None
            && self.down.head.headers.contains_key(header::RANGE)
            && page.footers.of(page.site, page.filing).is_some()
    }

    /// The whole turned out not to be a page: the server's 416 was right. Its body is gone.
    fn on_out_of_range(&mut self, refused: &ResponseHead) -> Result<bool, ClientFailure> {
        let mut head = ResponseHead::clone(refused);
        head.headers.remove(header::CONTENT_TYPE);
        head.headers.remove(header::CONTENT_ENCODING);
        head.headers.insert(header::CONTENT_LENGTH, 0.into());
        self.context.facts.status = Some(head.status.as_u16());
        self.answer = ResponsePhase::Passing;
        self.down.write_head(head, true)?;
        Ok(true)
    }

    /// What happens to the body by this plan. Edits the head to match.
    fn phase(&mut self, plan: Rewrite, head: &mut ResponseHead) -> ResponsePhase {
        let (coding, charset) = match plan {
            Rewrite::Inject(charset) => (None, charset),
            Rewrite::Decode(coding, charset) => (Some(coding), charset),
            Rewrite::HeadOnly => {
                rewrite::apply_to_head(&mut head.headers);
                return ResponsePhase::Passing;
            }
            Rewrite::Skipped(reason) => {
                if matches!(reason, SkipReason::Frame | SkipReason::Subresource) {
                    rewrite::vary(&mut head.headers);
                }
                self.context.facts.footer = Some(FooterResult::Skipped(reason));
                return ResponsePhase::Passing;
            }
            Rewrite::Partial => {
                if self.down.head.method == Method::GET {
                    self.context.facts.footer = Some(FooterResult::Skipped(SkipReason::Partial));
                }
                return ResponsePhase::Passing;
            }
            Rewrite::OutOfRange | Rewrite::NotApplicable => return ResponsePhase::Passing,
        };
        let page = &self.exchange.site;
        // An approved filing has a number; without one there is nothing to link to.
        let Some(footer) = page.footers.of(page.site, page.filing) else { return ResponsePhase::Passing };
        rewrite::apply_to_head(&mut head.headers);
        let injector = Injector::new(footer, charset);
        match coding {
            None => ResponsePhase::Injecting(Box::new(injector)),
            Some(coding) => {
                let decoder = Decoder::new(coding);
                ResponsePhase::Decoding(Box::new(Compressed { decoder, injector, waits: false }))
            }
        }
    }

    fn pass(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.answer {
            ResponsePhase::Injecting(injector) => {
                injector.push(bytes, &mut |part| self.leaving.push_back(part))
            }
            ResponsePhase::Decoding(page) => page.decoder.feed(bytes),
            // The usual case: nothing is done to the body.
            _ if !bytes.is_empty() => return self.put(bytes, Instant::now()),
            _ => {}
        }
        self.leave()
    }

    /// Whether buffered input must be decoded before more is read.
    pub(super) fn has_to_decode(&self) -> bool {
        matches!(&self.answer, ResponsePhase::Decoding(page) if !page.decoder.is_hungry())
    }

    /// Decodes the next step of a compressed page after yielding to other tasks. `true` once the exchange is
    /// over.
    pub(super) fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientFailure>> {
        let ResponsePhase::Decoding(page) = &mut self.answer else { return Poll::Ready(Ok(false)) };
        page.waits = !page.waits;
        if page.waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Ok(bytes) = page.decoder.step() else { return Poll::Ready(Ok(true)) };
        page.injector.push(bytes, &mut |part| self.leaving.push_back(part));
        Poll::Ready(self.leave().map(|()| false))
    }

    /// Writes the next part, now that the client has taken the one before.
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

    /// Completes the response, and returns the server's connection if it can be reused.
    pub(super) async fn whole(mut self) -> ExchangeEnd {
        if let ResponsePhase::Dropped(out_of_range) = self.answer {
            self.context.forget_answer();
            return ExchangeEnd::WholeWanted { kept: self.up.into_kept(), out_of_range };
        }
        if let ResponsePhase::Decoding(page) = &self.answer
            && !page.decoder.is_whole()
        {
            // The page is incomplete in any case, so the outcome does not matter.
            let _ = self.break_off().await;
            return ExchangeEnd::Broken;
        }
        if self.end().await.is_err() {
            return ExchangeEnd::Broken;
        }
        if self.upload != Upload::Done {
            // The server answered without reading the whole body, and the rest of it would be taken for the
            // next request.
            self.down.close_after();
            return ExchangeEnd::Whole(None);
        }
        ExchangeEnd::Whole(self.up.into_kept())
    }

    async fn end(&mut self) -> Result<(), ClientFailure> {
        let injector = match std::mem::replace(&mut self.answer, ResponsePhase::Passing) {
            ResponsePhase::Injecting(injector) => Some(*injector),
            ResponsePhase::Decoding(page) => Some(page.injector),
            _ => None,
        };
        if let Some(injector) = injector {
            self.context.facts.footer = Some(injector.finish(&mut |part| self.leaving.push_back(part)));
            self.leave()?;
        }
        self.taken().await?;
        self.down.finish(self.trailers.take())
    }

    async fn taken(&mut self) -> Result<(), ClientFailure> {
        while self.down_since.is_some() {
            self.down.taken().await?;
            self.leave()?;
        }
        Ok(())
    }

    /// Sends what was decoded of a page whose encoded body is broken.
    async fn break_off(&mut self) -> Result<(), ClientFailure> {
        tracing::debug!("the encoded page is malformed or truncated");
        self.taken().await?;
        self.down.flush().await
    }
}
