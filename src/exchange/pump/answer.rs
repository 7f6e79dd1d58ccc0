//! The response on its way to the client: the head is cleaned, the footer injected, the body decoded and encoded.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use tokio::time::Instant;

use super::{Converted, ExchangeEnd, FooterContext, Pump, ResponsePhase, Upload};
use crate::downstream::ClientFailure;
use crate::downstream::session::ClientSession;
use crate::exchange::response;
use crate::message::trailers::passable;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::{
    self, Ask, AssetReport, Broken, Charset, Choice, Coding, Conversion, Decoder, Encoder, FooterResult,
    Injector, Mapping, Rewrite, SkipReason,
};
use crate::upstream::ResponsePart;
use crate::upstream::request::BodyFraming;

/// 1 MiB: beyond it, answers of a connection are not encoded. An encoder holds up to 256 KiB.
const ENCODERS: usize = 1024 * 1024;

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
        if self.down.is_watched() {
            self.down.judge(&head, self.context.seconds());
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
        if end && !bodiless {
            head.headers.insert(header::CONTENT_LENGTH, 0.into());
        }
        let mapping = self.mapping(&head);
        self.answer = self.phase(plan, mapping, &mut head);
        if bodiless {
            self.answer = ResponsePhase::Passing;
        }
        // An empty page may still get a footer.
        let nothing_follows = bodiless || (end && matches!(self.answer, ResponsePhase::Passing));
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
        rewrite::plan(
            page.pages,
            method,
            self.exchange.path,
            asked,
            head.status,
            &head.headers,
            self.exchange.compress,
        )
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
    fn phase(&mut self, plan: Rewrite, mapping: Option<Mapping>, head: &mut ResponseHead) -> ResponsePhase {
        let (asked, compress, status) = (&self.down.head.headers, self.exchange.compress, head.status);
        if status == StatusCode::NOT_MODIFIED {
            compress.apply_to_not_modified(asked, &mut head.headers);
            if let Some(map) = self.exchange.site.assets {
                map.apply_to_not_modified(asked, &mut head.headers);
            }
        }
        let (coding, injector) = match plan {
            Rewrite::Inject(charset) => (None, self.injector(charset)),
            Rewrite::Decode(coding, charset) => (Some(coding), self.injector(charset)),
            Rewrite::HeadOnly => {
                let was_coded =
                    status == StatusCode::OK && head.headers.contains_key(header::CONTENT_ENCODING);
                let choice = compress.choose(asked, status, &head.headers, was_coded);
                rewrite::apply_to_head(&mut head.headers);
                self.mark(mapping, head);
                choice.apply_to_head(&mut head.headers);
                return ResponsePhase::Passing;
            }
            Rewrite::Skipped(reason) => {
                if matches!(reason, SkipReason::Frame | SkipReason::Subresource) {
                    rewrite::vary_by_destination(&mut head.headers);
                }
                self.context.facts.footer = Some(FooterResult::Skipped(reason));
                (self.unwanted_coding(head), None)
            }
            Rewrite::Partial => {
                if self.down.head.method == Method::GET {
                    self.context.facts.footer = Some(FooterResult::Skipped(SkipReason::Partial));
                }
                return ResponsePhase::Passing;
            }
            Rewrite::OutOfRange | Rewrite::NotApplicable => (self.unwanted_coding(head), None),
        };
        let coding = coding.or(mapping.and_then(|mapping| mapping.coding));
        let choice = compress.choose(asked, status, &head.headers, coding.is_some());
        self.convert(head, coding, mapping, injector, choice)
    }

    /// An approved filing has a number; without one there is nothing to link to.
    fn injector(&self, charset: Charset) -> Option<Injector> {
        let FooterContext { footers, site, filing, .. } = &self.exchange.site;
        footers.of(*site, filing).map(|footer| Injector::new(footer, charset))
    }

    /// The coding that this edge asked for and the client does not accept.
    fn unwanted_coding(&self, head: &ResponseHead) -> Option<Coding> {
        if !self.exchange.asked_for_codings {
            return None;
        }
        rewrite::unwanted_coding(&self.down.head.headers, head.status, &head.headers)
    }

    /// Prepares what is done to the body and edits the head to match.
    fn convert(
        &mut self,
        head: &mut ResponseHead,
        coding: Option<Coding>,
        mapping: Option<Mapping>,
        injector: Option<Injector>,
        mut choice: Choice,
    ) -> ResponsePhase {
        let is_event_stream = choice != Choice::AsItCame && rewrite::is_event_stream(&head.headers);
        if coding.is_some() || injector.is_some() || mapping.is_some() {
            rewrite::apply_to_head(&mut head.headers);
            self.mark(mapping, head);
        }
        let has_body = self.down.head.method != Method::HEAD;
        // On a connection that holds much already, an answer leaves as it is.
        let encoder = match choice.encoding().filter(|_| has_body) {
            Some(encoding) if self.context.held.of_connection() < ENCODERS => Encoder::new(encoding).ok(),
            Some(_) | None => None,
        };
        if encoder.is_none() && has_body && choice.encoding().is_some() {
            choice = Choice::Plain;
        }
        choice.apply_to_head(&mut head.headers);
        let counts_assets = self.exchange.site.reports_assets && injector.is_some() && has_body;
        let mapper = mapping.and_then(|mapping| self.mapper(mapping));
        match (coding, injector, encoder) {
            (None, None, None) if mapper.is_none() => ResponsePhase::Passing,
            (None, Some(injector), None) if !counts_assets && mapper.is_none() => {
                ResponsePhase::Injecting(Box::new(injector))
            }
            (coding, injector, encoder) => {
                let conversion = Conversion::new(coding.map(Decoder::new), injector, encoder)
                    .mapping(mapper)
                    .counting_assets(counts_assets.then(AssetReport::default))
                    .flushing_chunks(is_event_stream);
                self.context.held.set(conversion.bytes());
                ResponsePhase::Converting(Box::new(Converted { conversion, waits: false, pauses: false }))
            }
        }
    }

    fn pass(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.answer {
            ResponsePhase::Injecting(injector) => {
                injector.push(bytes, &mut |part| self.leaving.push_back(part))
            }
            ResponsePhase::Converting(body) => body.conversion.feed(bytes),
            // The usual case: nothing is done to the body.
            _ if !bytes.is_empty() => return self.put(bytes, Instant::now()),
            _ => {}
        }
        self.leave()
    }

    /// Whether buffered input must be converted before more is read.
    pub(super) fn has_to_convert(&self) -> bool {
        matches!(&self.answer, ResponsePhase::Converting(body) if !body.conversion.is_hungry())
    }

    /// Takes the next step of a conversion after yielding to other tasks. `true` once the exchange is over.
    pub(super) fn poll_convert(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientFailure>> {
        let ResponsePhase::Converting(body) = &mut self.answer else { return Poll::Ready(Ok(false)) };
        body.pauses = false;
        body.waits = !body.waits;
        if body.waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let outcome = body.conversion.step(&mut |part| self.leaving.push_back(part));
        Poll::Ready(self.converted(outcome))
    }

    /// Flushes the encoder while the server pauses: it has nothing more although other tasks had their turn.
    /// Ready with `None` if there is nothing to flush.
    pub(super) fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<bool, ClientFailure>>> {
        let ResponsePhase::Converting(body) = &mut self.answer else { return Poll::Ready(None) };
        if !body.conversion.is_dirty() {
            return Poll::Ready(None);
        }
        body.pauses = !body.pauses;
        if body.pauses {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let outcome = body.conversion.flush(&mut |part| self.leaving.push_back(part));
        Poll::Ready(Some(self.converted(outcome)))
    }

    /// Notes how far a conversion is, and sends what came out. `true` if it cannot go on: the exchange is over.
    fn converted(&mut self, outcome: Result<(), Broken>) -> Result<bool, ClientFailure> {
        if let ResponsePhase::Converting(body) = &self.answer {
            self.context.encoded = body.conversion.encoded();
        }
        if outcome.is_err() {
            return Ok(true);
        }
        self.leave().map(|()| false)
    }

    /// Writes the next part, now that the client has taken the one before.
    pub(super) fn leave(&mut self) -> Result<(), ClientFailure> {
        self.answered = Instant::now();
        if let Some(since) = self.down_since.take()
            && !self.is_tunnel()
        {
            self.download_pace.moved(self.answered - since, self.leaving_bytes);
        }
        match self.leaving.pop_front() {
            Some(part) => self.put(part, self.answered),
            None => Ok(()),
        }
    }

    fn put(&mut self, bytes: Bytes, now: Instant) -> Result<(), ClientFailure> {
        if let ClientSession::Http2(session) = &self.down.session {
            self.up.read_at_most(session.piece());
        }
        self.context.facts.bytes_out += bytes.len() as u64;
        self.down_since = Some(now);
        self.leaving_bytes = bytes.len();
        self.down.put_body(bytes)
    }

    /// Completes the response, and returns the server's connection if it can be reused.
    pub(super) async fn whole(mut self) -> ExchangeEnd {
        if let ResponsePhase::Dropped(out_of_range) = self.answer {
            self.context.forget_answer();
            return ExchangeEnd::WholeWanted { kept: self.up.into_kept(), out_of_range };
        }
        if let Err(broken) = self.finish_body() {
            // The body is incomplete in any case, so the outcome does not matter.
            let _ = self.break_off(broken).await;
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

    /// Queues the rest of a body that is rewritten. Fails if the body is incomplete.
    fn finish_body(&mut self) -> Result<(), Broken> {
        let mut put = |part| self.leaving.push_back(part);
        let result = match std::mem::replace(&mut self.answer, ResponsePhase::Passing) {
            ResponsePhase::Injecting(injector) => Some(injector.finish(&mut put)),
            ResponsePhase::Converting(mut body) => {
                let finished = body.conversion.finish(&mut put);
                self.context.encoded = body.conversion.encoded();
                if let Some(found) = body.conversion.take_assets() {
                    self.context.count_assets(&found);
                }
                if let Some(result) = body.conversion.mapped() {
                    self.context.count_mapped(result);
                }
                self.answer = ResponsePhase::Converting(body);
                finished?
            }
            other => {
                self.answer = other;
                None
            }
        };
        if result.is_some() {
            self.context.facts.footer = result;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), ClientFailure> {
        self.leave_next()?;
        self.taken().await?;
        if self.down.is_watched() {
            self.down.complete(self.context.facts.footer).await?;
        }
        self.down.finish(self.trailers.take())
    }

    async fn taken(&mut self) -> Result<(), ClientFailure> {
        while self.down_since.is_some() {
            self.down.taken().await?;
            self.leave()?;
        }
        Ok(())
    }

    /// Sends what came out of a body that cannot be completed.
    async fn break_off(&mut self, broken: Broken) -> Result<(), ClientFailure> {
        tracing::debug!(
            request_id = &*self.context.request_id(),
            trace_id = self.context.trace_id().map(tracing::field::display),
            "the answer stays incomplete: {broken}"
        );
        if let ResponsePhase::Converting(body) = &mut self.answer {
            // An encoder that failed has nothing more to give.
            let _ = body.conversion.flush(&mut |part| self.leaving.push_back(part));
            self.context.encoded = body.conversion.encoded();
        }
        self.leave_next()?;
        self.taken().await?;
        self.down.flush().await
    }

    /// Begins to write what was queued, unless a write is pending.
    fn leave_next(&mut self) -> Result<(), ClientFailure> {
        if self.down_since.is_some() || self.leaving.is_empty() {
            return Ok(());
        }
        self.leave()
    }
}
